//! Reading one audio track: the sample tables are packed as they pass, everything else is kept raw.

use super::PIECE_BYTES;
use super::boxes::{Damaged, Fields, FourCc, MAX_CHILDREN};
use super::index::RangeReader;
use super::moov_reader::MoovReader;
use super::sample_tables::{Packed, PackedBuilder, SampleTables, Sizes};
use super::track::{Node, Table};
use crate::error::Result;

/// See the module.
pub(crate) struct TrakReader<'m, 's, 'r, R> {
    moov: &'m mut MoovReader<'s, 'r, R>,
    end: u64,
    sizes: Option<Sizes>,
    to_chunk: Option<Packed<3>>,
    offsets: Option<Packed<1>>,
    damage: Option<Damaged>,
}

struct OpenContainer {
    kind: FourCc,
    end: u64,
    children: Vec<Node>,
}

/// What a table box looks like before its rows: version, flags, other fields, number of rows.
struct TableShape {
    kind: &'static str,
    /// Bytes before the number of rows.
    before_count: u64,
    row_bytes: usize,
}

impl<'m, 's, 'r, R: RangeReader> TrakReader<'m, 's, 'r, R> {
    pub(crate) fn new(moov: &'m mut MoovReader<'s, 'r, R>) -> Self {
        Self { moov, end: 0, sizes: None, to_chunk: None, offsets: None, damage: None }
    }

    fn damaged(&mut self, reason: impl Into<String>) {
        self.damage.get_or_insert_with(|| Damaged::new(reason));
    }

    /// Reads the children of a `trak` box from `body` to `end`.
    pub(crate) async fn read(
        mut self,
        body: u64,
        end: u64,
    ) -> Result<(Vec<Node>, Result<SampleTables, Damaged>)> {
        self.end = end;
        let mut open = vec![OpenContainer { kind: FourCc(*b"trak"), end, children: Vec::new() }];
        let mut position = body;
        let mut count = 0;
        let nodes = loop {
            let Some(innermost) = open.last() else { break Vec::new() };
            let (parent, limit) = (innermost.kind, innermost.end);
            if limit - position < 8 {
                position = limit;
                let Some(done) = open.pop() else { break Vec::new() };
                match open.last_mut() {
                    Some(outer) => {
                        outer.children.push(Node::Container { kind: done.kind, children: done.children });
                    }
                    None => break done.children,
                }
                continue;
            }
            count += 1;
            let (header, end) = match self.moov.header(position, limit).await? {
                Ok(found) if count <= MAX_CHILDREN => found,
                Ok(_) => {
                    self.damaged("it has too many boxes");
                    position = limit;
                    continue;
                }
                Err(Damaged(reason)) => {
                    // Give up on this track's tables, but keep what can be shown of it.
                    self.damaged(reason);
                    position = limit;
                    continue;
                }
            };
            let body = position + header.header_len;
            let node = match (&parent.0, &header.kind.0) {
                (b"trak", b"mdia") | (b"mdia", b"minf") | (b"minf", b"stbl") => {
                    open.push(OpenContainer { kind: header.kind, end, children: Vec::new() });
                    position = body;
                    continue;
                }
                // `tref`: references to tracks that will not be there. `saio`, `saiz`: where encryption data
                // stands in the file; an encrypted track is refused anyway.
                (b"trak", b"tref") | (b"stbl", b"saio" | b"saiz") => None,
                (b"stbl", kind @ (b"stsz" | b"stsc" | b"stco" | b"co64")) => {
                    Some(Node::Table(self.read_table(kind, body, end).await?))
                }
                (b"stbl", b"stz2") => {
                    self.damaged("its sample sizes are in the compact form (stz2)");
                    None
                }
                _ => self.moov.raw_box(header, position, end).await?.map(Node::Raw),
            };
            if let (Some(node), Some(innermost)) = (node, open.last_mut()) {
                innermost.children.push(node);
            }
            position = end;
        };
        Ok((nodes, self.into_tables()))
    }

    fn into_tables(self) -> Result<SampleTables, Damaged> {
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        let missing = |kind| Damaged::new(format!("it has no {kind} table"));
        Ok(SampleTables {
            sizes: self.sizes.ok_or_else(|| missing("stsz"))?,
            to_chunk: self.to_chunk.ok_or_else(|| missing("stsc"))?,
            offsets: self.offsets.ok_or_else(|| missing("stco"))?,
        })
    }

    async fn read_table(&mut self, kind: &[u8; 4], body: u64, end: u64) -> Result<Table> {
        match kind {
            b"stsz" => {
                let ahead = self.ahead(body);
                let (size, count) = {
                    let head = self.moov.at(body, 12.min(end - body), ahead).await?;
                    let mut fields = Fields::new(&head);
                    let _version_and_flags = fields.u32();
                    (fields.u32(), fields.u32())
                };
                let sizes = if let (Some(size @ 1..), Some(count)) = (size, count) {
                    Some(Sizes::Constant { size, count })
                } else {
                    let shape = TableShape { kind: "stsz", before_count: 8, row_bytes: 4 };
                    let row = |fields: &mut Fields<'_>| Some([u64::from(fields.u32()?)]);
                    self.rows(&shape, body, end, row).await?.map(Sizes::Table)
                };
                self.sizes = self.only_one(self.sizes.is_some(), sizes, "stsz");
                Ok(Table::Sizes)
            }
            b"stsc" => {
                let shape = TableShape { kind: "stsc", before_count: 4, row_bytes: 12 };
                let row = |fields: &mut Fields<'_>| {
                    Some([u64::from(fields.u32()?), u64::from(fields.u32()?), u64::from(fields.u32()?)])
                };
                let rows = self.rows(&shape, body, end, row).await?;
                self.to_chunk = self.only_one(self.to_chunk.is_some(), rows, "stsc");
                Ok(Table::ToChunk)
            }
            wide_or_not => {
                let rows = if wide_or_not == b"co64" {
                    let shape = TableShape { kind: "co64", before_count: 4, row_bytes: 8 };
                    self.rows(&shape, body, end, |fields| Some([fields.u64()?])).await?
                } else {
                    let shape = TableShape { kind: "stco", before_count: 4, row_bytes: 4 };
                    self.rows(&shape, body, end, |fields| Some([u64::from(fields.u32()?)])).await?
                };
                self.offsets = self.only_one(self.offsets.is_some(), rows, "stco or co64");
                Ok(Table::Offsets)
            }
        }
    }

    fn only_one<T>(&mut self, already: bool, found: Option<T>, kind: &str) -> Option<T> {
        if already {
            self.damaged(format!("it has two {kind} tables"));
        }
        found
    }

    /// This track is wanted whole: read far ahead.
    fn ahead(&self, offset: u64) -> u64 {
        self.end.saturating_sub(offset).min(PIECE_BYTES)
    }

    /// Packs the rows of a table; `None` when it is cut off, which is noted.
    async fn rows<const N: usize>(
        &mut self,
        shape: &TableShape,
        body: u64,
        end: u64,
        row: impl Fn(&mut Fields<'_>) -> Option<[u64; N]>,
    ) -> Result<Option<Packed<N>>> {
        let head_len = shape.before_count + 4;
        let cut_off = format!("its {} table is cut off", shape.kind);
        if end - body < head_len {
            self.damaged(cut_off);
            return Ok(None);
        }
        let ahead = self.ahead(body);
        let count = {
            // Not kept: it would keep the piece around it alive while the next one is read.
            let head = self.moov.at(body, head_len, ahead).await?;
            let before = usize::try_from(shape.before_count).unwrap_or(usize::MAX);
            let mut fields = Fields::new(&head);
            fields.skip(before).and_then(|()| fields.u32()).map_or(0, u64::from)
        };
        if count * shape.row_bytes as u64 > end - body - head_len {
            self.damaged(cut_off);
            return Ok(None);
        }
        let mut packed = PackedBuilder::new();
        let mut position = body + head_len;
        let mut left = count;
        while left > 0 {
            let ahead = self.ahead(position);
            let piece = self.moov.at(position, shape.row_bytes as u64, ahead).await?;
            let mut taken = 0u64;
            let rows = piece.chunks_exact(shape.row_bytes).take(usize::try_from(left).unwrap_or(usize::MAX));
            for values in rows.filter_map(|bytes| row(&mut Fields::new(bytes))) {
                packed.push(values);
                taken += 1;
            }
            left -= taken;
            position += taken * shape.row_bytes as u64;
        }
        Ok(Some(packed.finish()))
    }
}
