//! Sums of usage as reports ask for them, out of the rows of hours and of days.

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::store::number::{kept, read, read_time};
use crate::store::postgres::connections::Work;
use crate::store::postgres::text::text;
use crate::store::summing::{KeyRow, Span, keys_used, sums};
use crate::store::usage::{KeyUsage, ModelSum, TimeSum, UsageOf, UsageSums};
use crate::usage::record::Hour;

/// The columns of sums.
macro_rules! all_sums {
    () => {
        "requests, prompt_tokens, cached_tokens, completion_tokens, saved_prompt_tokens, \
         saved_cached_tokens, saved_completion_tokens, cost, cost_saved"
    };
}

/// One sum in two parts, so that neither overflows, as [`sums`] reads them.
macro_rules! parts {
    ($sum:literal) => {
        concat!("sum(", $sum, " / 1048576)::bigint, sum(", $sum, " % 1048576)::bigint")
    };
}

/// A SELECT of all sums over the rows of a [`Span`]: of its days, and of the hours before and behind them.
macro_rules! select_sums {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            parts!("requests"),
            ", ",
            parts!("prompt_tokens"),
            ", ",
            parts!("cached_tokens"),
            ", ",
            parts!("completion_tokens"),
            ", ",
            parts!("saved_prompt_tokens"),
            ", ",
            parts!("saved_cached_tokens"),
            ", ",
            parts!("saved_completion_tokens"),
            ", ",
            parts!("cost"),
            ", ",
            parts!("cost_saved"),
            " FROM (SELECT hour, key, model, class, ",
            all_sums!(),
            " FROM usage_hours WHERE account = $1 AND hour >= $2 AND hour < $3 UNION ALL SELECT hour, key, model, class, ",
            all_sums!(),
            " FROM usage_hours WHERE account = $1 AND hour >= $4 AND hour < $5 \
             UNION ALL SELECT day * 24 AS hour, key, model, class, ",
            all_sums!(),
            " FROM usage_days WHERE account = $1 AND day >= $6 AND day < $7) AS span ",
            $rest
        )
    };
}

/// A query whose first parameters are the account and the span.
fn over(span: Span, select: &'static str, account: &AccountId) -> Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(select).bind(account.as_str().to_owned());
    for (from, to) in span.parts() {
        query = query.bind(i64::from(from)).bind(i64::from(to));
    }
    query
}

#[async_trait]
impl Work for UsageOf {
    type Done = UsageSums;

    async fn run(&self, connection: &mut PgConnection) -> Result<UsageSums, sqlx::Error> {
        let by_time = by_time(connection, self).await?;
        let by_model = by_model(connection, self).await?;
        let (by_key, keys) = by_key(connection, self).await?;
        Ok(UsageSums { by_time, by_model, by_key, keys })
    }
}

/// The sums by time and class.
async fn by_time(connection: &mut PgConnection, of: &UsageOf) -> Result<Vec<TimeSum>, sqlx::Error> {
    let select =
        select_sums!("hour - hour % $8 AS start, class, ", "GROUP BY start, class ORDER BY start, class");
    let (span, hours) = Span::of_steps(of.period, of.step);
    let rows = over(span, select, &of.account).bind(i64::from(hours)).fetch_all(connection).await?;
    let sum = |row: &PgRow| {
        let Some((class, sums)) = sums(row, 1)? else { return Ok(None) };
        let start = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX);
        Ok(Some(TimeSum { start: Hour::from_number(start), class, sums }))
    };
    rows.iter().filter_map(|row| sum(row).transpose()).collect()
}

/// The sums by model and class.
async fn by_model(connection: &mut PgConnection, of: &UsageOf) -> Result<Vec<ModelSum>, sqlx::Error> {
    let select = select_sums!("model, class, ", "GROUP BY model, class ORDER BY model, class");
    let rows = over(Span::of(of.period), select, &of.account).fetch_all(connection).await?;
    let sum = |row: &PgRow| {
        let Some((class, sums)) = sums(row, 1)? else { return Ok(None) };
        let model = text(row.try_get(0)?).unwrap_or_default();
        Ok(Some(ModelSum { model: model.into(), class, sums }))
    };
    rows.iter().filter_map(|row| sum(row).transpose()).collect()
}

/// The keys that are wanted of those that an account used, with their sums, and how many keys there are.
async fn by_key(connection: &mut PgConnection, of: &UsageOf) -> Result<(Vec<KeyUsage>, u64), sqlx::Error> {
    let account = of.account.as_str();
    let count = sqlx::query_scalar("SELECT count(*) FROM key_uses WHERE account = $1").bind(account);
    let total = read(count.fetch_one(&mut *connection).await?);
    let keys = "SELECT key, last_at, name, environment FROM key_uses WHERE account = $1 \
                ORDER BY key LIMIT $2 OFFSET $3";
    let keys = sqlx::query_as(keys).bind(account).bind(i64::from(of.limit)).bind(kept(of.offset));
    let keys: Vec<KeyRow> = keys.fetch_all(&mut *connection).await?;
    let select = select_sums!("key, class, ", "WHERE key = ANY($8) GROUP BY key, class ORDER BY key, class");
    let names: Vec<String> = keys.iter().map(|(key, ..)| key.clone()).collect();
    let rows = over(Span::of(of.period), select, &of.account).bind(names).fetch_all(connection).await?;
    let sums: Result<Vec<_>, sqlx::Error> =
        rows.iter().map(|row| Ok((row.try_get(0)?, sums(row, 1)?))).collect();
    Ok((keys_used(keys, sums?), total))
}

/// When each of these keys was used last, in their order.
pub(in crate::store::postgres) struct LastUses(pub(in crate::store::postgres) Vec<(AccountId, KeyId)>);

#[async_trait]
impl Work for LastUses {
    type Done = Vec<Option<UnixTime>>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = "SELECT uses.last_at \
                      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (account, key, place) \
                      LEFT JOIN key_uses AS uses ON uses.account = asked.account AND uses.key = asked.key \
                      ORDER BY asked.place";
        let (accounts, keys): (Vec<_>, Vec<_>) =
            self.0.iter().map(|(account, key)| (account.as_str(), key.as_str())).unzip();
        let uses: Vec<Option<i64>> =
            sqlx::query_scalar(select).bind(accounts).bind(keys).fetch_all(connection).await?;
        Ok(uses.into_iter().map(|at| at.map(read_time)).collect())
    }
}
