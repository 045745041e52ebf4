//! Checksums as the services write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::error::{EngineError, ErrorCode, Result};

/// Base64 of the big-endian CRC32C, as Cloud Storage writes it.
#[must_use]
pub fn encode_crc32c(value: u32) -> String {
    BASE64.encode(value.to_be_bytes())
}

/// Hashes a whole recording against what its source promised; costs nothing when nothing was promised.
#[derive(Debug)]
pub struct SourceDigest {
    md5: Option<(Md5, String)>,
    sha256: Option<(Sha256, String)>,
}

impl SourceDigest {
    /// SHA-256 is only used where there is no MD5: one proof is enough and MD5 costs less.
    #[must_use]
    pub fn new(md5: Option<&str>, sha256: Option<&str>) -> Self {
        Self {
            md5: md5.map(|want| (Md5::new(), want.to_ascii_lowercase())),
            sha256: sha256.filter(|_| md5.is_none()).map(|want| (Sha256::new(), want.to_ascii_lowercase())),
        }
    }

    /// Whether there is anything to compare with.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }

    /// The next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some((hash, _)) = &mut self.md5 {
            hash.update(bytes);
        }
        if let Some((hash, _)) = &mut self.sha256 {
            hash.update(bytes);
        }
    }

    /// Compares, after the last byte.
    ///
    /// # Errors
    /// `source.checksum_mismatch`.
    pub fn verify(self, name: &str) -> Result<()> {
        let found = [
            self.md5.map(|(hash, want)| ("MD5", hex(&hash.finalize()), want)),
            self.sha256.map(|(hash, want)| ("SHA-256", hex(&hash.finalize()), want)),
        ];
        for (algorithm, got, want) in found.into_iter().flatten() {
            if got != want {
                return Err(EngineError::new(
                    ErrorCode::SourceChecksum,
                    format!(
                        "reading {name}: its {algorithm} is {got}, the source promised {want}; \
                             the bytes were damaged on the way or the file changed"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_written_as_cloud_storage_writes_it() {
        // From the Cloud Storage documentation's check value: CRC32C("123456789") = 0xE3069283.
        assert_eq!(encode_crc32c(crc32c::crc32c(b"123456789")), "4waSgw==");
    }

    #[test]
    fn a_promised_md5_is_compared_case_insensitively() {
        let mut digest = SourceDigest::new(Some("900150983CD24FB0D6963F7D28E17F72"), None);
        digest.update(b"a");
        digest.update(b"bc");
        digest.verify("x").unwrap();
        let mut digest = SourceDigest::new(Some("900150983cd24fb0d6963f7d28e17f72"), None);
        digest.update(b"abd");
        assert_eq!(digest.verify("x").unwrap_err().code, ErrorCode::SourceChecksum);
    }

    #[test]
    fn sha256_serves_where_there_is_no_md5() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut digest = SourceDigest::new(None, Some(want));
        digest.update(b"abc");
        digest.verify("x").unwrap();
    }
}
