//! From a recording's bytes to audio bytes.

pub(crate) mod arguments;
pub(crate) mod ffmpeg;
pub(crate) mod mp3;
pub(crate) mod sniff;
