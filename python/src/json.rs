//! Between Python's objects and JSON, by Python's own `json`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::error;
use crate::interruption::Noted;

/// An option's object as JSON. What JSON has no form for (a path, an enum, a dataclass) goes by its text.
///
/// # Errors
/// If it holds itself, is nested without end, or has keys that are no texts.
pub fn value(option: &str, object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let refuse = |reason: String| {
        error::option(format!(
            "`{option}`: expected an object that JSON can hold: {reason}"
        ))
    };
    let text = dumped(object).noted();
    let text = text.map_err(|error| refuse(error.value(object.py()).to_string()))?;
    serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
}

fn dumped(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = object.py();
    let options = PyDict::new(py);
    options.set_item("default", py.get_type::<PyString>())?;
    py.import("json")?
        .call_method("dumps", (object,), Some(&options))?
        .extract()
}
