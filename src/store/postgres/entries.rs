//! Both kinds of entries together, in PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::store::entries::{Expired, MOST_EXPIRED, Page, PageOf};
use crate::store::listing::Listing;
use crate::store::number::kept_time;
use crate::store::postgres::answers;
use crate::store::postgres::connections::Work;
use crate::store::postgres::proxied::{self, slots_of};
use crate::store::postgres::text::{text, text_of};

/// A list in the order of what the account is shown alone, each half kept to what a condition says.
macro_rules! list {
    ($stored:literal, $proxied:literal) => {
        concat!(
            "SELECT created_at, kind, found_by, which, model, bytes, expires_at FROM ((
    SELECT created_at, 0::bigint AS kind, prompt_hash AS found_by, coalesce(model, ''::bytea) AS which, model, bytes, expires_at
    FROM stored_answers WHERE ",
            $stored,
            " AND ($3::bigint IS NULL OR $3 = 0) AND account = $1 AND expires_at > $2 AND created_at <= $4
        AND (created_at < $4 OR (0, prompt_hash, coalesce(model, ''::bytea)) < ($5, $6, $7))
    ORDER BY created_at DESC, prompt_hash DESC, which DESC LIMIT $8
)
UNION ALL
(
    SELECT created_at, 1::bigint, entry_key, convert_to(form, 'UTF8'), model, bytes, expires_at
    FROM proxied_answers WHERE ",
            $proxied,
            " AND ($3::bigint IS NULL OR $3 = 1) AND account = $1 AND expires_at > $2 AND created_at <= $4
        AND (created_at < $4 OR (1, entry_key, convert_to(form, 'UTF8')) < ($5, $6, $7))
    ORDER BY created_at DESC, entry_key DESC, convert_to(form, 'UTF8') DESC LIMIT $8
)) AS both_kinds
ORDER BY created_at DESC, kind DESC, found_by DESC, which DESC LIMIT $8"
        )
    };
}

/// All of an account: each half reads its index of (account, created_at) from the top.
const LIST: &str = list!("$9::bytea IS NULL", "$9::bytea IS NULL");

/// What a hash finds, which is little.
const FIND: &str = list!("prompt_hash = $9", "entry_key = $9");

type Row = (i64, i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>, i64, i64);

/// A page of what is kept for an account.
pub(super) struct List<'a> {
    /// Which.
    pub(super) page: &'a Page,
    /// When.
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for List<'_> {
    type Done = PageOf;

    async fn run(&self, connection: &mut PgConnection) -> Result<PageOf, sqlx::Error> {
        let listing = Listing::of(self.page);
        let sql = if self.page.hash.is_some() { FIND } else { LIST };
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(self.page.account.as_str())
            .bind(kept_time(self.now))
            .bind(listing.only)
            .bind(listing.created_at)
            .bind(listing.kind)
            .bind(listing.hash)
            .bind(listing.which.as_bytes())
            .bind(i64::from(listing.seen))
            .bind(self.page.hash.as_ref().map(|hash| &hash[..]))
            .fetch_all(connection)
            .await?;
        let row = |(created_at, kind, found_by, which, model, bytes, expires_at): Row| {
            let (which, model) = (text(which).unwrap_or_default(), text_of(model).flatten());
            (created_at, kind, found_by, which, model, bytes, expires_at)
        };
        Ok(listing.page(rows.into_iter().map(row).collect()))
    }
}

/// Deletes what has expired.
pub(super) struct DeleteExpired {
    /// When.
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for DeleteExpired {
    type Done = Expired;

    async fn run(&self, connection: &mut PgConnection) -> Result<Expired, sqlx::Error> {
        let (now, most) = (kept_time(self.now), i64::from(MOST_EXPIRED));
        let ended =
            "SELECT id, account FROM stored_answers WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";
        let ended: Vec<(i64, String)> =
            sqlx::query_as(ended).bind(now).bind(most).fetch_all(&mut *connection).await?;
        let mut stored = 0;
        if !ended.is_empty() {
            let (ids, accounts): (Vec<i64>, Vec<&str>) =
                ended.iter().map(|(id, of)| (*id, of.as_str())).unzip();
            answers::lock(&accounts, connection).await?;
            let delete = sqlx::query("DELETE FROM stored_answers WHERE id = ANY($1)").bind(ids);
            stored = delete.execute(&mut *connection).await?.rows_affected();
        }
        // Who has nothing any more needs no total. One that somebody is about to add to is passed over.
        let delete = "DELETE FROM stored_totals WHERE account IN \
                      (SELECT account FROM stored_totals WHERE bytes = 0 LIMIT $1 FOR UPDATE SKIP LOCKED)";
        sqlx::query(delete).bind(most).execute(&mut *connection).await?;
        proxied::lock(connection).await?;
        let delete = "DELETE FROM proxied_answers WHERE id IN \
                      (SELECT id FROM proxied_answers WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) \
                      RETURNING entry_key, form";
        let delete = sqlx::query_as(delete).bind(now).bind(most);
        Ok(Expired { stored, proxied: slots_of(delete.fetch_all(connection).await?) })
    }
}
