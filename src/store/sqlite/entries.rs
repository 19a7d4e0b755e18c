//! Both kinds of entries together, in SQLite.

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::store::answer::may_see;
use crate::store::entries::{
    EntryKind, Expired, ListedEntry, ListedKey, MOST_EXPIRED, MOST_SEEN, Page, PageOf, Place,
};
use crate::store::number::{kept, kept_time, read, read_size, read_time};
use crate::store::sqlite::proxied::slots_of;
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// A list in the order of what the account is shown alone, each half read by an index and kept to what a condition says.
macro_rules! list {
    ($stored:literal, $proxied:literal) => {
        concat!(
            "SELECT * FROM (
    SELECT created_at, 0 AS kind, prompt_hash AS found_by, coalesce(model, '') AS which, model, bytes, expires_at
    FROM stored_answers INDEXED BY ",
            $stored,
            " AND (?3 IS NULL OR ?3 = 0) AND account = ?1 AND expires_at > ?2 AND created_at <= ?4
        AND (created_at < ?4 OR (0, prompt_hash, coalesce(model, '')) < (?5, ?6, ?7))
    ORDER BY created_at DESC, prompt_hash DESC, which DESC LIMIT ?8
)
UNION ALL
SELECT * FROM (
    SELECT created_at, 1, entry_key, form, model, bytes, expires_at
    FROM proxied_answers INDEXED BY ",
            $proxied,
            " AND (?3 IS NULL OR ?3 = 1) AND account = ?1 AND expires_at > ?2 AND created_at <= ?4
        AND (created_at < ?4 OR (1, entry_key, form) < (?5, ?6, ?7))
    ORDER BY created_at DESC, entry_key DESC, form DESC LIMIT ?8
)
ORDER BY created_at DESC, kind DESC, found_by DESC, which DESC LIMIT ?8"
        )
    };
}

/// All of an account: each half reads its index of (account, created_at) from the top, and sorts what came in one
/// millisecond.
const LIST: &str = list!("stored_answers_by_age WHERE ?9 IS NULL", "proxied_answers_by_age WHERE ?9 IS NULL");

/// What a hash finds, which is little.
const FIND: &str =
    list!("stored_answers_by_prompt WHERE prompt_hash = ?9", "proxied_answers_by_key WHERE entry_key = ?9");

type Row = (i64, i64, Vec<u8>, String, Option<String>, i64, i64);

/// A page of what is kept for an account.
pub(super) async fn list(readers: &SqlitePool, page: &Page, now: UnixTime) -> Result<PageOf, sqlx::Error> {
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
    let sql = if page.hash.is_some() { FIND } else { LIST };
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(page.account.as_str())
        .bind(kept_time(now))
        .bind(page.kind.map(number_of))
        .bind(created_at)
        .bind(kind)
        .bind(hash)
        .bind(which)
        .bind(seen)
        .bind(page.hash.as_ref().map(|hash| &hash[..]))
        .fetch_all(readers)
        .await?;
    let is_cut = rows.len() >= seen as usize;
    let (mut entries, mut left) = (Vec::new(), rows.len());
    // A place that who asks may see, and the last one. The last is returned only if so many came in one millisecond that
    // no other place lies between.
    let (mut seen_place, mut last): (Option<Place>, Option<Place>) = (None, None);
    for row in rows {
        if entries.len() == limit as usize {
            break;
        }
        left -= 1;
        // One that another version wrote in a way that this one does not know is passed over.
        let Some((entry, place)) = entry(row) else { continue };
        if let Some(before) = last.take().filter(|before| before.created_at != place.created_at) {
            seen_place = Some(Place::behind(before.created_at));
        }
        if may_see(&page.allowed_models, entry.model.as_deref()) {
            entries.push(entry);
            seen_place = Some(place.clone());
        }
        last = Some(place);
    }
    Ok(PageOf { entries, next: seen_place.or(last).filter(|_| left > 0 || is_cut) })
}

/// A kind's number in [`LIST`].
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

/// Deletes what has expired.
pub(super) struct DeleteExpired {
    /// When.
    pub(super) now: UnixTime,
}

#[async_trait]
impl Change for DeleteExpired {
    type Done = Expired;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Expired, sqlx::Error> {
        let delete = "DELETE FROM stored_answers WHERE id IN \
                      (SELECT id FROM stored_answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
        let delete = sqlx::query(delete).bind(kept_time(self.now)).bind(MOST_EXPIRED);
        let stored = delete.execute(&mut *connection).await?.rows_affected();
        let delete = "DELETE FROM proxied_answers WHERE id IN \
                      (SELECT id FROM proxied_answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) \
                      RETURNING entry_key, form";
        let delete = sqlx::query_as(delete).bind(kept_time(self.now)).bind(MOST_EXPIRED);
        Ok(Expired { stored, proxied: slots_of(delete.fetch_all(&mut *connection).await?) })
    }
}
