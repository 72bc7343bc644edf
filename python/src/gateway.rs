//! The `EvSys` gateway as a store, by its operations.

use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use grpo_metrics::row::Row;
use grpo_metrics::store::{EvSys, Split, Store as _, StoreError};
use pyo3::prelude::*;

use crate::error::{self, guarded};
use crate::store::{MetricRow, numbers_of, operate, row_of};

/// Where the gateway is, in the environment.
const URL: &str = "EVSYS_API_URL";

/// The gateway at `url`; all else is as the environment says: `EVSYS_API_KEY`, `EVSYS_PROJECT_ID`, `SSL_CERT_FILE`.
///
/// # Errors
/// If there is no key, or one of them is not what it should be.
pub fn open(url: &str) -> Result<EvSys, StoreError> {
    EvSys::from_env(|name| {
        if name == URL {
            return Some(url.to_owned());
        }
        env::var(name).ok()
    })
}

/// A gateway's address, where a text is one.
pub fn address(text: &str) -> Option<String> {
    let schemes = ["http://", "https://"];
    let is_one = schemes.iter().any(|scheme| text.starts_with(scheme));
    is_one.then(|| text.to_owned())
}

/// The gateway; `grpo_metrics.EvSys` gives its operations their Python signatures.
#[pyclass(module = "grpo_metrics._core", frozen)]
pub struct Gateway(Mutex<EvSys>);

#[pymethods]
impl Gateway {
    #[new]
    #[pyo3(signature = (url=None, key=None, project=None, ca_file=None, dead_letters=None))]
    fn new(
        url: Option<String>,
        key: Option<String>,
        project: Option<String>,
        ca_file: Option<PathBuf>,
        dead_letters: Option<PathBuf>,
    ) -> PyResult<Self> {
        guarded(|| {
            let given = |name: &str| match name {
                URL => url.clone(),
                "EVSYS_API_KEY" => key.clone(),
                "EVSYS_PROJECT_ID" => project.clone(),
                // Named here, it is taken whatever the address.
                "SSL_CERT_FILE" if ca_file.is_some() => Some(String::new()),
                _ => None,
            };
            let store = EvSys::from_env(|name| given(name).or_else(|| env::var(name).ok()));
            let mut store = store.map_err(error::store)?;
            if let Some(path) = ca_file {
                store = store.ca_file(path).map_err(error::store)?;
            }
            if let Some(path) = dead_letters {
                store = store.dead_letters(path);
            }
            Ok(Self(Mutex::new(store)))
        })
    }

    /// One operation: its arguments and its result as JSON.
    fn call(&self, py: Python<'_>, op: &str, args: &str) -> PyResult<String> {
        guarded(|| py.detach(|| operate(&mut *self.store(), op, args)))
    }

    /// Writes metrics of one step; how many were NaN and left out.
    fn log_metrics(
        &self,
        py: Python<'_>,
        run_id: &str,
        step: u64,
        metrics: Vec<(String, f64)>,
        split: &str,
    ) -> PyResult<u64> {
        self.log(py, run_id, row_of(step, metrics, 0, false), split)
    }

    /// Writes an engine's row; how many were NaN and left out.
    fn log_window(
        &self,
        py: Python<'_>,
        run_id: &str,
        step: u64,
        metrics: Vec<(String, f64)>,
        steps: u64,
        cut: bool,
    ) -> PyResult<u64> {
        self.log(py, run_id, row_of(step, metrics, steps, cut), "train")
    }

    /// The numbers of a run.
    fn get_metrics(
        &self,
        py: Python<'_>,
        run_id: &str,
        name: Option<&str>,
        split: Option<&str>,
    ) -> PyResult<Vec<MetricRow>> {
        guarded(|| py.detach(|| numbers_of(&*self.store(), run_id, name, split)))
    }
}

impl Gateway {
    fn store(&self) -> std::sync::MutexGuard<'_, EvSys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, py: Python<'_>, run_id: &str, row: Row, split: &str) -> PyResult<u64> {
        guarded(|| {
            py.detach(|| {
                let split: Split = split.parse().map_err(error::store)?;
                let logged = self.store().log_windows(run_id, &[row], split);
                logged.map(|logged| logged.nan).map_err(error::write)
            })
        })
    }
}
