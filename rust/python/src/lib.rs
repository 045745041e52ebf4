//! Python's view of the engine: converts values, releases the GIL, maps errors. No logic.

mod convert;
mod errors;

use std::sync::{Arc, OnceLock};

use audio_extract_core::auth::TokenProvider;
use audio_extract_core::error::{EngineError, ErrorCode};
use audio_extract_core::transfer::Hooks;
use pyo3::prelude::*;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// One runtime for all transfers of the process.
fn runtime() -> Result<&'static Runtime, EngineError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4));
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("audio-extract")
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(|error| {
            EngineError::new(ErrorCode::Bug, "the engine's threads could not be started").caused_by(error)
        })?;
    Ok(RUNTIME.get_or_init(|| built))
}

/// Runs a future to its end with the GIL released; a panic inside becomes an error.
fn block_on<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> PyResult<T> {
    py.detach(|| {
        let runtime = runtime()?;
        runtime.block_on(runtime.spawn(work)).map_err(|error| {
            EngineError::new(ErrorCode::Bug, "the engine panicked; please report this").caused_by(error)
        })?
    })
    .map_err(|error| errors::to_python(py, error))
}

fn token_provider(callback: Option<Py<PyAny>>) -> Option<Arc<TokenProvider>> {
    callback.map(|callback| {
        Arc::new(TokenProvider::new(Arc::new(move || {
            Python::attach(|py| callback.bind(py).call0()?.extract::<(String, f64)>()).map_err(|error| {
                errors::from_callback(ErrorCode::TokenFailed, "getting an access token failed", error)
            })
        })))
    })
}

/// The module `audio_extract._engine`; documented by `_engine.pyi`.
#[pymodule]
mod _engine {
    use super::{
        Arc, CancellationToken, ErrorCode, Hooks, Py, PyAny, PyResult, Python, block_on, convert, errors,
        token_provider,
    };
    use audio_extract_core::progress;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    #[pyclass(frozen, module = "audio_extract._engine")]
    #[derive(Default)]
    struct CancelToken {
        inner: CancellationToken,
    }

    #[pymethods]
    impl CancelToken {
        #[new]
        fn new() -> Self {
            Self::default()
        }

        fn cancel(&self) {
            self.inner.cancel();
        }

        #[getter]
        fn cancelled(&self) -> bool {
            self.inner.is_cancelled()
        }
    }

    #[pyclass(frozen, module = "audio_extract._engine")]
    #[derive(Default)]
    struct Progress {
        inner: Arc<progress::Progress>,
    }

    #[pymethods]
    impl Progress {
        #[new]
        fn new() -> Self {
            Self::default()
        }

        fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            convert::to_python(py, &self.inner.snapshot())
        }

        fn partial_report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            convert::to_python(py, &self.inner.partial_report())
        }
    }

    #[pyfunction]
    #[pyo3(signature = (request, *, source_token=None, sink_token=None, before_commit=None, progress=None, cancel=None))]
    fn transfer<'py>(
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        source_token: Option<Py<PyAny>>,
        sink_token: Option<Py<PyAny>>,
        before_commit: Option<Py<PyAny>>,
        progress: Option<&Bound<'py, Progress>>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = convert::from_python(request).map_err(|error| errors::to_python(py, error))?;
        let hooks = Hooks {
            source_tokens: token_provider(source_token),
            sink_tokens: token_provider(sink_token),
            before_commit: before_commit.map(|callback| {
                Arc::new(move || {
                    Python::attach(|py| callback.bind(py).call0().map(drop)).map_err(|error| {
                        errors::from_callback(
                            ErrorCode::SourceChanged,
                            "confirming the recording failed",
                            error,
                        )
                    })
                }) as Arc<audio_extract_core::transfer::ConfirmCallback>
            }),
            progress: progress.map(|progress| Arc::clone(&progress.get().inner)).unwrap_or_default(),
            cancel: cancel.map(|cancel| cancel.get().inner.clone()).unwrap_or_default(),
            ..Hooks::default()
        };
        let report = block_on(py, audio_extract_core::transfer::transfer(request, hooks))?;
        convert::to_python(py, &report)
    }

    #[pyfunction]
    #[pyo3(signature = (request, *, source_token=None, cancel=None))]
    fn probe<'py>(
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        source_token: Option<Py<PyAny>>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = convert::from_python(request).map_err(|error| errors::to_python(py, error))?;
        let hooks = Hooks {
            source_tokens: token_provider(source_token),
            cancel: cancel.map(|cancel| cancel.get().inner.clone()).unwrap_or_default(),
            ..Hooks::default()
        };
        let report = block_on(py, audio_extract_core::probe::probe(request, hooks))?;
        convert::to_python(py, &report)
    }

    #[pyfunction]
    #[pyo3(signature = (request, *, progress=None, cancel=None))]
    fn chunk_file<'py>(
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, Progress>>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = convert::from_python(request).map_err(|error| errors::to_python(py, error))?;
        let hooks = Hooks {
            progress: progress.map(|progress| Arc::clone(&progress.get().inner)).unwrap_or_default(),
            cancel: cancel.map(|cancel| cancel.get().inner.clone()).unwrap_or_default(),
            ..Hooks::default()
        };
        let report = block_on(py, audio_extract_core::chunks::chunk_file(request, hooks))?;
        convert::to_python(py, &report)
    }

    #[pyfunction]
    #[expect(clippy::needless_pass_by_value, reason = "converted from Python's string for this call")]
    fn crc32c_file(py: Python<'_>, path: std::path::PathBuf) -> PyResult<(String, u64)> {
        let (crc, size) = py.detach(|| audio_extract_core::crc32c_of(&path))?;
        Ok((audio_extract_core::checksum::encode_crc32c(crc), size))
    }

    #[pyfunction]
    fn error_codes() -> Vec<(&'static str, &'static str)> {
        ErrorCode::ALL.iter().map(|code| (code.as_str(), errors::kind_name(code.kind()))).collect()
    }
}
