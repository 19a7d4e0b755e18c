//! Sums of usage in SQLite, by hours and by days; `reports` reads them.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use serde::Serialize;
use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use crate::store::number::{kept, kept_money, kept_time};
use crate::store::sqlite::writer::Change;
use crate::store::summing::{DeleteUsage, MOST_DELETED, counted_as, last_uses, named};
use crate::store::usage::{MOST_FORGOTTEN, MOST_MODELS, UsageBatch};
use crate::units::ByteSize;
use crate::usage::record::{Hour, KeyLabel, Line, UsageRow};

/// The columns of sums, in the order in which they are listed everywhere here.
macro_rules! all_sums {
    () => {
        "requests, prompt_tokens, cached_tokens, completion_tokens, saved_prompt_tokens, \
         saved_cached_tokens, saved_completion_tokens, cost, cost_saved"
    };
}

pub(super) mod reports;

/// What a row of sums holds in memory, about.
const ROW_BYTES: u64 = 256;

/// The end of a statement that adds to the sums of a row that is there. What no longer fits stays at the most that does:
/// SQLite itself would go on with a number that is no whole one.
macro_rules! or_add {
    ($step:literal) => {
        concat!(
            " ON CONFLICT (account, ",
            $step,
            ", key, model, class) DO UPDATE SET ",
            added!("requests"),
            ", ",
            added!("prompt_tokens"),
            ", ",
            added!("cached_tokens"),
            ", ",
            added!("completion_tokens"),
            ", ",
            added!("saved_prompt_tokens"),
            ", ",
            added!("saved_cached_tokens"),
            ", ",
            added!("saved_completion_tokens"),
            ", ",
            added!("cost"),
            ", ",
            added!("cost_saved")
        )
    };
}

macro_rules! added {
    ($sum:literal) => {
        concat!(
            $sum,
            " = CAST(min(coalesce(",
            $sum,
            ", 0) + excluded.",
            $sum,
            ", 9223372036854775807) AS INTEGER)"
        )
    };
}

#[async_trait]
impl Change for UsageBatch {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes(ROW_BYTES.saturating_mul(self.rows.len() as u64))
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if !note(self, connection).await? {
            return Ok(());
        }
        let models = told_apart(&self.rows, connection).await?;
        for rows in self.rows.chunks(MOST_AT_ONCE) {
            let mut hours = QueryBuilder::new(concat!(
                "INSERT INTO usage_hours (account, hour, key, model, class, ",
                all_sums!(),
                ") "
            ));
            hours.push_values(rows, |mut columns, row| {
                push(&mut columns, row, row.cell.hour.number(), &models)
            });
            hours.push(or_add!("hour")).build().persistent(false).execute(&mut *connection).await?;
            let mut days = QueryBuilder::new(concat!(
                "INSERT INTO usage_days (account, day, key, model, class, ",
                all_sums!(),
                ") "
            ));
            days.push_values(rows, |mut columns, row| {
                push(&mut columns, row, row.cell.hour.number() / Hour::A_DAY, &models);
            });
            days.push(or_add!("day")).build().persistent(false).execute(&mut *connection).await?;
        }
        for uses in last_uses(&self.rows).chunks(MOST_AT_ONCE) {
            let mut query =
                QueryBuilder::new("INSERT INTO key_uses (account, key, last_at, name, environment) ");
            query.push_values(uses, |mut columns, (account, key, line)| {
                let KeyLabel { name, environment } = &line.label;
                columns.push_bind((*account).to_owned()).push_bind((*key).to_owned());
                columns.push_bind(kept_time(line.last_at));
                columns.push_bind(name.as_deref().map(str::to_owned));
                columns.push_bind(environment.as_deref().map(str::to_owned));
            });
            query.push(
                " ON CONFLICT (account, key) DO UPDATE SET last_at = max(last_at, excluded.last_at), \
                 name = CASE WHEN last_at <= excluded.last_at THEN excluded.name ELSE name END, \
                 environment = \
                 CASE WHEN last_at <= excluded.last_at THEN excluded.environment ELSE environment END",
            );
            query.build().persistent(false).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Takes note of a batch, and forgets some of those that need not be known any more; false if it was added before.
async fn note(batch: &UsageBatch, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let note = "INSERT INTO usage_batches (id, at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
    let note = sqlx::query(note).bind(&batch.id.as_bytes()[..]).bind(kept_time(batch.at));
    if note.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let forget = "DELETE FROM usage_batches WHERE id IN \
                  (SELECT id FROM usage_batches WHERE at < ?1 ORDER BY at LIMIT ?2)";
    let forget = sqlx::query(forget).bind(kept_time(batch.forgets_before())).bind(MOST_FORGOTTEN);
    forget.execute(connection).await?;
    Ok(true)
}

/// Rows that one statement adds: a statement for each would cost far more than what it does.
const MOST_AT_ONCE: usize = 256;

/// Adds the columns of a row of sums.
fn push(
    columns: &mut Separated<'_, Sqlite, &'static str>,
    row: &UsageRow,
    step: u32,
    models: &HashSet<(&str, &str)>,
) {
    let UsageRow { cell, line: Line { sums, .. } } = row;
    let (account, model) = (cell.account.as_str(), counted_as(cell, models));
    columns.push_bind(account.to_owned()).push_bind(step).push_bind(cell.key.as_str().to_owned());
    columns.push_bind(model.to_owned()).push_bind(cell.class.as_str());
    for sum in [
        kept(sums.requests),
        kept(sums.prompt_tokens),
        kept(sums.cached_tokens),
        kept(sums.completion_tokens),
        kept(sums.saved_prompt_tokens),
        kept(sums.saved_cached_tokens),
        kept(sums.saved_completion_tokens),
        kept_money(sums.cost),
        kept_money(sums.cost_saved),
    ] {
        columns.push_bind(sum);
    }
}

/// Values as one parameter, which a statement takes apart.
pub(super) fn list(rows: impl Iterator<Item = impl Serialize>) -> Result<String, sqlx::Error> {
    let rows: Vec<_> = rows.collect();
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// The accounts' models among `rows` that count under names of their own. One that is new takes a place for it, as long as
/// its account has one.
async fn told_apart<'a>(
    rows: &'a [UsageRow],
    connection: &mut SqliteConnection,
) -> Result<HashSet<(&'a str, &'a str)>, sqlx::Error> {
    let named = named(rows);
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    let known = "SELECT account, model, last_hour FROM json_each(?1) CROSS JOIN usage_models \
                 ON account = value ->> 0 AND model = value ->> 1";
    let known = sqlx::query_as(known).bind(list(named.keys())?).fetch_all(&mut *connection).await?;
    let known: HashMap<(String, String), u32> = known
        .into_iter()
        .map(|(account, model, hour): (String, String, u32)| ((account, model), hour))
        .collect();
    let mut told_apart = HashSet::with_capacity(named.len());
    for ((account, model), hour) in named {
        let last = known.get(&(account.to_owned(), model.to_owned()));
        if last.is_some_and(|last| hour <= *last) || enter((account, model), hour, connection).await? {
            told_apart.insert((account, model));
        }
    }
    Ok(told_apart)
}

/// Takes note of the last hour of an account's model; false if it is new and there is no place for it.
async fn enter(
    (account, model): (&str, &str),
    hour: u32,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let enter = "INSERT INTO usage_models (account, model, last_hour) SELECT ?1, ?2, ?3 \
                 WHERE EXISTS (SELECT 1 FROM usage_models WHERE account = ?1 AND model = ?2) \
                 OR (SELECT count(*) FROM usage_models WHERE account = ?1) < ?4 \
                 ON CONFLICT (account, model) DO UPDATE SET last_hour = excluded.last_hour";
    let enter = sqlx::query(enter).bind(account).bind(model).bind(hour).bind(MOST_MODELS);
    Ok(enter.execute(connection).await?.rows_affected() > 0)
}

#[async_trait]
impl Change for DeleteUsage {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let deletion = sqlx::query(self.of.deletion()).bind(self.before()).bind(MOST_DELETED);
        Ok(deletion.execute(connection).await?.rows_affected())
    }
}
