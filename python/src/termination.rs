//! SIGTERM, which `grpo_metrics._termination` listens to while an engine is open.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::interruption::{self, Noted};

/// Whether it came while the thread that it came to was in the middle of a call.
static POSTPONED: AtomicBool = AtomicBool::new(false);

/// An engine is open.
pub fn listen(py: Python<'_>) -> PyResult<()> {
    tell(py, "listen")
}

/// An engine was ended.
pub fn let_go(py: Python<'_>) {
    // Nothing is listened to where that fails, as at the interpreter's end.
    let _ = tell(py, "let_go").noted();
}

/// The runs are ended when the call is over that this thread is in.
pub fn postpone() {
    POSTPONED.store(true, Ordering::Relaxed);
}

/// A call is over: ends the process if it was to end meanwhile.
pub fn resume() {
    if POSTPONED.load(Ordering::Relaxed) && !interruption::is_within() {
        POSTPONED.store(false, Ordering::Relaxed);
        let _ = Python::try_attach(|py| tell(py, "resume").noted());
    }
}

fn tell(py: Python<'_>, what: &str) -> PyResult<()> {
    py.import("grpo_metrics._termination")?.call_method0(what)?;
    Ok(())
}
