//! A step's number, as Python gives it.

use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::column::shown;
use crate::{error, interruption};

pub struct Step(pub u64);

/// Refused before the call begins, so an interruption is handed on here.
impl FromPyObject<'_, '_> for Step {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let refuse = || {
            let found = shown(&given);
            error::step(format!(
                "`step`: expected a whole number from 0 to {}, found {found}",
                u64::MAX
            ))
        };
        if given.is_instance_of::<PyBool>() {
            return Err(refuse());
        }
        given.extract().map(Self).map_err(|raised: PyErr| {
            if interruption::is_one(given.py(), &raised) {
                return raised;
            }
            refuse()
        })
    }
}
