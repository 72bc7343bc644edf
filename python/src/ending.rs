//! How a run ended, as Python says it.

use grpo_metrics::row::run::{Ending, Status};
use pyo3::exceptions::{PyException, PySystemExit};
use pyo3::prelude::*;

use crate::error;
use crate::interruption::Noted;

/// Letters of an error's text that a store is given at most.
const SHOWN: usize = 1000;

/// What `Engine.finish` is told.
///
/// # Errors
/// If `status` is no word for an end.
pub fn of(status: &str, error_message: Option<String>) -> PyResult<Ending> {
    let ends = Status::ALL.into_iter().filter(|known| known.is_final());
    let Some(status) = ends.into_iter().find(|known| known.as_str() == status) else {
        return Err(error::option(format!(
            "`status`: expected completed, failed or cancelled, found `{status}`"
        )));
    };
    Ok(Ending {
        status,
        error_message,
        conclusion: None,
    })
}

/// The codes of a program that exits as it was interrupted or terminated: 128 and the signal's number, as a handler of the signal hands
/// them to `sys.exit`.
const INTERRUPTED: [i32; 2] = [130, 143];

/// What an exception says that nobody has caught: an error is a failure; so is an exit with a code, but for those of signals, and one
/// without is none. Any other (Ctrl-C, a task or generator that was closed) is somebody's wish to stop.
pub fn of_raised(raised: &Bound<'_, PyAny>) -> Ending {
    if raised.is_instance_of::<PySystemExit>() {
        let code = raised.getattr("code").noted().ok();
        let clean = code
            .as_ref()
            .is_none_or(|code| code.is_none() || code.eq(0).noted().unwrap_or(false));
        if clean {
            return Ending::completed();
        }
        let code = code.and_then(|code| code.extract::<i32>().noted().ok());
        if code.is_some_and(|code| INTERRUPTED.contains(&code)) {
            return Ending::cancelled(text(raised));
        }
    } else if !raised.is_instance_of::<PyException>() {
        return Ending::cancelled(text(raised));
    }
    Ending::failed(text(raised))
}

/// What has ended the program: an error that nobody caught, which `sys` still knows; else nothing that says how a run ended. Where
/// somebody types, an error is one line's, and not the end.
pub fn of_program(py: Python<'_>) -> Ending {
    let uncaught = py.import("sys").and_then(|sys| {
        if sys.hasattr("ps1")? || !sys.hasattr("last_value")? {
            return Ok(None);
        }
        let raised = sys.getattr("last_value")?;
        Ok((!raised.is_none()).then(|| of_raised(&raised)))
    });
    uncaught.noted().ok().flatten().unwrap_or_else(Ending::open)
}

/// The exception's type, and its own text where it has one.
pub fn text(raised: &Bound<'_, PyAny>) -> String {
    let kind = crate::column::kind_of(raised);
    let said = raised.str().noted().map(|said| said.to_string());
    let said = said.unwrap_or_default();
    if said.is_empty() {
        return kind;
    }
    let mut shown: String = said.chars().take(SHOWN).collect();
    if shown.len() < said.len() {
        shown.push_str("...");
    }
    format!("{kind}: {shown}")
}
