//! `forward`: a training's metrics file to a store.

#![allow(
    clippy::doc_markdown,
    reason = "the docs of arguments are the help that people read"
)]

mod opened;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt::{self, Interrupt};
use super::say::{self, complain};
use super::store::{StoreArg, run_name};
use super::target::resume_parser;
use crate::forward::{BATCH, Event, ForwardError, Forwarded, METRICS_FILE, Recipient};
use crate::row::Row;
use crate::row::run::Ending;
use crate::sink::{Sink, one_line};
use crate::store::{Logged, Resume, Split, Store, StoreError, StoreSink};
use opened::{Opened, find, forward_to, no_file, open, run_of};

/// How often a follower looks at the file.
const PAUSE: Duration = Duration::from_millis(500);

/// Send a training's metrics.jsonl to a store, each row once
///
/// The embedded store is made if need be.
/// The file is RUN_DIR/logs/NAME, else RUN_DIR/NAME, else the shallowest NAME below. What was sent is remembered beside it,
/// for each store and run: a second forward sends what is new, and what the store refused before.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)] // clap prints these docs as they are
pub struct ForwardArgs {
    /// The folder that the training wrote to.
    pub run_dir: PathBuf,
    /// The run to write to; the embedded store makes it if need be.
    #[arg(long, value_name = "ID", required_unless_present = "run_id", value_parser = run_name)]
    pub run: Option<String>,
    /// As it was spelled before.
    #[arg(long, value_name = "ID", hide = true, conflicts_with = "run", value_parser = run_name)]
    pub run_id: Option<String>,
    /// What becomes of a run of that name that is there already: never goes on with it, allow does if there is one, must needs one
    /// [default: go on with it if this file was forwarded to it before, else a new run beside it]
    #[arg(long, value_name = "WORD", conflicts_with = "evsys", value_parser = resume_parser())]
    pub resume: Option<Resume>,
    #[command(flatten)]
    pub store: StoreArg,
    /// Send to the EvSys server that EVSYS_API_URL and EVSYS_API_KEY name.
    #[arg(long, conflicts_with = "store")]
    pub evsys: bool,
    /// What the metrics file is called.
    #[arg(long, value_name = "NAME", default_value = METRICS_FILE)]
    pub file: String,
    /// Go on sending what is appended, through rotation and truncation, until Ctrl-C.
    #[arg(long)]
    pub follow: bool,
    /// Say which lines were skipped, which rows failed and which requests are made again, and why.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Why not everything was forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardVerbError {
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder has no metrics file.
    #[error("{dir}: expected a file called `{file}` there or below, found {found}")]
    NoFile {
        dir: String,
        file: String,
        found: &'static str,
    },
    /// The rows are there.
    #[error("how the run ended could not be noted: {0}")]
    End(String),
    /// They are kept.
    #[error(
        "the store refused {failed} of {rows} rows; they are kept, and the next forward sends them again"
    )]
    Refused { failed: u64, rows: u64 },
    /// They were rotated away, or are damaged; which ones has been said.
    #[error("rows may be lost: {files} files were gone, or damaged, before all of them was read")]
    Gone { files: u64 },
    #[cfg(not(feature = "evsys"))]
    #[error("built without `evsys`")]
    NotBuilt,
    #[error("could not write the counts: {0}")]
    Write(#[from] io::Error),
    /// What was sent is remembered.
    #[error("stopped by {by}; the next forward sends the rest")]
    Interrupted { by: Interrupt },
}

impl ForwardVerbError {
    /// Whether it is an output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Gone { .. } | Self::End(_) | Self::Write(_) => true,
            // The name of a store or run is what was given.
            Self::Store(error) => !error.is_permanent(),
            _ => false,
        }
    }
}

/// Forwards what `args` says, and writes the counts to `out`.
///
/// # Errors
/// If there is no such file or store, the file cannot be read, the store refused a row, or some are gone.
pub fn run(args: &ForwardArgs, out: &mut dyn Write) -> Result<(), ForwardVerbError> {
    interrupt::listen();
    let run = run_of(args);
    // Nothing is made for a training that is not there.
    find(args, &forward_to(args, run))?;
    let Opened {
        store,
        forward,
        run,
    } = open(args, run)?;
    let forward = forward.batch(store.rows_at_once().min(BATCH));
    let bar = bar();
    say::above(&bar);
    let mut first = First::default();
    let mut observe = |event: Event<'_>| {
        first.note(&event);
        show(&event, &bar, args.verbose);
    };
    let mut store = Stoppable(store);
    let done = if args.follow {
        let mut stop = || interrupt::came().is_some();
        forward.follow(&mut store, PAUSE, &mut observe, &mut stop)
    } else {
        forward.once(&mut store, &mut observe)
    };
    bar.finish_and_clear();
    let reported = done
        .map_err(ForwardVerbError::from)
        .and_then(|done| report(args, &done, &first, out));
    let interrupted = interrupt::came();
    let ending = match (&reported, interrupted) {
        (_, Some(by)) => Ending::cancelled(by.to_string()),
        (Ok(()), None) => Ending::completed(),
        // It is the other one's to end.
        (Err(ForwardVerbError::Forward(ForwardError::InUse { .. })), None) => Ending::open(),
        (Err(error), None) => Ending::failed(error.to_string()),
    };
    let ended = run.map_or(Ok(()), |run| end(run, &ending));
    match (reported, interrupted) {
        (Ok(()), Some(by)) => Err(ForwardVerbError::Interrupted { by }),
        (reported, _) => reported.and(ended),
    }
}

/// Ends the run so.
fn end(mut run: Box<StoreSink>, ending: &Ending) -> Result<(), ForwardVerbError> {
    // What fails here is in the receipt.
    let _ = run.ended(ending);
    match run.close().error {
        Some(error) => Err(ForwardVerbError::End(error)),
        None => Ok(()),
    }
}

/// A store that is handed nothing more once somebody wishes to stop.
struct Stoppable(Box<dyn Store>);

impl Recipient for Stoppable {
    fn log_rows(&mut self, run_id: &str, rows: &[Row], split: Split) -> Result<Logged, StoreError> {
        self.0.log_windows(run_id, rows, split)
    }

    fn rows_at_once(&self) -> usize {
        self.0.rows_at_once()
    }

    fn is_over(&self) -> bool {
        interrupt::came().is_some()
    }
}

/// The first value of each kind that went to no store, with its place.
#[derive(Debug, Default)]
struct First {
    nan: Option<String>,
    left_out: Option<String>,
}

impl First {
    fn note(&mut self, event: &Event<'_>) {
        if let Event::LeftOut {
            line,
            step,
            key,
            found,
        } = event
        {
            let first = if *found == "NaN" {
                &mut self.nan
            } else {
                &mut self.left_out
            };
            first.get_or_insert_with(|| format!("line {line}, step {step}, `{key}`"));
        }
    }
}

fn report(
    args: &ForwardArgs,
    done: &Forwarded,
    first: &First,
    out: &mut dyn Write,
) -> Result<(), ForwardVerbError> {
    let Some(file) = &done.file else {
        return Err(no_file(args));
    };
    let Forwarded {
        sent,
        skipped,
        failed,
        nan,
        left_out,
        ..
    } = *done;
    let file = one_line(&file.display().to_string());
    writeln!(
        out,
        "{file}: sent {sent}, skipped {skipped}, failed {failed}"
    )?;
    let mut count = |number: u64, what: &str, first: &Option<String>| {
        let first = first.as_deref().map(one_line);
        let first = first.map_or(String::new(), |at| {
            format!(" (the first: {at}; -v names each)")
        });
        if number == 0 {
            return Ok(());
        }
        let are = if number == 1 {
            "value was"
        } else {
            "values were"
        };
        writeln!(out, "{number} {are} {what}{first}")
    };
    count(nan, "NaN, which a store leaves out", &first.nan)?;
    count(
        left_out,
        "left out, as no numbers of the row",
        &first.left_out,
    )?;
    if done.torn {
        writeln!(
            out,
            "the last line is not whole yet: it is left for the next forward"
        )?;
    }
    if failed > 0 {
        let rows = sent + failed;
        return Err(ForwardVerbError::Refused { failed, rows });
    }
    if done.gone > 0 {
        return Err(ForwardVerbError::Gone { files: done.gone });
    }
    Ok(())
}

/// On a terminal alone.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(event: &Event<'_>, bar: &ProgressBar, verbose: bool) {
    let say = |message: String| {
        if verbose {
            complain(&message);
        }
    };
    match event {
        Event::Skipped { line, reason } => say(format!("line {line}: skipped: {reason}")),
        Event::LeftOut {
            line,
            step,
            key,
            found,
        } => say(format!(
            "line {line}, step {step}: `{key}` is left out: {found}"
        )),
        Event::Failed { line, error } => say(format!("line {line}: failed: {error}")),
        Event::Restarted { path } => say(format!(
            "{}: another file, or written anew: read from its start",
            path.display()
        )),
        Event::Forgot { path, why } => complain(&one_line(&format!(
            "{}: set aside, as it does not say how far the forward came ({why}); the file is read from its start",
            path.display()
        ))),
        Event::Gone { path, line, why } => complain(&one_line(&format!(
            "{}: what was written after line {line} is gone: {why}",
            path.display()
        ))),
        Event::Progress { read, of } => {
            bar.set_length(*of);
            bar.set_position(*read);
        }
    }
}
