//! Small MP4 files made box by box, for tables that no muxer writes.

use std::sync::Mutex;

use audio_extract_core::error::Result;
use audio_extract_core::mp4::RangeReader;
use bytes::Bytes;

/// A box of parts.
pub(crate) fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(kind);
    out.extend_from_slice(&body);
    out
}

/// Numbers of 32 bits.
pub(crate) fn words(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// An audio track whose chunks stand where they are told to.
#[derive(Debug, Clone)]
pub(crate) struct AudioTrack {
    /// Offset and sample sizes of each chunk.
    pub(crate) chunks: Vec<(u64, Vec<u32>)>,
    pub(crate) wide_offsets: bool,
    /// The sample entry, whole.
    pub(crate) entry: Vec<u8>,
    pub(crate) dref_flags: u32,
}

impl AudioTrack {
    pub(crate) fn new(chunks: Vec<(u64, Vec<u32>)>) -> Self {
        Self { chunks, wide_offsets: false, entry: mp4a(b"mp4a"), dref_flags: 1 }
    }

    pub(crate) fn trak(&self) -> Vec<u8> {
        let samples: Vec<u32> = self.chunks.iter().flat_map(|(_, sizes)| sizes.clone()).collect();
        let count = u32::try_from(samples.len()).unwrap();
        let chunk_count = u32::try_from(self.chunks.len()).unwrap();
        let stsz = match samples.first() {
            Some(first) if *first > 0 && samples.iter().all(|size| size == first) => {
                words([0, *first, count])
            }
            _ => words([0, 0, count].into_iter().chain(samples)),
        };
        let mut to_chunk: Vec<[u32; 3]> = Vec::new();
        for ((_, sizes), number) in self.chunks.iter().zip(1u32..) {
            let samples_in_chunk = u32::try_from(sizes.len()).unwrap();
            if to_chunk.last().is_none_or(|last| last[1] != samples_in_chunk) {
                to_chunk.push([number, samples_in_chunk, 1]);
            }
        }
        let chunk_rows =
            words([0, u32::try_from(to_chunk.len()).unwrap()].into_iter().chain(to_chunk.concat()));
        let offsets = if self.wide_offsets {
            let rows: Vec<u8> = self.chunks.iter().flat_map(|(offset, _)| offset.to_be_bytes()).collect();
            boxed(b"co64", &[&words([0, chunk_count]), &rows])
        } else {
            let rows = self.chunks.iter().map(|(offset, _)| u32::try_from(*offset).unwrap());
            boxed(b"stco", &[&words([0, chunk_count].into_iter().chain(rows))])
        };
        let stbl = boxed(
            b"stbl",
            &[
                &boxed(b"stsd", &[&words([0, 1]), &self.entry]),
                &boxed(b"stts", &[&words([0, 1, count, 1024])]),
                &boxed(b"stsc", &[&chunk_rows]),
                &boxed(b"stsz", &[&stsz]),
                &offsets,
            ],
        );
        let dref = boxed(b"dref", &[&words([0, 1]), &boxed(b"url ", &[&words([self.dref_flags])])]);
        let minf = boxed(b"minf", &[&boxed(b"smhd", &[&[0; 8]]), &boxed(b"dinf", &[&dref]), &stbl]);
        trak(b"soun", &minf)
    }
}

/// A track of any kind around its `minf`.
pub(crate) fn trak(handler: &[u8; 4], minf: &[u8]) -> Vec<u8> {
    // Time scale 48,000, duration, "deu".
    let mdhd = boxed(b"mdhd", &[&words([0, 0, 0, 48_000, 0, 0x10b5_0000])]);
    let hdlr = boxed(b"hdlr", &[&[0; 8], handler, &[0; 13]]);
    let tkhd = boxed(b"tkhd", &[&words([7, 0, 0, 1, 0, 0]), &[0; 60]]);
    boxed(b"trak", &[&tkhd, &boxed(b"mdia", &[&mdhd, &hdlr, minf])])
}

/// 48 kHz stereo AAC-LC under any name.
pub(crate) fn mp4a(kind: &[u8; 4]) -> Vec<u8> {
    let specific = [5, 2, 0x11, 0x90];
    let config = [&[4, 19, 0x40, 0x15][..], &[0; 11], &specific].concat();
    let es = [&[3, 24, 0, 0, 0][..], &config].concat();
    let fixed =
        [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 8], &[0, 2, 0, 16, 0, 0, 0, 0, 0xbb, 0x80, 0, 0]].concat();
    boxed(kind, &[&fixed, &boxed(b"esds", &[&[0; 4], &es])])
}

/// `mvhd`, 1,000 units a second, made on 2025-01-29.
pub(crate) fn mvhd() -> Vec<u8> {
    boxed(
        b"mvhd",
        &[
            &words([0, 0xe3be_b500, 0, 1000, 5000, 0x0001_0000]),
            &[1, 0],
            &[0; 10],
            &[0; 36],
            &[0; 24],
            &words([9]),
        ],
    )
}

pub(crate) fn ftyp() -> Vec<u8> {
    boxed(b"ftyp", &[b"isom", &[0; 4], b"isommp41"])
}

/// A file of a few parts in a sea of bytes that are made up where they are read.
pub(crate) struct SparseFile {
    pub(crate) parts: Vec<(u64, Bytes)>,
    pub(crate) size: u64,
    pub(crate) known_size: bool,
    pub(crate) reads: Mutex<Vec<(u64, u64)>>,
}

impl SparseFile {
    pub(crate) fn new(parts: Vec<(u64, Bytes)>, size: u64) -> Self {
        Self { parts, size, known_size: true, reads: Mutex::default() }
    }

    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        Self::new(vec![(0, bytes.into())], size)
    }

    /// What stands in the sea.
    pub(crate) fn filler(offset: u64) -> u8 {
        let mixed = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 56) as u8 ^ (mixed >> 24) as u8
    }

    pub(crate) fn bytes(&self, offset: u64, len: u64) -> Bytes {
        let end = (offset + len).min(self.size).max(offset);
        let mut out: Vec<u8> = (offset..end).map(Self::filler).collect();
        for (start, part) in &self.parts {
            let from = offset.max(*start);
            let to = end.min(start + part.len() as u64);
            if from < to {
                let (at, until) = ((from - offset) as usize, (to - offset) as usize);
                out[at..until].copy_from_slice(&part[(from - start) as usize..(to - start) as usize]);
            }
        }
        out.into()
    }
}

impl RangeReader for SparseFile {
    async fn read_range(&self, offset: u64, len: u64) -> Result<Bytes> {
        assert!(len > 0, "an empty read at {offset}");
        assert!(!self.known_size || offset + len <= self.size, "a read beyond the end");
        self.reads.lock().unwrap().push((offset, len));
        Ok(self.bytes(offset, len))
    }

    fn size(&self) -> Option<u64> {
        self.known_size.then_some(self.size)
    }
}
