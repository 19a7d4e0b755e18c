//! Both kinds of entries together, in SQLite.

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::store::entries::{Expired, MOST_EXPIRED, Page, PageOf};
use crate::store::listing::{Listing, Row};
use crate::store::number::kept_time;
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

/// A page of what is kept for an account.
pub(super) async fn list(readers: &SqlitePool, page: &Page, now: UnixTime) -> Result<PageOf, sqlx::Error> {
    let listing = Listing::of(page);
    let sql = if page.hash.is_some() { FIND } else { LIST };
    let rows: Vec<Row> = sqlx::query_as(sql)
        .bind(page.account.as_str())
        .bind(kept_time(now))
        .bind(listing.only)
        .bind(listing.created_at)
        .bind(listing.kind)
        .bind(listing.hash)
        .bind(listing.which)
        .bind(listing.seen)
        .bind(page.hash.as_ref().map(|hash| &hash[..]))
        .fetch_all(readers)
        .await?;
    Ok(listing.page(rows))
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
