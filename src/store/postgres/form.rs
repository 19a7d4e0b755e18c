//! The tables: recognised, and brought to their newest form before anybody uses them.
//!
//! One transaction, which holds a lock from before its first look: of many gateways that start at once one takes the
//! steps, and the others find them taken. A minor step only adds, and tables with more steps than are known here are as
//! good as any.

use std::collections::HashMap;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;

use crate::store::failure::{StoreError, Trouble};
use crate::store::migrations::{Migration, POSTGRES};
use crate::store::postgres::connections::{Connections, Work};

/// The major version of the tables' form, as the first step notes it.
const MAJOR: u64 = 1;

/// Waits until nobody else is at it in the same schema; the number is `scp` and has no other meaning.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7562096, hashtext(current_schema()))";

/// Brings the tables to their newest form, and makes them if they are not there.
pub(super) async fn bring_up(connections: &Connections) -> Result<(), StoreError> {
    let bound = connections.bounds().form;
    let millis = bound.as_millis().to_string();
    let brought_up = connections.change_within(&BringUp { millis }, bound).await?;
    brought_up.map_err(|trouble| connections.wrong(trouble))
}

/// What is there, as far as it matters.
enum Found {
    /// No table at all.
    Nothing,
    /// Ours, and the steps that were taken.
    Ours(HashMap<i64, Vec<u8>>),
}

struct BringUp {
    /// How long a statement may take, and the wait for the lock.
    millis: String,
}

#[async_trait]
impl Work for BringUp {
    type Done = Result<(), Trouble>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let patient =
            "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)";
        sqlx::query(patient).bind(&self.millis).execute(&mut *connection).await?;
        sqlx::query(LOCK).execute(&mut *connection).await?;
        let taken = match recognise(connection).await? {
            Ok(Found::Nothing) => HashMap::new(),
            Ok(Found::Ours(taken)) => taken,
            Err(trouble) => return Ok(Err(trouble)),
        };
        for step in POSTGRES {
            let digest = Sha256::digest(step.sql);
            match taken.get(&step.version) {
                Some(known) if known[..] == digest[..] => {}
                Some(_) => {
                    return Ok(Err(Trouble::Failed(format!("its step {} is another's", step.version))));
                }
                None => take(step, &digest, connection).await?,
            }
        }
        sign(connection).await.map(Ok)
    }
}

/// Whose tables there are, and whether this version can read them.
async fn recognise(connection: &mut PgConnection) -> Result<Result<Found, Trouble>, sqlx::Error> {
    let schema: Option<String> =
        sqlx::query_scalar("SELECT current_schema()::text").fetch_one(&mut *connection).await?;
    if schema.is_none() {
        return Ok(Err(Trouble::Failed("no schema of its search_path is there".into())));
    }
    let columns = "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns AS c \
                   JOIN information_schema.tables AS t USING (table_schema, table_name) \
                   WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'";
    let columns: Vec<(String, String)> = sqlx::query_as(columns).fetch_all(&mut *connection).await?;
    if columns.is_empty() {
        return Ok(Ok(Found::Nothing));
    }
    let has = |table: &str, column: &str| columns.iter().any(|(t, c)| t == table && c == column);
    if !has("meta", "name") || !has("meta", "value") {
        return Ok(Err(Trouble::Foreign));
    }
    let meta: Vec<(String, String)> =
        sqlx::query_as("SELECT name::text, value::text FROM meta").fetch_all(&mut *connection).await?;
    let noted = |name: &str| meta.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let Some(major) = noted("form").and_then(|form| form.parse::<u64>().ok()) else {
        return Ok(Err(Trouble::Foreign));
    };
    if major > MAJOR {
        return Ok(Err(Trouble::Newer(noted("written_by"))));
    }
    let steps = sqlx::query_as("SELECT version, digest FROM steps").fetch_all(&mut *connection).await?;
    Ok(Ok(Found::Ours(steps.into_iter().collect())))
}

/// Takes a step, and notes that it was taken.
async fn take(step: &Migration, digest: &[u8], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(step.sql).execute(&mut *connection).await?;
    let note = "INSERT INTO steps (version, name, digest) VALUES ($1, $2, $3)";
    let note = sqlx::query(note).bind(step.version).bind(step.name).bind(digest);
    note.execute(connection).await.map(drop)
}

/// Notes which version opened the tables last, for the words of one that cannot.
async fn sign(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let signature = "INSERT INTO meta (name, value) VALUES ('written_by', $1) ON CONFLICT (name) \
                     DO UPDATE SET value = excluded.value WHERE meta.value <> excluded.value";
    sqlx::query(signature).bind(env!("CARGO_PKG_VERSION")).execute(connection).await.map(drop)
}

/// Reads what tells this installation from others: the name that its tables were given, with the number of the database they are
/// in, which a copy of them does not have.
pub(super) struct ReadInstallation;

#[async_trait]
impl Work for ReadInstallation {
    type Done = String;

    async fn run(&self, connection: &mut PgConnection) -> Result<String, sqlx::Error> {
        let select = "SELECT value || '-' || (SELECT oid FROM pg_database WHERE datname = current_database()) \
                      FROM meta WHERE name = 'installation'";
        sqlx::query_scalar(select).fetch_one(connection).await
    }
}
