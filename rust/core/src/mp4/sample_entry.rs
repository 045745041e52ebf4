//! The sound sample descriptions in `stsd`: which codec, and what FFmpeg will make of it.

use bytes::Bytes;

use super::boxes::{ChildBox, Damaged, Fields, FourCc, child, children};

/// One sound sample description (ISO/IEC 14496-12 §12.2.3, QuickTime sound sample descriptions 0, 1 and 2).
#[derive(Debug, Clone)]
pub(crate) struct SampleEntry {
    /// As written, `enca` for encrypted audio.
    pub(crate) format: FourCc,
    /// `format`, or what `enca` protects.
    pub(crate) original_format: FourCc,
    pub(crate) codec: Codec,
    /// From 1.
    pub(crate) data_reference_index: u16,
    pub(crate) sample_rate: Option<u32>,
    pub(crate) channels: Option<u32>,
    /// Bytes of one sample of all channels, for formats that have such a thing.
    pub(crate) frame_bytes: Option<u64>,
    /// A QuickTime description (version 1 or 2), which ISO players do not read.
    pub(crate) quicktime: bool,
    /// The `esds` box, wherever it stands.
    pub(crate) esds: Option<ChildBox>,
    /// Where in the body of the entry its child boxes start.
    pub(crate) extensions_at: usize,
}

/// The codecs that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// MPEG-4 or MPEG-2 AAC.
    Aac(Aac),
    Mp3,
    /// Samples the decoder skips by itself (`dOps`, RFC 7845 §5.1).
    Opus {
        pre_skip: u16,
    },
    Alac,
    Flac,
    Ac3,
    Eac3,
    Pcm,
    /// Everything else, by its usual name.
    Other(&'static str),
    /// A format that is not known here.
    Unknown,
}

/// What an `AudioSpecificConfig` says (ISO/IEC 14496-3 §1.6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Aac {
    /// Low complexity, 1024 samples a frame, and certainly or very likely without spectral band replication:
    /// each frame decodes to 1024 samples at the rate in the header.
    pub(crate) plain_1024: bool,
}

impl SampleEntry {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.format == b"enca" || self.format == b"drms"
    }
}

impl Codec {
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Aac(_) => Some("aac"),
            Self::Mp3 => Some("mp3"),
            Self::Opus { .. } => Some("opus"),
            Self::Alac => Some("alac"),
            Self::Flac => Some("flac"),
            Self::Ac3 => Some("ac-3"),
            Self::Eac3 => Some("eac-3"),
            Self::Pcm => Some("pcm"),
            Self::Other(name) => Some(name),
            Self::Unknown => None,
        }
    }
}

/// Reads all descriptions of an `stsd` body.
pub(crate) fn parse_stsd(body: &Bytes) -> Result<Vec<SampleEntry>, Damaged> {
    let mut fields = Fields::new(body);
    let (Some(version), Some(())) = (fields.u8(), fields.skip(7)) else {
        return Err(Damaged::new("its stsd box is cut off"));
    };
    children(&body.slice(8..))
        .map(|entry| {
            parse_entry(&entry?, version == 0).ok_or_else(|| Damaged::new("a sample description is cut off"))
        })
        .collect()
}

fn parse_entry(entry: &ChildBox, stsd_version_0: bool) -> Option<SampleEntry> {
    let mut fields = Fields::new(&entry.body);
    fields.skip(6)?;
    let data_reference_index = fields.u16()?;
    let version = fields.u16()?;
    fields.skip(6)?;
    let mut channels = u32::from(fields.u16()?);
    let bits = u64::from(fields.u16()?);
    fields.skip(4)?;
    let mut sample_rate = fields.u32()? >> 16;
    // Some formats say their width themselves, and QuickTime writes 16 bits beside them.
    let sample_bytes = match &entry.kind.0 {
        b"ulaw" | b"alaw" => 1,
        b"in24" => 3,
        b"in32" | b"fl32" => 4,
        b"fl64" => 8,
        _ => bits / 8,
    };
    let mut frame_bytes = Some(u64::from(channels) * sample_bytes).filter(|bytes| *bytes > 0);
    // In an `stsd` of version 1 an entry of version 1 is ISO's, which has no further fields.
    let quicktime = stsd_version_0 && version > 0;
    match version {
        1 if quicktime => {
            let samples_per_packet = fields.u32()?;
            fields.skip(4)?;
            let bytes_per_frame = u64::from(fields.u32()?);
            fields.skip(4)?;
            // FFmpeg goes by the format, others by this field: certain is only what both say.
            let agree = samples_per_packet == 1 && frame_bytes == Some(bytes_per_frame);
            frame_bytes = frame_bytes.filter(|_| agree || bytes_per_frame == 0);
        }
        2 if quicktime => {
            fields.skip(4)?;
            let rate = f64::from_bits(fields.u64()?);
            channels = fields.u32()?;
            fields.skip(4 + 4 + 4)?;
            let bytes_per_packet = u64::from(fields.u32()?);
            let frames_per_packet = fields.u32()?;
            frame_bytes = (frames_per_packet == 1 && bytes_per_packet > 0).then_some(bytes_per_packet);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked first")]
            if (1.0..=f64::from(u32::MAX)).contains(&rate) {
                sample_rate = rate as u32;
            }
        }
        _ => {}
    }
    let extensions_at = entry.body.len() - fields.rest().len();
    let extensions = entry.body.slice(extensions_at..);
    let mut format = entry.kind;
    if entry.kind == b"enca" {
        let sinf = child(&extensions, *b"sinf");
        let frma = sinf.and_then(|sinf| child(&sinf.body, *b"frma"));
        format = frma.and_then(|frma| Fields::new(&frma.body).four_cc()).unwrap_or(format);
    }
    let esds = child(&extensions, *b"esds")
        .or_else(|| child(&extensions, *b"wave").and_then(|wave| child(&wave.body, *b"esds")));
    let mut parsed = SampleEntry {
        format: entry.kind,
        original_format: format,
        codec: codec_of(format),
        data_reference_index,
        sample_rate: Some(sample_rate).filter(|rate| *rate > 0),
        channels: Some(channels).filter(|channels| *channels > 0),
        frame_bytes,
        quicktime,
        esds,
        extensions_at,
    };
    if format == b"mp4a" {
        refine_mp4a(&mut parsed);
    } else if format == b"Opus" {
        // Opus always decodes at 48 kHz; the entry may name the rate before encoding.
        parsed.sample_rate = Some(48_000);
        let specific = child(&extensions, *b"dOps");
        let pre_skip = specific.and_then(|dops| dops.body.get(2..).and_then(|rest| Fields::new(rest).u16()));
        parsed.codec = Codec::Opus { pre_skip: pre_skip.unwrap_or(0) };
    } else if format == b"alac" {
        refine_alac(&mut parsed, &extensions);
    }
    Some(parsed)
}

fn codec_of(format: FourCc) -> Codec {
    match &format.0 {
        b"mp4a" => Codec::Aac(Aac::default()),
        b".mp3" | b"ms\0\x55" => Codec::Mp3,
        b"Opus" => Codec::Opus { pre_skip: 0 },
        b"alac" => Codec::Alac,
        b"fLaC" => Codec::Flac,
        b"ac-3" | b"sac3" => Codec::Ac3,
        b"ec-3" => Codec::Eac3,
        b"sowt" | b"twos" | b"raw " | b"NONE" | b"lpcm" | b"in24" | b"in32" | b"fl32" | b"fl64" | b"ipcm"
        | b"fpcm" => Codec::Pcm,
        b"ulaw" => Codec::Other("mulaw"),
        b"alaw" => Codec::Other("alaw"),
        b"samr" => Codec::Other("amr-nb"),
        b"sawb" => Codec::Other("amr-wb"),
        b"agsm" => Codec::Other("gsm"),
        b"ima4" => Codec::Other("adpcm"),
        b"dtsc" | b"dtsh" | b"dtsl" | b"dtse" => Codec::Other("dts"),
        b"mlpa" => Codec::Other("truehd"),
        b"ac-4" => Codec::Other("ac-4"),
        b"mha1" | b"mhm1" => Codec::Other("mpeg-h"),
        _ => Codec::Unknown,
    }
}

/// `mp4a` is whatever its elementary stream descriptor says (ISO/IEC 14496-1 §7.2.6.6, MP4RA object types).
fn refine_mp4a(entry: &mut SampleEntry) {
    let Some(config) = entry.esds.as_ref().and_then(|esds| decoder_config(&esds.body)) else { return };
    entry.codec = match config.object_type {
        0x40 | 0x66..=0x68 => Codec::Aac(Aac::default()),
        0x69 | 0x6b => Codec::Mp3,
        0xa5 => Codec::Ac3,
        0xa6 => Codec::Eac3,
        0xa9 => Codec::Other("dts"),
        0xad => Codec::Opus { pre_skip: 0 },
        0xdd => Codec::Other("vorbis"),
        _ => Codec::Unknown,
    };
    if config.object_type == 0x40
        && let Some(specific) = config.specific.and_then(audio_specific_config)
    {
        entry.codec = Codec::Aac(Aac { plain_1024: specific.plain_1024 });
        entry.sample_rate = specific.sample_rate.or(entry.sample_rate);
        entry.channels = specific.channels.or(entry.channels);
    }
}

/// The magic cookie has the rate in 32 bits; the entry's 16 cannot hold 96 kHz.
fn refine_alac(entry: &mut SampleEntry, extensions: &Bytes) {
    let cookie = child(extensions, *b"alac")
        .or_else(|| child(extensions, *b"wave").and_then(|wave| child(&wave.body, *b"alac")));
    let Some(cookie) = cookie else { return };
    let mut fields = Fields::new(&cookie.body);
    // Version and flags, frame length, compatible version, depth, three parameters; then channels.
    let channels = fields.skip(4 + 4 + 1 + 1 + 3).and_then(|()| fields.u8());
    let rate = fields.skip(2 + 4 + 4).and_then(|()| fields.u32());
    entry.channels = channels.map(u32::from).filter(|channels| *channels > 0).or(entry.channels);
    entry.sample_rate = rate.filter(|rate| *rate > 0).or(entry.sample_rate);
}

struct DecoderConfig<'a> {
    object_type: u8,
    specific: Option<&'a [u8]>,
}

/// Finds the decoder configuration in an `esds` body.
fn decoder_config(esds: &[u8]) -> Option<DecoderConfig<'_>> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    let mut fields = Fields::new(esds);
    fields.skip(4)?;
    let mut es = Fields::new(descriptor(&mut fields, ES)?);
    es.skip(2)?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let len = es.u8()?;
        es.skip(usize::from(len))?;
    }
    if flags & 0x20 != 0 {
        es.skip(2)?;
    }
    let mut config = Fields::new(descriptor(&mut es, DECODER_CONFIG)?);
    let object_type = config.u8()?;
    config.skip(12)?;
    Some(DecoderConfig { object_type, specific: descriptor(&mut config, DECODER_SPECIFIC) })
}

/// The body of the next descriptor, if it has that tag. A body that is longer than what is there is cut, as
/// FFmpeg does: some muxers count wrong.
fn descriptor<'a>(fields: &mut Fields<'a>, tag: u8) -> Option<&'a [u8]> {
    if fields.u8()? != tag {
        return None;
    }
    let mut len = 0usize;
    for _ in 0..4 {
        let byte = fields.u8()?;
        len = (len << 7) | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    fields.take(len.min(fields.rest().len()))
}

#[derive(Debug, PartialEq, Eq)]
struct SpecificConfig {
    sample_rate: Option<u32>,
    channels: Option<u32>,
    plain_1024: bool,
}

struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    /// At most 24 bits.
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.position / 8)?;
            value = (value << 1) | u32::from((byte >> (7 - self.position % 8)) & 1);
            self.position += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            object_type => Some(object_type),
        }
    }

    /// 0 for a reserved index.
    fn sample_rate(&mut self) -> Option<u32> {
        const RATES: [u32; 13] =
            [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
        match self.take(4)? {
            15 => self.take(24),
            index => Some(RATES.get(usize::try_from(index).ok()?).copied().unwrap_or(0)),
        }
    }
}

fn audio_specific_config(bytes: &[u8]) -> Option<SpecificConfig> {
    const LOW_COMPLEXITY: u32 = 2;
    const SPECTRAL_BAND_REPLICATION: u32 = 5;
    const PARAMETRIC_STEREO: u32 = 29;
    let mut bits = Bits { bytes, position: 0 };
    let object_type = bits.object_type()?;
    let known = |rate: &u32| *rate > 0;
    let mut sample_rate = bits.sample_rate().filter(known);
    let channels = match bits.take(4)? {
        7 => Some(8),
        count @ 1..=6 => Some(count),
        _ => None,
    };
    if object_type == SPECTRAL_BAND_REPLICATION || object_type == PARAMETRIC_STEREO {
        sample_rate = bits.sample_rate().filter(known).or(sample_rate);
        return Some(SpecificConfig { sample_rate, channels, plain_1024: false });
    }
    let mut plain_1024 = object_type == LOW_COMPLEXITY && channels.is_some() && bits.take(1)? == 0;
    if plain_1024 {
        if bits.take(1)? == 1 {
            bits.take(14)?;
        }
        bits.take(1)?;
        let signalled =
            if bits.take(11) == Some(0x2b7) && bits.object_type() == Some(SPECTRAL_BAND_REPLICATION) {
                bits.take(1)
            } else {
                None
            };
        plain_1024 = match signalled {
            Some(0) => true,
            Some(_) => {
                sample_rate = bits.sample_rate().filter(known).or(sample_rate);
                false
            }
            // Implicit signalling: at the low rates a decoder finds out by looking at the frames.
            None => sample_rate.is_some_and(|rate| rate > 24_000),
        };
    }
    Some(SpecificConfig { sample_rate, channels, plain_1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audio_specific_config_tells_plain_aac_from_sbr() {
        let of = |bytes: &[u8]| audio_specific_config(bytes).unwrap();
        // 44.1 kHz stereo LC, with FFmpeg's explicit "no SBR".
        let plain = SpecificConfig { sample_rate: Some(44_100), channels: Some(2), plain_1024: true };
        assert_eq!(of(&[0x12, 0x10, 0x56, 0xe5, 0x00]), plain);
        assert_eq!(of(&[0x12, 0x10]), plain);
        // 24 kHz without a word about SBR: it may be there.
        assert!(!of(&[0x13, 0x10]).plain_1024);
        // HE-AAC, 24 kHz core, 48 kHz out.
        let sbr = of(&[0x2b, 0x11, 0x88, 0x00]);
        assert_eq!((sbr.sample_rate, sbr.plain_1024), (Some(48_000), false));
        assert!(audio_specific_config(&[]).is_none());
    }
}
