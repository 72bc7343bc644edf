//! Fewer rows: the steps between two rows become one.

use std::collections::HashMap;

use crate::batch::scalars::WindowFold;
use crate::row::{Key, Metrics};
use crate::stat::exact;

/// How the steps of a window become one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Windowing {
    /// Each key is the plain mean of its values over the steps that had it, unless its dialect or its reporter declares
    /// another fold.
    #[default]
    Mean,
    /// The steps' shards are merged and summarised once, so that every number is over all completions of the window.
    Pooled,
}

/// Rows of the steps since the last one that went out, to be averaged key by key.
#[derive(Clone, Debug, Default)]
pub struct MeanWindow {
    keys: Vec<(Key, Vec<f64>)>,
    steps: usize,
}

impl MeanWindow {
    /// Takes in the row of one step.
    pub fn push(&mut self, metrics: Metrics) {
        self.steps += 1;
        // Steps have nearly always the same keys in the same order; where they have not, keys are looked up from there on.
        let mut places = None;
        for (i, (key, value)) in metrics.into_iter().enumerate() {
            let at = match self.keys.get(i) {
                Some((known, _)) if *known == key => Some(i),
                _ => {
                    let places = places.get_or_insert_with(|| places_of(&self.keys));
                    places.get(&key).copied()
                }
            };
            match at {
                Some(at) => self.keys[at].1.push(value),
                None => self.keys.push((key, vec![value])),
            }
        }
    }

    /// Whether no step has come since the last row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// The window's row, leaving the window empty: of each key the finite values of its steps, folded as `fold` says; left
    /// out where there is none. A mean is correctly rounded but for the division.
    pub fn take(&mut self, fold: impl Fn(&str) -> WindowFold) -> Metrics {
        self.steps = 0;
        let mut metrics = Metrics::with_capacity(self.keys.len());
        for (key, values) in self.keys.drain(..) {
            let value = match values[..] {
                // Of one step, as it was.
                [one] => Some(one),
                _ => folded(fold(&key), &values),
            };
            if let Some(value) = value {
                metrics.push(key, value);
            }
        }
        metrics
    }
}

/// Where each key stands.
fn places_of(keys: &[(Key, Vec<f64>)]) -> HashMap<Key, usize> {
    let keys = keys.iter().map(|(key, _)| key.clone());
    keys.zip(0..).collect()
}

fn folded(fold: WindowFold, values: &[f64]) -> Option<f64> {
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let last = *finite.last()?;
    Some(match fold {
        WindowFold::Mean | WindowFold::Same => exact(&finite) / finite.len() as f64,
        WindowFold::Max => finite.iter().copied().fold(last, f64::max),
        WindowFold::Min => finite.iter().copied().fold(last, f64::min),
        WindowFold::Sum => exact(&finite),
        WindowFold::Last => last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entries: &[(&'static str, f64)]) -> Metrics {
        entries.iter().copied().collect()
    }

    #[test]
    fn each_key_is_the_mean_over_the_steps_that_had_it() {
        let mut window = MeanWindow::default();
        window.push(row(&[("a", 1.0), ("b", 2.0), ("step", 1.0)]));
        window.push(row(&[("b", 4.0), ("c", 7.0), ("step", 2.0)]));
        window.push(row(&[("a", 2.0), ("b", f64::INFINITY), ("step", 3.0)]));
        let got = window.take(|key| match key {
            "step" => WindowFold::Last,
            _ => WindowFold::Mean,
        });
        assert_eq!(
            got,
            row(&[("a", 1.5), ("b", 3.0), ("step", 3.0), ("c", 7.0)])
        );
        assert!(window.is_empty());
        assert!(window.take(|_| WindowFold::Mean).is_empty());
    }

    #[test]
    fn a_mean_of_huge_values_does_not_overflow_where_it_is_a_double() {
        let mut window = MeanWindow::default();
        for _ in 0..4 {
            window.push(row(&[("a", f64::MAX / 8.0)]));
        }
        assert_eq!(
            window.take(|_| WindowFold::Mean).get("a"),
            Some(f64::MAX / 8.0)
        );
    }

    #[test]
    fn a_declared_fold_takes_the_place_of_the_mean() {
        let mut window = MeanWindow::default();
        for x in [3.0, 1.0, f64::NAN, 2.0] {
            window.push(row(&[
                ("mean", x),
                ("same", x),
                ("max", x),
                ("min", x),
                ("sum", x),
                ("last", x),
            ]));
        }
        let got = window.take(|key| match key {
            "same" => WindowFold::Same,
            "max" => WindowFold::Max,
            "min" => WindowFold::Min,
            "sum" => WindowFold::Sum,
            "last" => WindowFold::Last,
            _ => WindowFold::Mean,
        });
        let expected = row(&[
            ("mean", 2.0),
            ("same", 2.0),
            ("max", 3.0),
            ("min", 1.0),
            ("sum", 6.0),
            ("last", 2.0),
        ]);
        assert_eq!(got, expected);
    }
}
