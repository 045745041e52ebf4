//! The header of the audio-only file, made in pieces: its tables are unpacked while it is read.

use bytes::{BufMut, Bytes, BytesMut};

use super::boxes::make_box;
use super::sample_tables::{Chunks, PackedRows, SampleTables, Sizes};
use super::track::{Node, Table};

const PIECE_BYTES: usize = 64 * 1024;

/// What the header is made of, before its lengths are known.
#[derive(Debug, Clone)]
pub(crate) struct HeaderPlan {
    pub(crate) ftyp: Option<Bytes>,
    pub(crate) before_trak: Vec<Bytes>,
    /// Children of `trak`.
    pub(crate) trak: Vec<Node>,
    pub(crate) after_trak: Vec<Bytes>,
    pub(crate) tables: SampleTables,
    pub(crate) audio_bytes: u64,
}

impl HeaderPlan {
    /// Lays the header out. Chunk offsets take 64 bits only when they have to.
    pub(crate) fn lay_out(self) -> HeaderPieces {
        let pieces = self.assemble(false);
        if u32::try_from(pieces.file_len()).is_ok() {
            return pieces;
        }
        self.assemble(true)
    }

    fn assemble(&self, wide: bool) -> HeaderPieces {
        let mut sections = Sections::new(wide, &self.tables);
        sections.raw(self.ftyp.iter());
        let trak_len = 8 + sections.nodes_len(&self.trak);
        let around = self.before_trak.iter().chain(&self.after_trak).map(|raw| raw.len() as u64).sum::<u64>();
        sections.container(*b"moov", 8 + around + trak_len);
        sections.raw(self.before_trak.iter());
        sections.container(*b"trak", trak_len);
        sections.nodes(&self.trak);
        sections.raw(self.after_trak.iter());
        sections.mdat(self.audio_bytes);
        sections.finish(self)
    }
}

#[derive(Debug, Clone)]
enum Section {
    Raw(Bytes),
    Table(Table),
}

/// Collects sections and their total length.
struct Sections<'a> {
    wide: bool,
    tables: &'a SampleTables,
    done: Vec<Section>,
    /// Small raw pieces, joined.
    small: BytesMut,
    len: u64,
}

impl<'a> Sections<'a> {
    fn new(wide: bool, tables: &'a SampleTables) -> Self {
        Self { wide, tables, done: Vec::new(), small: BytesMut::new(), len: 0 }
    }

    fn table_len(&self, table: Table) -> u64 {
        match (table, &self.tables.sizes) {
            (Table::Sizes, Sizes::Constant { .. }) => 20,
            (Table::Sizes, Sizes::Table(sizes)) => 20 + 4 * sizes.row_count(),
            (Table::ToChunk, _) => 16 + 12 * self.tables.to_chunk.row_count(),
            (Table::Offsets, _) => 16 + if self.wide { 8 } else { 4 } * self.tables.offsets.row_count(),
        }
    }

    fn node_len(&self, node: &Node) -> u64 {
        match node {
            Node::Raw(raw) => raw.raw.len() as u64,
            Node::Container { children, .. } => 8 + self.nodes_len(children),
            Node::Table(table) => self.table_len(*table),
        }
    }

    fn nodes_len(&self, nodes: &[Node]) -> u64 {
        nodes.iter().map(|node| self.node_len(node)).sum()
    }

    fn raw<'b>(&mut self, pieces: impl Iterator<Item = &'b Bytes>) {
        for piece in pieces {
            self.len += piece.len() as u64;
            if piece.len() >= PIECE_BYTES {
                self.flush();
                self.done.push(Section::Raw(piece.clone()));
            } else {
                self.small.extend_from_slice(piece);
            }
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.done.push(Section::Raw(self.small.split().freeze()));
        }
    }

    /// A box header. Everything below `moov` is smaller than 4 GiB: at most twice `MAX_MOOV_BYTES`.
    fn container(&mut self, kind: [u8; 4], len: u64) {
        self.small.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        self.small.put_slice(&kind);
        self.len += 8;
    }

    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Raw(raw) => self.raw(std::iter::once(&raw.raw)),
                Node::Container { kind, children } => {
                    self.container(kind.0, self.node_len(node));
                    self.nodes(children);
                }
                Node::Table(table) => self.table(*table),
            }
        }
    }

    /// The header of a table and the fields before its rows; the rows follow when they are read.
    fn table(&mut self, table: Table) {
        let count = |rows: u64| u32::try_from(rows).unwrap_or(u32::MAX);
        let len = self.table_len(table);
        let kind = match table {
            Table::Sizes => *b"stsz",
            Table::ToChunk => *b"stsc",
            Table::Offsets if self.wide => *b"co64",
            Table::Offsets => *b"stco",
        };
        self.container(kind, len);
        self.small.put_u32(0);
        match (table, &self.tables.sizes) {
            (Table::Sizes, Sizes::Constant { size, count }) => {
                self.small.put_u32(*size);
                self.small.put_u32(*count);
            }
            (Table::Sizes, Sizes::Table(sizes)) => {
                self.small.put_u32(0);
                self.small.put_u32(count(sizes.row_count()));
            }
            (Table::ToChunk, _) => self.small.put_u32(count(self.tables.to_chunk.row_count())),
            (Table::Offsets, _) => self.small.put_u32(count(self.tables.offsets.row_count())),
        }
        self.flush();
        self.done.push(Section::Table(table));
        self.len += len - 8;
    }

    fn mdat(&mut self, audio_bytes: u64) {
        if let Ok(len) = u32::try_from(audio_bytes.saturating_add(8)) {
            self.container(*b"mdat", u64::from(len));
        } else {
            self.small.put_u32(1);
            self.small.put_slice(b"mdat");
            self.small.put_u64(audio_bytes.saturating_add(16));
            self.len += 16;
        }
    }

    fn finish(mut self, plan: &HeaderPlan) -> HeaderPieces {
        self.flush();
        HeaderPieces {
            len: self.len,
            audio_bytes: plan.audio_bytes,
            tables: plan.tables.clone(),
            wide: self.wide,
            sections: self.done.into_iter(),
            rows: Rows::None,
        }
    }
}

/// The header of an audio-only file, up to and including the `mdat` header; the audio bytes follow it.
///
/// An iterator of pieces of at most about 64 KiB, or of slices of what the index holds anyway.
#[derive(Debug, Clone)]
pub struct HeaderPieces {
    len: u64,
    audio_bytes: u64,
    tables: SampleTables,
    wide: bool,
    sections: std::vec::IntoIter<Section>,
    rows: Rows,
}

#[derive(Debug, Clone)]
enum Rows {
    None,
    Sizes(PackedRows<1>),
    ToChunk(PackedRows<3>),
    Offsets { chunks: Chunks, position: u64 },
}

impl HeaderPieces {
    /// The length of the whole header, however much of it was read.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.len
    }

    /// The length of the whole file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.len.saturating_add(self.audio_bytes)
    }

    fn start(&mut self, table: Table) {
        self.rows = match (table, &self.tables.sizes) {
            (Table::Sizes, Sizes::Constant { .. }) => Rows::None,
            (Table::Sizes, Sizes::Table(sizes)) => Rows::Sizes(sizes.rows()),
            (Table::ToChunk, _) => Rows::ToChunk(self.tables.to_chunk.rows()),
            (Table::Offsets, _) => Rows::Offsets { chunks: self.tables.chunks(), position: self.len },
        };
    }

    /// The next piece of the table in hand; empty at its end.
    #[expect(clippy::cast_possible_truncation, reason = "all but 64-bit offsets were read as 32 bits")]
    fn next_rows(&mut self) -> Bytes {
        let mut piece = BytesMut::new();
        while piece.len() + 12 <= PIECE_BYTES {
            match &mut self.rows {
                Rows::None => break,
                Rows::Sizes(rows) => {
                    let Some([size]) = rows.next() else { break };
                    piece.put_u32(size as u32);
                }
                Rows::ToChunk(rows) => {
                    let Some(row) = rows.next() else { break };
                    for field in row {
                        piece.put_u32(field as u32);
                    }
                }
                Rows::Offsets { chunks, position } => {
                    // An error cannot come: the plan walked the same chunks to their end.
                    let Some(Ok(chunk)) = chunks.next() else { break };
                    if self.wide {
                        piece.put_u64(*position);
                    } else {
                        piece.put_u32(*position as u32);
                    }
                    *position = position.saturating_add(chunk.len);
                }
            }
        }
        if piece.is_empty() {
            self.rows = Rows::None;
        }
        piece.freeze()
    }
}

impl Iterator for HeaderPieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let rows = self.next_rows();
            if !rows.is_empty() {
                return Some(rows);
            }
            match self.sections.next()? {
                Section::Raw(raw) => return Some(raw),
                Section::Table(table) => self.start(table),
            }
        }
    }
}

/// The `ftyp` of the final file: as FFmpeg's `ipod` muxer writes it for the codecs of M4A, else plain MP4.
pub(crate) fn m4a_ftyp(m4a_codec: bool) -> Bytes {
    let brands: &[u8; 20] =
        if m4a_codec { b"M4A \0\0\x02\0M4A isomiso2" } else { b"isom\0\0\x02\0isomiso2mp41" };
    make_box(*b"ftyp", brands)
}
