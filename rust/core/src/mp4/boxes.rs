//! The box structure itself: headers, fields, children. Knows no box by its contents.

use std::fmt;

use bytes::Bytes;

/// The type of a box or of a sample format: four bytes, usually ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            // QuickTime's own names start with 0xA9, which is © in Latin-1.
            match byte {
                0x20..=0x7e => write!(formatter, "{}", char::from(byte))?,
                0xa9 => formatter.write_str("©")?,
                other => write!(formatter, "\\x{other:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "'{self}'")
    }
}

impl PartialEq<&[u8; 4]> for FourCc {
    fn eq(&self, other: &&[u8; 4]) -> bool {
        self.0 == **other
    }
}

/// Children of one container box. Real files have fewer than 30; the limit bounds work on hostile ones.
pub(crate) const MAX_CHILDREN: usize = 256;

/// Why a box cannot be what it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) String);

impl Damaged {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// The header of one box (ISO/IEC 14496-12 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BoxHeader {
    pub(crate) kind: FourCc,
    /// 8, or 16 with a 64-bit size.
    pub(crate) header_len: u64,
    /// Header and body; `None` means up to the end of the file.
    pub(crate) len: Option<u64>,
}

/// The longest box header.
pub(crate) const MAX_HEADER_LEN: u64 = 16;

impl BoxHeader {
    /// Reads a header; `Ok(None)` means that `bytes` end inside it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Damaged> {
        let mut fields = Fields::new(bytes);
        let (Some(short_len), Some(kind)) = (fields.u32(), fields.four_cc()) else { return Ok(None) };
        let header = match short_len {
            0 => Self { kind, header_len: 8, len: None },
            1 => {
                let Some(len) = fields.u64() else { return Ok(None) };
                Self { kind, header_len: 16, len: Some(len) }
            }
            len => Self { kind, header_len: 8, len: Some(u64::from(len)) },
        };
        match header.len {
            Some(len) if len < header.header_len => {
                Err(Damaged::new(format!("box '{kind}' says it is {len} bytes long")))
            }
            _ => Ok(Some(header)),
        }
    }
}

/// Big-endian fields, one after the other. `None` where the bytes end.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    pub(crate) fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(|_| ())
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn four_cc(&mut self) -> Option<FourCc> {
        self.array().map(FourCc)
    }
}

/// One box inside a body that is already in memory.
#[derive(Debug, Clone)]
pub(crate) struct ChildBox {
    pub(crate) kind: FourCc,
    /// Header and body.
    pub(crate) raw: Bytes,
    pub(crate) body: Bytes,
}

/// The boxes in `body`, one after the other. Ends after the first damaged one, and silently at fewer than
/// 8 bytes (QuickTime ends `udta` with four zero bytes).
pub(crate) fn children(body: &Bytes) -> Children {
    Children { rest: body.clone(), left: MAX_CHILDREN }
}

/// See [`children`].
#[derive(Debug)]
pub(crate) struct Children {
    rest: Bytes,
    left: usize,
}

impl Children {
    fn parse_next(&mut self) -> Result<Option<ChildBox>, Damaged> {
        if self.rest.len() < 8 {
            return Ok(None);
        }
        if self.left == 0 {
            return Err(Damaged::new(format!("more than {MAX_CHILDREN} boxes in one container")));
        }
        self.left -= 1;
        let Some(header) = BoxHeader::parse(&self.rest)? else {
            return Err(Damaged::new("a box header is cut off"));
        };
        let kind = header.kind;
        let len = header.len.and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= self.rest.len());
        let (Some(len), Ok(header_len)) = (len, usize::try_from(header.header_len)) else {
            return Err(Damaged::new(format!("box '{kind}' is longer than the box around it")));
        };
        let raw = self.rest.split_to(len);
        let body = raw.slice(header_len..);
        Ok(Some(ChildBox { kind, raw, body }))
    }
}

impl Iterator for Children {
    type Item = Result<ChildBox, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.parse_next();
        if next.is_err() {
            self.rest = Bytes::new();
        }
        next.transpose()
    }
}

/// The first child of that type; damage ends the search.
pub(crate) fn child(body: &Bytes, kind: [u8; 4]) -> Option<ChildBox> {
    children(body).map_while(Result::ok).find(|found| found.kind.0 == kind)
}

/// A box made of a body that is small (tags, patched headers).
pub(crate) fn make_box(kind: [u8; 4], body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + 8);
    // Saturating is never reached: the callers' bodies come from boxes under `MAX_MOOV_BYTES`.
    out.extend_from_slice(&u32::try_from(body.len() + 8).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&kind);
    out.extend_from_slice(body);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_short_a_long_or_no_length() {
        let short = BoxHeader::parse(b"\0\0\0\x10moovxxxx").unwrap().unwrap();
        assert_eq!((short.kind.to_string(), short.header_len, short.len), ("moov".into(), 8, Some(16)));
        let long = BoxHeader::parse(b"\0\0\0\x01mdat\0\0\0\x02\0\0\0\0").unwrap().unwrap();
        assert_eq!((long.header_len, long.len), (16, Some(0x2_0000_0000)));
        let open = BoxHeader::parse(b"\0\0\0\0mdat").unwrap().unwrap();
        assert_eq!(open.len, None);
    }

    #[test]
    fn a_header_that_is_cut_off_asks_for_more_and_one_that_lies_is_damaged() {
        assert_eq!(BoxHeader::parse(b"\0\0\0\x10moo"), Ok(None));
        assert_eq!(BoxHeader::parse(b"\0\0\0\x01mdat\0\0"), Ok(None));
        assert!(BoxHeader::parse(b"\0\0\0\x07moov").is_err());
        assert!(BoxHeader::parse(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f").is_err());
    }

    #[test]
    fn children_end_at_quicktimes_terminator_and_at_the_first_damaged_box() {
        let body = Bytes::from_static(b"\0\0\0\x09abcdX\0\0\0\0");
        let found: Vec<_> = children(&body).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].as_ref().unwrap().body, Bytes::from_static(b"X"));

        let damaged = Bytes::from_static(b"\0\0\0\x08abcd\0\0\0\x20long");
        let found: Vec<_> = children(&damaged).collect();
        assert!(found[0].is_ok() && found[1].is_err() && found.len() == 2);
    }
}
