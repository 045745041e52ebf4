//! The hot path of `audio-extract`: bytes from a source through FFmpeg into a verified object.
//!
//! No Python here: this crate builds and tests with plain cargo.
//!
//! # Memory
//! A transfer holds at most `memory_limit_bytes` of media: `2 upload chunks + index of the recording + bytes fetched
//! and not yet consumed`, and ahead of an encoder no more than 8 MiB of the last two. Permits are taken before bytes
//! are read ([`budget`]) and ride in the bytes themselves. Where several encoders work side by side, compressed
//! audio waits for its turn, up to a sixth of the limit; that decides how many encoders there are. Beside it stand the
//! buffers of a few pipes and connections, some hundred KiB each.

pub mod about;
mod analysis;
pub mod auth;
#[doc(hidden)]
pub mod bench;
pub mod budget;
pub mod checksum;
pub mod chunks;
pub mod cores;
pub mod error;
mod extract;
pub mod mp4;
mod pool;
pub mod probe;
pub mod progress;
pub mod request;
mod retry;
mod sink;
mod source;
mod spill;
pub mod stages;
#[cfg(test)]
mod testing;
pub mod transfer;

pub use analysis::{Loudness, SilenceReport, SilenceSpec, SoundReport, Waveform};
pub use sink::crc32c_of;
pub use source::{Estimates, Measured, Network};
