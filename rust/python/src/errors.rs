//! The one table from engine errors to Python exceptions: the kind picks the class from
//! `audio_extract.exceptions.ERROR_KINDS`, everything else becomes attributes.

use audio_extract_core::error::{EngineError, ErrorCode, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The key of `ERROR_KINDS`. Exhaustive, so that a new kind forces a decision.
pub(crate) const fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Transient => "transient",
        ErrorKind::Quota => "quota",
        ErrorKind::Authentication => "authentication",
        ErrorKind::Permission => "permission",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Media => "media",
        ErrorKind::Corruption => "corruption",
        ErrorKind::SourceChanged => "source_changed",
        ErrorKind::DestinationExists => "destination_exists",
        ErrorKind::Configuration => "configuration",
        ErrorKind::NoSpace => "no_space",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Bug => "bug",
    }
}

/// A failure of the caller's own callback, carried through the engine.
pub(crate) fn from_callback(code: ErrorCode, message: &str, error: PyErr) -> EngineError {
    EngineError::new(code, message).caused_by(error)
}

/// The exception of an error. What a callback raised is raised again as it was.
pub(crate) fn to_python(py: Python<'_>, error: EngineError) -> PyErr {
    let error = match error.cause.map(<dyn std::error::Error + Send + Sync>::downcast::<PyErr>) {
        Some(Ok(raised)) => return *raised,
        Some(Err(cause)) => EngineError { cause: Some(cause), ..error },
        None => EngineError { cause: None, ..error },
    };
    build(py, &error).unwrap_or_else(|failed| failed)
}

fn build(py: Python<'_>, error: &EngineError) -> PyResult<PyErr> {
    let kinds = py.import("audio_extract.exceptions")?.getattr("ERROR_KINDS")?;
    let class = kinds.get_item(kind_name(error.kind()))?;
    let attributes = PyDict::new(py);
    attributes.set_item("code", error.code.as_str())?;
    attributes.set_item("attempts", error.attempts)?;
    attributes.set_item("retry_after_seconds", error.retry_after.map(|wait| wait.as_secs_f64()))?;
    attributes.set_item("status", error.status)?;
    attributes.set_item("ffmpeg_tail", error.ffmpeg_tail.as_deref())?;
    let raised = PyErr::from_value(class.call((error.message.as_str(),), Some(&attributes))?);
    if let Some(cause) = &error.cause {
        let cause = pyo3::exceptions::PyRuntimeError::new_err(chain(cause.as_ref()));
        raised.set_cause(py, Some(cause));
    }
    Ok(raised)
}

/// What lies beneath, on one line.
fn chain(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        next = inner.source();
    }
    text
}
