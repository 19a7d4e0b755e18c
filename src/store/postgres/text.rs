//! Texts that are kept as BYTEA, and those that something is looked up by.
//!
//! PostgreSQL's TEXT holds no U+0000, and it refuses to be asked for one. None of the names that are kept as TEXT has any,
//! but whoever asks may name what they like.

use std::borrow::Cow;

/// A kept text; `None` if it is none, which nothing here writes.
pub(super) fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

/// A kept text that may be absent; `None` if it is there and is none.
pub(super) fn text_of(bytes: Option<Vec<u8>>) -> Option<Option<String>> {
    bytes.map_or(Some(None), |bytes| text(bytes).map(Some))
}

/// A name that something is looked up by. One with U+0000 finds nothing, as names hold ASCII alone.
pub(super) fn sought(name: &str) -> Cow<'_, str> {
    if name.contains('\0') { name.replace('\0', "\u{fffd}").into() } else { name.into() }
}

/// A name that others come behind: those that do so of all names without U+0000.
pub(super) fn behind(name: &str) -> &str {
    name.split('\0').next().unwrap_or_default()
}
