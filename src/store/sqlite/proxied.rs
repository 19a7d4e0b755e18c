//! Answers of upstreams in SQLite.

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::cache::entries::Slot;
use crate::clock::UnixTime;
use crate::store::proxied::{Found, KeyPage, MOST_EVICTED, NewProxied, Purge, ROW_BYTES, form_name, slot_of};
use crate::store::sqlite::answers::allowed;
use crate::store::sqlite::number::{kept, kept_time, read, read_time};
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
}

// === impl PutProxied ===

#[async_trait]
impl Change for PutProxied {
    /// What was deleted to make room.
    type Done = Vec<Slot>;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(self.batch.iter().fold(0, |sum, new| sum.saturating_add(new.payload.len() as u64)))
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Vec<Slot>, sqlx::Error> {
        for new in &self.batch {
            delete_slot(new.slot, connection).await?;
            insert(new, connection).await?;
        }
        evict(self.bound, connection).await
    }
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

/// A page of the slots that are taken, and where the next one begins.
pub(super) async fn slots(
    readers: &SqlitePool,
    page: KeyPage,
) -> Result<(Vec<Slot>, Option<KeyPage>), sqlx::Error> {
    let select = "SELECT id, entry_key, form FROM proxied_answers WHERE id > ?1 ORDER BY id LIMIT ?2";
    let rows: Vec<(i64, Vec<u8>, String)> =
        sqlx::query_as(select).bind(page.after).bind(page.limit).fetch_all(readers).await?;
    let is_full = rows.len() as u64 >= u64::from(page.limit);
    let last = rows.last().filter(|_| is_full).map(|(id, ..)| KeyPage { after: *id, ..page });
    Ok((rows.iter().filter_map(|(_, key, form)| slot_of(key, form)).collect(), last))
}

// === impl Purge ===

#[async_trait]
impl Change for Purge {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let delete = match self {
            Self::Key(key) => {
                sqlx::query("DELETE FROM proxied_answers WHERE entry_key = ?1").bind(key.as_bytes().to_vec())
            }
            Self::Route(route) => {
                sqlx::query("DELETE FROM proxied_answers WHERE route = ?1").bind(route.to_string())
            }
            Self::All => sqlx::query("DELETE FROM proxied_answers"),
            Self::Account { account, allowed_models } if allowed_models.is_empty() => {
                sqlx::query("DELETE FROM proxied_answers WHERE account = ?1").bind(account.as_str())
            }
            Self::Account { account, allowed_models } => {
                let models = "SELECT DISTINCT model FROM proxied_answers \
                              WHERE account = ?1 AND model IS NOT NULL";
                let models = sqlx::query_scalar(models).bind(account.as_str());
                let models = allowed(models.fetch_all(&mut *connection).await?, allowed_models);
                let mut deleted = 0;
                for model in models {
                    let delete = "DELETE FROM proxied_answers WHERE account = ?1 AND model = ?2";
                    let delete = sqlx::query(delete).bind(account.as_str()).bind(model);
                    deleted += delete.execute(&mut *connection).await?.rows_affected();
                }
                return Ok(deleted);
            }
        };
        Ok(delete.execute(connection).await?.rows_affected())
    }
}
