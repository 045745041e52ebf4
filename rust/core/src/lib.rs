//! The hot path of `audio-extract`: bytes from a source through FFmpeg into a verified object.
//!
//! No Python here: this crate builds and tests with plain cargo.

pub mod error;
