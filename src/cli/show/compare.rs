//! Several runs beside each other: how each key ended, how good it has been, and what was configured differently.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::course::digest;
use super::read::{Name, ReadRun, Series};
use super::select::Selected;
use super::table::{head, more};
use crate::cli::grid::{GAP, Grid};
use crate::cli::screen::{columns, listed, shortened};
use crate::dialect::glance::Better;
use crate::sink::{compact, one_line};
use crate::store::{OURS, RECORDING};

/// How short a key and a run's name may become.
const SHORTEST: usize = 8;

/// How much room a text from a configuration may take from them.
const LONGEST_TEXT: usize = 24;

/// A key in each of the runs.
#[derive(Debug)]
pub struct Compared {
    pub name: Name,
    pub better: Option<Better>,
    /// In the order of the runs; none for a run that does not have it.
    pub runs: Vec<Option<Outcome>>,
}

/// What has become of a key in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub last: f64,
    pub min: f64,
    pub max: f64,
    /// The best, and its step, where it is known what is better.
    pub best: Option<(u64, f64)>,
    /// The last less that of the first run; none where that has none.
    pub difference: Option<f64>,
}

impl Compared {
    /// Whether it says one number again and again, the same in all runs.
    fn is_constant(&self) -> bool {
        let first = self.runs.first().copied().flatten();
        let is_first = |outcome: &Option<Outcome>| {
            let ends = outcome.map(|outcome| (outcome.min, outcome.max));
            ends.is_some() && ends == first.map(|first| (first.last, first.last))
        };
        self.runs.iter().all(is_first)
    }
}

/// Holds the series of the runs beside each other.
#[must_use]
pub fn compare(selected: &Selected, runs: &[Vec<Series>]) -> Vec<Compared> {
    let compared = |name: &Name| {
        let better = selected.better(&name.key);
        let found: Vec<Option<&Series>> = runs
            .iter()
            .map(|series| series.iter().find(|series| series.name == *name))
            .collect();
        let base = found.first().copied().flatten();
        let base = base.and_then(|series| Some(series.points.last()?.1));
        let outcome = |series: &Series| {
            let [last, _, min, max] = digest(&series.values());
            Outcome {
                last,
                min,
                max,
                best: better.and_then(|better| best(series, better)),
                difference: base.map(|base| last - base),
            }
        };
        Compared {
            name: name.clone(),
            better,
            runs: found
                .into_iter()
                .map(|series| series.map(outcome))
                .collect(),
        }
    };
    selected.names().map(compared).collect()
}

/// The first of the best.
fn best(series: &Series, better: Better) -> Option<(u64, f64)> {
    let is_better = |value: f64, than: f64| match better {
        Better::Higher => value > than,
        Better::Lower => value < than,
    };
    let mut finite = series.points.iter().filter(|(_, value)| value.is_finite());
    let first = *finite.next()?;
    Some(finite.fold(first, |best, point| {
        if is_better(point.1, best.1) {
            *point
        } else {
            best
        }
    }))
}

/// The configurations' differences: each place whose value is not the same in all of them, as `optimizer.lr`. What a replay knows its
/// recording by nobody configured.
#[must_use]
pub fn differences(configs: &[Value]) -> Vec<(String, Vec<Option<Value>>)> {
    let flat: Vec<BTreeMap<String, Value>> = configs
        .iter()
        .map(|config| {
            let mut places = BTreeMap::new();
            flatten("", config, &mut places);
            places
        })
        .collect();
    let mut places: Vec<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    places.sort();
    places.dedup();
    let known_by = format!("{OURS}.{RECORDING}.");
    places
        .into_iter()
        .filter(|place| !place.starts_with(&known_by))
        .map(|place| {
            let values = flat.iter().map(|config| config.get(place).cloned());
            (place.clone(), values.collect::<Vec<_>>())
        })
        .filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

fn flatten(place: &str, value: &Value, places: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let dot = if place.is_empty() { "" } else { "." };
                flatten(&format!("{place}{dot}{name}"), value, places);
            }
        }
        Value::Null if place.is_empty() => {}
        value => {
            places.insert(place.to_owned(), value.clone());
        }
    }
}

/// The comparison for the eye: a line for each key and run.
#[must_use]
pub fn compared_text(
    runs: &[ReadRun<'_>],
    compared: &[Compared],
    configs: &[(String, Vec<Option<Value>>)],
    hidden: usize,
    room: Option<usize>,
) -> String {
    let names: Vec<String> = runs.iter().map(|run| one_line(&run.id)).collect();
    let mut text: String = runs.iter().map(|run| head(run) + "\n").collect();
    let (same, telling): (Vec<&Compared>, Vec<&Compared>) =
        compared.iter().partition(|key| key.is_constant());
    let rows = telling.iter().flat_map(|key| {
        let lines = key.runs.iter().zip(&names).enumerate();
        lines.map(|(nth, (outcome, run))| {
            let label = if nth == 0 {
                key.name.label()
            } else {
                String::new()
            };
            let numbers = outcome.as_ref().map_or_else(
                || ["-", "", ""].map(str::to_owned),
                |outcome| told(nth, outcome),
            );
            (label, run.clone(), numbers.to_vec())
        })
    });
    let header = ["key", "run", "last", "best", "difference"];
    if !telling.is_empty() {
        let _ = write!(text, "\n{}", fitted(&header, 2..5, rows.collect(), room));
    }
    if telling.iter().any(|key| key.better.is_none()) {
        text.push_str("\nbest: min..max, where neither way is better\n");
    }
    if !same.is_empty() {
        let item = |key: &&Compared| {
            let value = key.runs.iter().flatten().next();
            let value = value.map_or(f64::NAN, |outcome| outcome.last);
            format!("{} {}", key.name.label(), compact(value))
        };
        let items: Vec<String> = same.iter().map(item).collect();
        let lead = format!("{} constant in all: ", same.len());
        let _ = writeln!(text, "\n{}", listed(&lead, &items, room));
    }
    if !configs.is_empty() {
        let rows = configs.iter().flat_map(|(place, values)| {
            values
                .iter()
                .zip(&names)
                .enumerate()
                .map(move |(nth, (value, run))| {
                    let label = if nth == 0 {
                        one_line(place)
                    } else {
                        String::new()
                    };
                    let value = value
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), |value| one_line(&value.to_string()));
                    (label, run.clone(), vec![value])
                })
        });
        let header = ["configuration", "run", "value"];
        let _ = write!(text, "\n{}", fitted(&header, 0..0, rows.collect(), room));
    }
    if hidden > 0 {
        text.push_str(&more(hidden));
    }
    text
}

fn told(nth: usize, outcome: &Outcome) -> [String; 3] {
    let best = outcome.best.map_or_else(
        || format!("{}..{}", compact(outcome.min), compact(outcome.max)),
        |(_, value)| compact(value),
    );
    let difference = match outcome.difference {
        Some(difference) if nth > 0 => {
            let sign = if difference > 0.0 { "+" } else { "" };
            format!("{sign}{}", compact(difference))
        }
        _ => String::new(),
    };
    [compact(outcome.last), best, difference]
}

/// A table of a label, a run and more, in so many columns: where there is too little room, labels and runs become shorter, and a text.
fn fitted(
    header: &[&str],
    numbers: std::ops::Range<usize>,
    lines: Vec<(String, String, Vec<String>)>,
    room: Option<usize>,
) -> String {
    let width = |texts: &mut dyn Iterator<Item = &str>| texts.map(columns).max().unwrap_or(0);
    let label = width(&mut lines.iter().map(|line| line.0.as_str()).chain([header[0]]));
    let run = width(&mut lines.iter().map(|line| line.1.as_str()).chain([header[1]]));
    let others: usize = (2..header.len())
        .map(|n| {
            width(
                &mut lines
                    .iter()
                    .map(|line| line.2[n - 2].as_str())
                    .chain([header[n]]),
            ) + GAP
        })
        .sum();
    // A text that somebody configured may be of any length, a number is not.
    let others = if header.len() == 3 {
        others.min(LONGEST_TEXT + GAP)
    } else {
        others
    };
    let (mut label_room, mut run_room) = (label, run);
    while room.is_some_and(|room| label_room + GAP + run_room + others > room)
        && label_room.max(run_room) > SHORTEST
    {
        let longer = if label_room > run_room {
            &mut label_room
        } else {
            &mut run_room
        };
        *longer -= 1;
    }
    let mut grid = Grid::new(header, numbers);
    for (name, run, mut cells) in lines {
        if let ([text], Some(room)) = (cells.as_mut_slice(), room) {
            let room = room.saturating_sub(label_room + run_room + 2 * GAP);
            *text = shortened(text, room.max(SHORTEST));
        }
        let start = [shortened(&name, label_room), shortened(&run, run_room)];
        grid.line(start.into_iter().chain(cells));
    }
    grid.text()
}
