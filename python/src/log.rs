//! What the crate has to say, told to Python's `logging`.
//!
//! Any thread may have something to say, also one that must not wait for the GIL, or that lives on while the interpreter ends. So
//! it only leaves its words in a queue, and whoever comes out of a call from Python, and has the GIL anyway, tells them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, TryLockError};

use grpo_metrics::hooks::event::Said;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Messages that wait to be told at most; what comes then is counted.
const ROOM: usize = 1024;

type Message = (Level, String);

static WAITING: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);
static TOLD: OnceLock<Mutex<Receiver<Message>>> = OnceLock::new();

/// From the first call on, warnings and errors of the crate wait to be told. Not before: the command, which is none of them, tells its
/// own in its own way, and a process has one listener.
pub fn listen() {
    if TOLD.get().is_some() {
        return;
    }
    let (sender, receiver) = sync_channel(ROOM);
    if TOLD.set(Mutex::new(receiver)).is_ok() {
        // It fails only where there is a subscriber already, which is then the one to listen.
        let _ = tracing::subscriber::set_global_default(Listener(sender));
    }
}

/// Tells what is waiting. A handler that fails is `logging`'s own matter, and ends no training.
///
/// # Errors
/// If it was interrupted, as by Ctrl-C.
pub fn tell() -> PyResult<()> {
    if WAITING.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    Python::attach(|py| match hand_on(py) {
        Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
        _ => Ok(()),
    })
}

fn hand_on(py: Python<'_>) -> PyResult<()> {
    let logging = py.import("logging")?;
    let logger = logging.call_method1("getLogger", ("grpo_metrics",))?;
    while let Some((level, text)) = next() {
        let method = if level == Level::ERROR {
            "error"
        } else {
            "warning"
        };
        logger.call_method1(method, ("%s", text))?;
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let text = format!("{lost} more warnings came at once and are not shown");
        logger.call_method1("warning", ("%s", text))?;
    }
    Ok(())
}

/// The queue is let go of before anything of Python's is called: a handler may come back here.
fn next() -> Option<Message> {
    let receiver = match TOLD.get()?.try_lock() {
        Ok(receiver) => receiver,
        Err(TryLockError::Poisoned(receiver)) => receiver.into_inner(),
        // Another thread is at it.
        Err(TryLockError::WouldBlock) => return None,
    };
    let message = receiver.try_recv().ok()?;
    WAITING.fetch_sub(1, Ordering::Relaxed);
    Some(message)
}

struct Listener(SyncSender<Message>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let message = (*event.metadata().level(), Said::of(event).to_string());
        // Before it is there, so that nobody counts it away too early.
        WAITING.fetch_add(1, Ordering::Relaxed);
        if self.0.try_send(message).is_err() {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    // The crate opens no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
