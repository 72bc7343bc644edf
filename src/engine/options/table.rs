//! Options that hold several things by name: limits, folds, bounds, texts.

use std::collections::BTreeMap;

use super::check::{POSITIVE, expected_own_metric};
use super::value::{Given, OptionKind, OptionValue, expected, refuse};
use super::{unknown_name, word};
use crate::batch::scalars::{Fold, Scalar, WindowFold};
use crate::row::health::Limits;
use crate::row::run::RunMetadata;
use crate::shard::{Rejection, RejectionBounds, RejectionStatistic};
use crate::summary::DeclaredFolds;

fn entries<T: OptionValue>(given: Given) -> Result<BTreeMap<String, Given>, String> {
    match given {
        Given::Table(entries) => Ok(entries),
        given => Err(refuse::<T>(&given)),
    }
}

impl OptionValue for Limits {
    type Told = Self;
    const KIND: OptionKind = OptionKind::Table(&OptionKind::Number);

    fn told(told: Self) -> Self {
        told
    }

    fn read(given: Given) -> Result<Self, String> {
        let mut limits = Self::default();
        for (name, given) in entries::<Self>(given)? {
            let named = name.replace('-', "_");
            let number = f64::read(given).map_err(|reason| format!("`{name}`: {reason}"))?;
            match limits.set(&named, number) {
                Some(true) => {}
                Some(false) => {
                    let steps = "a whole number of steps, at least 1";
                    let found = Given::Number(number);
                    return Err(format!("`{name}`: {}", expected(&steps, &found)));
                }
                None => {
                    let known = limits.numbers().into_iter().map(|(name, ..)| name);
                    return Err(unknown_name("name", &name, known));
                }
            }
        }
        Ok(limits)
    }

    fn give(&self) -> Given {
        let numbers = self.numbers().into_iter();
        Given::Table(
            numbers
                .map(|(name, number, _)| (name.to_owned(), Given::Number(number)))
                .collect(),
        )
    }
}

/// Over ranks and over a window in one word, for those who do not want to tell them apart.
const BOTH: [(&str, (Fold, WindowFold)); 7] = [
    ("mean", (Fold::Mean, WindowFold::Mean)),
    ("min", (Fold::Min, WindowFold::Min)),
    ("max", (Fold::Max, WindowFold::Max)),
    ("sum", (Fold::Sum, WindowFold::Sum)),
    ("last", (Fold::LowestRank, WindowFold::Last)),
    ("mean_by_tokens", (Fold::MeanByTokens, WindowFold::Same)),
    (
        "mean_by_completions",
        (Fold::MeanByCompletions, WindowFold::Same),
    ),
];

const OVER_RANKS: [(&str, Fold); 8] = [
    ("mean_by_tokens", Fold::MeanByTokens),
    ("mean_by_completions", Fold::MeanByCompletions),
    ("mean", Fold::Mean),
    ("max", Fold::Max),
    ("min", Fold::Min),
    ("sum", Fold::Sum),
    ("sum_of_lasts", Fold::SumOfLasts),
    ("lowest_rank", Fold::LowestRank),
];

const OVER_A_WINDOW: [(&str, WindowFold); 6] = [
    ("same", WindowFold::Same),
    ("mean", WindowFold::Mean),
    ("max", WindowFold::Max),
    ("min", WindowFold::Min),
    ("sum", WindowFold::Sum),
    ("last", WindowFold::Last),
];

/// How a metric folds over ranks and micro-batches, and over a window.
fn fold(given: &Given) -> Result<(Fold, WindowFold), String> {
    match given {
        Given::List(two) => match &two[..] {
            [fold, window] => Ok((
                word::read(&OVER_RANKS, fold)?,
                word::read(&OVER_A_WINDOW, window)?,
            )),
            _ => Err(expected(&OptionKind::Fold, given)),
        },
        given => word::read(&BOTH, given),
    }
}

impl OptionValue for DeclaredFolds {
    type Told = Self;
    const KIND: OptionKind = OptionKind::Table(&OptionKind::Fold);

    fn told(told: Self) -> Self {
        told
    }

    fn read(given: Given) -> Result<Self, String> {
        let folds = entries::<Self>(given)?.into_iter().map(|(name, given)| {
            if Scalar::of(&name).is_some() {
                return Err(expected_own_metric(&name));
            }
            let fold = fold(&given).map_err(|reason| format!("`{name}`: {reason}"))?;
            Ok((name, fold))
        });
        folds.collect()
    }

    fn give(&self) -> Given {
        let both = |(fold, window): &(Fold, WindowFold)| {
            Given::List(vec![
                word::give(&OVER_RANKS, *fold),
                word::give(&OVER_A_WINDOW, *window),
            ])
        };
        Given::Table(
            self.iter()
                .map(|(name, folds)| (name.clone(), both(folds)))
                .collect(),
        )
    }
}

/// A k1 has bounds on either side, of which one says the other; what is never negative has one.
fn bounds(statistic: RejectionStatistic, given: &Given) -> Result<RejectionBounds, String> {
    let number = |given: &Given| f64::read(given.clone()).ok();
    let (expects, bounds) = match given {
        Given::List(two) if statistic.is_of_ratio() => {
            let bounds = match &two[..] {
                [lower, upper] => number(lower).zip(number(upper)),
                _ => None,
            };
            let bounds = bounds.filter(|(lower, upper)| lower <= upper);
            let bounds = bounds.map(|(lower, upper)| RejectionBounds { lower, upper });
            (OptionKind::Bounds, bounds)
        }
        given if statistic.is_of_ratio() => (
            OptionKind::Bounds,
            number(given).map(RejectionBounds::up_to),
        ),
        given => (
            OptionKind::Number,
            number(given).map(RejectionBounds::up_to),
        ),
    };
    bounds.ok_or_else(|| expected(&expects, given))
}

impl OptionValue for Rejection {
    type Told = Self;
    const KIND: OptionKind = OptionKind::Table(&OptionKind::Bounds);

    fn told(told: Self) -> Self {
        told
    }

    fn read(given: Given) -> Result<Self, String> {
        let known = RejectionStatistic::ALL;
        let each = entries::<Self>(given)?.into_iter().map(|(name, given)| {
            let named = name.replace('-', "_");
            let found = known.iter().find(|(known, _)| *known == named);
            let Some((_, statistic)) = found else {
                let known = known.iter().map(|(known, _)| *known);
                return Err(unknown_name("name", &name, known));
            };
            let bounds = bounds(*statistic, &given);
            let bounds = bounds.map_err(|reason| format!("`{name}`: {reason}"))?;
            Ok((*statistic, bounds))
        });
        each.collect::<Result<_, _>>().map(Self)
    }

    fn give(&self) -> Given {
        let each = self.0.iter().map(|(statistic, bounds)| {
            let RejectionBounds { lower, upper } = *bounds;
            let given = if statistic.is_of_ratio() {
                Given::List(vec![Given::Number(lower), Given::Number(upper)])
            } else {
                Given::Number(upper)
            };
            (statistic.name().to_owned(), given)
        });
        Given::Table(each.collect())
    }

    /// A bound that makes no sense before one that does.
    fn number(&self) -> Option<f64> {
        let looked_at = |(statistic, bounds): (&RejectionStatistic, &RejectionBounds)| {
            let lower = Some(bounds.lower).filter(|_| statistic.is_of_ratio());
            [lower, Some(bounds.upper)]
        };
        let numbers = || self.0.iter().flat_map(looked_at).flatten();
        let (_, makes_sense) = POSITIVE;
        let worst = numbers().find(|number| !makes_sense(*number));
        worst.or_else(|| numbers().next())
    }
}

impl OptionValue for RunMetadata {
    type Told = Self;
    const KIND: OptionKind = OptionKind::Table(&OptionKind::Text);

    fn told(told: Self) -> Self {
        told
    }

    fn read(given: Given) -> Result<Self, String> {
        let mut texts = Self::default();
        for (name, given) in entries::<Self>(given)? {
            let Given::Text(text) = given else {
                return Err(format!("`{name}`: {}", expected(&OptionKind::Text, &given)));
            };
            let named = name.replace('-', "_");
            let mut places = texts.places();
            let place = places.iter_mut().find(|(known, _)| *known == named);
            let Some((_, place)) = place else {
                let known = places.map(|(known, _)| known);
                return Err(unknown_name("name", &name, known));
            };
            **place = Some(text);
        }
        Ok(texts)
    }

    fn give(&self) -> Given {
        let mut texts = self.clone();
        let known = texts.places().into_iter().filter_map(|(name, text)| {
            let text = text.take()?;
            Some((name.to_owned(), Given::Text(text)))
        });
        Given::Table(known.collect())
    }
}
