//! A run's series for a report: its rows stand there once with what they lie over, and each series says which of them it has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ReportError;

/// How many keys are asked for at once.
const AT_ONCE: usize = 100;

/// The rows that any series keeps, and the series.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    /// By the axis: where each row lies, as the distance from the one before that is known; null where it is not.
    axes: BTreeMap<String, Vec<Option<i64>>>,
    series: BTreeMap<String, Course>,
}

/// One series.
#[derive(Debug, Serialize)]
struct Course {
    /// Which rows it has, each as the distance from the one before.
    rows: Vec<usize>,
    value: Vec<f64>,
    /// How many of its values are infinite, and so in no plot.
    infinite: usize,
}

/// An answer to `series`.
#[derive(Deserialize)]
struct Answer {
    series: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    key: String,
    x: Vec<Option<f64>>,
    step: Vec<u64>,
    value: Vec<Option<f64>>,
    infinite: usize,
}

/// Answers `series` for what stands behind the question mark.
type Ask<'a> = dyn Fn(&[(&str, &str)]) -> Result<Vec<u8>, ReportError> + 'a;

impl Table {
    /// The series of these keys over these axes; `width` is into how many parts they are cut, none for every row.
    pub fn of(
        run: &str,
        keys: &[&str],
        axes: &[String],
        width: Option<usize>,
        ask: &Ask<'_>,
    ) -> Result<Self, ReportError> {
        let width = width.map(|width| width.to_string());
        let mut lines = Vec::new();
        for keys in keys.chunks(AT_ONCE) {
            let mut query = vec![("run", run), ("x", "step")];
            query.extend(keys.iter().map(|key| ("key", *key)));
            query.extend(width.as_ref().map(|width| ("width", width.as_str())));
            lines.append(&mut asked(ask, &query)?);
        }
        let steps: BTreeSet<u64> = lines
            .iter()
            .flat_map(|line| line.step.iter().copied())
            .collect();
        let steps: Vec<u64> = steps.into_iter().collect();
        let mut over = BTreeMap::new();
        for axis in axes {
            let places = if axis == "step" {
                steps.iter().map(|step| i64::try_from(*step).ok()).collect()
            } else {
                places(run, axis, &steps, &lines, ask)?
            };
            over.insert(axis.clone(), distances(&places));
        }
        let series = lines
            .into_iter()
            .map(|line| (line.key.clone(), line.over(&steps)));
        Ok(Self {
            axes: over,
            series: series.collect(),
        })
    }
}

impl Line {
    fn over(self, steps: &[u64]) -> Course {
        let kept = self.step.iter().zip(self.value);
        let kept = kept.filter_map(|(step, value)| Some((steps.binary_search(step).ok()?, value?)));
        let (at, value): (Vec<usize>, Vec<f64>) = kept.unzip();
        let mut before = 0;
        let rows = at
            .into_iter()
            .map(|at| at - std::mem::replace(&mut before, at))
            .collect();
        Course {
            rows,
            value,
            infinite: self.infinite,
        }
    }
}

/// Where these steps lie on an axis: as whole series say that have them, one after the other until all are known.
fn places(
    run: &str,
    axis: &str,
    steps: &[u64],
    lines: &[Line],
    ask: &Ask<'_>,
) -> Result<Vec<Option<i64>>, ReportError> {
    let mut known: BTreeMap<u64, Option<i64>> = BTreeMap::new();
    for line in lines {
        if line.step.iter().all(|step| known.contains_key(step)) {
            continue;
        }
        let whole = asked(ask, &[("run", run), ("x", axis), ("key", &line.key)])?;
        for whole in whole {
            known.extend(
                whole
                    .step
                    .into_iter()
                    .zip(whole.x.into_iter().map(|x| x.map(rounded))),
            );
        }
        // What lies nowhere on this axis is not asked for again.
        for step in &line.step {
            known.entry(*step).or_insert(None);
        }
    }
    Ok(steps
        .iter()
        .map(|step| known.get(step).copied().flatten())
        .collect())
}

fn asked(ask: &Ask<'_>, query: &[(&str, &str)]) -> Result<Vec<Line>, ReportError> {
    let answer: Answer = serde_json::from_slice(&ask(query)?)?;
    Ok(answer.series)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "milliseconds, tokens and completions are whole, and fewer"
)]
fn rounded(x: f64) -> i64 {
    x.round() as i64
}

/// Each as its distance from the one before that is known.
fn distances(places: &[Option<i64>]) -> Vec<Option<i64>> {
    let mut before = 0;
    let mut next = |place: i64| place - std::mem::replace(&mut before, place);
    places.iter().map(|place| place.map(&mut next)).collect()
}
