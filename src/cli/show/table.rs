//! The table of a run's metrics, in the room that there is.

use std::fmt::Write as _;

use super::course::sparkline;
use crate::cli::grid::{GAP, Grid};
use crate::cli::screen::{columns, listed, shortened, wrapped};
use crate::reading::{ReadRun, Selected, Series, digest, family};
use crate::sink::{compact, one_line};

/// The columns of numbers.
const NUMBERS: [&str; 4] = ["last", "mean", "min", "max"];

/// How many cells the course of a series has: in a pipe, at most where there is room, and at least.
const COURSE: (usize, usize, usize) = (24, 96, 6);

/// How short a key may become.
const SHORTEST_KEY: usize = 10;

/// What is to be seen of a run, in so many columns: a line for each series, those of one family together, and one for all that
/// are constant.
#[must_use]
pub fn metrics_text(run: &ReadRun<'_>, shown: &Shown<'_>, room: Option<usize>) -> String {
    let mut text = head(run) + "\n";
    let is_told = |series: &&Series| shown.is_asked_for || !series.is_constant();
    let groups: Vec<Vec<&Series>> = shown
        .groups()
        .into_iter()
        .map(|group| group.into_iter().filter(is_told).collect())
        .filter(|group: &Vec<_>| !group.is_empty())
        .collect();
    if !groups.is_empty() {
        let _ = write!(text, "\n{}", table(&groups, room));
    }
    let constant: Vec<&Series> = shown
        .series
        .iter()
        .filter(|series| !is_told(series))
        .collect();
    if !constant.is_empty() {
        let lead = format!("{} constant: ", constant.len());
        let item = |series: &&Series| {
            let value = series.points.first().map_or(f64::NAN, |point| point.1);
            format!("{} {}", series.name.label(), compact(value))
        };
        let items: Vec<String> = constant.iter().map(item).collect();
        let line = if shown.is_all {
            wrapped(&lead, &items, room)
        } else {
            listed(&lead, &items, room)
        };
        let _ = writeln!(text, "\n{line}");
    }
    let values = shown.series.iter().flat_map(|series| &series.points);
    let infinite = values.filter(|(_, value)| !value.is_finite()).count();
    if infinite > 0 {
        let _ = writeln!(
            text,
            "\ninfinite values, left out of mean, min and max: {infinite}"
        );
    }
    if shown.hidden > 0 {
        text.push_str(&more(shown.hidden));
    }
    text
}

/// Where a run stands.
#[must_use]
pub fn head(run: &ReadRun<'_>) -> String {
    let mut said = vec![];
    if let Some(standing) = &run.standing {
        said.push(standing.to_string());
    }
    match (run.steps.first(), run.steps.last()) {
        (Some(first), Some(last)) => {
            said.push(format!("steps {first} to {last}"));
            let rows = run.steps.len();
            if rows as u64 <= last - first {
                said.push(format!("{rows} of them with metrics"));
            }
        }
        _ => said.push("no metrics".to_owned()),
    }
    format!("{}: {}", one_line(&run.id), said.join(", "))
}

/// The series that are shown of a run.
#[derive(Debug)]
pub struct Shown<'a> {
    pub series: &'a [Series],
    /// How many of them are looked at first.
    pub first: usize,
    /// How many keys are not among them.
    pub hidden: usize,
    /// Whether somebody named them: then they are told of one by one.
    pub is_asked_for: bool,
    pub is_all: bool,
}

impl<'a> Shown<'a> {
    /// Of the series that were read of these names.
    #[must_use]
    pub fn of(selected: &Selected, series: &'a [Series], is_all: bool) -> Self {
        let is_first = |series: &&Series| selected.first.contains(&series.name);
        Self {
            series,
            first: series.iter().filter(is_first).count(),
            hidden: selected.hidden,
            is_asked_for: selected.is_asked_for,
            is_all,
        }
    }

    /// Those that are looked at first, then a group a family.
    fn groups(&self) -> Vec<Vec<&'a Series>> {
        let (first, rest) = self.series.split_at(self.first.min(self.series.len()));
        let same = |a: &Series, b: &Series| family(&a.name.key) == family(&b.name.key);
        let rest = rest.chunk_by(same).map(|group| group.iter().collect());
        std::iter::once(first.iter().collect())
            .chain(rest)
            .collect()
    }
}

/// A line of the table, before it is known how much room it has.
struct Line {
    key: String,
    numbers: [String; 4],
    values: Vec<f64>,
}

fn table(groups: &[Vec<&Series>], room: Option<usize>) -> String {
    let line = |series: &&Series| {
        let values = series.values();
        Line {
            key: series.name.label(),
            numbers: digest(&values).map(told),
            values,
        }
    };
    let lines = |group: &Vec<&Series>| group.iter().map(line).collect();
    let groups: Vec<Vec<Line>> = groups.iter().map(lines).collect();
    let all = || groups.iter().flatten();
    let widest = |texts: &mut dyn Iterator<Item = &str>| texts.map(columns).max().unwrap_or(0);
    let keys = widest(&mut all().map(|line| line.key.as_str()).chain(["key"]));
    let number = |n: usize| {
        let numbers = all().map(|line| line.numbers[n].as_str());
        widest(&mut numbers.chain([NUMBERS[n]])) + GAP
    };
    let numbers = (0..NUMBERS.len()).map(number).sum();
    let (key_room, cells) = layout(keys, numbers, room);
    let course: &[&str] = match cells {
        0 => &[],
        14.. => &["over the steps"],
        _ => &["course"],
    };
    let mut grid = Grid::new(&[&["key"], &NUMBERS[..], course].concat(), 1..5);
    for (nth, group) in groups.iter().enumerate() {
        if nth > 0 {
            grid.gap();
        }
        for line in group {
            let course = (cells > 0).then(|| sparkline(&line.values, cells));
            let cells = [shortened(&line.key, key_room)].into_iter();
            grid.line(cells.chain(line.numbers.iter().cloned()).chain(course));
        }
    }
    grid.text()
}

/// How many columns a key has, and how many cells a course: where there is too little room, first the course becomes shorter, then
/// the keys, and then the course goes.
fn layout(keys: usize, numbers: usize, room: Option<usize>) -> (usize, usize) {
    let (piped, most, least) = COURSE;
    let Some(room) = room else {
        return (keys, piped);
    };
    let left = room.saturating_sub(keys + GAP + numbers);
    if left >= least {
        return (keys, left.min(most));
    }
    let key = room.saturating_sub(GAP + numbers + least);
    let key = key.max(SHORTEST_KEY).min(keys);
    let left = room.saturating_sub(key + GAP + numbers);
    (key, if left < least { 0 } else { least })
}

/// A number for the eye, or a dash where there is none.
fn told(value: f64) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    compact(value)
}

/// How many keys are not shown, and how to see them.
#[must_use]
pub fn more(hidden: usize) -> String {
    let keys = if hidden == 1 { "key" } else { "keys" };
    format!("\n{hidden} more {keys}: show --all, or --key GLOB\n")
}
