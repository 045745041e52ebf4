//! FFmpeg's command line for one extraction.

use crate::request::{AudioSpec, Codec, Quality};

/// Where FFmpeg reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// The pipe we write to.
    Pipe,
    /// A local MP4 that has to be read with seeks.
    Mp4File(String),
}

/// MP3's default, in bits per second.
pub(crate) const MP3_BITRATE: u32 = 128_000;
/// The rates of FFmpeg's libmp3lame in its order: where none is asked for, FFmpeg takes the best of these.
const MP3_RATES: &str = "44100|48000|32000|22050|24000|16000|11025|12000|8000";

// What a quality means to each encoder: `docs/decisions.md` has the measurements, `benches/quality.py` makes them.

/// LAME's level. Below 3 it takes longer and, without a bit reservoir, sounds no better; 8 and 9 are 7.
const fn lame_level(quality: Quality) -> u32 {
    match quality {
        Quality::Fast => 7,
        Quality::Standard => 5,
        Quality::Best => 3,
    }
}

/// Opus' complexity. 0 measures worse; above 6 the encoder tells speech from music.
const fn opus_level(quality: Quality) -> u32 {
    match quality {
        Quality::Fast => 5,
        Quality::Standard | Quality::Best => 10,
    }
}

/// How FFmpeg's AAC encoder looks for its quantisers: `fast` halves the time, and music loses a little.
const fn aac_coder(quality: Quality) -> &'static str {
    match quality {
        Quality::Fast => "fast",
        Quality::Standard | Quality::Best => "twoloop",
    }
}

/// FLAC's level: nothing to hear, only bytes. 12 takes six times as long as 8 for four per cent less.
const fn flac_level(quality: Quality) -> u32 {
    match quality {
        Quality::Fast => 0,
        Quality::Standard => 5,
        Quality::Best => 8,
    }
}

/// What the sound of an output is called between mixing and encoding: each of one child has its own.
const MAIN: &str = "main";
const MEASURED: &str = "measured";

/// The arguments, without the program.
pub(crate) fn extraction(input: &Input, audio: &AudioSpec, track: u32) -> Vec<String> {
    filtered(input, audio, track, None)
}

/// The arguments of an encoder that has to select its segments with `filters`.
///
/// They stand behind the conversion that [`extraction`] leaves to FFmpeg, so that the same samples are encoded.
pub(crate) fn segments(input: &Input, audio: &AudioSpec, track: u32, filters: &str) -> Vec<String> {
    filtered(input, audio, track, Some(filters))
}

/// The arguments of a child that only decodes what it is handed, to a WAV of 32-bit floats.
pub(crate) fn decoding() -> Vec<String> {
    let words = "-hide_banner -nostdin -nostats -benchmark -loglevel level+verbose -protocol_whitelist pipe -i pipe:0";
    words
        .split(' ')
        .chain(PCM.iter().copied())
        .chain(["-map", "0:a:0", "pipe:1"])
        .map(str::to_owned)
        .collect()
}

/// Decoded sound that says its own rate and channels. Samples may be louder than full scale.
const PCM: &[&str] =
    &["-vn", "-sn", "-dn", "-map_metadata", "-1", "-c:a", "pcm_f32le", "-f", "wav", "-flush_packets", "0"];

/// The arguments of one more output of a child, but for the name of its pipe; `codec_name`: of what is copied.
pub(crate) fn beside(audio: &AudioSpec, track: u32, number: usize, codec_name: Option<&str>) -> Vec<String> {
    let mut list = Vec::with_capacity(32);
    output(&mut list, audio, track, &format!("beside{number}"), None);
    if let Some(name) = codec_name.filter(|_| audio.codec == Codec::Copy) {
        list.extend(copy_container(name).iter().copied().chain(["-flush_packets", "0"]).map(str::to_owned));
    }
    list
}

/// The arguments of an output that decodes the track to what [`PCM`] says, but for the name of its pipe: the samples
/// that an encoder of `audio` gets.
pub(crate) fn measured(audio: &AudioSpec, track: u32) -> Vec<String> {
    let mut list = Vec::with_capacity(24);
    sound(&mut list, audio, track, MEASURED, None);
    if audio.codec != Codec::Copy {
        let options = [("-ar", audio.sample_rate_hz), ("-ac", audio.channels)];
        for (name, value) in options {
            list.extend(value.map(|value| [name.to_owned(), value.to_string()]).into_iter().flatten());
        }
    }
    list.extend(PCM.iter().map(|word| (*word).to_owned()));
    list
}

fn filtered(input: &Input, audio: &AudioSpec, track: u32, filters: Option<&str>) -> Vec<String> {
    let mut list: Vec<String> = Vec::with_capacity(48);
    let mut add = |words: &[&str]| list.extend(words.iter().map(|word| (*word).to_owned()));
    // Level verbose is where FFmpeg says how many samples it encoded; `-benchmark` where it says its CPU time.
    add(&[
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-benchmark",
        "-loglevel",
        "level+verbose",
        "-progress",
        "pipe:2",
    ]);
    match input {
        Input::Pipe => add(&["-protocol_whitelist", "pipe", "-i", "pipe:0"]),
        // The demuxer is named, so that a playlist dressed as a recording cannot name other files.
        Input::Mp4File(path) => {
            add(&["-protocol_whitelist", "file", "-f", "mov", "-i"]);
            add(&[&format!("file:{path}")]);
        }
    }
    output(&mut list, audio, track, MAIN, filters);
    if audio.codec != Codec::Copy {
        list.push("pipe:1".to_owned());
    }
    list
}

/// Which sound, and what is done to it: `-map`, and `-af` or, where tracks are mixed, a graph of its own.
fn sound(list: &mut Vec<String>, audio: &AudioSpec, track: u32, label: &str, filters: Option<&str>) {
    let mut chain: Vec<String> = shaping(audio).into_iter().collect();
    if filters.is_some() || (audio.clip.is_some() && audio.codec == Codec::Mp3) {
        chain.push(conversion(audio));
    } else if let (Some(_), Some(rate)) = (audio.clip, audio.sample_rate_hz) {
        chain.push(format!("aresample={rate}"));
    }
    if let Some((from, to)) = audio.clip {
        chain.push(format!("atrim=start_sample={from}:end_sample={to},asetpts=N/SR/TB"));
    }
    chain.extend(filters.map(str::to_owned));
    if audio.mixed_tracks > 1 {
        let tracks = audio.mixed_tracks;
        let inputs: Vec<String> = (0..tracks).map(|track| format!("[0:a:{track}]")).collect();
        // Of so many tracks each is so much quieter: whatever is said at once, nothing is cut off.
        let mixed = format!(
            "{}amix=inputs={tracks}:duration=longest:normalize=0,volume=1/{tracks}:precision=float",
            inputs.concat()
        );
        chain.insert(0, mixed);
        list.extend(["-filter_complex".to_owned(), format!("{}[{label}]", chain.join(","))]);
        list.extend(["-map".to_owned(), format!("[{label}]")]);
        return;
    }
    list.extend(["-map".to_owned(), format!("0:a:{track}")]);
    if !chain.is_empty() && audio.codec != Codec::Copy {
        list.extend(["-af".to_owned(), chain.join(",")]);
    }
}

/// Everything of one output but the name of its pipe; of a copy its container, too, is left to others.
fn output(list: &mut Vec<String>, audio: &AudioSpec, track: u32, label: &str, filters: Option<&str>) {
    sound(list, audio, track, label, filters);
    let mut add = |words: &[&str]| list.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["-vn", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"]);
    if filters.is_none() && audio.codec != Codec::Copy {
        if let Some(rate) = audio.sample_rate_hz {
            add(&["-ar", &rate.to_string()]);
        }
        if let Some(channels) = audio.channels {
            add(&["-ac", &channels.to_string()]);
        }
    }
    let bitrate = |default: Option<u32>| audio.bitrate_bps.or(default).map(|bitrate| bitrate.to_string());
    let level = |default: u32| audio.compression_level.unwrap_or(default).to_string();
    match audio.codec {
        Codec::Mp3 => {
            add(&["-c:a", "libmp3lame"]);
            if let Some(bitrate) = bitrate(Some(MP3_BITRATE)) {
                add(&["-b:a", &bitrate]);
            }
            add(&["-compression_level", &level(lame_level(audio.quality))]);
            // Without a bit reservoir every frame stands alone, so the bytes cannot depend on how the work was cut.
            // The Info frame and the tag are ours (`mp3.rs`): FFmpeg cannot go back and fill them in on a pipe.
            add(&["-reservoir", "0", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3"]);
        }
        Codec::Aac => {
            add(&["-c:a", "aac", "-aac_coder", aac_coder(audio.quality)]);
            if let Some(bitrate) = bitrate(None) {
                add(&["-b:a", &bitrate]);
            }
            add(FRAGMENTED_MP4);
        }
        Codec::Opus => {
            add(&["-c:a", "libopus"]);
            if let Some(bitrate) = bitrate(None) {
                add(&["-b:a", &bitrate]);
            }
            add(&["-compression_level", &level(opus_level(audio.quality)), "-f", "ogg"]);
        }
        Codec::Flac => {
            let level = level(flac_level(audio.quality));
            add(&["-c:a", "flac", "-compression_level", &level]);
            if let Some(bits) = audio.sample_bits {
                // FFmpeg writes 24 bits where it has 32.
                add(&["-sample_fmt", if bits == 16 { "s16" } else { "s32" }]);
            }
            add(&["-f", "flac"]);
        }
        Codec::Wav => add(&["-c:a", "pcm_s16le", "-f", "wav"]),
        Codec::Copy => add(&["-c:a", "copy"]),
    }
    if audio.codec != Codec::Mp3 {
        let tags =
            [("title", &audio.tags.title), ("date", &audio.tags.date), ("comment", &audio.tags.source)];
        for (key, value) in tags {
            if let Some(value) = value {
                add(&["-metadata", &format!("{key}={value}")]);
            }
        }
    }
    if audio.codec != Codec::Copy {
        add(&["-flush_packets", "0"]);
    }
}

/// The filters that make it louder or quieter.
fn shaping(audio: &AudioSpec) -> Option<String> {
    if let Some(gain) = audio.gain_db {
        return Some(format!("volume={gain:.2}dB:precision=float"));
    }
    let loudness = audio.loudness_lufs?;
    // It works at 192 kHz; without the second filter an encoder would get that.
    let rate = audio.sample_rate_hz.unwrap_or(48_000);
    Some(format!("loudnorm=I={loudness}:TP={MOST_PEAK_DBTP}:LRA=11,aresample={rate}"))
}

/// What FFmpeg's `loudnorm` keeps the true peak below, as EBU R128 asks.
const MOST_PEAK_DBTP: f64 = -1.0;

/// The filter that does what `-ar` and `-ac` do, and what FFmpeg does for an MP3 encoder without them.
fn conversion(audio: &AudioSpec) -> String {
    let rates = audio.sample_rate_hz.map_or_else(|| MP3_RATES.to_owned(), |rate| rate.to_string());
    // MP3 has no more than two.
    let layouts = match audio.channels {
        None => "mono|stereo",
        Some(1) => "mono",
        Some(_) => "stereo",
    };
    format!("aformat=sample_rates={rates}:channel_layouts={layouts}")
}

/// MP4 that is written front to back: AAC has no plain container that a pipe can take and that players seek in.
const FRAGMENTED_MP4: &[&str] =
    &["-f", "mp4", "-movflags", "+empty_moov+default_base_moof", "-frag_duration", "10000000"];

/// The arguments of a copy through FFmpeg.
pub(crate) fn copy(input: &Input, audio: &AudioSpec, track: u32, codec_name: &str) -> Vec<String> {
    let mut list = extraction(input, audio, track);
    list.extend(
        copy_container(codec_name)
            .iter()
            .copied()
            .chain(["-flush_packets", "0", "pipe:1"])
            .map(str::to_owned),
    );
    list
}

fn copy_container(codec_name: &str) -> &'static [&'static str] {
    match CopyContainer::for_codec(codec_name) {
        CopyContainer::Mp4 => FRAGMENTED_MP4,
        CopyContainer::Ogg => &["-f", "ogg"],
        CopyContainer::Mp3 => &["-f", "mp3"],
        CopyContainer::Flac => &["-f", "flac"],
        CopyContainer::Wav => &["-f", "wav"],
        CopyContainer::Matroska => &["-f", "matroska"],
    }
}

/// What a copied track is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyContainer {
    Mp4,
    Ogg,
    Mp3,
    Flac,
    Wav,
    Matroska,
}

impl CopyContainer {
    /// The container for a codec, by FFmpeg's name of it.
    pub(crate) fn for_codec(name: &str) -> Self {
        match name {
            "aac" | "alac" | "ac3" | "eac3" | "ac-3" | "eac-3" => Self::Mp4,
            "opus" | "vorbis" | "speex" => Self::Ogg,
            "mp3" => Self::Mp3,
            "flac" => Self::Flac,
            name if name.starts_with("pcm") => Self::Wav,
            _ => Self::Matroska,
        }
    }

    /// The usual file name extension.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "m4a",
            Self::Ogg => "ogg",
            Self::Mp3 => "mp3",
            Self::Flac => "flac",
            Self::Wav => "wav",
            Self::Matroska => "mka",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The encoder's own arguments, from its name up to the container.
    fn encoder(audio: serde_json::Value) -> String {
        let audio: AudioSpec = serde_json::from_value(audio).unwrap();
        let list = extraction(&Input::Pipe, &audio, 0);
        let from = list.iter().position(|word| word == "-c:a").unwrap();
        let length = list[from..].iter().position(|word| word == "-f").unwrap();
        list[from + 1..from + length].join(" ")
    }

    #[test]
    fn each_quality_of_each_codec_has_the_settings_that_were_measured() {
        let mp3 = |level| {
            format!(
                "libmp3lame -b:a 128000 -compression_level {level} -reservoir 0 -write_xing 0 -id3v2_version 0"
            )
        };
        let expected = [
            ("mp3", [mp3(7), mp3(5), mp3(3)]),
            ("aac", ["fast", "twoloop", "twoloop"].map(|coder| format!("aac -aac_coder {coder}"))),
            ("opus", [5, 10, 10].map(|level| format!("libopus -compression_level {level}"))),
            ("flac", [0, 5, 8].map(|level| format!("flac -compression_level {level}"))),
            ("wav", [(); 3].map(|()| "pcm_s16le".to_owned())),
        ];
        for (codec, settings) in expected {
            for (quality, setting) in ["fast", "standard", "best"].into_iter().zip(settings) {
                assert_eq!(
                    encoder(json!({"codec": codec, "quality": quality})),
                    setting,
                    "{codec} {quality}"
                );
            }
        }
    }

    #[test]
    fn a_compression_level_that_was_set_overrides_the_quality() {
        for codec in ["mp3", "opus", "flac"] {
            let arguments = encoder(json!({"codec": codec, "quality": "fast", "compression_level": 1}));
            assert!(arguments.contains("-compression_level 1"), "{arguments}");
            assert_eq!(arguments.matches("-compression_level").count(), 1, "{arguments}");
        }
    }
}
