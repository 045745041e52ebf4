//! Guessing the container from the first bytes, as `file(1)` and FFmpeg's probes do.

use std::fmt;

/// What a file seems to be. A guess: only FFmpeg's demuxer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// ISO base media file (`.mp4`, `.m4a`, `.m4v`, `.3gp`).
    Mp4,
    /// QuickTime (`.mov`).
    Mov,
    /// Matroska or `WebM` (told apart by the document type).
    Matroska,
    /// `WebM`.
    WebM,
    /// Ogg.
    Ogg,
    /// RIFF/RF64 WAVE.
    Wav,
    /// Native FLAC.
    Flac,
    /// MPEG transport stream.
    MpegTs,
    /// MPEG program stream.
    MpegPs,
    /// Flash video.
    Flv,
    /// AVI.
    Avi,
    /// MP3, with or without an `ID3v2` tag.
    Mp3,
    /// AAC in ADTS frames.
    Adts,
    /// ASF (`.wmv`, `.wma`).
    Asf,
    /// None of these.
    Unknown,
}

impl Container {
    /// The name shown to people and used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Matroska => "matroska",
            Self::WebM => "webm",
            Self::Ogg => "ogg",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::MpegTs => "mpegts",
            Self::MpegPs => "mpeg",
            Self::Flv => "flv",
            Self::Avi => "avi",
            Self::Mp3 => "mp3",
            Self::Adts => "aac",
            Self::Asf => "asf",
            Self::Unknown => "unknown",
        }
    }

    /// Guesses from the first bytes of a file (some kilobytes, fewer for a short file).
    #[must_use]
    pub fn guess(head: &[u8]) -> Self {
        // QuickTime before `ftyp` existed starts with any of these; fragments of a live stream with the others.
        const QUICKTIME: [&[u8]; 6] = [b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"];
        const ISO: [&[u8]; 4] = [b"styp", b"moof", b"sidx", b"emsg"];
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        if at(4, b"ftyp") {
            return if at(8, b"qt  ") { Self::Mov } else { Self::Mp4 };
        }
        if QUICKTIME.iter().any(|kind| at(4, kind)) {
            return Self::Mov;
        }
        if ISO.iter().any(|kind| at(4, kind)) {
            return Self::Mp4;
        }
        if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
            let header = head.get(..64.min(head.len())).unwrap_or_default();
            return if header.windows(4).any(|name| name == b"webm") { Self::WebM } else { Self::Matroska };
        }
        if at(0, b"OggS") {
            return Self::Ogg;
        }
        if (at(0, b"RIFF") || at(0, b"RF64")) && at(8, b"WAVE") {
            return Self::Wav;
        }
        if at(0, b"RIFF") && at(8, b"AVI ") {
            return Self::Avi;
        }
        if at(0, b"fLaC") {
            return Self::Flac;
        }
        if at(0, b"FLV") {
            return Self::Flv;
        }
        if at(0, &[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11]) {
            return Self::Asf;
        }
        if at(0, &[0, 0, 1, 0xba]) {
            return Self::MpegPs;
        }
        if at(0, b"ID3") {
            return Self::Mp3;
        }
        if at(0, &[0x47]) && at(188, &[0x47]) || at(4, &[0x47]) && at(196, &[0x47]) {
            return Self::MpegTs;
        }
        match head {
            // Eleven sync bits, then version, layer and bit rate that are not reserved.
            [0xff, second, third, ..] if second & 0xf6 == 0xf0 && third & 0x3c != 0x3c => Self::Adts,
            [0xff, second, third, ..]
                if second & 0xe0 == 0xe0
                    && second & 0x18 != 0x08
                    && second & 0x06 == 0x02
                    && third & 0xf0 != 0xf0
                    && third & 0x0c != 0x0c =>
            {
                Self::Mp3
            }
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_by_their_first_bytes() {
        let rows: [(&[u8], Container); 12] = [
            (b"\0\0\0\x1cftypisom", Container::Mp4),
            (b"\0\0\0\x14ftypqt  ", Container::Mov),
            (b"\0\0\0\x08wide", Container::Mov),
            (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x84webm", Container::WebM),
            (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x88matroska", Container::Matroska),
            (b"RIFF\0\0\0\0WAVEfmt ", Container::Wav),
            (b"RIFF\0\0\0\0AVI LIST", Container::Avi),
            (b"ID3\x04\0", Container::Mp3),
            (b"\xff\xfb\x90\x64", Container::Mp3),
            (b"\xff\xf1\x50\x80", Container::Adts),
            (b"not a video at all", Container::Unknown),
            (b"", Container::Unknown),
        ];
        for (head, expected) in rows {
            assert_eq!(Container::guess(head), expected, "{head:?}");
        }
    }
}
