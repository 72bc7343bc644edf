//! A step's number, as Python gives it.

use pyo3::prelude::*;

use crate::column::shown;
use crate::{error, interruption};

pub struct Step(pub u64);

/// Refused before the call begins, so an interruption is handed on here.
impl FromPyObject<'_, '_> for Step {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        given.extract().map(Self).map_err(|raised: PyErr| {
            if interruption::is_one(given.py(), &raised) {
                return raised;
            }
            let found = shown(&given);
            error::step(format!(
                "`step`: expected a whole number from 0 to {}, found {found}",
                u64::MAX
            ))
        })
    }
}
