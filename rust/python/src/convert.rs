//! Python dictionaries ↔ Rust structs, by their field names.

use audio_extract_core::error::{EngineError, ErrorCode};
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a request; an unknown, missing or wrong key is named.
pub(crate) fn from_python<T: DeserializeOwned>(value: &Bound<'_, PyAny>) -> Result<T, EngineError> {
    pythonize::depythonize(value).map_err(|error| {
        EngineError::new(ErrorCode::RequestInvalid, format!("the request to the engine is wrong: {error}"))
    })
}

/// Makes plain Python values of a report.
pub(crate) fn to_python<'py, T: Serialize>(py: Python<'py>, value: &T) -> PyResult<Bound<'py, PyAny>> {
    pythonize::pythonize(py, value).map_err(PyErr::from)
}
