//! Texts that are kept as BYTEA.

/// A kept text; `None` if it is none, which nothing here writes.
pub(super) fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

/// A kept text that may be absent; `None` if it is there and is none.
pub(super) fn text_of(bytes: Option<Vec<u8>>) -> Option<Option<String>> {
    bytes.map_or(Some(None), |bytes| text(bytes).map(Some))
}
