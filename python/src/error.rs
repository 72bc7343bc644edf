//! The errors that Python sees, and the border that no panic crosses.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::{interruption, log, termination};

create_exception!(
    grpo_metrics,
    GrpoMetricsError,
    PyValueError,
    "The root of every error of grpo_metrics."
);
create_exception!(
    grpo_metrics,
    ColumnError,
    GrpoMetricsError,
    "A column that is not what RECORDING.md says, or does not fit the others."
);
create_exception!(
    grpo_metrics,
    OptionError,
    GrpoMetricsError,
    "An option that is unknown, or has a value that it cannot have."
);
create_exception!(
    grpo_metrics,
    StepError,
    GrpoMetricsError,
    "The parts of a step do not belong together; the engine goes on with the next step."
);
create_exception!(
    grpo_metrics,
    WireError,
    GrpoMetricsError,
    "Bytes that are not those of a shard."
);
create_exception!(
    grpo_metrics,
    SinkError,
    GrpoMetricsError,
    "A sink or a recorder that could not be opened."
);
create_exception!(
    grpo_metrics,
    StoreError,
    GrpoMetricsError,
    "A store that could not be opened, or refused."
);

create_exception!(
    grpo_metrics,
    RefusedError,
    StoreError,
    "A store that refused, and would refuse the same whenever it came."
);

/// Runs `body` so that a panic in it becomes a `GrpoMetricsError`. `PyO3`'s own `PanicException` is a `BaseException`, which a
/// trainer's `except Exception` does not stop. An [interruption] that came meanwhile is raised in the place of what it gave. What
/// the crate had to say meanwhile is told.
pub fn guarded<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    log::listen();
    let (outcome, interruption) = interruption::within(|| {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            let reason = reason(&*panic);
            Err(GrpoMetricsError::new_err(format!(
                "a fault in grpo_metrics itself, please report it: {reason}"
            )))
        })
    });
    let told = log::tell();
    termination::resume();
    match interruption {
        Some(interruption) => Err(interruption),
        None => told.and(outcome),
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked without a reason")
}

/// Turns an error into an `OptionError`.
pub fn option(error: impl Display) -> PyErr {
    OptionError::new_err(error.to_string())
}

/// Turns an error into a `ColumnError`.
pub fn column(error: impl Display) -> PyErr {
    ColumnError::new_err(error.to_string())
}

/// Turns an error into a `StepError`.
pub fn step(error: impl Display) -> PyErr {
    StepError::new_err(error.to_string())
}

/// Turns an error into a `WireError`.
pub fn wire(error: impl Display) -> PyErr {
    WireError::new_err(error.to_string())
}

/// Turns an error into a `StoreError`.
pub fn store(error: impl Display) -> PyErr {
    StoreError::new_err(error.to_string())
}

/// Turns what became of a write into a `RefusedError` or a `StoreError`.
pub fn write(error: grpo_metrics::store::StoreError) -> PyErr {
    if error.is_permanent() {
        RefusedError::new_err(error.to_string())
    } else {
        store(error)
    }
}

/// Turns an error into a `SinkError`.
pub fn sink(error: impl Display) -> PyErr {
    SinkError::new_err(error.to_string())
}
