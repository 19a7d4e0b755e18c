//! Sums of usage in PostgreSQL, by hours and by days; `reports` reads them.
//!
//! Many gateways add to the same rows: each adds in the order of the rows' keys, so that none waits for another that waits
//! for it, and a batch is a few statements, however many rows it has.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::store::number::{kept, kept_money, kept_time};
use crate::store::postgres::connections::Work;
use crate::store::summing::{DeleteUsage, Kept, MOST_DELETED, counted_as, last_uses, named};
use crate::store::usage::{MOST_FORGOTTEN, MOST_MODELS, UsageBatch};
use crate::usage::record::{Hour, Sums, UsageRow};

pub(super) mod reports;

/// Adds rows to the sums of a step. What no longer fits stays at the most that does.
macro_rules! add_to {
    ($table:literal, $step:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " AS kept (account, ",
            $step,
            ", key, model, class, requests, prompt_tokens, cached_tokens, completion_tokens, saved_prompt_tokens, \
             saved_cached_tokens, saved_completion_tokens, cost, cost_saved) \
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], \
             $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], \
             $14::bigint[]) ON CONFLICT (account, ",
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
        concat!($sum, " = least(kept.", $sum, "::numeric + excluded.", $sum, ", 9223372036854775807)::bigint")
    };
}

const ADD_TO_HOURS: &str = add_to!("usage_hours", "hour");
const ADD_TO_DAYS: &str = add_to!("usage_days", "day");

#[async_trait]
impl Work for UsageBatch {
    type Done = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !note(self, connection).await? {
            return Ok(());
        }
        let models = told_apart(&self.rows, connection).await?;
        add(ADD_TO_HOURS, &summed(&self.rows, &models, |hour| hour), connection).await?;
        add(ADD_TO_DAYS, &summed(&self.rows, &models, |hour| hour / Hour::A_DAY), connection).await?;
        note_uses(&self.rows, connection).await
    }
}

/// Takes note of a batch, and forgets some of those that need not be known any more; false if it was added before. Waits
/// for whoever is about to add it.
async fn note(batch: &UsageBatch, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let note = "INSERT INTO usage_batches (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let note = sqlx::query(note).bind(&batch.id.as_bytes()[..]).bind(kept_time(batch.at));
    if note.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let forget = "DELETE FROM usage_batches WHERE id IN \
                  (SELECT id FROM usage_batches WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let forget = sqlx::query(forget).bind(kept_time(batch.forgets_before())).bind(i64::from(MOST_FORGOTTEN));
    forget.execute(connection).await?;
    Ok(true)
}

/// Whose sums: account, step, key, model and class.
type Place<'a> = (&'a str, i64, &'a str, &'a str, &'a str);

/// The rows by what they are added to, in its order.
fn summed<'a>(
    rows: &'a [UsageRow],
    models: &HashSet<(&str, &str)>,
    step: impl Fn(u32) -> u32,
) -> BTreeMap<Place<'a>, Sums> {
    let mut summed = BTreeMap::new();
    for UsageRow { cell, line } in rows {
        let step = i64::from(step(cell.hour.number()));
        let model = counted_as(cell, models);
        let place = (cell.account.as_str(), step, cell.key.as_str(), model, cell.class.as_str());
        *summed.entry(place).or_default() += line.sums;
    }
    summed
}

async fn add(
    statement: &'static str,
    summed: &BTreeMap<Place<'_>, Sums>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    fn texts<'a>(summed: &BTreeMap<Place<'a>, Sums>, of: impl Fn(&Place<'a>) -> &'a str) -> Vec<&'a str> {
        summed.keys().map(of).collect()
    }
    let mut query = sqlx::query(statement)
        .bind(texts(summed, |place| place.0))
        .bind(summed.keys().map(|place| place.1).collect::<Vec<_>>())
        .bind(texts(summed, |place| place.2))
        .bind(summed.keys().map(|place| place.3.as_bytes()).collect::<Vec<_>>())
        .bind(texts(summed, |place| place.4));
    let sums: [fn(&Sums) -> i64; 9] = [
        |sums| kept(sums.requests),
        |sums| kept(sums.prompt_tokens),
        |sums| kept(sums.cached_tokens),
        |sums| kept(sums.completion_tokens),
        |sums| kept(sums.saved_prompt_tokens),
        |sums| kept(sums.saved_cached_tokens),
        |sums| kept(sums.saved_completion_tokens),
        |sums| kept_money(sums.cost),
        |sums| kept_money(sums.cost_saved),
    ];
    for sum in sums {
        query = query.bind(summed.values().map(sum).collect::<Vec<_>>());
    }
    query.execute(connection).await.map(drop)
}

async fn note_uses(rows: &[UsageRow], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let note = "INSERT INTO key_uses AS kept (account, key, last_at, name, environment) \
                SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) \
                ON CONFLICT (account, key) DO UPDATE SET last_at = excluded.last_at, name = excluded.name, \
                environment = excluded.environment WHERE kept.last_at <= excluded.last_at";
    let uses = last_uses(rows);
    sqlx::query(note)
        .bind(uses.iter().map(|(account, ..)| *account).collect::<Vec<_>>())
        .bind(uses.iter().map(|(_, key, _)| *key).collect::<Vec<_>>())
        .bind(uses.iter().map(|(.., line)| kept_time(line.last_at)).collect::<Vec<_>>())
        .bind(uses.iter().map(|(.., line)| line.label.name.as_deref()).collect::<Vec<_>>())
        .bind(uses.iter().map(|(.., line)| line.label.environment.as_deref()).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}

// === models ===

/// Whoever writes down models holds this until the end of its transaction, so that no account gets more than its places.
/// Rare: a model is written down once an hour. The number is `scu` and has no other meaning.
const LOCK_MODELS: &str = "SELECT pg_advisory_xact_lock(7562101, hashtext(current_schema()))";

/// The accounts' models among `rows` that count under names of their own. One that is new takes a place for it, as long as
/// its account has one.
async fn told_apart<'a>(
    rows: &'a [UsageRow],
    connection: &mut PgConnection,
) -> Result<HashSet<(&'a str, &'a str)>, sqlx::Error> {
    let named = named(rows);
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    let mut known = known(&named, connection).await?;
    if !named.iter().all(|(name, hour)| known.get(name).is_some_and(|last| hour <= last)) {
        sqlx::query(LOCK_MODELS).execute(&mut *connection).await?;
        known = write_down(&named, connection).await?;
    }
    Ok(named.into_keys().filter(|name| known.contains_key(name)).collect())
}

/// Those of the accounts' models that are written down, with the last hour of each.
async fn known<'a>(
    named: &BTreeMap<(&'a str, &'a str), u32>,
    connection: &mut PgConnection,
) -> Result<HashMap<(&'a str, &'a str), u32>, sqlx::Error> {
    let select = "SELECT n.place, m.last_hour \
                  FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS n (account, model, place) \
                  JOIN usage_models AS m ON m.account = n.account AND m.model = n.model";
    let (accounts, models): (Vec<_>, Vec<_>) =
        named.keys().map(|(account, model)| (*account, model.as_bytes())).unzip();
    let rows: Vec<(i64, i64)> =
        sqlx::query_as(select).bind(accounts).bind(models).fetch_all(connection).await?;
    let names: Vec<_> = named.keys().copied().collect();
    let name = |place: i64| names.get(usize::try_from(place).ok()?.checked_sub(1)?).copied();
    let known = |(place, hour): (i64, i64)| Some((name(place)?, u32::try_from(hour).unwrap_or(u32::MAX)));
    Ok(rows.into_iter().filter_map(known).collect())
}

/// Writes down the last hours of models, and models that are new and have a place; those that are written down then.
async fn write_down<'a>(
    named: &BTreeMap<(&'a str, &'a str), u32>,
    connection: &mut PgConnection,
) -> Result<HashMap<(&'a str, &'a str), u32>, sqlx::Error> {
    // Others may have written some while this waited.
    let mut known = known(named, connection).await?;
    let count = "SELECT account, count(*) FROM usage_models WHERE account = ANY($1) GROUP BY account";
    let accounts: Vec<_> = named.keys().map(|(account, _)| *account).collect();
    let counts: Vec<(String, i64)> = sqlx::query_as(count).bind(accounts).fetch_all(&mut *connection).await?;
    let mut counts: HashMap<_, _> = counts.into_iter().collect();
    let (mut accounts, mut models, mut hours) = (Vec::new(), Vec::new(), Vec::new());
    for (name, hour) in named {
        let (account, model) = name;
        match known.get(name) {
            Some(last) if hour <= last => continue,
            Some(_) => {}
            None => {
                let taken = counts.entry((*account).to_owned()).or_default();
                if *taken >= i64::from(MOST_MODELS) {
                    continue;
                }
                *taken += 1;
            }
        }
        known.insert(*name, *hour);
        accounts.push(*account);
        models.push(model.as_bytes());
        hours.push(i64::from(*hour));
    }
    let write = "INSERT INTO usage_models AS kept (account, model, last_hour) \
                 SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[]) \
                 ON CONFLICT (account, model) DO UPDATE SET last_hour = greatest(kept.last_hour, excluded.last_hour)";
    sqlx::query(write).bind(accounts).bind(models).bind(hours).execute(connection).await?;
    Ok(known)
}

#[async_trait]
impl Work for DeleteUsage {
    type Done = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        if self.of == Kept::Models {
            sqlx::query(LOCK_MODELS).execute(&mut *connection).await?;
        }
        let deletion = sqlx::query(self.of.deletion()).bind(self.before());
        Ok(deletion.bind(i64::from(MOST_DELETED)).execute(connection).await?.rows_affected())
    }
}
