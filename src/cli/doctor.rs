//! `doctor`: whether a store is sound, what is in it, what waits beside it, and what would mend it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::grid::Grid;
use super::store::StoreArg;
use crate::sink::{self, Durable, Meant, one_line};
use crate::store::{FileFacts, RunOverview, SCHEMA, Sqlite, Standing, StoreError};

/// Examine a store: is it sound, what is in it, what waits beside it
///
/// Reads the store whole, and changes nothing: what a repair would do is only said. Journals are looked for in STORE.journal and in the
/// folders that are given, and two folders deep in those.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct DoctorArgs {
    /// Folders with journals whose rows may wait for this store
    #[arg(value_name = "JOURNAL")]
    pub journals: Vec<PathBuf>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Leave out what takes long: the indexes are not held against their tables
    #[arg(long)]
    pub quick: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  the store is sound, whatever waits beside it
  1  it is not
  2  what was given is no store";

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing that was given has one.
    #[error("{path}: expected a journal, or a folder with journals, found none")]
    NoJournal { path: String },
    /// It has been told.
    #[error("{store}: not sound: {faults} faults")]
    Unsound { store: String, faults: usize },
    #[error("could not write what was found: {0}")]
    Write(#[from] io::Error),
}

impl DoctorError {
    /// Whether it is not what was given that is wrong.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Unsound { .. } | Self::Write(_) => true,
            Self::Store(error) => !error.is_permanent(),
            Self::NoJournal { .. } => false,
        }
    }
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    store: String,
    sound: bool,
    faults: Vec<String>,
    schema: Option<u32>,
    bytes: u64,
    free_bytes: u64,
    /// Of what was written last, which is not in the file itself yet.
    log_bytes: u64,
    runs: Vec<RunFound>,
    journals: Vec<JournalFound>,
    repairs: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RunFound {
    id: String,
    /// None where it cannot be read.
    status: Option<String>,
    stopped: bool,
    steps: u64,
    numbers: u64,
    /// About so many: its share of the file by its numbers.
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct JournalFound {
    path: String,
    /// None where it is not noted.
    run: Option<String>,
    /// None where it cannot be read.
    rows: Option<u64>,
    fault: Option<String>,
}

/// Examines the store, and writes what was found to `out`.
///
/// # Errors
/// If there is no such store, it is not sound, or `out` refuses.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<(), DoctorError> {
    let path = args.store.path();
    let journals = journals(&path, &args.journals)?;
    let found = match Sqlite::open_read_only(&path) {
        Ok(store) => examined(&store, &path, journals, !args.quick),
        Err(error) if error.is_permanent() => return Err(error.into()),
        Err(error) => unreadable(&path, journals, &error),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&found).map_err(io::Error::from)?;
        writeln!(out, "{}", sink::json(&text))?;
    } else {
        out.write_all(told(&found).as_bytes())?;
    }
    if found.sound {
        return Ok(());
    }
    Err(DoctorError::Unsound {
        store: found.store,
        faults: found.faults.len(),
    })
}

fn examined(
    store: &Sqlite,
    path: &Path,
    journals: Vec<JournalFound>,
    thoroughly: bool,
) -> Findings {
    let mut found = empty(path, journals);
    let mut note = |error: StoreError| found.faults.push(error.to_string());
    let faults = store.faults(thoroughly).unwrap_or_else(|error| {
        note(error);
        Vec::new()
    });
    let facts = store.facts().map_err(&mut note).ok();
    let runs = store.overview().map_err(&mut note).unwrap_or_default();
    found.faults.extend(faults);
    if let Some(facts) = facts {
        found.schema = Some(facts.schema);
        (found.bytes, found.free_bytes) = (facts.bytes, facts.free);
        found.runs = sizes(&runs, facts);
    }
    found.sound = found.faults.is_empty();
    found.repairs = repairs(&found);
    found
}

/// A store that cannot be opened any more.
fn unreadable(path: &Path, journals: Vec<JournalFound>, error: &StoreError) -> Findings {
    let mut found = empty(path, journals);
    found.faults.push(error.to_string());
    found.repairs = repairs(&found);
    found
}

fn empty(path: &Path, journals: Vec<JournalFound>) -> Findings {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Findings {
        store: path.display().to_string(),
        sound: false,
        faults: Vec::new(),
        schema: None,
        bytes: path.metadata().map_or(0, |file| file.len()),
        free_bytes: 0,
        log_bytes: Path::new(&log).metadata().map_or(0, |log| log.len()),
        runs: Vec::new(),
        journals,
        repairs: Vec::new(),
    }
}

fn sizes(runs: &[RunOverview], facts: FileFacts) -> Vec<RunFound> {
    let all: u64 = runs.iter().map(|run| run.values).sum();
    let held = u128::from(facts.bytes.saturating_sub(facts.free));
    let now = SystemTime::now();
    let size = |run: &RunOverview| {
        let share = held * u128::from(run.values) / u128::from(all.max(1));
        let standing = run.standing(now);
        RunFound {
            id: run.id.clone(),
            stopped: matches!(standing, Some(Standing::Stopped { .. })),
            status: standing.map(|standing| standing.to_string()),
            steps: run.steps,
            numbers: run.values,
            bytes: u64::try_from(share).unwrap_or(u64::MAX),
        }
    };
    runs.iter().map(size).collect()
}

/// The journals beside the store and in the folders that were given.
fn journals(store: &Path, given: &[PathBuf]) -> Result<Vec<JournalFound>, DoctorError> {
    let mut beside = store.as_os_str().to_owned();
    beside.push(".journal");
    let mut found = Durable::found_in(Path::new(&beside));
    for folder in given {
        let these = Durable::found_in(folder);
        if these.is_empty() {
            return Err(DoctorError::NoJournal {
                path: folder.display().to_string(),
            });
        }
        found.extend(these);
    }
    found.sort();
    found.dedup();
    Ok(found.iter().map(|dir| waiting(dir)).collect())
}

fn waiting(dir: &Path) -> JournalFound {
    let rows = Durable::waiting_in(dir);
    JournalFound {
        path: dir.display().to_string(),
        run: Durable::run_of(dir).ok().flatten(),
        fault: rows.as_ref().err().map(ToString::to_string),
        rows: rows.ok(),
    }
}

/// What would mend what was found, a sentence each.
fn repairs(found: &Findings) -> Vec<String> {
    let store = &found.store;
    let mut repairs = Vec::new();
    let of_indexes = |fault: &String| {
        let begins = ["wrong # of entries in index", "row "];
        begins.iter().any(|begin| fault.starts_with(begin)) && fault.contains("index")
    };
    if !found.faults.is_empty() && found.faults.iter().all(of_indexes) {
        repairs.push(format!(
            "make the indexes anew, as the numbers themselves are sound: sqlite3 {store} reindex"
        ));
    } else if !found.faults.is_empty() {
        repairs.push(format!(
            "copy what can be read to a new file, and keep this one: sqlite3 {store} .recover | sqlite3 new.db"
        ));
    }
    for journal in found.journals.iter().filter(|j| j.rows > Some(0)) {
        let JournalFound { path, run, .. } = journal;
        let run = run.as_ref().map_or(" --run RUN", |_| "");
        let to = match Meant::of(Path::new(path)) {
            Meant::Sink(_) => String::new(),
            Meant::Object(_) => " --jsonl FILE".to_owned(),
            _ => format!(" --store {store}{run}"),
        };
        repairs.push(format!(
            "deliver the rows that wait, once their training is over: grpo-metrics deliver {path}{to}"
        ));
    }
    let stopped = found.runs.iter().filter(|run| run.stopped);
    let stopped: Vec<String> = stopped.map(|run| format!("`{}`", run.id)).collect();
    if !stopped.is_empty() {
        repairs.push(format!(
            "nothing needs to be done about runs that are noted as running and have stopped; whoever resumes one goes on with it: {}",
            stopped.join(", ")
        ));
    }
    if let Some(schema) = found.schema.filter(|schema| *schema < SCHEMA) {
        repairs.push(format!(
            "schema {schema} becomes {SCHEMA} when the store is next written to"
        ));
    }
    if found.free_bytes > found.bytes / 4 && found.free_bytes > 1 << 20 {
        let free = bytes(found.free_bytes);
        repairs.push(format!(
            "give {free} back to the disk: sqlite3 {store} vacuum"
        ));
    }
    repairs
}

/// The findings for people.
fn told(found: &Findings) -> String {
    let mut text = String::new();
    let store = one_line(&found.store);
    let schema = found.schema.map_or("unknown".to_owned(), |s| s.to_string());
    let state = if found.sound { "sound" } else { "not sound" };
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "{store}: {state}, schema {schema}, {} ({} of it free), {} in its log",
        bytes(found.bytes),
        bytes(found.free_bytes),
        bytes(found.log_bytes)
    );
    let list = |text: &mut String, title: &str, lines: &[String]| {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}");
            for line in lines {
                let _ = writeln!(text, "  {}", one_line(line));
            }
        }
    };
    list(&mut text, "faults", &found.faults);
    if !found.runs.is_empty() {
        let mut runs = Grid::new(&["run", "steps", "numbers", "about", "status"], 1..4);
        for run in &found.runs {
            runs.line([
                one_line(&run.id),
                run.steps.to_string(),
                run.numbers.to_string(),
                bytes(run.bytes),
                run.status
                    .clone()
                    .unwrap_or_else(|| "unreadable".to_owned()),
            ]);
        }
        let _ = write!(text, "\n{}", runs.text());
    }
    if !found.journals.is_empty() {
        let mut journals = Grid::new(&["journal", "rows waiting", "run"], 1..2);
        for journal in &found.journals {
            let rows = journal.rows.map(|rows| rows.to_string());
            journals.line([
                one_line(&journal.path),
                rows.unwrap_or_else(|| "unreadable".to_owned()),
                one_line(journal.run.as_deref().unwrap_or("not noted")),
            ]);
        }
        let _ = write!(text, "\n{}", journals.text());
        let faults = found.journals.iter().filter_map(|j| j.fault.clone());
        list(
            &mut text,
            "journals that cannot be read",
            &faults.collect::<Vec<_>>(),
        );
    }
    list(&mut text, "a repair would", &found.repairs);
    text
}

/// A size for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    match unit {
        "bytes" => format!("{count} bytes"),
        unit => format!("{size:.1} {unit}"),
    }
}
