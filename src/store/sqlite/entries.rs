//! Both kinds of entries together, in SQLite.

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::cache::key::EntryKey;
use crate::clock::UnixTime;
use crate::store::answer::{PromptHash, may_see};
use crate::store::entries::{ListedEntry, ListedKey, MOST_EXPIRED, MOST_SEEN, Page, PageOf, Place};
use crate::store::sqlite::number::{kept, kept_time, read, read_size, read_time};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// A number of each kind's own within a millisecond: the row's, doubled, and one more for the second kind.
const LIST: &str = "\
SELECT * FROM (
    SELECT id * 2 AS number, prompt_hash AS found_by, model, bytes, created_at, expires_at FROM stored_answers
    WHERE account = ?1 AND expires_at > ?2 AND created_at <= ?3 AND (created_at < ?3 OR id * 2 < ?4)
    ORDER BY created_at DESC, id DESC LIMIT ?5
)
UNION ALL
SELECT * FROM (
    SELECT id * 2 + 1, entry_key, model, bytes, created_at, expires_at FROM proxied_answers
    WHERE account = ?1 AND expires_at > ?2 AND created_at <= ?3 AND (created_at < ?3 OR id * 2 + 1 < ?4)
    ORDER BY created_at DESC, id DESC LIMIT ?5
)
ORDER BY created_at DESC, number DESC LIMIT ?5";

type Row = (i64, Vec<u8>, Option<String>, i64, i64, i64);

/// A page of what is kept for an account.
pub(super) async fn list(readers: &SqlitePool, page: &Page, now: UnixTime) -> Result<PageOf, sqlx::Error> {
    let limit = page.limit.clamp(1, MOST_SEEN);
    // One more than wanted tells whether the list goes on.
    let seen = if page.allowed_models.is_empty() { limit.saturating_add(1) } else { MOST_SEEN };
    let after = page.after.unwrap_or(Place { created_at: u64::MAX, number: i64::MAX });
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(page.account.as_str())
        .bind(kept_time(now))
        .bind(kept(after.created_at))
        .bind(after.number)
        .bind(seen)
        .fetch_all(readers)
        .await?;
    let is_cut = rows.len() >= seen as usize;
    let (mut entries, mut last, mut left) = (Vec::new(), None, rows.len());
    for row in rows {
        if entries.len() == limit as usize {
            break;
        }
        last = Some(Place { created_at: read(row.4), number: row.0 });
        left -= 1;
        if may_see(&page.allowed_models, row.2.as_deref()) {
            entries.extend(entry(row));
        }
    }
    Ok(PageOf { entries, next: last.filter(|_| left > 0 || is_cut) })
}

/// The entry of a row; `None` if another version wrote it in a way that this one does not know.
fn entry((number, found_by, model, bytes, created_at, expires_at): Row) -> Option<ListedEntry> {
    let hash: [u8; 32] = found_by.try_into().ok()?;
    let key = match number % 2 {
        0 => ListedKey::Stored(PromptHash(hash)),
        _ => ListedKey::Proxied(EntryKey::from_bytes(hash)),
    };
    Some(ListedEntry {
        key,
        model: model.map(Into::into),
        size: read_size(bytes),
        created_at: read_time(created_at),
        expires_at: read_time(expires_at),
    })
}

/// Deletes what has expired.
pub(super) struct DeleteExpired {
    /// When.
    pub(super) now: UnixTime,
}

#[async_trait]
impl Change for DeleteExpired {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut deleted = 0;
        for delete in [
            "DELETE FROM stored_answers WHERE id IN \
             (SELECT id FROM stored_answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            "DELETE FROM proxied_answers WHERE id IN \
             (SELECT id FROM proxied_answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
        ] {
            let delete = sqlx::query(delete).bind(kept_time(self.now)).bind(MOST_EXPIRED);
            deleted += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(deleted)
    }
}
