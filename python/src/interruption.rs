//! What is raised and is no error: Ctrl-C, an exit, a generator's end. It is never ours to catch.
//!
//! It comes where Python's own code runs within a call of ours: in a sink, in a column's conversion. The call goes on to its end,
//! so that every row is accounted for and the engine can be used again; then it is raised, unchanged, in the place of whatever
//! the call had to say. A sink's delivery thread has no caller to raise it in: there it is a failed attempt like any other, as
//! it ends nothing but the thread in Python's own. (Ctrl-C itself only ever reaches the main thread.)

use std::cell::RefCell;

use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;

thread_local! {
    /// This thread's calls of ours, the innermost last, each with what came within it.
    static CALLS: RefCell<Vec<Option<PyErr>>> = const { RefCell::new(Vec::new()) };
}

/// Runs the body of a call: what it gave, and the first interruption that came meanwhile.
pub fn within<T>(body: impl FnOnce() -> T) -> (T, Option<PyErr>) {
    CALLS.with_borrow_mut(|calls| calls.push(None));
    let call = Call;
    let outcome = body();
    let came = CALLS.with_borrow_mut(|calls| calls.last_mut().and_then(Option::take));
    drop(call);
    (outcome, came)
}

/// Whether this thread is in a call of ours.
pub fn is_within() -> bool {
    CALLS.with_borrow(|calls| !calls.is_empty())
}

/// A call of ours, which ends however its body does.
struct Call;

impl Drop for Call {
    fn drop(&mut self) {
        let came = CALLS.with_borrow_mut(Vec::pop);
        drop(came);
    }
}

/// Whether this is somebody's wish to stop, and no error.
pub fn is_one(py: Python<'_>, raised: &PyErr) -> bool {
    !raised.is_instance_of::<PyException>(py)
}

/// Has the call that this thread is in raise an interruption at its end; an error is left to whoever called.
pub fn note(raised: &PyErr) {
    Python::attach(|py| {
        if is_one(py, raised) {
            let raised = raised.clone_ref(py);
            CALLS.with_borrow_mut(|calls| {
                if let Some(came) = calls.last_mut() {
                    came.get_or_insert(raised);
                }
            });
        }
    });
}

/// Hands on what came where nothing can be raised, as an object goes: Ctrl-C comes again at the main thread's next instruction, any
/// other goes where Python's own go from there, to `sys.unraisablehook`.
pub fn hand_on(py: Python<'_>, raised: PyErr) {
    let again = || py.import("_thread")?.call_method0("interrupt_main");
    if !raised.is_instance_of::<PyKeyboardInterrupt>(py) || again().is_err() {
        raised.write_unraisable(py, None);
    }
}

/// An outcome of Python's code whose error becomes another, or nothing.
pub trait Noted {
    /// The same, an interruption [noted](note).
    fn noted(self) -> Self;
}

impl<T> Noted for PyResult<T> {
    fn noted(self) -> Self {
        self.inspect_err(note)
    }
}
