//! Answers of upstreams in PostgreSQL. Whoever changes any has their total locked: one puts or purges at a time.

use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::auth::model_glob::ModelGlob;
use crate::cache::entries::Slot;
use crate::cache::key::EntryKey;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::answer::allowed;
use crate::store::number::{kept, kept_time, read, read_size, read_time};
use crate::store::postgres::connections::Work;
use crate::store::postgres::text::text;
use crate::store::proxied::{
    Found, KeyPage, MOST_EVICTED, MOST_PURGED, NewProxied, Purge, ROW_BYTES, SlotPage, form_name, slot_of,
};
use crate::units::ByteSize;

/// What all of them take, and how often they were purged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    /// Bytes.
    pub(super) bytes: ByteSize,
    /// Purges.
    pub(super) purges: u64,
}

/// Reads the total, and keeps others from changing anything until this transaction ends.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<Total, sqlx::Error> {
    let lock = "SELECT bytes, purges FROM proxied_total FOR UPDATE";
    let (bytes, purges) = sqlx::query_as(lock).fetch_one(connection).await?;
    Ok(Total { bytes: read_size(bytes), purges: read(purges) })
}

/// Reads the total.
pub(super) struct ReadTotal;

#[async_trait]
impl Work for ReadTotal {
    type Done = Total;

    async fn run(&self, connection: &mut PgConnection) -> Result<Total, sqlx::Error> {
        let select = "SELECT bytes, purges FROM proxied_total";
        let (bytes, purges) = sqlx::query_as(select).fetch_one(connection).await?;
        Ok(Total { bytes: read_size(bytes), purges: read(purges) })
    }
}

/// Answers to keep, and what all of them may take.
pub(super) struct PutProxied {
    /// The answers.
    pub(super) batch: Vec<NewProxied>,
    /// The bound.
    pub(super) bound: ByteSize,
    /// How often there may have been a purge; `None`: that does not matter.
    pub(super) purges: Option<u64>,
}

// === impl PutProxied ===

#[async_trait]
impl Work for PutProxied {
    /// What was deleted to make room; `None`: there has been another purge, and nothing was put.
    type Done = Option<Vec<Slot>>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Option<Vec<Slot>>, sqlx::Error> {
        let total = lock(connection).await?;
        if self.purges.is_some_and(|seen| seen != total.purges) {
            return Ok(None);
        }
        let newest = newest(&self.batch);
        if !newest.is_empty() {
            delete_slots(newest.iter().map(|new| new.slot), connection).await?;
            insert(&newest, connection).await?;
        }
        evict(self.bound, connection).await.map(Some)
    }
}

/// Of several answers in one slot the last, in their order.
fn newest(batch: &[NewProxied]) -> Vec<&NewProxied> {
    let mut slots = HashSet::with_capacity(batch.len());
    let mut newest: Vec<_> =
        batch.iter().rev().filter(|new| slots.insert((new.slot.key, form_name(new.slot.form)))).collect();
    newest.reverse();
    newest
}

async fn delete_slots(
    slots: impl Iterator<Item = Slot>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let (keys, forms): (Vec<_>, Vec<_>) =
        slots.map(|slot| (slot.key.as_bytes().to_vec(), form_name(slot.form))).unzip();
    let delete = "DELETE FROM proxied_answers AS p USING unnest($1::bytea[], $2::text[]) AS s (entry_key, form) \
                  WHERE p.entry_key = s.entry_key AND p.form = s.form";
    sqlx::query(delete).bind(keys).bind(forms).execute(connection).await.map(drop)
}

async fn insert(batch: &[&NewProxied], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO proxied_answers \
                  (entry_key, form, account, route, model, bytes, checksum, created_at, expires_at, payload) \
                  SELECT entry_key, form, account, route, model, bytes, checksum, created_at, expires_at, payload \
                  FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], \
                  $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[]) WITH ORDINALITY AS new \
                  (entry_key, form, account, route, model, bytes, checksum, created_at, expires_at, payload, place) \
                  ORDER BY place";
    fn column<'a, T>(batch: &[&'a NewProxied], of: impl Fn(&'a NewProxied) -> T) -> Vec<T> {
        batch.iter().map(|new| of(new)).collect()
    }
    let account = |new: &'_ NewProxied| new.account.as_ref().map(|account| account.as_str().to_owned());
    sqlx::query(insert)
        .bind(column(batch, |new| &new.slot.key.as_bytes()[..]))
        .bind(column(batch, |new| form_name(new.slot.form)))
        .bind(column(batch, account))
        .bind(column(batch, |new| &*new.route))
        .bind(column(batch, |new| new.model.as_deref().map(str::as_bytes)))
        .bind(column(batch, |new| kept(ROW_BYTES.saturating_add(new.payload.len() as u64))))
        .bind(column(batch, |new| i64::from(crc32fast::hash(&new.payload))))
        .bind(column(batch, |new| kept_time(new.created_at)))
        .bind(column(batch, |new| kept_time(new.expires_at)))
        .bind(column(batch, |new| &new.payload[..]))
        .execute(connection)
        .await
        .map(drop)
}

/// Deletes the oldest until all take at most `bound`, and [`MOST_EVICTED`] at most.
async fn evict(bound: ByteSize, connection: &mut PgConnection) -> Result<Vec<Slot>, sqlx::Error> {
    let over = ReadTotal.run(&mut *connection).await?.bytes.as_u64().saturating_sub(bound.as_u64());
    if over == 0 {
        return Ok(Vec::new());
    }
    // Each of the oldest before which less was deleted than is too much.
    let delete = "DELETE FROM proxied_answers WHERE id IN \
                  (SELECT id FROM (SELECT id, bytes, sum(bytes) OVER (ORDER BY id) AS so_far \
                  FROM (SELECT id, bytes FROM proxied_answers ORDER BY id LIMIT $2) AS oldest) AS summed \
                  WHERE so_far - bytes < $1) RETURNING id, entry_key, form";
    let mut evicted: Vec<(i64, Vec<u8>, String)> =
        sqlx::query_as(delete).bind(kept(over)).bind(i64::from(MOST_EVICTED)).fetch_all(connection).await?;
    evicted.sort_unstable_by_key(|(id, ..)| *id);
    Ok(evicted.iter().filter_map(|(_, key, form)| slot_of(key, form)).collect())
}

// === finding ===

/// What is in a slot, and if it is not what was put, the number of its row.
pub(super) struct Find {
    /// Which slot.
    pub(super) slot: Slot,
    /// When.
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for Find {
    type Done = (Found, Option<i64>);

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = "SELECT id, checksum, created_at, expires_at, payload FROM proxied_answers \
                      WHERE entry_key = $1 AND form = $2 AND expires_at > $3";
        let row: Option<(i64, i64, i64, i64, Vec<u8>)> = sqlx::query_as(select)
            .bind(&self.slot.key.as_bytes()[..])
            .bind(form_name(self.slot.form))
            .bind(kept_time(self.now))
            .fetch_optional(connection)
            .await?;
        let Some((id, checksum, created_at, expires_at, payload)) = row else {
            return Ok((Found::Nothing, None));
        };
        if i64::from(crc32fast::hash(&payload)) != checksum {
            return Ok((Found::Damaged, Some(id)));
        }
        let (created_at, expires_at) = (read_time(created_at), read_time(expires_at));
        Ok((Found::Payload { payload, created_at, expires_at }, None))
    }
}

/// A page of the slots that are taken.
#[async_trait]
impl Work for KeyPage {
    type Done = SlotPage;

    async fn run(&self, connection: &mut PgConnection) -> Result<SlotPage, sqlx::Error> {
        let select = "SELECT id, entry_key, form FROM proxied_answers WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<(i64, Vec<u8>, String)> =
            sqlx::query_as(select).bind(self.after).bind(i64::from(self.limit)).fetch_all(connection).await?;
        Ok(SlotPage {
            slots: rows.iter().filter_map(|(_, key, form)| slot_of(key, form)).collect(),
            last: rows.last().map_or(self.after, |(id, ..)| *id),
            goes_on: rows.len() as u64 >= u64::from(self.limit),
        })
    }
}

/// The slots of rows that name them.
pub(super) fn slots_of(rows: Vec<(Vec<u8>, String)>) -> Vec<Slot> {
    rows.iter().filter_map(|(key, form)| slot_of(key, form)).collect()
}

// === deleting ===

/// Deletes one row.
pub(super) struct DropRow {
    /// Its number.
    pub(super) id: i64,
}

#[async_trait]
impl Work for DropRow {
    type Done = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        lock(connection).await?;
        sqlx::query("DELETE FROM proxied_answers WHERE id = $1")
            .bind(self.id)
            .execute(connection)
            .await
            .map(drop)
    }
}

/// Deletes what is in some slots.
pub(super) struct DropSlots {
    /// Which.
    pub(super) slots: Vec<Slot>,
}

#[async_trait]
impl Work for DropSlots {
    type Done = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        lock(connection).await?;
        delete_slots(self.slots.iter().copied(), connection).await
    }
}

#[async_trait]
impl Work for Purge {
    type Done = Vec<Slot>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<Slot>, sqlx::Error> {
        sqlx::query("UPDATE proxied_total SET purges = purges + 1").execute(&mut *connection).await?;
        let most = i64::from(MOST_PURGED);
        let delete = match self {
            Self::Key { account, key, allowed_models } => {
                return purge_owned((account, Some(key)), allowed_models, connection).await;
            }
            Self::Account { account, allowed_models } => {
                return purge_owned((account, None), allowed_models, connection).await;
            }
            Self::Route(route) => sqlx::query_as(
                "DELETE FROM proxied_answers WHERE id IN \
                 (SELECT id FROM proxied_answers WHERE route = $2 LIMIT $1) RETURNING entry_key, form",
            )
            .bind(most)
            .bind(&**route),
            Self::All => sqlx::query_as(
                "DELETE FROM proxied_answers WHERE id IN \
                 (SELECT id FROM proxied_answers ORDER BY id LIMIT $1) RETURNING entry_key, form",
            )
            .bind(most),
        };
        Ok(slots_of(delete.fetch_all(connection).await?))
    }
}

/// Deletes what an account has, or of that its answers to one question; only of models that fit one of `allowed_models`,
/// unless that is empty; at most so many at once.
async fn purge_owned(
    (account, key): (&AccountId, Option<&EntryKey>),
    allowed_models: &[ModelGlob],
    connection: &mut PgConnection,
) -> Result<Vec<Slot>, sqlx::Error> {
    let (models, delete) = match key {
        Some(_) => (
            "SELECT DISTINCT model FROM proxied_answers \
             WHERE entry_key = $2 AND account = $1 AND model IS NOT NULL",
            "DELETE FROM proxied_answers WHERE id IN (SELECT id FROM proxied_answers \
             WHERE entry_key = $2 AND account = $1 AND ($3::bytea[] IS NULL OR model = ANY($3)) LIMIT $4) \
             RETURNING entry_key, form",
        ),
        None => (
            "SELECT DISTINCT model FROM proxied_answers \
             WHERE account = $1 AND $2::bytea IS NULL AND model IS NOT NULL",
            "DELETE FROM proxied_answers WHERE id IN (SELECT id FROM proxied_answers \
             WHERE account = $1 AND $2::bytea IS NULL AND ($3::bytea[] IS NULL OR model = ANY($3)) LIMIT $4) \
             RETURNING entry_key, form",
        ),
    };
    let key = key.map(|key| &key.as_bytes()[..]);
    let wanted = if allowed_models.is_empty() {
        None
    } else {
        let models = sqlx::query_scalar(models).bind(account.as_str()).bind(key);
        let models = models.fetch_all(&mut *connection).await?.into_iter().filter_map(text).collect();
        Some(allowed(models, allowed_models).map(String::into_bytes).collect::<Vec<_>>())
    };
    let delete = sqlx::query_as(delete).bind(account.as_str()).bind(key).bind(wanted);
    Ok(slots_of(delete.bind(i64::from(MOST_PURGED)).fetch_all(connection).await?))
}
