//! Series as a plot draws them: smoothed first, then what lies between the ends, then decimated.

use serde::Serialize;

use super::Query;
use super::asked::{Axis, Drawn};
use super::axis::Counted;
use super::course::{kept, smoothed};
use super::error::ReadError;
use super::held::{Kept, Numbers};
use super::line::{Line, Points, taken};
use super::names::{labelled, names};
use super::opened::Opened;
use super::together::together;
use crate::store::Store;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    series: Vec<Line>,
}

/// The series of a run before they are cut and decimated.
pub(super) struct Read {
    pub run: String,
    /// Each key that was asked for and that the run has, with the place of its column.
    keys: Vec<(String, usize)>,
    numbers: Numbers,
    /// Where each step lies on the axis.
    places: Vec<f64>,
}

pub(super) fn series(opened: &Opened, held: &Kept, query: &Query) -> Result<Answer, ReadError> {
    let asked = Drawn::of(query)?;
    let runs: Vec<Read> = asked
        .runs
        .iter()
        .map(|run| read(opened, held, run, &asked))
        .collect::<Result<_, _>>()?;
    let mut series = Vec::new();
    if asked.together {
        for key in &asked.keys {
            let each: Vec<Points> = runs
                .iter()
                .filter_map(|run| run.points(key, &asked))
                .collect();
            if let Some(first) = runs.first().filter(|_| !each.is_empty()) {
                series.push(together(key, &first.run, &each, &asked));
            }
        }
    } else {
        for run in &runs {
            let drawn = asked.keys.iter().filter_map(|key| run.line(key, &asked));
            series.extend(drawn);
        }
    }
    Ok(Answer { series })
}

fn read(opened: &Opened, held: &Kept, run: &str, asked: &Drawn<'_>) -> Result<Read, ReadError> {
    opened.read(|store, file| {
        let run = opened.find(store, run)?;
        let all = names(store, &run)?;
        let counted = match asked.axis {
            Axis::Step | Axis::Time => Counted::default(),
            axis => {
                let config = store.get_run(&run).map(|run| run.record.run_config);
                let counted = Counted::of(axis, &all, &config.unwrap_or_default());
                counted.ok_or_else(|| ReadError::Query {
                    name: "x",
                    expected: format!(
                        "what the run counts: nothing in it says how many {} it has seen",
                        axis.name()
                    ),
                    found: Some(axis.name().to_owned()),
                })?
            }
        };
        let mut named = labelled(all);
        named.retain(|(label, _)| asked.keys.contains(&label.as_str()));
        let keys = named
            .iter()
            .enumerate()
            .map(|(at, (label, _))| (label.clone(), at))
            .collect();
        let mut wanted: Vec<_> = named.into_iter().map(|(_, name)| name).collect();
        let first = wanted.len();
        wanted.extend(counted.names.iter().cloned());
        let numbers = held.numbers(store, file, &run, &wanted)?;
        Ok(Read {
            run,
            keys,
            places: counted.places(asked.axis, &numbers, first),
            numbers,
        })
    })
}

impl Read {
    /// The points of a key whose place on the axis is known, smoothed; `None` where the run does not have the key.
    fn points(&self, key: &str, asked: &Drawn<'_>) -> Option<Points> {
        let (_, at) = self.keys.iter().find(|(label, _)| label == key)?;
        let column = self.numbers.columns.get(*at)?.as_ref()?;
        let mut points = Points::default();
        let places = self.places.iter().zip(self.numbers.steps.iter());
        for (value, (x, step)) in column.iter().zip(places) {
            if !value.is_nan() && !x.is_nan() {
                points.x.push(*x);
                points.step.push(*step);
                points.raw.push(*value);
            }
        }
        points.value = smoothed(&points.raw, asked.smooth);
        Some(points)
    }

    fn line(&self, key: &str, asked: &Drawn<'_>) -> Option<Line> {
        let points = self
            .points(key, asked)?
            .on_the_axis()
            .between(asked.from, asked.to);
        let mut at = kept(&points.x, &points.value, asked.pixels());
        if asked.smooth > 0.0 {
            // The line behind it has its own extremes.
            at.extend(kept(&points.x, &points.raw, asked.pixels()));
            at.sort_unstable();
            at.dedup();
        }
        let take = |values: &[f64]| taken(values, &at);
        Some(Line {
            key: key.to_owned(),
            run: self.run.clone(),
            x: take(&points.x),
            step: taken(&points.step, &at),
            value: take(&points.value),
            raw: (asked.smooth > 0.0).then(|| take(&points.raw)),
            infinite: points.raw.iter().filter(|v| v.is_infinite()).count(),
            ..Line::default()
        })
    }
}
