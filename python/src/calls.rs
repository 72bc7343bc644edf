//! An engine that any thread may call, one call at a time.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use grpo_metrics::row::run::Ending;
use grpo_metrics::sink::Receipt;
use pyo3::prelude::*;

use crate::ending;
use crate::error::{GrpoMetricsError, guarded};
use crate::interruption;
use crate::running::Running;
use crate::samples::Samples;
use crate::termination;
use crate::threads::within_pool;

/// How long an interpreter that exits, or a process that is told to, waits for a call that another thread is caught in.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it delivers then, all sinks of all engines together; what is in a journal stays there.
const DELIVERY: Duration = Duration::from_secs(10);

/// The engines that nobody has finished yet, or that are gone.
static OPEN: Mutex<Vec<Weak<Calls>>> = Mutex::new(Vec::new());

pub struct Calls {
    running: Turn<Running>,
    /// Taken while the run ends. The engine is not in `running` then: the end waits for sinks, and theirs is the last row too.
    ending: Turn<()>,
    /// The process that made the engine. A forked child has a copy without its threads, of a run that is not its own.
    process: u32,
    /// The last process that was told so; 0 is none.
    told: AtomicU32,
}

impl Calls {
    pub fn to(running: Running) -> Arc<Self> {
        let calls = Arc::new(Self {
            running: Turn::at(running),
            ending: Turn::at(()),
            process: process::id(),
            told: AtomicU32::new(0),
        });
        let mut open = open();
        open.retain(|engine| engine.strong_count() > 0);
        open.push(Arc::downgrade(&calls));
        calls
    }

    /// The run has ended, or nobody can end it any more.
    fn off_the_list(&self, py: Python<'_>) {
        open().retain(|engine| !std::ptr::eq(engine.as_ptr(), self));
        termination::let_go(py);
    }

    /// Whether this thread is in the middle of a call.
    fn is_in_a_call_here(&self) -> bool {
        self.running.is_held_here() || self.ending.is_held_here()
    }

    /// Runs `work` on the engine; in a forked child nothing, which gives nothing. The caller has let go of the GIL: who waits here
    /// must not hold it, for the call that is waited for may need it.
    pub fn exclusively<T: Send + Default>(
        &self,
        work: impl FnOnce(&mut Running) -> PyResult<T> + Send,
    ) -> PyResult<T> {
        if self.is_left_alone() {
            return Ok(T::default());
        }
        let mut taken = self.running.take(None)?;
        let running = &mut *taken.value;
        within_pool(|| work(running))?
    }

    /// Runs `work` without the GIL.
    pub fn run<T: Send + Default>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Running) -> PyResult<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| self.exclusively(work))
    }

    /// Ends the run; what became of the rows. Nothing more where it has ended, and nothing in a forked child.
    pub fn end(&self, py: Python<'_>, ending: &Ending) -> PyResult<Vec<Receipt>> {
        self.end_within(py, ending, None, None)
    }

    fn end_within(
        &self,
        py: Python<'_>,
        ending: &Ending,
        patience: Option<Duration>,
        deadline: Option<Instant>,
    ) -> PyResult<Vec<Receipt>> {
        if self.is_inherited() {
            return Ok(Vec::new());
        }
        let receipts = py.detach(|| -> PyResult<_> {
            let _ending = self.ending.take(patience)?;
            let (engine, samples, receipts) = {
                let mut taken = self.running.take(patience)?;
                let running = &mut *taken.value;
                (
                    running.take_engine(),
                    running.samples.take(),
                    running.receipts(),
                )
            };
            let Some(engine) = engine else {
                return Ok(receipts);
            };
            let (row, mut receipts) = within_pool(|| engine.finish_by(ending, deadline))?;
            let samples = samples.into_iter();
            receipts.extend(samples.flat_map(|samples| Samples::close(samples, deadline)));
            let mut taken = self.running.take(None)?;
            Ok(taken.value.ended(ending, row, receipts))
        })?;
        self.off_the_list(py);
        Ok(receipts)
    }

    /// Whether this is a forked child, whose calls are to do nothing: its parent's rows, files and ranks are not its own, and an
    /// error would end a worker for a metric. It is told once.
    pub fn is_left_alone(&self) -> bool {
        let (owner, here) = (self.process, process::id());
        if owner != here && self.told.swap(here, Ordering::Relaxed) != here {
            tracing::warn!(
                "process {owner} opened the engine, and in process {here}, which was forked from it, its calls do nothing: open \
                 another engine there, with outputs of its own"
            );
        }
        owner != here
    }

    fn is_inherited(&self) -> bool {
        self.process != process::id()
    }
}

/// What one thread at a time may have.
struct Turn<T> {
    value: Mutex<T>,
    /// The thread that has it, so that a sink that calls back is told instead of waiting for itself.
    held_by: Mutex<Option<ThreadId>>,
}

impl<T> Turn<T> {
    fn at(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            held_by: Mutex::new(None),
        }
    }

    fn take(&self, patience: Option<Duration>) -> PyResult<Taken<'_, T>> {
        let value = self.lock(patience)?;
        *self.held_by() = Some(thread::current().id());
        Ok(Taken { value, turn: self })
    }

    fn lock(&self, patience: Option<Duration>) -> PyResult<MutexGuard<'_, T>> {
        let since = Instant::now();
        loop {
            match self.value.try_lock() {
                Ok(value) => return Ok(value),
                // What a panic left behind is numbers that may be missing, not memory that may not be read.
                Err(TryLockError::Poisoned(value)) => return Ok(value.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            if self.is_held_here() {
                return Err(GrpoMetricsError::new_err(
                    "the engine is in the middle of a call; a sink cannot call it back",
                ));
            }
            match patience {
                None => return Ok(self.value.lock().unwrap_or_else(PoisonError::into_inner)),
                Some(patience) if since.elapsed() < patience => {
                    thread::sleep(Duration::from_millis(10));
                }
                Some(_) => {
                    return Err(GrpoMetricsError::new_err(
                        "the engine is in the middle of a call that does not end",
                    ));
                }
            }
        }
    }

    fn is_held_here(&self) -> bool {
        *self.held_by() == Some(thread::current().id())
    }

    fn held_by(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.held_by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread has until this is dropped, which forgets the thread first.
struct Taken<'a, T> {
    value: MutexGuard<'a, T>,
    turn: &'a Turn<T>,
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        *self.turn.held_by() = None;
    }
}

/// An engine's object is gone, maybe unfinished: its rows go out all the same, and its run has not ended.
pub fn let_go(calls: &Arc<Calls>) {
    if calls.is_inherited() {
        // What the parent has open is the parent's to close.
        std::mem::forget(Arc::clone(calls));
        return;
    }
    // Without an interpreter there is nobody left to tell.
    let _ = Python::try_attach(|py| {
        // Objects also go while an error is on its way.
        let on_its_way = PyErr::take(py);
        let ended = guarded(|| calls.end(py, &Ending::open()));
        if let Some(error) = ended.err().filter(|error| interruption::is_one(py, error)) {
            interruption::hand_on(py, error);
        }
        if let Some(error) = on_its_way {
            error.restore(py);
        }
    });
}

/// The interpreter exits: what is not finished sends its rows. Where an error that nobody caught has ended the program, the runs
/// have failed of it; else nobody has said how they ended, and they have not.
#[pyfunction]
pub fn _finish_open(py: Python<'_>) -> PyResult<()> {
    guarded(|| {
        end_all(py, &ending::of_program(py));
        Ok(())
    })
}

/// Whether this thread is in the middle of a call. What is to be done once it is over is resumed then.
#[pyfunction]
pub fn _postponed() -> bool {
    let is_in_a_call = listed().iter().any(|calls| calls.is_in_a_call_here());
    if is_in_a_call {
        termination::postpone();
    }
    is_in_a_call
}

/// The process was told to end: its runs are `cancelled` for that `reason`, and what is not finished sends its rows.
#[pyfunction]
pub fn _cancel_open(py: Python<'_>, reason: &str) -> PyResult<()> {
    guarded(|| {
        end_all(py, &Ending::cancelled(reason));
        Ok(())
    })
}

/// Whether there is an engine that nobody has finished.
#[pyfunction]
pub fn _is_any_open() -> bool {
    open().iter().any(|engine| engine.strong_count() > 0)
}

fn end_all(py: Python<'_>, ending: &Ending) {
    let deadline = Instant::now() + DELIVERY;
    for calls in listed() {
        let ended = guarded(|| calls.end_within(py, ending, Some(PATIENCE), Some(deadline)));
        if let Err(error) = ended {
            interruption::note(&error);
            tracing::warn!("an engine could not be finished at the end of the process: {error}");
        }
    }
}

fn open() -> MutexGuard<'static, Vec<Weak<Calls>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listed() -> Vec<Arc<Calls>> {
    open().iter().filter_map(Weak::upgrade).collect()
}
