//! Which runs are listed, in which order, and how.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::grid::{GAP, Grid};
use crate::cli::screen::{columns, shortened};
use crate::reading::{Since, Which, run_json, standing};
use crate::sink::{self, one_line};
use crate::store::RunOverview;

/// How short a run's name may become.
const SHORTEST: usize = 12;

/// Which runs are listed.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Only runs that stand so; may be given several times
    #[arg(long, value_name = "STATUS", value_parser = status_parser())]
    pub status: Vec<String>,
    /// Only runs with this tag; given several times, with each of them
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only runs that were created since: 2026-01-31, '2026-01-31 12:00' (UTC), or 90m, 12h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = Since::from_str)]
    pub since: Option<Since>,
    /// Only runs of this experiment
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// What comes first: created (the newest), name, status, experiment, steps (the most), values (the most)
    #[arg(
        long,
        value_name = "BY",
        default_value = "created",
        hide_possible_values = true
    )]
    pub sort: Order,
    /// The other way round
    #[arg(long, short)]
    pub reverse: bool,
}

impl ListArgs {
    /// An argument that says which runs, if there is any.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        [
            ("--status", !self.status.is_empty()),
            ("--tag", !self.tag.is_empty()),
            ("--since", self.since.is_some()),
            ("--experiment", self.experiment.is_some()),
            ("--sort", self.sort != Order::default()),
            ("--reverse", self.reverse),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// What runs are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Order {
    #[default]
    Created,
    Name,
    Status,
    Experiment,
    Steps,
    Values,
}

fn status_parser() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(Which::statuses())
}

/// The runs that `args` leaves, in order, and how many it leaves out.
#[must_use]
pub fn listed(all: Vec<RunOverview>, args: &ListArgs) -> (Vec<RunOverview>, usize) {
    let count = all.len();
    let which = Which {
        status: args.status.clone(),
        tag: args.tag.clone(),
        since: args.since.clone(),
        experiment: args.experiment.clone(),
    };
    let mut runs = which.of(all);
    let by = |a: &RunOverview, b: &RunOverview| match args.sort {
        Order::Created => Ordering::Equal,
        Order::Name => (&a.name, &a.id).cmp(&(&b.name, &b.id)),
        Order::Status => standing(a).cmp(&standing(b)),
        Order::Experiment => a.experiment.cmp(&b.experiment),
        Order::Steps => b.steps.cmp(&a.steps),
        Order::Values => b.values.cmp(&a.values),
    };
    runs.sort_by(by);
    if args.reverse {
        runs.reverse();
    }
    let hidden = count - runs.len();
    (runs, hidden)
}

/// A column of the list.
struct Column {
    header: &'static str,
    is_number: bool,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| columns(cell));
        cells.max().unwrap_or(0).max(columns(self.header)) + GAP
    }
}

/// The runs, a line each, in so many columns: where there is too little room, first some of the table's columns go, then what stands in
/// the others becomes shorter.
#[must_use]
pub fn runs_text(runs: &[RunOverview], hidden: usize, room: Option<usize>) -> String {
    let left_out = match hidden {
        0 => String::new(),
        hidden => format!("\n{hidden} more in the store\n"),
    };
    if runs.is_empty() {
        return if hidden == 0 {
            "no runs\n".to_owned()
        } else {
            format!("no such runs; {hidden} in the store\n")
        };
    }
    let mut table = table_of(runs);
    if let Some(room) = room {
        fit(&mut table, room);
    }
    let header: Vec<&str> = table.iter().map(|column| column.header).collect();
    let numbers = |column: &Column| column.is_number;
    let first = table.iter().position(numbers).unwrap_or(0);
    let last = table
        .iter()
        .rposition(numbers)
        .map_or(first, |last| last + 1);
    let mut grid = Grid::new(&header, first..last);
    for nth in 0..runs.len() {
        grid.line(table.iter().map(|column| column.cells[nth].clone()));
    }
    let mut text = grid.text() + &left_out;
    for (run, fault) in runs
        .iter()
        .filter_map(|run| Some((run, run.fault.as_ref()?)))
    {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "\n{}", one_line(&format!("{}: {fault}", run.id)));
    }
    text
}

fn table_of(runs: &[RunOverview]) -> Vec<Column> {
    let column = |header, is_number, cell: &dyn Fn(&RunOverview) -> String| Column {
        header,
        is_number,
        cells: runs.iter().map(cell).collect(),
    };
    let end = |step: Option<u64>| step.map_or_else(|| "-".to_owned(), |step| step.to_string());
    let is_named = |run: &RunOverview| !run.name.is_empty() && run.name != run.id;
    let mut table = vec![
        column("run", false, &|run| one_line(&run.id)),
        column("name", false, &|run| {
            if is_named(run) {
                one_line(&run.name)
            } else {
                String::new()
            }
        }),
        column("experiment", false, &|run| one_line(&run.experiment)),
        column("status", false, &standing),
        column("steps", true, &|run| run.steps.to_string()),
        column("first", true, &|run| end(run.span.map(|span| span.0))),
        column("last", true, &|run| end(run.span.map(|span| span.1))),
        column("values", true, &|run| run.values.to_string()),
        // To the second, as a person reads it.
        column("created", false, &|run| {
            one_line(&run.created_at)
                .chars()
                .take(19)
                .collect::<String>()
                .replace('T', " ")
        }),
        column("tags", false, &|run| one_line(&run.tags.join(", "))),
        column("note", false, &|run| {
            one_line(run.note.as_deref().unwrap_or_default())
        }),
    ];
    // What nobody has said of any run needs no column.
    table.retain(|column| column.cells.iter().any(|cell| !cell.is_empty()));
    table
}

fn fit(table: &mut Vec<Column>, room: usize) {
    let over = |table: &[Column]| {
        let width: usize = table.iter().map(Column::width).sum();
        width.saturating_sub(GAP).saturating_sub(room)
    };
    let by = over(table);
    shorten(table, "note", by, SHORTEST);
    for (header, to) in [("status", " "), ("created", " ")] {
        if over(table) > 0
            && let Some(column) = table.iter_mut().find(|c| c.header == header)
        {
            for cell in &mut column.cells {
                cell.truncate(cell.find(to).unwrap_or(cell.len()));
            }
        }
    }
    for header in [
        "first",
        "values",
        "note",
        "experiment",
        "tags",
        "steps",
        "name",
    ] {
        if over(table) > 0 {
            table.retain(|column| column.header != header);
        }
    }
    let by = over(table);
    shorten(table, "run", by, SHORTEST);
}

/// Makes a column narrower by so much, but not shorter than that.
fn shorten(table: &mut [Column], header: &str, by: usize, shortest: usize) {
    if let Some(column) = table.iter_mut().find(|column| column.header == header) {
        let room = (column.width() - GAP).saturating_sub(by).max(shortest);
        for cell in &mut column.cells {
            *cell = shortened(cell, room);
        }
    }
}

/// The runs as an array of objects.
///
/// # Errors
/// If `out` refuses.
pub fn runs_json(runs: &[RunOverview], out: &mut dyn Write) -> io::Result<()> {
    let runs: Vec<_> = runs.iter().map(run_json).collect();
    writeln!(out, "{}", sink::json(&format!("{:#}", json!(runs))))
}
