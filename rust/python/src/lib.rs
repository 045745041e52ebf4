//! Python's view of the engine: converts values, releases the GIL, maps errors. No logic.

use pyo3::prelude::*;

/// The module `audio_extract._engine`; documented by `_engine.pyi`.
#[pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
