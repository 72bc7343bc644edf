//! A trainer's own log held against its raw records: which logged numbers are what their keys say, how far off the others are, and by which
//! known reduction each of those came about.
//!
//! A wrong reduction is the corridor under a wrong cut: rows of parts of the records, averaged. So nothing is computed here in a second way:
//! every scheme is the dialect's own row, of other parts.
//!
//! ```text
//! recording + log -> window (records between two logged rows) -> rows by scheme -> which schemes give every logged number -> verdict
//! ```

mod log;
mod other;
mod precision;
mod scheme;
mod verdict;
mod window;

pub use log::{Log, LogError};
pub use precision::SINGLE;
pub use verdict::{Audit, AuditedKey, Verdict};

use crate::batch::BatchError;
use crate::dialect::Dialect;
use crate::engine::EngineOptions;
use crate::recording::{Recording, RecordingError, Step};
use crate::shard::MergeError;
use log::LoggedRow;
use verdict::{Judging, has_keys, is_known, says_of_steps};
use window::{Logged, Seen, Window};

/// Why a log cannot be held against its records.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The records cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A record's columns do not fit together.
    #[error("step {step}, rank {rank}: {source}")]
    Batch {
        step: u64,
        rank: u32,
        source: BatchError,
    },
    /// Records do not go together.
    #[error("step {step}: {source}")]
    Merge {
        /// The last step of the window.
        step: u64,
        source: MergeError,
    },
    /// No logged row has a step that was recorded.
    #[error("expected logged rows of steps {first} to {last}, which were recorded, found {found}")]
    NoRows {
        first: u64,
        last: u64,
        found: String,
    },
    /// The log has no key that can be computed.
    #[error(
        "expected keys of the dialect `{dialect}` that the records can tell, found {found}{hint}"
    )]
    NoKeys {
        dialect: Dialect,
        /// Some that the log has.
        found: String,
        /// Whose keys they are, if they are another dialect's.
        hint: String,
    },
}

/// Holds every number of the log that the dialect can compute against the records of its window: the steps after the row before, up to its
/// own.
///
/// # Errors
/// If a record cannot be read, or log and records have no step or no key in common.
pub fn audit(
    recording: &Recording,
    log: &Log,
    options: &EngineOptions,
) -> Result<Audit, AuditError> {
    let mut options = options.clone();
    // Other definitions of a key's number are among the extended metrics, and so may keys be.
    options.extended = true;
    let dialect = options.dialect;
    if !log.rows.is_empty() && !log.rows.iter().any(|row| has_keys(dialect, row)) {
        return Err(no_keys(log, dialect));
    }
    let mut found = held(recording, log, &options, true)?;
    let unexplained = found
        .keys
        .iter()
        .filter(|key| key.verdict == Verdict::Unexplained);
    if unexplained.count() >= FEW {
        found.shift = shift(recording, log, &options, &found);
    }
    Ok(found)
}

/// As many keys that nothing explains may be the steps' fault.
const FEW: usize = 2;

/// By how much the log's steps would have to be others for most of what is wrong to be right: one counts from 0, and the other from 1.
fn shift(recording: &Recording, log: &Log, options: &EngineOptions, found: &Audit) -> Option<i64> {
    [-1, 1].into_iter().find(|by| {
        let moved = |row: &LoggedRow| {
            let step = row.step.checked_add_signed(*by)?;
            Some(LoggedRow {
                step,
                ..row.clone()
            })
        };
        let log = Log {
            rows: log.rows.iter().filter_map(moved).collect(),
            words: log.words.clone(),
        };
        let wrong = |found: &Audit| found.keys.iter().filter(|key| key.wrong > 0).count();
        held(recording, &log, options, false).is_ok_and(|moved| wrong(&moved) < wrong(found) / 2)
    })
}

/// Holds the log's windows against their records, and explains what is wrong if it is to.
fn held(
    recording: &Recording,
    log: &Log,
    options: &EngineOptions,
    explains: bool,
) -> Result<Audit, AuditError> {
    let dialect = options.dialect;
    let windows = windows(recording, log, dialect);
    if windows.is_empty() {
        return Err(no_rows(recording, log));
    }
    let mut steps = windows.iter().flat_map(|window| &window.steps);
    if let Some(missing) = steps.find_map(Step::missing) {
        return Err(missing.into());
    }
    let shape = window::shape(&windows);
    let mut judging = Judging::of(log, dialect, scheme::schemes(&shape));
    let load = |window: &Logged<'_>, ahead, seen: &mut Seen| {
        Window::load(recording, &window.steps, ahead, options, seen)
    };
    let mut seen = Seen::new();
    for window in &windows {
        judging.row(&mut load(window, &[], &mut seen)?, window.row)?;
    }
    // Most of the work is for what is wrong, and a window's records are too many to keep.
    if explains && judging.has_wrong() {
        let mut seen = Seen::new();
        for window in &windows {
            let mut loaded = load(window, &window.ahead, &mut seen)?;
            judging.explain(&mut loaded, window.row)?;
        }
    }
    judging.ended().ok_or_else(|| no_keys(log, dialect))
}

/// The logged rows whose steps were recorded: those after the row before, up to its own. A row that has no number of those steps, such as an
/// evaluation's, ends no window.
fn windows<'a>(recording: &'a Recording, log: &'a Log, dialect: Dialect) -> Vec<Logged<'a>> {
    let first = recording.steps().next().map(|step| step.step);
    let mut steps = recording.steps().peekable();
    let mut windows = Vec::new();
    let mut before: Option<u64> = None;
    let any = log.rows.iter().any(|row| says_of_steps(dialect, row));
    let ends = |row: &&LoggedRow| {
        if any {
            says_of_steps(dialect, row)
        } else {
            has_keys(dialect, row)
        }
    };
    for row in log.rows.iter().filter(ends) {
        let mut of_it = Vec::new();
        while let Some(step) = steps.next_if(|step| step.step <= row.step) {
            of_it.push(step);
        }
        // The recording may have begun within a window, and ended within one.
        let has = |step: Option<u64>| of_it.iter().any(|own| Some(own.step) == step);
        let began_late =
            has(first) && before.is_some_and(|before| first > Some(before.saturating_add(1)));
        if has(Some(row.step)) && !began_late {
            windows.push(Logged {
                row,
                steps: of_it,
                ahead: Vec::new(),
            });
        }
        before = Some(row.step);
    }
    let later = (1..=windows.len()).filter_map(|from| windows.get(from..));
    let rows = windows.iter().map(|window| window.row);
    let ahead: Vec<_> = rows
        .zip(later)
        .map(|(row, later)| ahead(row, later, dialect))
        .collect();
    for (window, ahead) in windows.iter_mut().zip(ahead) {
        window.ahead = ahead;
    }
    windows
}

/// The steps of the rows after this one that lack what it has, up to the next row that has some of it: a trainer may log a generated batch
/// at the first of several steps on it.
fn ahead<'a>(row: &LoggedRow, later: &[Logged<'a>], dialect: Dialect) -> Vec<Step<'a>> {
    let Some(next) = later.first() else {
        return Vec::new();
    };
    let keys = row.numbers.keys().filter(|key| is_known(dialect, key));
    let lacked: Vec<&String> = keys
        .filter(|key| !next.row.numbers.contains_key(*key))
        .collect();
    if lacked.is_empty() {
        return Vec::new();
    }
    let lacks = |window: &&Logged<'a>| {
        !lacked
            .iter()
            .any(|key| window.row.numbers.contains_key(*key))
    };
    let later = later.iter().take_while(lacks);
    later
        .flat_map(|window| window.steps.iter().copied())
        .collect()
}

fn no_rows(recording: &Recording, log: &Log) -> AuditError {
    let mut steps = recording.steps().map(|step| step.step);
    let first = steps.next().unwrap_or_default();
    AuditError::NoRows {
        first,
        last: steps.next_back().unwrap_or(first),
        found: match (log.rows.first(), log.rows.last()) {
            (Some(first), Some(last)) => format!("rows of steps {} to {}", first.step, last.step),
            _ => "no row with a step".to_owned(),
        },
    }
}

fn no_keys(log: &Log, dialect: Dialect) -> AuditError {
    let keys = log.keys();
    let known = |dialect: &Dialect| keys.iter().filter(|key| dialect.knows(key, false)).count();
    let others = Dialect::ALL.iter().filter(|other| **other != dialect);
    let best = others.copied().max_by_key(known);
    let named: Vec<String> = keys.iter().take(5).map(|key| format!("`{key}`")).collect();
    let more = keys.len().saturating_sub(named.len());
    let and = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    AuditError::NoKeys {
        dialect,
        found: named.join(", ") + &and,
        hint: best
            .filter(|best| known(best) > known(&dialect))
            .map_or(String::new(), |best| format!(": try --dialect {best}")),
    }
}
