//! Sums of usage as reports ask for them, out of the rows of hours and of days.

use std::collections::HashMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqlitePool};

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::money::Money;
use crate::store::number::{kept, read, read_time};
use crate::store::sqlite::usage::list;
use crate::store::usage::{KeyUsage, ModelSum, Period, Step, TimeSum, UsageOf, UsageSums};
use crate::usage::record::{Class, Hour, KeyLabel, Sums};

/// A SELECT of all sums, each in two parts, so that no sum of whole numbers overflows: [`PART`]s, and the rest.
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

/// What the first part of a sum is counted in.
const PART: u64 = 1 << 20;

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

/// A period as the rows of its hours and of its whole days make it up.
#[derive(Clone, Copy, Debug)]
struct Span {
    before: (u32, u32),
    behind: (u32, u32),
    days: (u32, u32),
}

impl Span {
    fn of(period: Period) -> Self {
        let (from, to) = (period.from.number(), period.to.number());
        let (first, end) = (from.div_ceil(Hour::A_DAY), to / Hour::A_DAY);
        if end <= first {
            return Self { before: (from, to), behind: (0, 0), days: (0, 0) };
        }
        Self { before: (from, first * Hour::A_DAY), behind: (end * Hour::A_DAY, to), days: (first, end) }
    }

    /// All by hours.
    fn of_hours(period: Period) -> Self {
        Self { before: (period.from.number(), period.to.number()), behind: (0, 0), days: (0, 0) }
    }

    /// Asks `select`, whose first parameters are the account and the span, and whose next one is `last`.
    async fn ask(
        self,
        connection: &mut SqliteConnection,
        select: &'static str,
        account: &str,
        last: String,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut query = sqlx::query(select).bind(account.to_owned());
        for (from, to) in [self.before, self.behind, self.days] {
            query = query.bind(from).bind(to);
        }
        query.bind(last).fetch_all(connection).await
    }
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
    let (span, hours) = match of.step {
        Step::Hour => (Span::of_hours(of.period), 1),
        Step::Day => (Span::of(of.period), Hour::A_DAY),
    };
    let rows = span.ask(connection, select, of.account.as_str(), hours.to_string()).await?;
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
    let rows = Span::of(of.period).ask(connection, select, of.account.as_str(), String::new()).await?;
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
    type Row = (String, i64, Option<String>, Option<String>);
    let keys = sqlx::query_as(keys).bind(account).bind(of.limit).bind(kept(of.offset));
    let keys: Vec<Row> = keys.fetch_all(&mut *connection).await?;
    let select = select_sums!(
        "key, class, ",
        rows_of_span!(),
        "WHERE key IN (SELECT value FROM json_each(?8)) GROUP BY key, class ORDER BY key, class"
    );
    let names = list(keys.iter().map(|(key, ..)| key))?;
    let rows = Span::of(of.period).ask(connection, select, account, names).await?;
    let mut of_keys: HashMap<String, Vec<(Class, Sums)>> = HashMap::new();
    for row in &rows {
        if let Some(sums) = sums(row, 1)? {
            of_keys.entry(row.try_get(0)?).or_default().push(sums);
        }
    }
    let usage = |(key, last_at, name, environment): Row| KeyUsage {
        sums: of_keys.remove(&key).unwrap_or_default(),
        key: KeyId::new(&key),
        label: KeyLabel { name: name.map(Into::into), environment: environment.map(Into::into) },
        last_used_at: read_time(last_at),
    };
    Ok((keys.into_iter().map(usage).collect(), total))
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

/// A class and its sums, from column `first` on; `None` for a class of another version's.
fn sums(row: &SqliteRow, first: usize) -> Result<Option<(Class, Sums)>, sqlx::Error> {
    let Some(class) = Class::of_name(row.try_get(first)?) else { return Ok(None) };
    let whole = |place: usize| {
        let column = first + 1 + 2 * place;
        let (parts, rest) = (read(row.try_get(column)?), read(row.try_get(column + 1)?));
        Ok::<_, sqlx::Error>(u128::from(parts) * u128::from(PART) + u128::from(rest))
    };
    let sum = |place| whole(place).map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
    let sums = Sums {
        requests: sum(0)?,
        prompt_tokens: sum(1)?,
        cached_tokens: sum(2)?,
        completion_tokens: sum(3)?,
        saved_prompt_tokens: sum(4)?,
        saved_cached_tokens: sum(5)?,
        saved_completion_tokens: sum(6)?,
        cost: Money::from_units(whole(7)?),
        cost_saved: Money::from_units(whole(8)?),
    };
    Ok(Some((class, sums)))
}
