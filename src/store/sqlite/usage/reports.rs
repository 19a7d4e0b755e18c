//! Sums of usage as reports ask for them, out of the rows of hours and of days.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqlitePool};

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::store::number::{kept, read, read_time};
use crate::store::sqlite::usage::list;
use crate::store::summing::{KeyRow, Span, keys_used, sums};
use crate::store::usage::{KeyUsage, ModelSum, TimeSum, UsageOf, UsageSums};
use crate::usage::record::Hour;

/// A SELECT of all sums, each in two parts, so that no sum of whole numbers overflows, as [`sums`] reads
/// them.
macro_rules! select_sums {
    ($columns:literal, $from:expr, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            "sum(coalesce(requests, 0) / 1048576), sum(coalesce(requests, 0) % 1048576), ",
            "sum(coalesce(prompt_tokens, 0) / 1048576), sum(coalesce(prompt_tokens, 0) % 1048576), ",
            "sum(coalesce(cached_tokens, 0) / 1048576), sum(coalesce(cached_tokens, 0) % 1048576), ",
            "sum(coalesce(completion_tokens, 0) / 1048576), sum(coalesce(completion_tokens, 0) % 1048576), ",
            "sum(coalesce(saved_prompt_tokens, 0) / 1048576), sum(coalesce(saved_prompt_tokens, 0) % 1048576), ",
            "sum(coalesce(saved_cached_tokens, 0) / 1048576), sum(coalesce(saved_cached_tokens, 0) % 1048576), ",
            "sum(coalesce(saved_completion_tokens, 0) / 1048576), sum(coalesce(saved_completion_tokens, 0) % 1048576), ",
            "sum(coalesce(cost, 0) / 1048576), sum(coalesce(cost, 0) % 1048576), ",
            "sum(coalesce(cost_saved, 0) / 1048576), sum(coalesce(cost_saved, 0) % 1048576) ",
            "FROM ",
            $from,
            " ",
            $rest
        )
    };
}

/// The rows of a [`Span`]: of its days, and of the hours before and behind them.
macro_rules! rows_of_span {
    () => {
        concat!(
            "(SELECT hour, key, model, class, ",
            all_sums!(),
            " FROM usage_hours WHERE account = ?1 AND hour >= ?2 AND hour < ?3 UNION ALL SELECT hour, key, model, class, ",
            all_sums!(),
            " FROM usage_hours WHERE account = ?1 AND hour >= ?4 AND hour < ?5 \
             UNION ALL SELECT day * 24 AS hour, key, model, class, ",
            all_sums!(),
            " FROM usage_days WHERE account = ?1 AND day >= ?6 AND day < ?7)"
        )
    };
}

/// Asks `select`, whose first parameters are the account and the span, and whose next one is `last`.
async fn ask(
    span: Span,
    connection: &mut SqliteConnection,
    select: &'static str,
    account: &str,
    last: String,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut query = sqlx::query(select).bind(account.to_owned());
    for (from, to) in span.parts() {
        query = query.bind(from).bind(to);
    }
    query.bind(last).fetch_all(connection).await
}

/// All sums, as of one moment.
pub(in crate::store::sqlite) async fn usage(
    readers: &SqlitePool,
    of: &UsageOf,
) -> Result<UsageSums, sqlx::Error> {
    // What one transaction reads is as it was when it read first.
    let mut moment = readers.begin().await?;
    let by_time = by_time(&mut moment, of).await?;
    let by_model = by_model(&mut moment, of).await?;
    let (by_key, keys) = by_key(&mut moment, of).await?;
    moment.commit().await?;
    Ok(UsageSums { by_time, by_model, by_key, keys })
}

/// The sums by time and class.
async fn by_time(connection: &mut SqliteConnection, of: &UsageOf) -> Result<Vec<TimeSum>, sqlx::Error> {
    let select = select_sums!(
        "hour - hour % CAST(?8 AS INTEGER) AS start, class, ",
        rows_of_span!(),
        "GROUP BY start, class ORDER BY start, class"
    );
    let (span, hours) = Span::of_steps(of.period, of.step);
    let rows = ask(span, connection, select, of.account.as_str(), hours.to_string()).await?;
    let sum = |row: &SqliteRow| {
        let Some((class, sums)) = sums(row, 1)? else { return Ok(None) };
        Ok(Some(TimeSum { start: Hour::from_number(row.try_get(0)?), class, sums }))
    };
    rows.iter().filter_map(|row| sum(row).transpose()).collect()
}

/// The sums by model and class.
async fn by_model(connection: &mut SqliteConnection, of: &UsageOf) -> Result<Vec<ModelSum>, sqlx::Error> {
    let select = select_sums!(
        "model, class, ",
        rows_of_span!(),
        "WHERE ?8 = '' GROUP BY model, class ORDER BY model, class"
    );
    let rows = ask(Span::of(of.period), connection, select, of.account.as_str(), String::new()).await?;
    let sum = |row: &SqliteRow| {
        let Some((class, sums)) = sums(row, 1)? else { return Ok(None) };
        Ok(Some(ModelSum { model: row.try_get::<String, _>(0)?.into(), class, sums }))
    };
    rows.iter().filter_map(|row| sum(row).transpose()).collect()
}

/// The keys that are wanted of those that an account used, with their sums, and how many keys there are.
async fn by_key(
    connection: &mut SqliteConnection,
    of: &UsageOf,
) -> Result<(Vec<KeyUsage>, u64), sqlx::Error> {
    let account = of.account.as_str();
    let count = sqlx::query_scalar("SELECT count(*) FROM key_uses WHERE account = ?1").bind(account);
    let total = read(count.fetch_one(&mut *connection).await?);
    let keys = "SELECT key, last_at, name, environment FROM key_uses WHERE account = ?1 \
                ORDER BY key LIMIT ?2 OFFSET ?3";
    let keys = sqlx::query_as(keys).bind(account).bind(of.limit).bind(kept(of.offset));
    let keys: Vec<KeyRow> = keys.fetch_all(&mut *connection).await?;
    let select = select_sums!(
        "key, class, ",
        rows_of_span!(),
        "WHERE key IN (SELECT value FROM json_each(?8)) GROUP BY key, class ORDER BY key, class"
    );
    let names = list(keys.iter().map(|(key, ..)| key))?;
    let rows = ask(Span::of(of.period), connection, select, account, names).await?;
    let sums: Result<Vec<_>, sqlx::Error> =
        rows.iter().map(|row| Ok((row.try_get(0)?, sums(row, 1)?))).collect();
    Ok((keys_used(keys, sums?), total))
}

/// When each of these keys was used last.
pub(in crate::store::sqlite) async fn last_uses(
    readers: &SqlitePool,
    keys: &[(AccountId, KeyId)],
) -> Result<Vec<Option<UnixTime>>, sqlx::Error> {
    let select = "SELECT uses.last_at FROM json_each(?1) AS asked LEFT JOIN key_uses AS uses \
                  ON uses.account = asked.value ->> 0 AND uses.key = asked.value ->> 1 ORDER BY asked.key";
    let asked = list(keys.iter().map(|(account, key)| [account.as_str(), key.as_str()]))?;
    let uses: Vec<Option<i64>> = sqlx::query_scalar(select).bind(asked).fetch_all(readers).await?;
    Ok(uses.into_iter().map(|at| at.map(read_time)).collect())
}
