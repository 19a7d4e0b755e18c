//! A place in the list of entries, as clients carry it from one page to the next: base64url of the entry's kind, time,
//! hash, and which one of that hash it is. Nothing but what the list shows is in it, and it opens no other account's list.

use data_encoding::BASE64URL_NOPAD;

use crate::store::entries::{EntryKind, ListedKey, Place};
use crate::usage::ledger::LONGEST_MODEL;

const STORED: u8 = 1;
const PROXIED: u8 = 2;

/// The cursor of a place.
pub fn encode(place: &Place) -> String {
    let Place { created_at, key, which } = place;
    let (kind, hash) = key.parts();
    let kind = match kind {
        EntryKind::Stored => STORED,
        EntryKind::Proxied => PROXIED,
    };
    let bytes = [&[kind][..], &created_at.to_be_bytes(), hash, which.as_bytes()].concat();
    BASE64URL_NOPAD.encode(&bytes)
}

/// The place of a cursor; `None` if it is none.
pub fn decode(cursor: &str) -> Option<Place> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let (kind, rest) = bytes.split_first()?;
    let (created_at, rest) = rest.split_first_chunk()?;
    let (hash, which) = rest.split_first_chunk()?;
    let kind = match *kind {
        STORED => EntryKind::Stored,
        PROXIED => EntryKind::Proxied,
        _ => return None,
    };
    let which = std::str::from_utf8(which).ok().filter(|which| which.len() <= LONGEST_MODEL)?;
    Some(Place {
        created_at: u64::from_be_bytes(*created_at),
        key: ListedKey::of(kind, *hash),
        which: which.into(),
    })
}
