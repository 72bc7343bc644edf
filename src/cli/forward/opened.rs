//! What is forwarded and where to: nothing is made for a training that is not there.

use std::thread;

use super::{ForwardArgs, ForwardVerbError, PAUSE};
use crate::cli::interrupt;
use crate::cli::say::complain;
use crate::cli::store::open_to_write;
use crate::forward::Forward;
#[cfg(feature = "evsys")]
use crate::store::EvSys;
use crate::store::{Begun, RunSpec, Sqlite, Store, StoreSink};

/// What is forwarded, and where to.
pub(super) struct Opened {
    pub store: Box<dyn Store>,
    pub forward: Forward,
    /// The run of the embedded store, which is running meanwhile. A gateway's run is whoever's who made it.
    pub run: Option<Box<StoreSink>>,
}

/// The run to write to, whichever way it is spelled.
pub(super) fn run_of(args: &ForwardArgs) -> &str {
    if args.run_id.is_some() {
        complain("note: --run-id is spelled --run now");
    }
    let run = args.run.as_deref().or(args.run_id.as_deref());
    run.unwrap_or_default()
}

/// What tells the store from others, also one that is not there yet.
fn name_of(args: &ForwardArgs) -> String {
    if args.evsys {
        let url = std::env::var("EVSYS_API_URL").unwrap_or_default();
        // A URL may name a user with a password, which is not to be remembered.
        let place = url.rsplit('@').next().unwrap_or_default();
        return format!("evsys {place}");
    }
    let path = args.store.path();
    let made = || {
        let absolute = std::path::absolute(&path).ok()?;
        let folder = absolute.parent()?.canonicalize().ok()?;
        Some(folder.join(absolute.file_name()?))
    };
    let place = path.canonicalize().ok().or_else(made).unwrap_or(path);
    place.display().to_string()
}

/// The training's file on its way to the run of this id.
pub(super) fn forward_to(args: &ForwardArgs, run: &str) -> Forward {
    Forward::new(&args.run_dir, name_of(args), run).file(&args.file)
}

pub(super) fn open(args: &ForwardArgs, run: &str) -> Result<Opened, ForwardVerbError> {
    if args.evsys {
        return evsys(args, run);
    }
    let path = args.store.path();
    let mut store = open_to_write(&path)?;
    let mut spec = RunSpec::new(run).resume(args.resume.unwrap_or_default());
    if args.resume.is_none() {
        let mut runs = store.runs_named(run)?.into_iter().rev();
        spec.id = runs
            .find(|run| forward_to(args, &run.id).is_begun())
            .map(|run| run.id);
    }
    let opened = store.open_run(&spec)?;
    if let (Some(said), Begun::Beside { .. }) = (opened.said(), &opened.begun) {
        complain(&format!("note: {}: {said}", path.display()));
    }
    let forward = forward_to(args, &opened.id);
    // A connection of its own, as the rows' may be waiting when it is time for a sign of life.
    let run = StoreSink::opened(Box::new(Sqlite::open(&path)?), opened)?;
    Ok(Opened {
        store: Box::new(store),
        forward,
        run: Some(Box::new(run)),
    })
}

/// Row by row, as the gateway takes them. What it refuses for good is kept like any other row, and in a file with its reason.
#[cfg(feature = "evsys")]
fn evsys(args: &ForwardArgs, run: &str) -> Result<Opened, ForwardVerbError> {
    let environment = |name: &str| std::env::var(name).ok();
    let store = EvSys::from_env(environment)?.dead_letters(args.run_dir.join("dead-letters.jsonl"));
    Ok(Opened {
        store: Box::new(store),
        forward: forward_to(args, run),
        run: None,
    })
}

#[cfg(not(feature = "evsys"))]
fn evsys(_: &ForwardArgs, _: &str) -> Result<Opened, ForwardVerbError> {
    Err(ForwardVerbError::NotBuilt)
}

/// Looks for the file, or waits for it where it is followed.
pub(super) fn find(args: &ForwardArgs, forward: &Forward) -> Result<(), ForwardVerbError> {
    if forward.place().is_some() {
        return Ok(());
    }
    if !args.follow {
        return Err(no_file(args));
    }
    let dir = args.run_dir.display();
    complain(&format!("note: waiting for {} in {dir}", args.file));
    while forward.place().is_none() {
        if let Some(by) = interrupt::came() {
            return Err(ForwardVerbError::Interrupted { by });
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

pub(super) fn no_file(args: &ForwardArgs) -> ForwardVerbError {
    let dir = &args.run_dir;
    let found = if dir.is_dir() {
        "none"
    } else if dir.exists() {
        "a file in the place of the folder: give its folder, and --file NAME"
    } else {
        "no such folder"
    };
    ForwardVerbError::NoFile {
        dir: dir.display().to_string(),
        file: args.file.clone(),
        found,
    }
}
