//! What a child's end means.

use std::process::ExitStatus;

use super::Said;
use crate::error::{EngineError, ErrorCode, Result};

/// What an exit means.
///
/// # Errors
/// One of the `media.*` and `ffmpeg.*` codes, with the tail of stderr.
pub(crate) fn judge(status: ExitStatus, said: &Said, name: &str, track: u32) -> Result<()> {
    use std::os::unix::process::ExitStatusExt as _;
    let fail = |code, message| Err(failure(said, code, message));
    if let Some(signal) = status.signal() {
        return fail(
            ErrorCode::FfmpegKilled,
            format!(
                "extracting the audio of {name}: FFmpeg was killed by signal {signal}; \
                     if that is 9, the machine may have run out of memory"
            ),
        );
    }
    if said.contains("matches no streams") {
        return if track == 0 {
            fail(ErrorCode::MediaNoAudio, format!("{name} has no audio track"))
        } else {
            fail(
                ErrorCode::MediaTrackNotFound,
                format!(
                    "{name} has no audio track number {track} (counted from 0); choose another with --track"
                ),
            )
        };
    }
    if said.contains("Unknown encoder")
        || said.contains("Unrecognized option")
        || said.contains("Option not found")
    {
        return fail(
            ErrorCode::FfmpegOptions,
            "this FFmpeg lacks an encoder or option that is needed; install a complete FFmpeg (with libmp3lame)".to_owned(),
        );
    }
    if let Some(codec) = said.missing_decoder() {
        return fail(
            ErrorCode::MediaUnsupported,
            format!(
                "the audio of {name} is {codec}, and this build of FFmpeg cannot read that; install a complete \
                 FFmpeg and set processing.ffmpeg.path to it"
            ),
        );
    }
    let refusals = [
        "does not support the sample rate",
        "Specified sample rate",
        "Specified channel layout",
        "Rematrix is needed",
        "not supported by",
        "Error while opening encoder",
    ];
    if refusals.iter().any(|refusal| said.contains(refusal)) {
        return fail(
            ErrorCode::FfmpegOptions,
            "the encoder does not support this sample rate, bitrate or number of channels; correct processing.audio_format".to_owned(),
        );
    }
    // Matroska's and WebM's way to be cut off; MP4 is found out by its index before.
    if said.contains("File ended prematurely") {
        return fail(
            ErrorCode::MediaUnreadable,
            format!("{name} is cut off: it ends before its end; upload or record it again"),
        );
    }
    if !status.success() {
        let code = status.code().unwrap_or(-1);
        return fail(
            ErrorCode::MediaUnreadable,
            format!(
                "FFmpeg cannot read {name} (exit code {code}): it is damaged, cut off, not a recording, or of a \
                 kind that this build of FFmpeg does not know"
            ),
        );
    }
    Ok(())
}

/// Something must have come out. `produced` is the number of bytes.
///
/// # Errors
/// `media.unreadable`, with the tail of stderr.
pub(crate) fn check_produced(produced: u64, said: &Said, name: &str) -> Result<()> {
    if produced > 0 {
        return Ok(());
    }
    let message = format!("{name} holds no sound that can be read: nothing came out of FFmpeg");
    Err(failure(said, ErrorCode::MediaUnreadable, message))
}

fn failure(said: &Said, code: ErrorCode, message: String) -> EngineError {
    let tail = said.tail();
    EngineError { ffmpeg_tail: (!tail.is_empty()).then_some(tail), ..EngineError::new(code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn said(line: &str) -> Said {
        let mut said = Said::default();
        said.push(line);
        said
    }

    #[test]
    fn exits_are_told_apart() {
        use ErrorCode as C;
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, line, track, want) in [
            (exit(1), "Stream map '0:a:0' matches no streams.", 0, C::MediaNoAudio),
            (exit(1), "Stream map '0:a:3' matches no streams.", 3, C::MediaTrackNotFound),
            (exit(1), "pipe:0: Invalid data found when processing input", 0, C::MediaUnreadable),
            (exit(1), "[error] Decoder (codec tta) not found for input stream #0:1", 0, C::MediaUnsupported),
            (
                exit(218),
                "[aist#0:0/wavpack @ 0x5] [fatal] Decoding requested, but no decoder found for: wavpack",
                0,
                C::MediaUnsupported,
            ),
            (exit(1), "Unknown encoder 'libmp3lame'", 0, C::FfmpegOptions),
            (
                exit(1),
                "[libmp3lame] [error] Specified channel layout '6.1' is not supported",
                0,
                C::FfmpegOptions,
            ),
            (
                exit(1),
                "[SWR @ 0x1] [error] Rematrix is needed between stereo and 9 channels",
                0,
                C::FfmpegOptions,
            ),
            (exit(0), "[matroska] [error] File ended prematurely at pos. 5", 0, C::MediaUnreadable),
            (ExitStatus::from_raw(9), "", 0, C::FfmpegKilled),
        ] {
            assert_eq!(judge(status, &said(line), "x", track).unwrap_err().code, want, "{line}");
        }
        judge(exit(0), &said("[mp3] [warning] something"), "x", 0).unwrap();
        let nothing = check_produced(0, &said("[error] no packets"), "x").unwrap_err();
        assert_eq!(
            (nothing.code, nothing.ffmpeg_tail.as_deref()),
            (C::MediaUnreadable, Some("[error] no packets"))
        );
    }
}
