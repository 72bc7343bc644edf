//! Reported scalars become one number each: over ranks and micro-batches, then over the steps of a window.

use std::collections::BTreeMap;

use super::DeclaredFolds;
use crate::batch::Place;
use crate::batch::scalars::{Fold, Meta, Scalar, Weighting, WindowFold};
use crate::shard::{Report, Shard};
use crate::stat::{Census, exact};

/// All reports of a step or window, by step, rank and micro-batch.
pub(super) struct Reports<'a> {
    steps: BTreeMap<u64, Vec<(Place, &'a Report)>>,
}

/// What was reported under names that are no known scalar's own.
#[derive(Default)]
pub(super) struct Own {
    /// The users' own metrics.
    pub metrics: Vec<(String, f64)>,
    /// Names that are taken for a scalar's.
    pub taken: Vec<(String, Scalar)>,
    /// Names under which nothing is in the row: nearly a scalar's, or another name of one that is there under its first.
    pub strange: Vec<String>,
}

/// One finite value that a record reported, and what it may be weighted by.
#[derive(Clone, Copy)]
struct Reported {
    place: Place,
    value: f64,
    completions: f64,
    tokens: Option<f64>,
}

impl<'a> Reports<'a> {
    pub fn of(shard: &'a Shard) -> Self {
        let mut steps: BTreeMap<u64, Vec<(Place, &Report)>> = BTreeMap::new();
        for ((step, place), report) in &shard.reports {
            steps.entry(*step).or_default().push((*place, report));
        }
        Self { steps }
    }

    pub fn last_step(&self) -> u64 {
        self.steps.keys().next_back().copied().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = (Place, &'a Report)> + '_ {
        self.steps.values().flatten().copied()
    }

    /// The snapshot of the last step that has one, of its lowest reporting rank's last micro-batch; without its
    /// non-finite numbers, which are counted over all snapshots.
    pub fn weighting(&self) -> (Option<Weighting>, u64) {
        let nonfinite = self
            .all()
            .filter_map(|(_, report)| report.weighting.clone())
            .map(|weighting| finite(weighting).1)
            .sum();
        let snapshot = self.steps.values().rev().find_map(|reports| {
            let of_step = reports
                .iter()
                .filter_map(|(place, r)| Some((place.rank, r.weighting.as_ref()?)));
            let lowest = of_step.clone().map(|(rank, _)| rank).min()?;
            let last = of_step.rev().find(|(rank, _)| *rank == lowest);
            last.map(|(_, weighting)| weighting.clone())
        });
        (snapshot.map(|weighting| finite(weighting).0), nonfinite)
    }

    /// Mean over (step, rank) of each one's last finite value.
    pub fn mean_of_lasts(&self, value: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        let mut lasts = BTreeMap::new();
        for (step, reports) in &self.steps {
            for (place, report) in reports {
                if let Some(x) = value(report).filter(|x| x.is_finite()) {
                    lasts.insert((*step, place.rank), x);
                }
            }
        }
        mean(lasts.into_values())
    }

    pub fn scalars(&self) -> [Option<f64>; Scalar::COUNT] {
        let mut folded = [None; Scalar::COUNT];
        for (scalar, slot) in Scalar::ALL.iter().zip(&mut folded) {
            *slot = self.folded(scalar.folds(), |report| report.scalars.get(*scalar));
        }
        folded
    }

    /// What one step's ranks and micro-batches report of a scalar.
    pub fn of_step(&self, step: u64, scalar: Scalar) -> Option<f64> {
        let reports = self.steps.get(&step)?;
        let reported = reported(reports, |report| report.scalars.get(scalar));
        (!reported.is_empty())
            .then(|| over_ranks(scalar.folds().0, &reported))
            .flatten()
    }

    /// What was reported under names that are no known scalar's own.
    pub fn own(&self, declared: &DeclaredFolds) -> Own {
        let mut names: Vec<&str> = self
            .all()
            .flat_map(|(_, report)| report.scalars.own().map(|(name, _)| name))
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut own = Own::default();
        for name in names {
            if let Some(scalar) = Scalar::of(name) {
                let beside = |report: &Report| report.scalars.is_beside(scalar, name);
                if self.all().any(|(_, report)| beside(report)) {
                    own.strange.push(name.to_owned());
                } else {
                    own.taken.push((name.to_owned(), scalar));
                }
            } else if !declared.contains_key(name) && Scalar::meant_by(name).is_some() {
                own.strange.push(name.to_owned());
            } else {
                let folds = declared.get(name).copied();
                let folds = folds.unwrap_or((Fold::Mean, WindowFold::Mean));
                let value = |report: &Report| report.scalars.own_named(name);
                let folded = self.folded(folds, value);
                own.metrics.extend(folded.map(|x| (name.to_owned(), x)));
            }
        }
        own
    }

    /// Over all scalars and seed values.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, report) in self.all() {
            let seeds = [
                report.seed_alpha_effective,
                report.seed_max_possible_entropy,
            ];
            let values = report.scalars.iter().map(|(_, value)| value);
            for value in values.chain(seeds.into_iter().flatten()) {
                if value.is_finite() {
                    census.used += 1;
                } else {
                    census.nonfinite += 1;
                }
            }
        }
        census
    }

    fn folded(
        &self,
        (fold, window): (Fold, WindowFold),
        value: impl Fn(&Report) -> Option<f64>,
    ) -> Option<f64> {
        let steps: Vec<Vec<Reported>> = self
            .steps
            .values()
            .map(|reports| reported(reports, &value))
            .filter(|reported| !reported.is_empty())
            .collect();
        if let [step] = &steps[..] {
            return over_ranks(fold, step);
        }
        let of_steps = || steps.iter().filter_map(|step| over_ranks(fold, step));
        match window {
            WindowFold::Same => {
                let all: Vec<Reported> = steps.concat();
                match fold {
                    Fold::MeanByTokens => weighted(&all, |r| r.tokens),
                    Fold::MeanByCompletions => weighted(&all, |r| Some(r.completions)),
                    _ => None,
                }
                .or_else(|| mean(of_steps()))
            }
            WindowFold::Mean => mean(of_steps()),
            WindowFold::Max => of_steps().reduce(f64::max),
            WindowFold::Min => of_steps().reduce(f64::min),
            WindowFold::Sum => sum(of_steps()),
            WindowFold::Last => of_steps().next_back(),
        }
    }
}

/// A snapshot without its non-finite numbers, the meta-controller's included, and how many those were.
fn finite(weighting: Weighting) -> (Weighting, u64) {
    let (mut weighting, own) = weighting.finite();
    let (meta, of_meta) = weighting.meta.take().map(Meta::finite).unzip();
    weighting.meta = meta;
    (weighting, own + of_meta.unwrap_or(0))
}

fn reported(reports: &[(Place, &Report)], value: impl Fn(&Report) -> Option<f64>) -> Vec<Reported> {
    reports
        .iter()
        .filter_map(|(place, report)| {
            let value = value(report).filter(|x| x.is_finite())?;
            Some(Reported {
                place: *place,
                value,
                completions: report.completions as f64,
                tokens: report
                    .scalars
                    .get(Scalar::NumCompletionTokens)
                    .filter(|x| x.is_finite()),
            })
        })
        .collect()
}

/// One step's reports, ascending by rank and micro-batch, as `fold` says.
fn over_ranks(fold: Fold, step: &[Reported]) -> Option<f64> {
    if let [one] = step {
        // One report is that value under every fold; a weighted mean would round it.
        return Some(one.value);
    }
    match fold {
        Fold::MeanByTokens => weighted(step, |r| r.tokens).or_else(|| mean_of_ranks(step)),
        Fold::MeanByCompletions => {
            weighted(step, |r| Some(r.completions)).or_else(|| mean_of_ranks(step))
        }
        Fold::Mean => mean_of_ranks(step),
        Fold::Max => step.iter().map(|r| r.value).reduce(f64::max),
        Fold::Min => step.iter().map(|r| r.value).reduce(f64::min),
        Fold::Sum => sum(step.iter().map(|r| r.value)),
        Fold::SumOfLasts => sum(ranks(step).filter_map(|rank| rank.last().map(|r| r.value))),
        Fold::LowestRank => ranks(step)
            .next()
            .and_then(|rank| rank.last().map(|r| r.value)),
    }
}

/// The reports of each rank, ascending.
fn ranks(step: &[Reported]) -> impl Iterator<Item = &[Reported]> {
    step.chunk_by(|a, b| a.place.rank == b.place.rank)
}

/// A rank's micro-batches first, then the ranks.
fn mean_of_ranks(step: &[Reported]) -> Option<f64> {
    mean(ranks(step).filter_map(|rank| mean(rank.iter().map(|r| r.value))))
}

/// `None` where a weight is missing or all are zero.
fn weighted(reports: &[Reported], weight: impl Fn(&Reported) -> Option<f64>) -> Option<f64> {
    let weights: Vec<f64> = reports.iter().map(weight).collect::<Option<_>>()?;
    let products: Vec<f64> = reports
        .iter()
        .zip(&weights)
        .map(|(r, w)| r.value * w)
        .collect();
    let total = exact(&weights);
    (total != 0.0).then(|| exact(&products) / total)
}

fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| exact(&values))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| exact(&values) / values.len() as f64)
}
