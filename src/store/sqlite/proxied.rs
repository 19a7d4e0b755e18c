//! Answers of upstreams in SQLite.

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;
use sqlx::sqlite::SqliteExecutor;

use crate::auth::model_glob::ModelGlob;
use crate::cache::entries::Slot;
use crate::cache::key::EntryKey;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::answer::allowed;
use crate::store::number::{kept, kept_time, read, read_size, read_time};
use crate::store::proxied::{
    Found, KeyPage, MOST_EVICTED, MOST_PURGED, NewProxied, Purge, ROW_BYTES, SlotPage, form_name, slot_of,
};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// The most oldest answers that are looked at in one go while room is made.
const LOOK: u32 = 64;

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
impl Change for PutProxied {
    /// What was deleted to make room; `None`: there has been another purge, and nothing was put.
    type Done = Option<Vec<Slot>>;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(self.batch.iter().fold(0, |sum, new| sum.saturating_add(new.payload.len() as u64)))
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Option<Vec<Slot>>, sqlx::Error> {
        if let Some(seen) = self.purges
            && purges(&mut *connection).await? != seen
        {
            return Ok(None);
        }
        for new in &self.batch {
            delete_slot(new.slot, connection).await?;
            insert(new, connection).await?;
        }
        evict(self.bound, connection).await.map(Some)
    }
}

/// How often there was a purge.
pub(super) async fn purges(executor: impl SqliteExecutor<'_>) -> Result<u64, sqlx::Error> {
    let purges = sqlx::query_scalar("SELECT coalesce(purges, 0) FROM proxied_total").fetch_one(executor);
    Ok(read(purges.await?))
}

async fn delete_slot(slot: Slot, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let delete = "DELETE FROM proxied_answers WHERE entry_key = ?1 AND form = ?2";
    let delete = sqlx::query(delete).bind(&slot.key.as_bytes()[..]).bind(form_name(slot.form));
    delete.execute(connection).await?;
    Ok(())
}

async fn insert(new: &NewProxied, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO proxied_answers \
                  (entry_key, form, account, route, model, bytes, checksum, created_at, expires_at, payload) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    sqlx::query(insert)
        .bind(&new.slot.key.as_bytes()[..])
        .bind(form_name(new.slot.form))
        .bind(new.account.as_ref().map(|account| account.as_str()))
        .bind(&*new.route)
        .bind(new.model.as_deref())
        .bind(kept(ROW_BYTES.saturating_add(new.payload.len() as u64)))
        .bind(i64::from(crc32fast::hash(&new.payload)))
        .bind(kept_time(new.created_at))
        .bind(kept_time(new.expires_at))
        .bind(&new.payload[..])
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes the oldest until all take at most `bound`, and [`MOST_EVICTED`] at most.
async fn evict(bound: ByteSize, connection: &mut SqliteConnection) -> Result<Vec<Slot>, sqlx::Error> {
    let mut evicted = Vec::new();
    for _ in 0..MOST_EVICTED.div_ceil(LOOK) {
        let total = sqlx::query_scalar("SELECT bytes FROM proxied_total").fetch_one(&mut *connection);
        let mut over = read(total.await?).saturating_sub(bound.as_u64());
        if over == 0 {
            break;
        }
        let oldest = "SELECT id, bytes, entry_key, form FROM proxied_answers ORDER BY id LIMIT ?1";
        let oldest: Vec<(i64, i64, Vec<u8>, String)> =
            sqlx::query_as(oldest).bind(LOOK).fetch_all(&mut *connection).await?;
        let Some((first, ..)) = oldest.first() else { break };
        let mut last = *first;
        for (id, bytes, key, form) in &oldest {
            if over == 0 {
                break;
            }
            last = *id;
            over = over.saturating_sub(read(*bytes));
            evicted.extend(slot_of(key, form));
        }
        sqlx::query("DELETE FROM proxied_answers WHERE id <= ?1")
            .bind(last)
            .execute(&mut *connection)
            .await?;
    }
    Ok(evicted)
}

// === finding ===

/// What is in `slot`, and if it is not what was put, the number of its row.
pub(super) async fn find(
    readers: &SqlitePool,
    slot: Slot,
    now: UnixTime,
) -> Result<(Found, Option<i64>), sqlx::Error> {
    let select = "SELECT id, checksum, created_at, expires_at, payload FROM proxied_answers \
                  WHERE entry_key = ?1 AND form = ?2 AND expires_at > ?3";
    let row: Option<(i64, i64, i64, i64, Vec<u8>)> = sqlx::query_as(select)
        .bind(&slot.key.as_bytes()[..])
        .bind(form_name(slot.form))
        .bind(kept_time(now))
        .fetch_optional(readers)
        .await?;
    let Some((id, checksum, created_at, expires_at, payload)) = row else {
        return Ok((Found::Nothing, None));
    };
    if i64::from(crc32fast::hash(&payload)) != checksum {
        return Ok((Found::Damaged, Some(id)));
    }
    let found =
        Found::Payload { payload, created_at: read_time(created_at), expires_at: read_time(expires_at) };
    Ok((found, None))
}

/// Deletes one row.
pub(super) struct DropRow {
    /// Its number.
    pub(super) id: i64,
}

#[async_trait]
impl Change for DropRow {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM proxied_answers WHERE id = ?1").bind(self.id).execute(connection).await?;
        Ok(())
    }
}

/// Deletes what is in some slots.
pub(super) struct DropSlots {
    /// Which.
    pub(super) slots: Vec<Slot>,
}

#[async_trait]
impl Change for DropSlots {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes((self.slots.len() * size_of::<Slot>()) as u64)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for slot in &self.slots {
            delete_slot(*slot, connection).await?;
        }
        Ok(())
    }
}

/// A page of the slots that are taken.
pub(super) async fn slots(readers: &SqlitePool, page: KeyPage) -> Result<SlotPage, sqlx::Error> {
    let select = "SELECT id, entry_key, form FROM proxied_answers WHERE id > ?1 ORDER BY id LIMIT ?2";
    let rows: Vec<(i64, Vec<u8>, String)> =
        sqlx::query_as(select).bind(page.after).bind(page.limit).fetch_all(readers).await?;
    Ok(SlotPage {
        slots: rows.iter().filter_map(|(_, key, form)| slot_of(key, form)).collect(),
        last: rows.last().map_or(page.after, |(id, ..)| *id),
        goes_on: rows.len() as u64 >= u64::from(page.limit),
    })
}

/// What all of them take.
pub(super) async fn bytes(readers: &SqlitePool) -> Result<ByteSize, sqlx::Error> {
    let total = sqlx::query_scalar("SELECT bytes FROM proxied_total").fetch_one(readers);
    total.await.map(read_size)
}

/// The slots of rows that name them.
pub(super) fn slots_of(rows: Vec<(Vec<u8>, String)>) -> Vec<Slot> {
    rows.iter().filter_map(|(key, form)| slot_of(key, form)).collect()
}

// === impl Purge ===

#[async_trait]
impl Change for Purge {
    type Done = Vec<Slot>;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Vec<Slot>, sqlx::Error> {
        sqlx::query("UPDATE proxied_total SET purges = coalesce(purges, 0) + 1")
            .execute(&mut *connection)
            .await?;
        let delete = match self {
            Self::Key { account, key, allowed_models } if !allowed_models.is_empty() => {
                return purge_models((account, Some(key)), allowed_models, connection).await;
            }
            Self::Key { account, key, .. } => sqlx::query_as(
                "DELETE FROM proxied_answers INDEXED BY proxied_answers_by_key \
                 WHERE entry_key = ?1 AND account = ?2 RETURNING entry_key, form",
            )
            .bind(key.as_bytes().to_vec())
            .bind(account.as_str().to_owned()),
            Self::Route(route) => sqlx::query_as(
                "DELETE FROM proxied_answers WHERE id IN \
                 (SELECT id FROM proxied_answers WHERE route = ?2 LIMIT ?1) RETURNING entry_key, form",
            )
            .bind(MOST_PURGED)
            .bind(route.to_string()),
            Self::All => sqlx::query_as(
                "DELETE FROM proxied_answers WHERE id IN \
                 (SELECT id FROM proxied_answers ORDER BY id LIMIT ?1) RETURNING entry_key, form",
            )
            .bind(MOST_PURGED),
            Self::Account { account, allowed_models } if allowed_models.is_empty() => sqlx::query_as(
                "DELETE FROM proxied_answers WHERE id IN \
                 (SELECT id FROM proxied_answers WHERE account = ?2 LIMIT ?1) RETURNING entry_key, form",
            )
            .bind(MOST_PURGED)
            .bind(account.as_str().to_owned()),
            Self::Account { account, allowed_models } => {
                return purge_models((account, None), allowed_models, connection).await;
            }
        };
        Ok(slots_of(delete.fetch_all(connection).await?))
    }
}

/// Deletes what an account has of models that fit one of `allowed_models`, or of that its answers to one question; at most
/// so many at once.
async fn purge_models(
    (account, key): (&AccountId, Option<&EntryKey>),
    allowed_models: &[ModelGlob],
    connection: &mut SqliteConnection,
) -> Result<Vec<Slot>, sqlx::Error> {
    let key = key.map(|key| &key.as_bytes()[..]);
    let (models, delete) = match key {
        Some(_) => (
            "SELECT DISTINCT model FROM proxied_answers INDEXED BY proxied_answers_by_key \
             WHERE entry_key = ?2 AND account = ?1 AND model IS NOT NULL",
            "DELETE FROM proxied_answers WHERE id IN \
             (SELECT id FROM proxied_answers INDEXED BY proxied_answers_by_key \
              WHERE entry_key = ?2 AND account = ?1 AND model = ?3 LIMIT ?4) \
             RETURNING entry_key, form",
        ),
        None => (
            "SELECT DISTINCT model FROM proxied_answers WHERE account = ?1 AND ?2 IS NULL AND model IS NOT NULL",
            "DELETE FROM proxied_answers WHERE id IN \
             (SELECT id FROM proxied_answers WHERE account = ?1 AND ?2 IS NULL AND model = ?3 LIMIT ?4) \
             RETURNING entry_key, form",
        ),
    };
    let models = sqlx::query_scalar(models).bind(account.as_str()).bind(key);
    let mut deleted = Vec::new();
    for model in allowed(models.fetch_all(&mut *connection).await?, allowed_models) {
        let room = u64::from(MOST_PURGED).saturating_sub(deleted.len() as u64);
        if room == 0 {
            break;
        }
        let delete = sqlx::query_as(delete).bind(account.as_str()).bind(key).bind(model).bind(kept(room));
        deleted.extend(slots_of(delete.fetch_all(&mut *connection).await?));
    }
    Ok(deleted)
}
