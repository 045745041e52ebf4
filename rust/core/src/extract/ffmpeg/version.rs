//! Which FFmpeg a binary is.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;

use super::{not_found, set_environment, spawn};
use crate::error::{EngineError, ErrorCode, Result};
use crate::request::FfmpegSpec;

/// What a binary says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// For example `5.1.9-0+deb12u1`.
    pub(crate) text: String,
    /// For example 5; builds from a branch have none.
    pub(crate) major: Option<u32>,
}

/// Asks a binary for its version; once for each path in a process.
///
/// # Errors
/// `ffmpeg.not_found` when the binary cannot be started.
pub(crate) async fn version(spec: &FfmpegSpec) -> Result<Version> {
    static KNOWN: Mutex<BTreeMap<String, Version>> = Mutex::new(BTreeMap::new());
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&spec.path).cloned();
    if let Some(version) = known {
        return Ok(version);
    }
    let mut command = Command::new(&spec.path);
    command
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    set_environment(&mut command, spec);
    let stall = Duration::from_secs_f64(spec.stall_timeout_seconds);
    let child = spawn(&mut command).map_err(|error| not_found(spec, error))?;
    let output = tokio::time::timeout(stall, child.wait_with_output())
        .await
        .map_err(|_| {
            EngineError::new(ErrorCode::FfmpegStalled, format!("{} -version does not end", spec.path))
        })?
        .map_err(|error| not_found(spec, error))?;
    let version = parse_version(&String::from_utf8_lossy(&output.stdout));
    // A child that was killed has said nothing; the next transfer asks again.
    if output.status.success() {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.path.clone(), version.clone());
    }
    Ok(version)
}

/// `ffmpeg version 5.1.9-0+deb12u1 Copyright …`, `ffmpeg version n7.1 …`, `ffmpeg version N-118448-g43be8d0728 …`.
fn parse_version(text: &str) -> Version {
    let text = text.strip_prefix("ffmpeg version ").unwrap_or_default();
    let text: String = text.split_whitespace().next().unwrap_or_default().chars().take(80).collect();
    let digits = text.trim_start_matches('n').split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Version { major: digits.parse().ok(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let version = |text: &str| parse_version(text).major;
        assert_eq!(version("ffmpeg version 5.1.9-0+deb12u1 Copyright (c)"), Some(5));
        assert_eq!(version("ffmpeg version n7.1 Copyright (c)"), Some(7));
        assert_eq!(version("ffmpeg version N-118448-g43be8d0728 Copyright"), None);
        assert_eq!(version("something else"), None);
    }
}
