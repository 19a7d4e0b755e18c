//! A copy of a head's bytes, of which its fields are slices.

use bytes::Bytes;
use http::HeaderValue;
use pingora::http::header_value_from_raw;

/// A head's bytes, by what was found in those that it was parsed from.
pub(super) struct Copied {
    text: Bytes,
    /// Where the bytes begin that it was parsed from.
    base: usize,
}

impl Copied {
    /// A copy of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { text: Bytes::copy_from_slice(bytes), base: bytes.as_ptr().addr() }
    }

    /// The copy itself.
    pub(super) fn text(&self) -> &Bytes {
        &self.text
    }

    /// The same as `part`, which was found within the bytes.
    pub(super) fn slice(&self, part: &[u8]) -> Bytes {
        let from = part.as_ptr().addr() - self.base;
        self.text.slice(from..from + part.len())
    }

    /// The field value `part`, which is empty or was found within the bytes.
    pub(super) fn value(&self, part: &[u8]) -> HeaderValue {
        if part.is_empty() { HeaderValue::from_static("") } else { header_value_from_raw(self.slice(part)) }
    }
}

/// One of which the copy itself is parsed again.
impl From<&Bytes> for Copied {
    fn from(text: &Bytes) -> Self {
        Self { text: text.clone(), base: text.as_ptr().addr() }
    }
}
