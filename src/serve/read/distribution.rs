//! How a run's rewards were distributed over its steps, from the quantiles that are stored.

use serde::Serialize;

use super::Query;
use super::asked;
use super::error::ReadError;
use super::held::Kept;
use super::names::names;
use super::opened::Opened;
use super::quantiles::quantiles;
use crate::reading::Name;

/// How many steps are told of where nobody says how wide the picture is.
const STEPS: usize = 2048;

/// What is answered to `distribution`; empty where no quantiles of the reward are stored.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    steps: Vec<u64>,
    /// The share of completions below each quantile, ascending, and the quantile at each of the steps; null where it is not known.
    quantiles: Vec<(f64, Vec<f64>)>,
}

pub(super) fn distribution(
    opened: &Opened,
    held: &Kept,
    query: &Query,
) -> Result<Answer, ReadError> {
    let run = asked::run(query)?;
    let width = asked::width(query)?.unwrap_or(STEPS);
    let (shares, numbers) = opened.read(|store, file| {
        let id = opened.find(store, run)?;
        let names = names(store, &id)?;
        let found = held
            .rewards
            .of(&names)
            .map(|reward| quantiles(&reward, &names));
        let found = found.unwrap_or_default().into_iter();
        let (shares, names): (Vec<f64>, Vec<Name>) =
            found.map(|(share, name)| (share, name.clone())).unzip();
        Ok((shares, held.numbers(store, file, &id, &names)?))
    })?;
    // Two say too little of what lies between them.
    if shares.len() < 3 {
        return Ok(Answer::default());
    }
    let columns: Vec<&[f64]> = numbers
        .columns
        .iter()
        .flatten()
        .map(|column| column.as_slice())
        .collect();
    let is_known = |at: &usize| {
        columns
            .iter()
            .any(|column| column.get(*at).is_some_and(|value| value.is_finite()))
    };
    let known: Vec<usize> = (0..numbers.steps.len()).filter(is_known).collect();
    let at = spread(&known, width);
    Ok(Answer {
        steps: at
            .iter()
            .filter_map(|at| numbers.steps.get(*at).copied())
            .collect(),
        quantiles: shares
            .into_iter()
            .zip(&columns)
            .map(|(share, column)| {
                (
                    share,
                    at.iter()
                        .filter_map(|at| column.get(*at).copied())
                        .collect(),
                )
            })
            .collect(),
    })
}

/// At most so many of them, evenly spread, with the first and the last.
fn spread(all: &[usize], most: usize) -> Vec<usize> {
    if all.len() <= most || most < 2 {
        return all.iter().copied().take(most).collect();
    }
    let place = |nth: usize| all.get(nth * (all.len() - 1) / (most - 1)).copied();
    (0..most).filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_many_steps_is_spread_from_the_first_to_the_last() {
        let all: Vec<usize> = (10..110).collect();
        assert_eq!(spread(&all, 4), [10, 43, 76, 109]);
        assert_eq!(spread(&all, 200), all);
        assert_eq!(spread(&all, 1), [10]);
        assert_eq!(spread(&[], 4), [0; 0]);
    }
}
