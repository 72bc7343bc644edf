//! Several runs of one key as one: their mean over each step, and a band from the least to the greatest of them.

use std::collections::BTreeMap;

use super::asked::Drawn;
use super::course::kept;
use super::line::{Line, Points, taken};

/// What the runs have at a step.
#[derive(Default)]
struct Step {
    x: f64,
    sum: f64,
    low: f64,
    high: f64,
    count: usize,
}

/// The series of `runs`, each smoothed by itself, as one. On another axis than steps, a step lies at the mean of its places.
pub(super) fn together(key: &str, first: &str, runs: &[Points], asked: &Drawn<'_>) -> Line {
    let mut steps: BTreeMap<u64, Step> = BTreeMap::new();
    let mut infinite = 0;
    for points in runs {
        for ((x, step), value) in points.x.iter().zip(&points.step).zip(&points.value) {
            if !value.is_finite() {
                infinite += usize::from((asked.from..=asked.to).contains(x));
                continue;
            }
            let at = steps.entry(*step).or_default();
            let is_first = at.count == 0;
            at.low = if is_first { *value } else { at.low.min(*value) };
            at.high = if is_first {
                *value
            } else {
                at.high.max(*value)
            };
            at.x += x;
            at.sum += value;
            at.count += 1;
        }
    }
    let mut all: Vec<(f64, u64, Step)> = steps
        .into_iter()
        .map(|(step, at)| (at.x / at.count as f64, step, at))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.retain(|(x, ..)| (asked.from..=asked.to).contains(x));
    let column = |of: fn(&Step) -> f64| -> Vec<f64> { all.iter().map(|(.., at)| of(at)).collect() };
    let x: Vec<f64> = all.iter().map(|(x, ..)| *x).collect();
    // It is rounded, and that of one number again and again is that number.
    let mean = column(|at| (at.sum / at.count as f64).clamp(at.low, at.high));
    let (low, high) = (column(|at| at.low), column(|at| at.high));
    let mut at: Vec<usize> = [&mean, &low, &high]
        .into_iter()
        .flat_map(|values| kept(&x, values, asked.pixels()))
        .collect();
    at.sort_unstable();
    at.dedup();
    let take = |values: &[f64]| taken(values, &at);
    Line {
        key: key.to_owned(),
        run: first.to_owned(),
        x: take(&x),
        step: at
            .iter()
            .filter_map(|i| all.get(*i).map(|(_, step, _)| *step))
            .collect(),
        value: take(&mean),
        infinite,
        runs: Some(runs.len()),
        count: Some(
            at.iter()
                .filter_map(|i| all.get(*i).map(|(.., at)| at.count))
                .collect(),
        ),
        low: Some(take(&low)),
        high: Some(take(&high)),
        ..Line::default()
    }
}
