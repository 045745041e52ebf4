//! What the tests share.

/// The FFmpeg that tests use: `AUDIO_EXTRACT_TEST_FFMPEG`, else the one in `PATH`.
pub(crate) fn ffmpeg() -> String {
    std::env::var("AUDIO_EXTRACT_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned())
}
