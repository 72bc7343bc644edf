//! `audit`: a trainer's own log against its raw records.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::grid::Grid;
use super::options::{OptionArgs, Takes};
use super::screen::{paragraph, shortened, width, wrapped};
use crate::audit::{Audit, AuditError, AuditedKey, Log, LogError, SINGLE, Verdict, audit};
use crate::dialect::Dialect;
use crate::engine::OptionGroup;
use crate::recording::{Recording, RecordingError};
use crate::sink::one_line;

/// Say which numbers of a trainer's own log are wrong, by how much, and why
///
/// Holds every logged number that can be computed from the recording against its exact value over all completions of its window: the steps
/// after the logged row before, up to its own. Where a key's numbers differ, the known reductions are tried: means and sums over steps,
/// micro-batches and ranks, rank 0 alone, the last step alone, a rank counted twice, completions that were cut off or masked tokens in or
/// out, another deviation, another estimator of KL, another clip range. One is named where it gives every number of the key, as exactly as
/// the log's digits tell; where none does, that is said.
#[derive(Args, Clone, Debug)]
#[command(after_help = AUDIT_CODES)]
pub struct AuditArgs {
    /// Recordings: folders or files of records
    #[arg(required = true, value_name = "RECORDING")]
    pub paths: Vec<PathBuf>,
    /// The trainer's log: TRL's `log_history` (or `trainer_state.json`), or JSON lines with a step each
    #[arg(long, value_name = "FILE")]
    pub log: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub options: OptionArgs<Numbers>,
}

/// The options that a number depends on: rows and windows are the log's.
#[derive(Clone, Debug)]
pub struct Numbers;

impl Takes for Numbers {
    const GROUPS: &'static [OptionGroup] = &[OptionGroup::Rows, OptionGroup::Counting];
}

const AUDIT_CODES: &str = "\
Exit codes:
  0  every logged number that can be computed is what its key says
  1  some are not
  2  what was given cannot be used: an argument, a recording, a log";

/// Why not every number is what its key says, or why that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum AuditVerbError {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Some of its records cannot be read, as this says.
    #[error("{0}")]
    Faulty(String),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{log}: {source}")]
    Audit { log: String, source: AuditError },
    /// It has been told.
    #[error("{log}: {wrong} of {keys} keys are not what they say")]
    Inexact {
        log: String,
        wrong: usize,
        keys: usize,
    },
    #[error("cannot write the audit: {0}")]
    Write(#[from] io::Error),
}

impl AuditVerbError {
    /// Whether it is not what was given that is wrong.
    pub fn is_output(&self) -> bool {
        matches!(self, Self::Inexact { .. } | Self::Write(_))
    }
}

/// Audits, and says what was found.
///
/// # Errors
/// If recording or log cannot be used, or not every number is what its key says.
pub fn run(args: &AuditArgs, out: &mut dyn Write) -> Result<(), AuditVerbError> {
    let name = args.log.display().to_string();
    let log = Log::open(&args.log)?;
    let recording = Recording::open(&args.paths)?;
    if let Some(fault) = recording.pending_error() {
        return Err(AuditVerbError::Faulty(fault.to_string()));
    }
    let options = &args.options.options;
    let found = audit(&recording, &log, options).map_err(|source| match source {
        AuditError::Recording(error) => AuditVerbError::Recording(error),
        source => AuditVerbError::Audit {
            log: name.clone(),
            source,
        },
    })?;
    if args.json {
        let document = as_json(&found, options.dialect);
        serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(as_text(&found, width().unwrap_or(ROOM)).as_bytes())?;
    }
    if found.is_exact() {
        return Ok(());
    }
    out.flush()?;
    let wrong = found.keys.iter().filter(|key| key.wrong > 0).count();
    Err(AuditVerbError::Inexact {
        log: name,
        wrong,
        keys: found.keys.len(),
    })
}

/// The columns of a text that no terminal has asked for.
const ROOM: usize = 80;

/// The columns that a table has left for its keys.
const KEY_ROOM: usize = 40;

fn as_text(found: &Audit, room: usize) -> String {
    let mut grid = Grid::new(&["key", "rows", "off", "difference", "verdict"], 1..4);
    for key in &found.keys {
        let difference = match key.verdict {
            Verdict::Exact => "-".to_owned(),
            _ => format!("{:+.2e}", key.worst.logged - key.worst.exact),
        };
        grid.line([
            shortened(&one_line(&key.key), KEY_ROOM),
            key.rows.to_string(),
            key.wrong.to_string(),
            difference,
            verdict(key).to_owned(),
        ]);
    }
    let mut text = grid.text();
    for key in found.keys.iter().filter(|key| key.wrong > 0) {
        text.push('\n');
        text.push_str(&explained(key, room));
    }
    let mut said = Vec::new();
    if !found.others.is_empty() {
        let others: Vec<String> = found.others.iter().map(|key| one_line(key)).collect();
        said.push(wrapped("not computed:", &others, Some(room)));
    }
    if let Some(by) = found.shift {
        let said_by = if by < 0 { "less" } else { "more" };
        let shift = format!(
            "With the log's steps one {said_by}, most of these are exact: log and recording do not count their steps alike, and the audit \
             says nothing of the log until they do."
        );
        said.push(paragraph(&shift, room));
    }
    said.push(paragraph(&counted(found), room));
    text + "\n" + &said.join("\n\n") + "\n"
}

fn verdict(key: &AuditedKey) -> &'static str {
    match &key.verdict {
        Verdict::Exact => "exact",
        Verdict::Explained(..) => "explained",
        Verdict::Unexplained => "not explained",
    }
}

/// How many other explanations of a key are told; a document has all.
const TOLD: usize = 2;

/// What there is to say of a key that is not exact.
fn explained(key: &AuditedKey, room: usize) -> String {
    let (by, others) = match &key.verdict {
        Verdict::Explained(by, others) => (by.as_str(), others.as_slice()),
        _ => ("not explained", &[][..]),
    };
    let worst = key.worst;
    let mut said = vec![
        format!("{}: {by}", one_line(&key.key)),
        format!(
            "  step {}: logged {}, exact {}, off by {:+.2e}; its digits tell {:.0e}",
            worst.step,
            worst.logged,
            worst.exact,
            worst.logged - worst.exact,
            worst.tolerance
        ),
    ];
    if !others.is_empty() {
        let told: Vec<&str> = others.iter().take(TOLD).map(String::as_str).collect();
        let more = match others.len() - told.len() {
            0 => String::new(),
            more => format!("; or {more} more, which --json has"),
        };
        said.push(format!(
            "  gives the same here: {}{more}",
            told.join("; or ")
        ));
    }
    let lines = said.iter().map(|text| paragraph(text, room) + "\n");
    lines.collect()
}

fn counted(found: &Audit) -> String {
    let of = |is: fn(&Verdict) -> bool| found.keys.iter().filter(|key| is(&key.verdict)).count();
    let exact = of(|verdict| *verdict == Verdict::Exact);
    let explained = of(|verdict| matches!(verdict, Verdict::Explained(..)));
    format!(
        "{exact} of {} keys exact, {explained} explained, {} not, over {} row{}; told by the digits of a logged number: half the last where \
         they are few, else {SINGLE:.0e} of it, as of single precision",
        found.keys.len(),
        found.keys.len() - exact - explained,
        found.rows,
        if found.rows == 1 { "" } else { "s" }
    )
}

fn as_json(found: &Audit, dialect: Dialect) -> Value {
    let key = |key: &AuditedKey| {
        let (by, or) = match &key.verdict {
            Verdict::Explained(by, or) => (Some(by), or.as_slice()),
            _ => (None, &[][..]),
        };
        let worst = key.worst;
        json!({
            "key": key.key, "rows": key.rows, "wrong": key.wrong, "verdict": verdict(key), "by": by, "or": or,
            "worst": {
                "step": worst.step, "logged": worst.logged, "exact": worst.exact,
                "difference": worst.logged - worst.exact, "tolerance": worst.tolerance,
            },
        })
    };
    let keys: Vec<Value> = found.keys.iter().map(key).collect();
    json!({
        "dialect": dialect.name(), "rows": found.rows, "exact": found.is_exact(), "keys": keys, "not_computed": found.others,
        "shift": found.shift,
    })
}
