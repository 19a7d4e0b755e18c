//! What is asked of people, sessions and links.

use sqlx::SqlitePool;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::number::{kept_time, read};
use crate::store::people::link::Link;
use crate::store::people::person::{Credentials, LoginName, PeopleOf, Person};
use crate::store::people::session::{Known, Session};
use crate::store::people::{MOST_SESSIONS, TokenDigest};
use crate::store::sql::people::rows::{credentials_of, known_of, link_of, login_of, person_of, session_of};
use crate::store::sqlite::usage::list;

/// People, by the columns that [`person_of`] reads.
macro_rules! select_people {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.login, p.name, p.account, p.role, p.is_operator = 1 AS is_operator, p.password, ",
            "p.password_changed_at, p.created_at, p.disabled_at ",
            $rest
        )
    };
}

pub(super) async fn credentials(
    readers: &SqlitePool,
    login: &LoginName,
) -> Result<Option<Credentials>, sqlx::Error> {
    let select = select_people!("FROM people AS p WHERE p.login = ?1");
    let row = sqlx::query(select).bind(login.as_str()).fetch_optional(readers).await?;
    row.as_ref().map(credentials_of).transpose()
}

pub(super) async fn person(readers: &SqlitePool, id: &PersonId) -> Result<Option<Person>, sqlx::Error> {
    let select = select_people!("FROM people AS p WHERE p.id = ?1");
    let row = sqlx::query(select).bind(id.as_str()).fetch_optional(readers).await?;
    row.as_ref().map(person_of).transpose()
}

pub(super) async fn people(readers: &SqlitePool, of: &PeopleOf) -> Result<Vec<Person>, sqlx::Error> {
    let rows = match &of.account {
        Some(account) => {
            let select =
                select_people!("FROM people AS p WHERE p.account = ?1 AND p.id > ?2 ORDER BY p.id LIMIT ?3");
            let select = sqlx::query(select).bind(account.as_str()).bind(of.after.as_ref());
            select.bind(of.limit).fetch_all(readers).await?
        }
        None => {
            let select = select_people!("FROM people AS p WHERE p.id > ?1 ORDER BY p.id LIMIT ?2");
            sqlx::query(select).bind(of.after.as_ref()).bind(of.limit).fetch_all(readers).await?
        }
    };
    rows.iter().map(person_of).collect()
}

pub(super) async fn logins(
    readers: &SqlitePool,
    ids: &[PersonId],
) -> Result<Vec<(PersonId, LoginName)>, sqlx::Error> {
    let select = "SELECT id, login FROM people WHERE id IN (SELECT value FROM json_each(?1))";
    let ids = list(ids.iter().map(PersonId::as_str))?;
    let rows: Vec<(String, String)> = sqlx::query_as(select).bind(ids).fetch_all(readers).await?;
    rows.into_iter().map(|(id, login)| Ok((PersonId::new(&id), login_of(&login)?))).collect()
}

pub(super) async fn count_people(
    readers: &SqlitePool,
    accounts: &[AccountId],
) -> Result<Vec<(AccountId, u64)>, sqlx::Error> {
    let select = "SELECT account, count(*) FROM people WHERE account IN (SELECT value FROM json_each(?1)) \
                  GROUP BY account";
    let accounts = list(accounts.iter().map(AccountId::as_str))?;
    let rows: Vec<(String, i64)> = sqlx::query_as(select).bind(accounts).fetch_all(readers).await?;
    Ok(rows.into_iter().map(|(account, count)| (AccountId::new(&account), read(count))).collect())
}

pub(super) async fn known(
    readers: &SqlitePool,
    digest: &TokenDigest,
    now: UnixTime,
) -> Result<Option<Known>, sqlx::Error> {
    let select = select_people!(
        ", s.id AS session, s.created_at AS began_at, s.seen_at, s.ends_at, s.address, s.agent \
         FROM sessions AS s JOIN people AS p ON p.id = s.person \
         WHERE s.digest = ?1 AND s.ends_at > ?2 AND p.disabled_at IS NULL"
    );
    let select = sqlx::query(select).bind(digest.as_slice()).bind(kept_time(now));
    let row = select.fetch_optional(readers).await?;
    row.as_ref().map(known_of).transpose()
}

pub(super) async fn sessions(
    readers: &SqlitePool,
    person: &PersonId,
    now: UnixTime,
) -> Result<Vec<Session>, sqlx::Error> {
    let select = "SELECT id AS session, created_at AS began_at, seen_at, ends_at, address, agent FROM sessions \
                  WHERE person = ?1 AND ends_at > ?2 ORDER BY created_at DESC, id DESC LIMIT ?3";
    let select = sqlx::query(select).bind(person.as_str()).bind(kept_time(now)).bind(MOST_SESSIONS);
    select.fetch_all(readers).await?.iter().map(session_of).collect()
}

pub(super) async fn link(
    readers: &SqlitePool,
    digest: &TokenDigest,
    now: UnixTime,
) -> Result<Option<Link>, sqlx::Error> {
    let select = "SELECT id, kind, account, role, person, made_by, created_at, ends_at FROM links \
                  WHERE digest = ?1 AND used_at IS NULL AND ends_at > ?2";
    let select = sqlx::query(select).bind(digest.as_slice()).bind(kept_time(now));
    select.fetch_optional(readers).await?.as_ref().map(link_of).transpose()
}

pub(super) async fn links(
    readers: &SqlitePool,
    account: Option<&AccountId>,
    limit: u32,
    now: UnixTime,
) -> Result<Vec<Link>, sqlx::Error> {
    let select = "SELECT id, kind, account, role, person, made_by, created_at, ends_at FROM links \
                  WHERE (?1 IS NULL OR account = ?1) AND used_at IS NULL AND ends_at > ?2 \
                  ORDER BY created_at DESC, id DESC LIMIT ?3";
    let select = sqlx::query(select).bind(account.map(AccountId::as_str)).bind(kept_time(now)).bind(limit);
    select.fetch_all(readers).await?.iter().map(link_of).collect()
}

pub(super) async fn has_operator(readers: &SqlitePool) -> Result<bool, sqlx::Error> {
    let find = "SELECT EXISTS (SELECT 1 FROM people WHERE is_operator = 1 AND disabled_at IS NULL)";
    sqlx::query_scalar(find).fetch_one(readers).await
}
