//! A page of the list of entries, out of the rows that a database gives for it, the newest first.

use crate::store::answer::may_see;
use crate::store::entries::{EntryKind, ListedEntry, ListedKey, MOST_SEEN, Page, PageOf, Place};
use crate::store::number::{kept, read, read_size, read_time};

/// When an entry came, the number of its kind, what finds it, which one of those it is, its model, what it takes, and when
/// it is given no more.
pub(in crate::store) type Row = (i64, i64, Vec<u8>, String, Option<String>, i64, i64);

/// What is asked of the database for a page.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Listing<'a> {
    page: &'a Page,
    limit: u32,
    /// The most rows.
    pub(in crate::store) seen: u32,
    /// The number of the one kind that is wanted; `None`: both are.
    pub(in crate::store) only: Option<i64>,
    /// The place behind which it begins: when the entry before it came,
    pub(in crate::store) created_at: i64,
    /// the number of its kind,
    pub(in crate::store) kind: i64,
    /// what finds it,
    pub(in crate::store) hash: &'a [u8],
    /// and which one of those it is.
    pub(in crate::store) which: &'a str,
}

impl<'a> Listing<'a> {
    /// What is asked for `page`.
    pub(in crate::store) fn of(page: &'a Page) -> Self {
        let limit = page.limit.clamp(1, MOST_SEEN);
        // One more than wanted tells whether the list goes on.
        let seen = if page.allowed_models.is_empty() { limit.saturating_add(1) } else { MOST_SEEN };
        let (created_at, kind, hash, which) = match &page.after {
            Some(Place { created_at, key, which }) => {
                let (kind, hash) = key.parts();
                (kept(*created_at), number_of(kind), &hash[..], &**which)
            }
            None => (i64::MAX, i64::MAX, &[][..], ""),
        };
        Self { page, limit, seen, only: page.kind.map(number_of), created_at, kind, hash, which }
    }

    /// The page that the rows make up.
    pub(in crate::store) fn page(self, rows: Vec<Row>) -> PageOf {
        let is_cut = rows.len() >= self.seen as usize;
        let (mut entries, mut left) = (Vec::new(), rows.len());
        // A place that who asks may see, and the last one. The last is returned only if so many came in one millisecond
        // that no other place lies between.
        let (mut seen_place, mut last): (Option<Place>, Option<Place>) = (None, None);
        for row in rows {
            if entries.len() == self.limit as usize {
                break;
            }
            left -= 1;
            // One that another version wrote in a way that this one does not know is passed over.
            let Some((entry, place)) = entry(row) else { continue };
            if let Some(before) = last.take().filter(|before| before.created_at != place.created_at) {
                seen_place = Some(Place::behind(before.created_at));
            }
            if may_see(&self.page.allowed_models, entry.model.as_deref()) {
                entries.push(entry);
                seen_place = Some(place.clone());
            }
            last = Some(place);
        }
        PageOf { entries, next: seen_place.or(last).filter(|_| left > 0 || is_cut) }
    }
}

/// A kind's number where entries are listed.
fn number_of(kind: EntryKind) -> i64 {
    match kind {
        EntryKind::Stored => 0,
        EntryKind::Proxied => 1,
    }
}

/// The entry of a row, and its place in the list.
fn entry(row: Row) -> Option<(ListedEntry, Place)> {
    let (created_at, kind, found_by, which, model, bytes, expires_at) = row;
    let kind = [EntryKind::Stored, EntryKind::Proxied].into_iter().find(|known| number_of(*known) == kind)?;
    let key = ListedKey::of(kind, found_by.try_into().ok()?);
    let entry = ListedEntry {
        key,
        model: model.map(Into::into),
        size: read_size(bytes),
        created_at: read_time(created_at),
        expires_at: read_time(expires_at),
    };
    Some((entry, Place { created_at: read(created_at), key, which: which.into() }))
}
