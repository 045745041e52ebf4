//! What a file says of itself: reading its title, writing ours into an M4A.
//!
//! iTunes' form `udta/meta/ilst` is what players and FFmpeg read in M4A; QuickTime's `udta/©nam` and
//! `meta/keys` are only read.

use bytes::Bytes;

use crate::about::{Chapter, MOST_CHAPTERS};

use super::boxes::{ChildBox, Fields, child, children, make_box};

/// What the final file says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tags<'a> {
    /// `©nam`
    pub title: Option<&'a str>,
    /// `©day`, ISO 8601.
    pub date: Option<&'a str>,
    /// A free-form item `com.apple.iTunes:SOURCE`; FFmpeg shows it as `SOURCE`.
    pub source: Option<&'a str>,
}

impl Tags<'_> {
    fn is_empty(&self) -> bool {
        *self == Tags::default()
    }
}

const TITLE: [u8; 4] = *b"\xa9nam";
const DATE: [u8; 4] = *b"\xa9day";
const FREE_FORM: [u8; 4] = *b"----";
const LONGEST_TITLE_BYTES: usize = 1024;

/// The title among the boxes beside the tracks.
pub(crate) fn title<'a>(boxes: impl Iterator<Item = &'a ChildBox>) -> Option<String> {
    boxes.filter_map(title_in).map(|title| title.trim().to_owned()).find(|title| !title.is_empty())
}

fn title_in(found: &ChildBox) -> Option<String> {
    match &found.kind.0 {
        b"udta" => child(&found.body, *b"meta")
            .and_then(|meta| itunes_title(&meta_children(&meta)))
            .or_else(|| quicktime_title(&found.body)),
        b"meta" => itunes_title(&meta_children(found)).or_else(|| keyed_title(&meta_children(found))),
        _ => None,
    }
}

/// `meta` has a version in ISO files and none in QuickTime's.
fn meta_children(meta: &ChildBox) -> Bytes {
    if meta.body.get(4..8) == Some(b"hdlr") || meta.body.len() < 4 {
        meta.body.clone()
    } else {
        meta.body.slice(4..)
    }
}

fn itunes_title(meta: &Bytes) -> Option<String> {
    let item = child(&child(meta, *b"ilst")?.body, TITLE)?;
    data_text(&item.body)
}

fn data_text(item: &Bytes) -> Option<String> {
    const UTF8: u32 = 1;
    let data = child(item, *b"data")?;
    let mut fields = Fields::new(&data.body);
    (fields.u32()? == UTF8).then_some(())?;
    fields.skip(4)?;
    text(fields.rest())
}

/// QuickTime's international text: length, language, bytes.
fn quicktime_title(udta: &Bytes) -> Option<String> {
    let item = child(udta, TITLE)?;
    let mut fields = Fields::new(&item.body);
    let len = usize::from(fields.u16()?);
    fields.skip(2)?;
    text(fields.take(len)?)
}

/// Items of `ilst` are numbered from 1 in the order of `keys`.
fn keyed_title(meta: &Bytes) -> Option<String> {
    let keys = child(meta, *b"keys")?;
    let position = children(&keys.body.get(8..).map(|_| keys.body.slice(8..))?)
        .map_while(Result::ok)
        .position(|key| key.kind == b"mdta" && key.body == b"com.apple.quicktime.title"[..])?;
    let number = u32::try_from(position + 1).ok()?;
    data_text(&child(&child(meta, *b"ilst")?.body, number.to_be_bytes())?.body)
}

/// Nero's chapters, which FFmpeg writes too: `udta/chpl`, the start of each in units of 100 nanoseconds.
pub(crate) fn chapters<'a>(boxes: impl Iterator<Item = &'a ChildBox>) -> Vec<Chapter> {
    const UNITS_A_SECOND: f64 = 1e7;
    let mut found = Vec::new();
    let lists = boxes.filter(|one| one.kind.0 == *b"udta").filter_map(|udta| child(&udta.body, *b"chpl"));
    for list in lists {
        let mut fields = Fields::new(&list.body);
        let Some(version) = fields.u32().map(|field| field >> 24) else { continue };
        if version > 0 && fields.skip(4).is_none() {
            continue;
        }
        let Some(count) = fields.take(1).and_then(|byte| byte.first().copied()) else { continue };
        for _ in 0..count {
            let chapter = fields.u64().and_then(|start| {
                let length = usize::from(*fields.take(1)?.first()?);
                let title = text(fields.take(length)?)?;
                #[expect(clippy::cast_precision_loss, reason = "exact below 28 years")]
                Some(Chapter { start_seconds: start as f64 / UNITS_A_SECOND, title })
            });
            let Some(chapter) = chapter.filter(|_| found.len() < MOST_CHAPTERS) else { break };
            found.push(chapter);
        }
    }
    found
}

fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..LONGEST_TITLE_BYTES.min(bytes.len()))?;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Cut inside a character by the limit; anything else is not UTF-8.
        Err(error) if bytes.len() == LONGEST_TITLE_BYTES => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    Some(text.to_owned())
}

/// The `udta` box of an M4A: what was there, with our tags in the place of the same ones.
pub(crate) fn m4a_udta(existing: Option<&ChildBox>, tags: &Tags<'_>) -> Option<Bytes> {
    if tags.is_empty() {
        return existing.map(|udta| udta.raw.clone());
    }
    let mut items = Vec::new();
    let mut udta = Vec::new();
    for found in existing.into_iter().flat_map(|udta| children(&udta.body)).map_while(Result::ok) {
        if found.kind != b"meta" {
            udta.extend_from_slice(&found.raw);
            continue;
        }
        let inside = meta_children(&found);
        let handler = child(&inside, *b"hdlr");
        if handler.is_some_and(|handler| handler.body.get(8..12) == Some(b"mdir"))
            && let Some(list) = child(&inside, *b"ilst")
        {
            for item in children(&list.body).map_while(Result::ok) {
                if !replaced(&item, tags) {
                    items.extend_from_slice(&item.raw);
                }
            }
        }
    }
    for (kind, value) in [(TITLE, tags.title), (DATE, tags.date)] {
        if let Some(value) = value {
            items.extend_from_slice(&make_box(kind, &data_box(value)));
        }
    }
    if let Some(source) = tags.source {
        let mut item = full_box(*b"mean", b"com.apple.iTunes").to_vec();
        item.extend_from_slice(&full_box(*b"name", SOURCE.as_bytes()));
        item.extend_from_slice(&data_box(source));
        items.extend_from_slice(&make_box(FREE_FORM, &item));
    }
    // Handler: pre-defined, type, manufacturer, flags, empty name.
    let mut meta = full_box(*b"hdlr", b"\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0").to_vec();
    meta.extend_from_slice(&make_box(*b"ilst", &items));
    udta.extend_from_slice(&full_box(*b"meta", &meta));
    Some(make_box(*b"udta", &udta))
}

const SOURCE: &str = "SOURCE";

fn replaced(item: &ChildBox, tags: &Tags<'_>) -> bool {
    match item.kind.0 {
        TITLE => tags.title.is_some(),
        DATE => tags.date.is_some(),
        FREE_FORM => {
            let name = child(&item.body, *b"name").and_then(|name| name.body.get(4..).map(<[u8]>::to_vec));
            tags.source.is_some() && name.is_some_and(|name| name.eq_ignore_ascii_case(SOURCE.as_bytes()))
        }
        _ => false,
    }
}

fn full_box(kind: [u8; 4], body: &[u8]) -> Bytes {
    make_box(kind, &[&[0; 4], body].concat())
}

/// Type 1 (UTF-8), no locale, text.
fn data_box(value: &str) -> Bytes {
    make_box(*b"data", &[&[0, 0, 0, 1, 0, 0, 0, 0], value.as_bytes()].concat())
}
