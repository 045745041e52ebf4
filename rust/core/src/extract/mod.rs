//! From a recording's bytes to audio bytes.

pub(crate) mod arguments;
pub(crate) mod fan_out;
pub(crate) mod ffmpeg;
pub(crate) mod join_mp3;
pub(crate) mod mp3;
pub(crate) mod segments;
pub(crate) mod sniff;
