//! Where the samples of one track are: `stsz`, `stsc`, `stco`/`co64`, packed, and the walk over their chunks.
//!
//! A ten-hour recording has 1.7 million audio samples in up to a million chunks: 25 MB of tables as they stand
//! in the file. Rows are therefore kept as LEB128 deltas to the row before, in segments that never move, and
//! only ever walked from the start.

use std::sync::Arc;

use bytes::Bytes;

use super::boxes::Damaged;

const SEGMENT_BYTES: usize = 64 * 1024;
const LONGEST_VARINT: usize = 10;

/// Rows of `N` integers, each column packed as differences to the row before.
#[derive(Debug, Clone)]
pub(crate) struct Packed<const N: usize> {
    segments: Arc<[Bytes]>,
    rows: u64,
}

/// Takes rows in order; see [`Packed`].
#[derive(Debug)]
pub(crate) struct PackedBuilder<const N: usize> {
    full: Vec<Bytes>,
    current: Vec<u8>,
    previous: [u64; N],
    rows: u64,
}

impl<const N: usize> PackedBuilder<N> {
    pub(crate) fn new() -> Self {
        Self { full: Vec::new(), current: Vec::new(), previous: [0; N], rows: 0 }
    }

    pub(crate) fn push(&mut self, row: [u64; N]) {
        if self.current.len() + N * LONGEST_VARINT > SEGMENT_BYTES {
            // The segment is as good as full: turning it into `Bytes` moves nothing.
            self.full.push(std::mem::take(&mut self.current).into());
        }
        if self.current.capacity() == 0 && !self.full.is_empty() {
            self.current.reserve_exact(SEGMENT_BYTES);
        }
        for (value, previous) in row.into_iter().zip(&mut self.previous) {
            let difference = value.wrapping_sub(*previous).cast_signed();
            let mut zigzag = ((difference << 1) ^ (difference >> 63)).cast_unsigned();
            *previous = value;
            loop {
                let low = u8::try_from(zigzag & 0x7f).unwrap_or(0x7f);
                zigzag >>= 7;
                if zigzag == 0 {
                    self.current.push(low);
                    break;
                }
                self.current.push(low | 0x80);
            }
        }
        self.rows += 1;
    }

    pub(crate) fn finish(mut self) -> Packed<N> {
        self.current.shrink_to_fit();
        self.full.push(self.current.into());
        Packed { segments: self.full.into(), rows: self.rows }
    }
}

impl<const N: usize> Packed<N> {
    pub(crate) fn row_count(&self) -> u64 {
        self.rows
    }

    pub(crate) fn retained_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len() as u64).sum()
    }

    pub(crate) fn rows(&self) -> PackedRows<N> {
        PackedRows {
            segments: Arc::clone(&self.segments),
            segment: 0,
            position: 0,
            previous: [0; N],
            left: self.rows,
        }
    }
}

/// Walks the rows; see [`Packed`].
#[derive(Debug, Clone)]
pub(crate) struct PackedRows<const N: usize> {
    segments: Arc<[Bytes]>,
    segment: usize,
    position: usize,
    previous: [u64; N],
    left: u64,
}

impl<const N: usize> PackedRows<N> {
    pub(crate) fn left(&self) -> u64 {
        self.left
    }
}

impl<const N: usize> Iterator for PackedRows<N> {
    type Item = [u64; N];

    fn next(&mut self) -> Option<[u64; N]> {
        if self.left == 0 {
            return None;
        }
        // Rows never cross segments.
        if self.position >= self.segments.get(self.segment)?.len() {
            self.segment += 1;
            self.position = 0;
        }
        let mut bytes = self.segments.get(self.segment)?.get(self.position..)?.iter();
        let before = bytes.len();
        for previous in &mut self.previous {
            let mut zigzag = 0u64;
            let mut shift = 0u32;
            loop {
                let byte = *bytes.next()?;
                zigzag |= u64::from(byte & 0x7f).checked_shl(shift)?;
                if byte & 0x80 == 0 {
                    break;
                }
                shift += 7;
            }
            let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            *previous = previous.wrapping_add(difference.cast_unsigned());
        }
        self.position += before - bytes.len();
        self.left -= 1;
        Some(self.previous)
    }
}

/// Sample sizes (`stsz`).
#[derive(Debug, Clone)]
pub(crate) enum Sizes {
    /// All samples have the same size.
    Constant { size: u32, count: u32 },
    /// Each has its own.
    Table(Packed<1>),
}

impl Sizes {
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Constant { count, .. } => u64::from(*count),
            Self::Table(table) => table.row_count(),
        }
    }
}

/// The tables that say where the samples of one track are.
#[derive(Debug, Clone)]
pub(crate) struct SampleTables {
    pub(crate) sizes: Sizes,
    /// `first_chunk`, `samples_per_chunk`, `sample_description_index`.
    pub(crate) to_chunk: Packed<3>,
    pub(crate) offsets: Packed<1>,
}

/// Samples that follow each other in the file without a gap, as the muxer wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What a walk over all chunks found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Sum of all chunks.
    pub(crate) audio_bytes: u64,
    /// Where the last chunk ends in the file.
    pub(crate) end: u64,
}

impl SampleTables {
    pub(crate) fn retained_bytes(&self) -> u64 {
        let sizes = match &self.sizes {
            Sizes::Constant { .. } => 0,
            Sizes::Table(table) => table.retained_bytes(),
        };
        sizes + self.to_chunk.retained_bytes() + self.offsets.retained_bytes()
    }

    /// Walks the chunks in the order of the track, which [`SampleTables::check`] shows to be file order.
    pub(crate) fn chunks(&self) -> Chunks {
        let mut to_chunk = self.to_chunk.rows();
        let upcoming = to_chunk.next();
        Chunks {
            sizes: match &self.sizes {
                Sizes::Constant { size, count } => {
                    SizesLeft::Constant { size: *size, left: u64::from(*count) }
                }
                Sizes::Table(table) => SizesLeft::Table(table.rows()),
            },
            to_chunk,
            upcoming,
            samples_per_chunk: 0,
            offsets: self.offsets.rows(),
            number: 0,
        }
    }

    /// Walks everything once.
    ///
    /// # Errors
    /// The tables contradict each other, or the chunks are not in file order.
    pub(crate) fn check(&self) -> Result<Layout, Damaged> {
        let mut layout = Layout { audio_bytes: 0, end: 0 };
        let mut chunks = self.chunks();
        for chunk in &mut chunks {
            let chunk = chunk?;
            if chunk.len == 0 {
                continue;
            }
            if chunk.offset < layout.end {
                return Err(Damaged::new("its audio is not stored in playing order"));
            }
            let end = chunk.offset.checked_add(chunk.len);
            layout.end = end.ok_or_else(|| Damaged::new("a chunk ends beyond 2^64 bytes"))?;
            // Cannot overflow: chunks do not overlap and end below 2^64.
            layout.audio_bytes = layout.audio_bytes.saturating_add(chunk.len);
        }
        match chunks.samples_left() {
            0 if chunks.upcoming.is_none() => Ok(layout),
            0 => Err(Damaged::new("its stsc table speaks of chunks that do not exist")),
            left => Err(Damaged::new(format!("{left} of its samples belong to no chunk"))),
        }
    }
}

#[derive(Debug, Clone)]
enum SizesLeft {
    Constant { size: u32, left: u64 },
    Table(PackedRows<1>),
}

/// See [`SampleTables::chunks`]. Ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    sizes: SizesLeft,
    to_chunk: PackedRows<3>,
    /// The row of `stsc` that is not in force yet.
    upcoming: Option<[u64; 3]>,
    samples_per_chunk: u64,
    offsets: PackedRows<1>,
    /// Chunks are numbered from 1.
    number: u64,
}

impl Chunks {
    fn samples_left(&self) -> u64 {
        match &self.sizes {
            SizesLeft::Constant { left, .. } => *left,
            SizesLeft::Table(rows) => rows.left(),
        }
    }

    fn step(&mut self, offset: u64) -> Result<Chunk, Damaged> {
        self.number += 1;
        if let Some([first_chunk, samples_per_chunk, _]) = self.upcoming
            && first_chunk <= self.number
        {
            if first_chunk != self.number || samples_per_chunk == 0 {
                return Err(Damaged::new("its stsc table is not in order"));
            }
            self.samples_per_chunk = samples_per_chunk;
            self.upcoming = self.to_chunk.next();
        }
        let samples = self.samples_per_chunk;
        if samples == 0 {
            return Err(Damaged::new("its stsc table does not start at the first chunk"));
        }
        if samples > self.samples_left() {
            return Err(Damaged::new("its chunks hold more samples than there are"));
        }
        let len = match &mut self.sizes {
            // Both factors fit 32 bits.
            SizesLeft::Constant { size, left } => {
                *left -= samples;
                samples * u64::from(*size)
            }
            // At most 2^32 sizes of at most 2^32.
            SizesLeft::Table(rows) => {
                let mut sum = 0u64;
                for _ in 0..samples {
                    let [size] = rows.next().unwrap_or([0]);
                    sum = sum.saturating_add(size);
                }
                sum
            }
        };
        Ok(Chunk { offset, len })
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let [offset] = self.offsets.next()?;
        let step = self.step(offset);
        if step.is_err() {
            self.offsets.left = 0;
        }
        Some(step)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn packed<const N: usize>(rows: &[[u64; N]]) -> Packed<N> {
        let mut builder = PackedBuilder::new();
        for row in rows {
            builder.push(*row);
        }
        builder.finish()
    }

    /// Tables for chunks of `(offset, sample sizes)`.
    pub(crate) fn tables(chunks: &[(u64, Vec<u32>)]) -> SampleTables {
        let sizes: Vec<_> =
            chunks.iter().flat_map(|(_, sizes)| sizes).map(|size| [u64::from(*size)]).collect();
        let to_chunk: Vec<_> =
            chunks.iter().zip(1u64..).map(|((_, sizes), number)| [number, sizes.len() as u64, 1]).collect();
        let offsets: Vec<_> = chunks.iter().map(|(offset, _)| [*offset]).collect();
        SampleTables {
            sizes: Sizes::Table(packed(&sizes)),
            to_chunk: packed(&to_chunk),
            offsets: packed(&offsets),
        }
    }

    proptest! {
        #[test]
        fn packing_gives_back_every_row(rows in prop::collection::vec(any::<[u64; 3]>(), 0..9000)) {
            let packed = packed(&rows);
            prop_assert_eq!(packed.rows().collect::<Vec<_>>(), rows);
        }
    }

    #[test]
    fn ten_hours_of_tables_take_a_third_of_their_size_in_the_file() {
        // 1.7 million AAC frames of about 170 bytes, one or two between two video frames of about 3.7 KB.
        let mut sizes = PackedBuilder::<1>::new();
        let mut to_chunk = PackedBuilder::<3>::new();
        let mut offsets = PackedBuilder::<1>::new();
        let mut random = 1u64;
        let mut offset = 48u64;
        let mut number = 0u64;
        let mut written = 0u64;
        while written < 1_700_000 {
            number += 1;
            let samples = 1 + number % 2;
            to_chunk.push([number, samples, 1]);
            offsets.push([offset]);
            for _ in 0..samples {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let size = 140 + (random >> 33) % 60;
                sizes.push([size]);
                offset += size;
            }
            written += samples;
            offset += 2000 + (random >> 40) % 3400;
        }
        let tables = SampleTables {
            sizes: Sizes::Table(sizes.finish()),
            to_chunk: to_chunk.finish(),
            offsets: offsets.finish(),
        };
        let raw = 4 * written + (12 + 8) * number;
        let packed = tables.retained_bytes();
        assert!(packed * 100 < raw * 34, "{packed} of {raw}");
        assert_eq!(
            tables.check().unwrap().end,
            tables.chunks().last().map(|c| c.unwrap()).map(|c| c.offset + c.len).unwrap()
        );
    }

    #[test]
    fn chunks_of_constant_samples_are_not_walked_sample_by_sample() {
        let tables = SampleTables {
            sizes: Sizes::Constant { size: u32::MAX, count: u32::MAX },
            to_chunk: packed(&[[1, u64::from(u32::MAX), 1]]),
            offsets: packed(&[[0]]),
        };
        assert_eq!(tables.check().unwrap().audio_bytes, u64::from(u32::MAX) * u64::from(u32::MAX));
    }

    #[test]
    fn tables_that_contradict_each_other_are_refused() {
        let sound = tables(&[(100, vec![10, 20]), (200, vec![5])]);
        assert_eq!(sound.check(), Ok(Layout { audio_bytes: 35, end: 205 }));

        let message = |tables: &SampleTables| tables.check().unwrap_err().0;
        let mut more_samples = sound.clone();
        more_samples.sizes = Sizes::Constant { size: 1, count: 4 };
        assert!(message(&more_samples).contains("1 of its samples"));
        let mut fewer_samples = sound.clone();
        fewer_samples.sizes = Sizes::Constant { size: 1, count: 2 };
        assert!(message(&fewer_samples).contains("more samples"));
        let mut no_first = sound.clone();
        no_first.to_chunk = packed(&[[2, 1, 1]]);
        assert!(message(&no_first).contains("does not start"));
        let mut backwards = sound.clone();
        backwards.to_chunk = packed(&[[1, 2, 1], [1, 1, 1]]);
        assert!(message(&backwards).contains("not in order"));
        let mut beyond = sound.clone();
        beyond.to_chunk = packed(&[[1, 2, 1], [2, 1, 1], [3, 1, 1]]);
        assert!(message(&beyond).contains("do not exist"));
        let mut overlapping = sound.clone();
        overlapping.offsets = packed(&[[100], [129]]);
        assert!(message(&overlapping).contains("playing order"));
        let mut overflowing = sound;
        overflowing.offsets = packed(&[[100], [u64::MAX]]);
        assert!(message(&overflowing).contains("2^64"));
    }
}
