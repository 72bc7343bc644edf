//! `show`: a run's metrics, several runs beside each other, or the runs of a store.

mod compare;
mod course;
mod follow;
mod table;
mod written;

use std::io::{self, Write};

use clap::Args;

use super::interrupt::Interrupt;
use super::key;
use super::runs::{ListArgs, RunsError, list};
use super::screen;
use super::store::{FindError, StoreArg, find};
use crate::reading::{
    KeyError, Keys, Name, ReadRun, Selected, Series, compare, differences, select,
};
use crate::sink::lines;
use crate::store::{Sqlite, Store, StoreError};
use compare::compared_text;
use follow::follow;
use table::{Shown, metrics_text};

/// Show a run's metrics, several runs beside each other, or the runs of a store
///
/// Of a run, first what is looked at first: reward, its spread and components, KL, clipping, entropy, lengths, loss, gradient norm
/// and the flags of health that were computed. What is constant stands in one line. --csv and --json have every key, in full.
///
/// Several runs are compared with the first: the last number of each, the best where it is known which way is better, and where
/// their configurations differ.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // a flag each
pub struct ShowArgs {
    /// The run whose metrics to show; several are compared; without one, the runs are listed.
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Show only the keys that match, such as 'train/kl*' or '*reward*'; may be given several times.
    #[arg(long, value_name = "GLOB", requires = "runs")]
    pub key: Vec<String>,
    /// Show all keys, those that are looked at first before the others.
    #[arg(long, requires = "runs", conflicts_with = "key")]
    pub all: bool,
    /// Show only the last N steps.
    #[arg(long, value_name = "N", requires = "runs", value_parser = clap::value_parser!(u64).range(1..))]
    pub last: Option<u64>,
    /// Show a line for each row, the last 10 (or N) and then each that is stored, until the run has ended or Ctrl-C.
    #[arg(long, requires = "runs", conflicts_with_all = ["csv", "json"])]
    pub follow: bool,
    /// As CSV: a line for each key, and run.
    #[arg(long, requires = "runs", conflicts_with = "json")]
    pub csv: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] FindError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Runs(#[from] RunsError),
    #[error("--follow: expected one run, found {runs}")]
    FollowOne { runs: usize },
    #[error("could not write what is shown: {0}")]
    Write(#[from] io::Error),
    /// The run goes on.
    #[error("{run}: no longer followed, by {by}")]
    Interrupted { run: String, by: Interrupt },
}

impl ShowError {
    /// Whether it is an output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Runs(error) => error.is_output(),
            Self::Write(_) => true,
            _ => false,
        }
    }
}

/// Writes what `args` asks for to `out`. Reads only, also while the store is being written.
///
/// # Errors
/// If there is no such store, run or key, or `out` refuses.
pub fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<(), ShowError> {
    let keys = key::keys(&args.key)?;
    let (path, runs) = args.store.with_runs(&args.runs);
    let store = Sqlite::open_read_only(&path)?;
    let open = |run: &String| -> Result<ReadRun<'_>, ShowError> {
        let run = find(&store, &path, run)?;
        Ok(ReadRun::open(&store, run, args.last)?)
    };
    let runs: Vec<ReadRun<'_>> = runs.iter().map(open).collect::<Result<_, _>>()?;
    match runs.as_slice() {
        [] => Ok(list(&store, &ListArgs::default(), args.json, out)?),
        [run] if args.follow => {
            let which = (&keys, args.all, args.last);
            follow(&store, run, which, screen::width(), out)
        }
        runs if args.follow => Err(ShowError::FollowOne { runs: runs.len() }),
        [run] => show(args, &keys, run, out),
        runs => show_beside(args, &keys, &store, runs, out),
    }
}

fn show(
    args: &ShowArgs,
    keys: &Keys,
    run: &ReadRun<'_>,
    out: &mut dyn Write,
) -> Result<(), ShowError> {
    let selected = selected(run.names()?, keys, args.every_key())?;
    let series = series(run, &selected)?;
    if args.csv {
        return Ok(written::metrics_csv(&series, out)?);
    }
    if args.json {
        return Ok(written::metrics_json(run, &series, out)?);
    }
    let shown = Shown::of(&selected, &series, args.all);
    let text = metrics_text(run, &shown, screen::width());
    out.write_all(lines(&text).as_bytes())?;
    Ok(())
}

fn show_beside(
    args: &ShowArgs,
    keys: &Keys,
    store: &Sqlite,
    runs: &[ReadRun<'_>],
    out: &mut dyn Write,
) -> Result<(), ShowError> {
    let mut names = Vec::new();
    for run in runs {
        names.extend(run.names()?);
    }
    let selected = selected(names, keys, args.every_key())?;
    let of_run = |run| series(run, &selected);
    let all: Vec<Vec<Series>> = runs.iter().map(of_run).collect::<Result<_, _>>()?;
    let compared = compare(&selected, &all);
    let config = |run: &ReadRun<'_>| Ok(store.get_run(&run.id)?.record.run_config);
    let configs: Vec<_> = runs.iter().map(config).collect::<Result<_, StoreError>>()?;
    let configs = differences(&configs);
    if args.csv {
        return Ok(written::compared_csv(runs, &compared, out)?);
    }
    if args.json {
        return Ok(written::compared_json(runs, &compared, &configs, out)?);
    }
    let text = compared_text(runs, &compared, &configs, selected.hidden, screen::width());
    out.write_all(lines(&text).as_bytes())?;
    Ok(())
}

/// Which keys are shown; what matches none is said.
fn selected(names: Vec<Name>, keys: &Keys, all: bool) -> Result<Selected, KeyError> {
    let selected = select(names, keys, all)?;
    key::complain_of(&selected.idle);
    Ok(selected)
}

fn series(run: &ReadRun<'_>, selected: &Selected) -> Result<Vec<Series>, StoreError> {
    let read = selected.names().map(|name| run.series(name));
    read.filter_map(Result::transpose).collect()
}

impl ShowArgs {
    /// Whether every key is meant: programs have no first glance.
    fn every_key(&self) -> bool {
        self.all || self.csv || self.json
    }
}
