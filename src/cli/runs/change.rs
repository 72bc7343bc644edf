//! What is done to runs: named, tagged, noted, removed.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::SystemTime;

use super::{Change, RunsError};
use crate::cli::say::ask;
use crate::cli::store::find;
use crate::sink::one_line;
use crate::store::{RunOverview, RunPatch, Sqlite, Standing, Status, Store};

/// Does what `change` says to the runs of a store, and says it.
///
/// # Errors
/// If there is no such store or run, or it cannot be written.
pub fn run(change: &Change, at: &Path, out: &mut dyn Write) -> Result<(), RunsError> {
    // It is not made where there is none.
    let store = Sqlite::open_read_only(at)?;
    let find = |run: &String| find(&store, at, run);
    match change {
        Change::Rename { run, name } => {
            let name = said(name, "name")?;
            let run = find(run)?;
            let patch = RunPatch {
                name: Some(name.to_owned()),
                ..RunPatch::default()
            };
            Sqlite::open(at)?.update_run(&run, &patch)?;
            writeln!(out, "{}: named `{}`", one_line(&run), one_line(name))?;
        }
        Change::Tag { run, tags } => {
            let run = find(run)?;
            for tag in tags {
                said(tag, "tag")?;
            }
            retag(at, &run, out, |there| {
                for tag in tags {
                    if !there.contains(tag) {
                        there.push(tag.clone());
                    }
                }
            })?;
        }
        Change::Untag { run, tags } => {
            let run = find(run)?;
            retag(at, &run, out, |there| {
                there.retain(|tag| !tags.contains(tag));
            })?;
        }
        Change::Note { run, text } => {
            let run = find(run)?;
            let patch = RunPatch {
                note: Some(text.clone()),
                ..RunPatch::default()
            };
            Sqlite::open(at)?.update_run(&run, &patch)?;
            let text = if text.is_empty() {
                "no note".to_owned()
            } else {
                format!("note: {}", one_line(text))
            };
            writeln!(out, "{}: {text}", one_line(&run))?;
        }
        Change::Rm { runs, yes, force } => {
            let mut ids = runs.iter().map(find).collect::<Result<Vec<_>, _>>()?;
            ids.sort();
            ids.dedup();
            let overviews = ids.iter().map(|id| store.overview_of(id));
            let overviews: Vec<RunOverview> = overviews
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?;
            drop(store);
            remove(at, &overviews, *yes, *force, out)?;
        }
    }
    Ok(())
}

fn said<'a>(text: &'a str, what: &'static str) -> Result<&'a str, RunsError> {
    let text = text.trim();
    (!text.is_empty())
        .then_some(text)
        .ok_or(RunsError::Empty { what })
}

fn retag(
    at: &Path,
    run: &str,
    out: &mut dyn Write,
    change: impl FnOnce(&mut Vec<String>),
) -> Result<(), RunsError> {
    let mut store = Sqlite::open(at)?;
    let mut tags = store.get_run(run)?.record.tags;
    change(&mut tags);
    let told = if tags.is_empty() {
        "no tags".to_owned()
    } else {
        format!("tags: {}", tags.join(", "))
    };
    let patch = RunPatch {
        tags: Some(tags),
        ..RunPatch::default()
    };
    store.update_run(run, &patch)?;
    writeln!(out, "{}: {}", one_line(run), one_line(&told))?;
    Ok(())
}

/// Removes the runs, if that is wished.
fn remove(
    path: &Path,
    runs: &[RunOverview],
    yes: bool,
    force: bool,
    out: &mut dyn Write,
) -> Result<(), RunsError> {
    let now = SystemTime::now();
    let is_written =
        |run: &&RunOverview| run.standing(now) == Some(Standing::Noted(Status::Running));
    if let Some(run) = runs.iter().find(is_written)
        && !force
    {
        return Err(RunsError::Written {
            run: run.id.clone(),
        });
    }
    let what: Vec<String> = runs.iter().map(told).collect();
    let what = what.join(", ");
    if !yes {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(RunsError::Unasked { what });
        }
        ask(&one_line(&format!("remove {what}? [y/N] ")));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return Err(RunsError::Declined);
        }
    }
    let mut store = Sqlite::open(path)?;
    for run in runs {
        let freed = store.remove_run(&run.id)?;
        let (what, path) = (told(run), path.display());
        let line = format!(
            "removed {what}: {} of {path} are free for what is written next",
            bytes(freed)
        );
        writeln!(out, "{}", one_line(&line))?;
    }
    Ok(())
}

/// A run with what it holds.
fn told(run: &RunOverview) -> String {
    format!("`{}` ({} steps, {} values)", run.id, run.steps, run.values)
}

/// A size as people say it.
fn bytes(count: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let size = count as f64;
    let unit = units.into_iter().find(|(_, unit)| size >= *unit);
    unit.map_or_else(
        || format!("{count} bytes"),
        |(name, unit)| format!("{:.1} {name}", size / unit),
    )
}
