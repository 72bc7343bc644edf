//! Between Python's objects and JSON, by Python's own `json`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::error::GrpoMetricsError;

/// A Python object as JSON. What JSON has no form for (a path, an enum, a dataclass) goes by its text.
pub fn value(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = object.py();
    let options = PyDict::new(py);
    options.set_item("default", py.get_type::<pyo3::types::PyString>())?;
    let text: String = py
        .import("json")?
        .call_method("dumps", (object,), Some(&options))?
        .extract()?;
    serde_json::from_str(&text).map_err(|error| {
        GrpoMetricsError::new_err(format!("expected an object that JSON can hold: {error}"))
    })
}
