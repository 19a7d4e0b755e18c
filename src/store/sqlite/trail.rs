//! The trail: a row for each change of accounts, keys and people, written with it.

use std::fmt;

use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::store::number::kept_time;

/// A row of it.
pub(super) struct Step<'a> {
    /// When.
    pub(super) at: UnixTime,
    /// Who.
    pub(super) actor: &'a (dyn fmt::Display + Sync),
    /// What.
    pub(super) action: &'a str,
    /// Whose account it was about, if about one.
    pub(super) account: Option<&'a str>,
    /// What it was done to.
    pub(super) subject: Option<&'a str>,
    /// More of it, for people.
    pub(super) detail: Option<String>,
}

/// Adds a row, in the transaction of the change.
pub(super) async fn leave(step: Step<'_>, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let Step { at, actor, action, account, subject, detail } = step;
    let insert = "INSERT INTO audit (at, actor, action, account, subject, detail) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let insert = sqlx::query(insert).bind(kept_time(at)).bind(actor.to_string()).bind(action);
    insert.bind(account).bind(subject).bind(detail).execute(connection).await.map(drop)
}
