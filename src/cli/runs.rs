//! `runs`: the runs of a store, and what people say of them.

mod change;
mod list;

use std::io::{self, Write};

use clap::{Args, Subcommand};

use super::screen;
use super::store::{FindError, StoreArg};
use crate::sink::lines;
use crate::store::{Sqlite, StoreError};
pub use list::ListArgs;
use list::{listed, runs_json, runs_text};

/// List the runs of a store, name, tag, note or remove them
///
/// The newest stand first. Without a store that was named, it is the one of the environment, or runs.db here.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = false)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub change: Option<Change>,
    #[command(flatten)]
    pub store: StoreArg,
    #[command(flatten)]
    pub list: ListArgs,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What is done to runs.
#[derive(Clone, Debug, Subcommand)]
pub enum Change {
    /// Give a run another name; its id stays
    Rename {
        /// The run
        run: String,
        /// What it is called from now on
        name: String,
    },
    /// Tag a run
    Tag {
        /// The run
        run: String,
        /// Words to find it by
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Take tags from a run
    Untag {
        /// The run
        run: String,
        /// The tags to take away
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Write a note on a run, in place of the one that is there
    Note {
        /// The run
        run: String,
        /// The note; an empty one takes it away
        text: String,
    },
    /// Remove runs with all their numbers
    ///
    /// On a terminal it asks first. The store's file keeps its size: what is written next takes the room that became free.
    Rm {
        /// The runs
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Also runs that are being written; their writers fail then
        #[arg(long)]
        force: bool,
    },
}

/// Why a run cannot be listed or changed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] FindError),
    /// A filter, where nothing is listed.
    #[error("{argument}: expected it where runs are listed, found it beside a change of one")]
    Filter { argument: &'static str },
    #[error("expected a {what} with something in it, found none")]
    Empty { what: &'static str },
    /// Somebody still writes it.
    #[error("run `{run}` is being written: it is not removed without --force")]
    Written { run: String },
    /// Nobody could be asked.
    #[error("{what} would be removed: expected --yes, as nobody can be asked here")]
    Unasked { what: String },
    #[error("nothing was removed")]
    Declined,
    #[error("could not write what is listed: {0}")]
    Write(#[from] io::Error),
}

impl RunsError {
    /// Whether it is an output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        matches!(self, Self::Write(_))
    }
}

/// Lists or changes the runs that `args` says.
///
/// # Errors
/// If there is no such store or run, it cannot be written, or `out` refuses.
pub fn run(args: &RunsArgs, out: &mut dyn Write) -> Result<(), RunsError> {
    let path = args.store.path();
    if let Some(change) = &args.change {
        let stray = args.list.given().or(args.json.then_some("--json"));
        return match stray {
            Some(argument) => Err(RunsError::Filter { argument }),
            None => change::run(change, &path, out),
        };
    }
    let store = Sqlite::open_read_only(&path)?;
    list(&store, &args.list, args.json, out)
}

/// Writes the runs that `args` leaves.
///
/// # Errors
/// If the store cannot be read, or `out` refuses.
pub fn list(
    store: &Sqlite,
    args: &ListArgs,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), RunsError> {
    let all = store.overview()?;
    let (runs, hidden) = listed(all, args);
    if json {
        return Ok(runs_json(&runs, out)?);
    }
    let text = runs_text(&runs, hidden, screen::width());
    out.write_all(lines(&text).as_bytes())?;
    Ok(())
}
