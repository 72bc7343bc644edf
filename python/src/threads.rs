//! Work in parallel, also after a fork.

use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::PyResult;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::GrpoMetricsError;
use crate::interruption;

/// The process that loaded the library.
static LOADED_IN: OnceLock<u32> = OnceLock::new();

/// The pool of a forked child, and which child it is of.
static CHILD: Mutex<Option<(u32, &'static ThreadPool)>> = Mutex::new(None);

/// Remembers which process this is, for [`within_pool`].
pub fn remember_process() {
    LOADED_IN.get_or_init(process::id);
}

/// Runs `work` where rayon's parallel loops end.
///
/// A fork copies rayon's global pool without its threads: whoever waits for them waits for ever. So a child has a pool of
/// its own; one inherited from a parent that was a child itself is left behind, for joining it would wait as well.
pub fn within_pool<T: Send>(work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let own = process::id();
    if LOADED_IN.get().is_none_or(|&loaded_in| loaded_in == own) {
        return Ok(work());
    }
    let (outcome, interruption) = child_pool(own)?.install(|| interruption::within(work));
    if let Some(interruption) = interruption {
        interruption::note(&interruption);
    }
    Ok(outcome)
}

fn child_pool(own: u32) -> PyResult<&'static ThreadPool> {
    let mut child = CHILD.lock().unwrap_or_else(PoisonError::into_inner);
    match *child {
        Some((of, pool)) if of == own => Ok(pool),
        _ => {
            let pool = ThreadPoolBuilder::new().build().map_err(|error| {
                GrpoMetricsError::new_err(format!("could not start threads: {error}"))
            })?;
            let pool: &'static ThreadPool = Box::leak(Box::new(pool));
            *child = Some((own, pool));
            Ok(pool)
        }
    }
}
