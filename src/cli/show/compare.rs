//! Several runs beside each other, for the eye.

use std::fmt::Write as _;

use serde_json::Value;

use super::table::{head, more};
use crate::cli::grid::{GAP, Grid};
use crate::cli::screen::{columns, listed, shortened};
use crate::reading::{Compared, Outcome, ReadRun};
use crate::sink::{compact, one_line};

/// How short a key and a run's name may become.
const SHORTEST: usize = 8;

/// How many columns a terminal has at least where mean differences stand beside the rest.
const WIDE: usize = 100;

/// How much room a text from a configuration may take from them.
const LONGEST_TEXT: usize = 24;

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
    let mut outcomes = telling.iter().flat_map(|key| key.runs.iter().flatten());
    let any_apart = room.is_none_or(|room| room >= WIDE) && outcomes.any(|o| o.apart.is_some());
    let rows = telling.iter().flat_map(|key| {
        let lines = key.runs.iter().zip(&names).enumerate();
        lines.map(|(nth, (outcome, run))| {
            let label = if nth == 0 {
                key.name.label()
            } else {
                String::new()
            };
            let numbers = outcome.as_ref().map_or_else(
                || ["-", "", "", ""].map(str::to_owned),
                |outcome| told(nth, outcome),
            );
            (
                label,
                run.clone(),
                numbers[..if any_apart { 4 } else { 3 }].to_vec(),
            )
        })
    });
    let header = [
        "key",
        "run",
        "last",
        "best",
        "difference",
        "mean difference",
    ];
    if !telling.is_empty() {
        let header = &header[..if any_apart { 6 } else { 5 }];
        let rows = rows.collect();
        let _ = write!(text, "\n{}", fitted(header, 2..header.len(), rows, room));
    }
    if any_apart {
        text.push_str("\nmean difference: from the first run at the steps that both have, with its 95 % interval\n");
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

fn told(nth: usize, outcome: &Outcome) -> [String; 4] {
    let best = outcome.best.map_or_else(
        || format!("{}..{}", compact(outcome.min), compact(outcome.max)),
        |(_, value)| compact(value),
    );
    let signed = |x: f64| format!("{}{}", if x > 0.0 { "+" } else { "" }, compact(x));
    let difference = match outcome.difference {
        Some(difference) if nth > 0 => signed(difference),
        _ => String::new(),
    };
    let apart = outcome.apart.map_or_else(String::new, |apart| {
        let [low, high] = [apart.interval.0, apart.interval.1].map(compact);
        format!("{} [{low}, {high}]", signed(apart.mean))
    });
    [compact(outcome.last), best, difference, apart]
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
