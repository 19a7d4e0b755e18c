//! Changes of sessions.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::PersonId;
use crate::store::number::kept_time;
use crate::store::people::edit::Denial;
use crate::store::people::session::NewSession;
use crate::store::people::{MOST_SESSIONS, TokenDigest};
use crate::store::sqlite::people::edits::{About, Verdict, find};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// The most rows that are forgotten at once: others wait meanwhile.
const MOST_FORGOTTEN: u32 = 1000;

pub(super) async fn begin(
    person: &PersonId,
    session: &NewSession,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let found = granted!(find(person, connection).await?);
    if found.is_disabled() {
        return Ok(Err(Denial::NoPerson));
    }
    let make_room = "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE person = ?1 \
                     ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?2)";
    let make_room = sqlx::query(make_room).bind(person.as_str()).bind(MOST_SESSIONS.saturating_sub(1));
    make_room.execute(&mut *connection).await?;
    let insert = "INSERT INTO sessions (digest, id, person, created_at, seen_at, ends_at, address, agent) \
                  VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)";
    let insert = sqlx::query(insert)
        .bind(session.digest.as_slice())
        .bind(session.id.as_ref())
        .bind(person.as_str())
        .bind(kept_time(now))
        .bind(kept_time(session.ends_at))
        .bind(session.address.to_string())
        .bind(session.agent.as_deref());
    insert.execute(connection).await?;
    Ok(Ok(found.about()))
}

pub(super) async fn end(person: &PersonId, id: &str, connection: &mut SqliteConnection) -> Verdict<About> {
    let found = granted!(find(person, connection).await?);
    let end = sqlx::query("DELETE FROM sessions WHERE person = ?1 AND id = ?2").bind(person.as_str());
    match end.bind(id).execute(connection).await?.rows_affected() {
        0 => Ok(Err(Denial::NoSession)),
        _ => Ok(Ok(found.about())),
    }
}

/// Ends all sessions of somebody, or all but one.
pub(super) async fn end_all(
    person: &PersonId,
    but: Option<&str>,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let end = sqlx::query("DELETE FROM sessions WHERE person = ?1 AND id IS NOT ?2").bind(person.as_str());
    end.bind(but).execute(connection).await.map(drop)
}

/// Notes that a session was used.
pub(super) struct See {
    pub(super) digest: TokenDigest,
    pub(super) now: UnixTime,
    pub(super) ends_at: UnixTime,
}

#[async_trait]
impl Change for See {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let see = "UPDATE sessions SET seen_at = ?2, ends_at = ?3 WHERE digest = ?1 AND ends_at > ?2";
        let see = sqlx::query(see).bind(self.digest.as_slice()).bind(kept_time(self.now));
        see.bind(kept_time(self.ends_at)).execute(connection).await.map(drop)
    }
}

/// Deletes some of what has ended.
pub(super) struct ForgetEnded {
    pub(super) now: UnixTime,
}

#[async_trait]
impl Change for ForgetEnded {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut forgotten = 0;
        for delete in [
            "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE ends_at <= ?1 LIMIT ?2)",
            "DELETE FROM links WHERE digest IN (SELECT digest FROM links WHERE ends_at <= ?1 LIMIT ?2)",
        ] {
            let delete = sqlx::query(delete).bind(kept_time(self.now)).bind(MOST_FORGOTTEN);
            forgotten += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(forgotten)
    }
}
