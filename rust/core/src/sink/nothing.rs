//! No destination: what is written is counted and gone.

use crate::checksum::encode_crc32c;
use crate::request::StoredObject;

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct NothingSink {
    written: u64,
    crc: u32,
}

impl NothingSink {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.written += bytes.len() as u64;
    }

    pub(crate) fn finish(&self) -> StoredObject {
        StoredObject {
            size_bytes: self.written,
            crc32c: encode_crc32c(self.crc),
            md5: None,
            generation: None,
            content_type: None,
        }
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }
}
