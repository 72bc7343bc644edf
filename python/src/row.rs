//! A row as Python sees it.

use grpo_metrics::row::Metrics;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// `grpo_metrics.Row`, a dictionary that a notebook shows as a table.
static ROW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A row's numbers, in order.
pub fn of<'py>(py: Python<'py>, metrics: &Metrics) -> PyResult<Bound<'py, PyDict>> {
    let class = ROW.get_or_try_init(py, || {
        let class = py.import("grpo_metrics._row")?.getattr("Row")?;
        Ok::<_, PyErr>(class.unbind())
    })?;
    let row = class.bind(py).call0()?.cast_into::<PyDict>()?;
    for (key, value) in metrics.iter() {
        row.set_item(key, value)?;
    }
    Ok(row)
}
