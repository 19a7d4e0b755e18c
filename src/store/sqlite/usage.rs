//! Sums of usage in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqlitePool};

use crate::ids::{AccountId, KeyId};
use crate::store::sqlite::number::{kept, kept_time, read, read_time};
use crate::store::sqlite::writer::Change;
use crate::store::usage::{KeyPageOf, KeyUsage, ModelSum, Period, Step, TimeSum, UsageRow};
use crate::units::ByteSize;
use crate::usage::record::{Class, Hour, Sums};

/// What a row of sums holds in memory, about.
const ROW_BYTES: u64 = 256;

/// Rows to add.
pub(super) struct AddUsage {
    /// The rows.
    pub(super) rows: Vec<UsageRow>,
}

#[async_trait]
impl Change for AddUsage {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes(ROW_BYTES.saturating_mul(self.rows.len() as u64))
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for row in &self.rows {
            add(row, connection).await?;
        }
        Ok(())
    }
}

async fn add(row: &UsageRow, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let UsageRow { cell, sums, last_at } = row;
    let add = "INSERT INTO usage_hours (account, hour, key, model, class, requests, prompt_tokens, \
               cached_tokens, completion_tokens, saved_prompt_tokens, saved_completion_tokens) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
               ON CONFLICT (account, hour, key, model, class) DO UPDATE SET \
               requests = requests + excluded.requests, \
               prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
               cached_tokens = cached_tokens + excluded.cached_tokens, \
               completion_tokens = completion_tokens + excluded.completion_tokens, \
               saved_prompt_tokens = saved_prompt_tokens + excluded.saved_prompt_tokens, \
               saved_completion_tokens = saved_completion_tokens + excluded.saved_completion_tokens";
    sqlx::query(add)
        .bind(cell.account.as_str())
        .bind(cell.hour.number())
        .bind(cell.key.as_str())
        .bind(&*cell.model)
        .bind(cell.class.as_str())
        .bind(kept(sums.requests))
        .bind(kept(sums.prompt_tokens))
        .bind(kept(sums.cached_tokens))
        .bind(kept(sums.completion_tokens))
        .bind(kept(sums.saved_prompt_tokens))
        .bind(kept(sums.saved_completion_tokens))
        .execute(&mut *connection)
        .await?;
    let used = "INSERT INTO key_uses (account, key, last_at) VALUES (?1, ?2, ?3) \
                ON CONFLICT (account, key) DO UPDATE SET last_at = max(last_at, excluded.last_at)";
    let used =
        sqlx::query(used).bind(cell.account.as_str()).bind(cell.key.as_str()).bind(kept_time(*last_at));
    used.execute(connection).await?;
    Ok(())
}

/// The sums by time and class.
pub(super) async fn by_time(
    readers: &SqlitePool,
    account: &AccountId,
    period: Period,
    step: Step,
) -> Result<Vec<TimeSum>, sqlx::Error> {
    let select = "SELECT hour - hour % ?4 AS start, class, sum(requests), sum(prompt_tokens), \
                  sum(cached_tokens), sum(completion_tokens), sum(saved_prompt_tokens), \
                  sum(saved_completion_tokens) FROM usage_hours \
                  WHERE account = ?1 AND hour >= ?2 AND hour < ?3 GROUP BY start, class ORDER BY start, class";
    let hours = match step {
        Step::Hour => 1,
        Step::Day => Hour::A_DAY,
    };
    let rows = sqlx::query(select)
        .bind(account.as_str())
        .bind(period.from.number())
        .bind(period.to.number())
        .bind(hours)
        .fetch_all(readers)
        .await?;
    let sum = |row: &SqliteRow| {
        let Some((class, sums)) = sums(row, 1)? else { return Ok(None) };
        Ok(Some(TimeSum { start: Hour::from_number(row.try_get(0)?), class, sums }))
    };
    rows.iter().filter_map(|row| sum(row).transpose()).collect()
}

/// The sums by model and class.
pub(super) async fn by_model(
    readers: &SqlitePool,
    account: &AccountId,
    period: Period,
) -> Result<Vec<ModelSum>, sqlx::Error> {
    let select = "SELECT model, class, sum(requests), sum(prompt_tokens), sum(cached_tokens), \
                  sum(completion_tokens), sum(saved_prompt_tokens), sum(saved_completion_tokens) \
                  FROM usage_hours WHERE account = ?1 AND hour >= ?2 AND hour < ?3 \
                  GROUP BY model, class ORDER BY model, class";
    let rows = sqlx::query(select)
        .bind(account.as_str())
        .bind(period.from.number())
        .bind(period.to.number())
        .fetch_all(readers)
        .await?;
    let sum = |row: &SqliteRow| {
        let Some((class, sums)) = sums(row, 1)? else { return Ok(None) };
        Ok(Some(ModelSum { model: row.try_get::<String, _>(0)?.into(), class, sums }))
    };
    rows.iter().filter_map(|row| sum(row).transpose()).collect()
}

/// A page of the keys that an account used, with their sums, and how many keys there are.
pub(super) async fn by_key(
    readers: &SqlitePool,
    page: &KeyPageOf,
    period: Period,
) -> Result<(Vec<KeyUsage>, u64), sqlx::Error> {
    let account = page.account.as_str();
    let count = sqlx::query_scalar("SELECT count(*) FROM key_uses WHERE account = ?1").bind(account);
    let total = read(count.fetch_one(readers).await?);
    let keys = "SELECT key, last_at FROM key_uses WHERE account = ?1 ORDER BY key LIMIT ?2 OFFSET ?3";
    let keys = sqlx::query_as(keys).bind(account).bind(page.limit).bind(kept(page.offset));
    let keys: Vec<(String, i64)> = keys.fetch_all(readers).await?;
    let mut usages = Vec::with_capacity(keys.len());
    for (key, last_at) in keys {
        let sums = of_key(readers, (account, &key), period).await?;
        usages.push(KeyUsage { key: KeyId::new(&key), last_used_at: read_time(last_at), sums });
    }
    Ok((usages, total))
}

async fn of_key(
    readers: &SqlitePool,
    (account, key): (&str, &str),
    period: Period,
) -> Result<Vec<(Class, Sums)>, sqlx::Error> {
    let select = "SELECT class, sum(requests), sum(prompt_tokens), sum(cached_tokens), \
                  sum(completion_tokens), sum(saved_prompt_tokens), sum(saved_completion_tokens) \
                  FROM usage_hours WHERE account = ?1 AND hour >= ?2 AND hour < ?3 AND key = ?4 \
                  GROUP BY class ORDER BY class";
    let rows = sqlx::query(select)
        .bind(account)
        .bind(period.from.number())
        .bind(period.to.number())
        .bind(key)
        .fetch_all(readers)
        .await?;
    rows.iter().filter_map(|row| sums(row, 0).transpose()).collect()
}

/// A class and its sums, from column `first` on; `None` for a class of another version's.
fn sums(row: &SqliteRow, first: usize) -> Result<Option<(Class, Sums)>, sqlx::Error> {
    let Some(class) = Class::of_name(row.try_get(first)?) else { return Ok(None) };
    let sum = |column| row.try_get(first + column).map(read);
    let sums = Sums {
        requests: sum(1)?,
        prompt_tokens: sum(2)?,
        cached_tokens: sum(3)?,
        completion_tokens: sum(4)?,
        saved_prompt_tokens: sum(5)?,
        saved_completion_tokens: sum(6)?,
    };
    Ok(Some((class, sums)))
}

/// Deletes the sums of hours before one.
pub(super) struct DeleteUsage {
    /// The first that stays.
    pub(super) first: Hour,
}

#[async_trait]
impl Change for DeleteUsage {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let delete = sqlx::query("DELETE FROM usage_hours WHERE hour < ?1").bind(self.first.number());
        Ok(delete.execute(connection).await?.rows_affected())
    }
}
