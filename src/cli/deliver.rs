//! `deliver`: what waits in the journal of a training that is over, to where it was meant to go.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};

use super::interrupt::{self, Interrupt};
use super::say::complain;
use super::store::{StoreArg, open_to_write, run_name};
use super::target::{jsonl_parser, sinks_help};
use crate::row::run::Ending;
use crate::sink::{
    Durable, DurableOptions, Journal, JournalError, Meant, Receipt, Recovered, Sink, SinkError,
    Target, one_line,
};
#[cfg(feature = "evsys")]
use crate::store::EvSys;
use crate::store::{RunSpec, Store, StoreError, StoreSink};

/// How often a wait looks whether somebody wishes to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Deliver the rows that wait in journals to a store or a file
///
/// For a training that was killed and is not run again: the next training in the same place delivers them by itself. What is
/// delivered is noted in the journal, so that a second deliver sends what the first could not. The run stays as it stands, unless the
/// training lived to note how it ended. With none of --store, --evsys, --jsonl and --sink they go where they were meant to go: to the
/// store beside which the journal is, or to the file that it names, else to the embedded store, which is made if need be. Of a folder with
/// journals in it, all are delivered so and removed, but those that a living process uses.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("to").args(["store", "evsys", "jsonl", "sink"]))]
#[allow(clippy::doc_markdown)] // clap prints these docs as they are
pub struct DeliverArgs {
    /// The folder of a journal, or one with journals in it: runs.db.journal, .grpo-metrics, or what Python's journal= names
    pub journal: PathBuf,
    #[command(flatten)]
    pub store: StoreArg,
    /// Deliver to the EvSys server that EVSYS_API_URL and EVSYS_API_KEY name.
    #[arg(long)]
    pub evsys: bool,
    /// The file of JSON lines to deliver to, made if need be.
    #[arg(long, value_name = "FILE", value_parser = jsonl_parser())]
    pub jsonl: Option<Target>,
    /// Another kind of sink to deliver to.
    #[arg(long, value_name = "KIND:PATH", long_help = sinks_help("Another kind of sink to deliver to:"))]
    pub sink: Option<Target>,
    /// The run to write to [default: the one that the journal names]
    #[arg(long, value_name = "ID", conflicts_with_all = ["jsonl", "sink"], value_parser = run_name)]
    pub run: Option<String>,
    /// Give up when nothing was taken for so long; the rows stay in the journal.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub patience: u64,
}

/// Why not everything was delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// There is nothing to deliver from.
    #[error("{dir}: expected the folder of a journal, found {found}")]
    NoJournal { dir: String, found: String },
    /// Nobody says where the rows belong.
    #[error("{dir}: expected --run, as the journal does not name the run that its rows belong to")]
    NoRun { dir: String },
    /// Only that program could take them.
    #[error(
        "{dir}: expected --jsonl or --sink, as its rows were meant for an object of the training's program ({object})"
    )]
    Object { dir: String, object: String },
    /// It is in use, or cannot be read.
    #[error(transparent)]
    Journal(SinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(SinkError),
    #[cfg(not(feature = "evsys"))]
    #[error("built without `evsys`")]
    NotBuilt,
    /// They stay in the journal.
    #[error("{rows} rows are not delivered; they stay in the journal: {reason}")]
    Pending { rows: u64, reason: String },
    /// They are lost.
    #[error("{rows} rows could not be delivered and are lost: {reason}")]
    Lost { rows: u64, reason: String },
    #[error("could not write the counts: {0}")]
    Write(#[from] io::Error),
    /// What is not delivered stays in the journal.
    #[error("stopped by {by}; {rows} rows stay in the journal, and the next deliver sends them")]
    Interrupted { by: Interrupt, rows: u64 },
}

impl DeliverError {
    /// Whether it is an output that failed, not what was given.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Pending { .. } | Self::Lost { .. } | Self::Write(_) => true,
            // The name of a store or run is what was given.
            Self::Store(error) => !error.is_permanent(),
            _ => false,
        }
    }
}

/// Delivers what `args` says, and writes the counts to `out`.
///
/// # Errors
/// If there is no such journal or another process uses it, the store or file cannot be opened, or a row was not delivered.
pub fn run(args: &DeliverArgs, out: &mut dyn Write) -> Result<(), DeliverError> {
    interrupt::listen();
    let journals = Durable::found_in(&args.journal);
    let says_where =
        args.evsys || args.jsonl.is_some() || args.sink.is_some() || args.run.is_some();
    match journals.as_slice() {
        [dir] if *dir == args.journal => deliver(args, dir, false, out),
        [] => Err(no_journal(args, &[])),
        several if says_where => Err(no_journal(args, several)),
        several => deliver_each(args, several, out),
    }
}

/// All of them, each to where its rows were meant to go; the first error, once the others had their turn.
fn deliver_each(
    args: &DeliverArgs,
    journals: &[PathBuf],
    out: &mut dyn Write,
) -> Result<(), DeliverError> {
    let mut first = Ok(());
    for dir in journals {
        match deliver(args, dir, true, out) {
            Err(DeliverError::Journal(SinkError::Journal(error @ JournalError::InUse { .. }))) => {
                complain(&one_line(&format!("left alone: {error}")));
            }
            Err(error @ (DeliverError::Write(_) | DeliverError::Interrupted { .. })) => {
                return Err(error);
            }
            Err(error) if first.is_err() => complain(&one_line(&format!("error: {error}"))),
            outcome => first = first.and(outcome),
        }
    }
    first
}

/// What waits in the journal in `dir`, which is removed once it is empty where it `passes`.
fn deliver(
    args: &DeliverArgs,
    dir: &Path,
    passes: bool,
    out: &mut dyn Write,
) -> Result<(), DeliverError> {
    let to = place(args, dir, passes)?;
    let policy = DurableOptions {
        patience: Duration::from_secs(args.patience),
        ..DurableOptions::default()
    };
    // Before anything is opened or made: it may be in use.
    let mut journal = Journal::open(dir, policy).map_err(DeliverError::Journal)?;
    if passes {
        journal = journal.passing();
    }
    let ending = journal.ending().cloned().unwrap_or_else(Ending::open);
    let sink: Box<dyn Sink> = match to {
        To::Sink(target) => target.open().map_err(DeliverError::File)?,
        To::Run(path, run) => Box::new(StoreSink::after(store(args, dir, &path, &run)?, run)?),
    };
    let journal = match &args.run {
        Some(run) => journal.all_of(run).map_err(DeliverError::Journal)?,
        None => journal,
    };
    let mut journal = journal.before(sink).map_err(DeliverError::Journal)?;
    // A note that cannot be written is told with the rest.
    let _ = journal.ended(&ending);
    let receipt = drain(&mut journal, Duration::from_secs(args.patience));
    let (recovered, damaged) = (journal.recovered().clone(), journal.damaged());
    let receipt = if receipt.pending > 0 {
        receipt
    } else {
        Box::new(journal).close()
    };
    let reported = report(dir, &recovered, &receipt, damaged, out);
    match (reported, interrupt::came()) {
        (Err(DeliverError::Pending { rows, .. }), Some(by)) => {
            Err(DeliverError::Interrupted { by, rows })
        }
        (reported, _) => reported,
    }
}

/// Where rows go.
enum To {
    Sink(Target),
    /// The embedded store at this path, or the gateway; and the run.
    Run(PathBuf, String),
}

/// Where the arguments say, else where the rows were meant to go, else to the store of those who name none.
fn place(args: &DeliverArgs, dir: &Path, among_others: bool) -> Result<To, DeliverError> {
    if let Some(target) = args.jsonl.as_ref().or(args.sink.as_ref()) {
        return Ok(To::Sink(target.clone()));
    }
    // Of several journals, a store that is named is for those whose rows were meant for one.
    let is_named = args.evsys || (args.store.store.is_some() && !among_others);
    let path = match Meant::of(dir) {
        Meant::Sink(target) if !is_named => return Ok(To::Sink(target)),
        Meant::Object(object) if !is_named => {
            let dir = dir.display().to_string();
            return Err(DeliverError::Object { dir, object });
        }
        Meant::Store(path) if args.store.store.is_none() => path,
        _ => args.store.path(),
    };
    Ok(To::Run(path, run_id(args, dir)?))
}

fn no_journal(args: &DeliverArgs, within: &[PathBuf]) -> DeliverError {
    let within: Vec<_> = within.iter().map(|dir| dir.display().to_string()).collect();
    let found = if !args.journal.exists() {
        "nothing".to_owned()
    } else if within.is_empty() {
        "something else".to_owned()
    } else {
        format!("one that has journals in it: {}", within.join(", "))
    };
    DeliverError::NoJournal {
        dir: args.journal.display().to_string(),
        found,
    }
}

fn run_id(args: &DeliverArgs, dir: &Path) -> Result<String, DeliverError> {
    let named = Durable::run_of(dir).map_err(DeliverError::Journal)?;
    if let (Some(given), Some(named)) = (&args.run, &named)
        && given != named
    {
        let warning =
            format!("warning: the journal's rows are of the run `{named}`; they go to `{given}`");
        complain(&one_line(&warning));
    }
    let run = args.run.clone().or(named);
    run.ok_or_else(|| DeliverError::NoRun {
        dir: dir.display().to_string(),
    })
}

fn store(
    args: &DeliverArgs,
    dir: &Path,
    path: &Path,
    run: &str,
) -> Result<Box<dyn Store>, DeliverError> {
    if args.evsys {
        return evsys(dir);
    }
    let mut store = open_to_write(path)?;
    if let Err(StoreError::Unknown { .. }) = store.get_run(run) {
        store.open_run(&RunSpec::new(run))?;
    }
    Ok(Box::new(store))
}

/// What it refuses for good is kept beside the journal, with the reason.
#[cfg(feature = "evsys")]
fn evsys(dir: &Path) -> Result<Box<dyn Store>, DeliverError> {
    let store = EvSys::from_env(|name| std::env::var(name).ok())?;
    let dead_letters = dir.join("dead-letters.jsonl");
    Ok(Box::new(store.dead_letters(dead_letters)))
}

#[cfg(not(feature = "evsys"))]
fn evsys(_: &Path) -> Result<Box<dyn Store>, DeliverError> {
    Err(DeliverError::NotBuilt)
}

/// Delivers for as long as something is taken, and nobody wishes to stop.
fn drain(journal: &mut Durable, patience: Duration) -> Receipt {
    let mut pending = journal.receipt().pending;
    let mut since = Instant::now();
    loop {
        let receipt = journal.flush_within(patience.min(LOOK));
        if receipt.pending == 0 || interrupt::came().is_some() {
            return receipt;
        }
        if receipt.pending < pending {
            (pending, since) = (receipt.pending, Instant::now());
        } else if since.elapsed() >= patience {
            return receipt;
        }
    }
}

fn report(
    dir: &Path,
    recovered: &Recovered,
    receipt: &Receipt,
    damaged: u64,
    out: &mut dyn Write,
) -> Result<(), DeliverError> {
    let Receipt {
        written,
        pending,
        dropped,
        ..
    } = *receipt;
    let journal = one_line(&dir.display().to_string());
    let refused = dropped - damaged;
    writeln!(
        out,
        "{journal}: delivered {written}, pending {pending}, dropped {refused}, damaged {damaged}"
    )?;
    if recovered.torn_bytes > 0 {
        let bytes = recovered.torn_bytes;
        writeln!(
            out,
            "{bytes} bytes of a row that was never taken are cut off"
        )?;
    }
    if let Some(reason) = &recovered.dropped_for {
        let rows = recovered.dropped;
        writeln!(
            out,
            "the process before dropped {rows}: {}",
            one_line(reason)
        )?;
    }
    let reason = receipt.error.clone();
    let reason = reason.unwrap_or_else(|| "no time left".to_owned());
    match (pending, dropped) {
        (0, 0) => Ok(()),
        (0, rows) => Err(DeliverError::Lost { rows, reason }),
        (rows, _) => Err(DeliverError::Pending { rows, reason }),
    }
}
