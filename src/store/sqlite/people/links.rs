//! Changes of links.

use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::number::{kept_time, read};
use crate::store::people::edit::{Actor, Denial};
use crate::store::people::link::{NewLink, Purpose};
use crate::store::people::{MOST_LINKS, TokenDigest};
use crate::store::sqlite::people::edits::{About, Joining, Verdict, find};
use crate::store::sqlite::people::reading::purpose_of;

pub(super) async fn make(
    link: &NewLink,
    actor: &Actor,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let about = match &link.purpose {
        Purpose::Reset(person) => granted!(find(person, connection).await?).about(),
        Purpose::Invite(membership) | Purpose::FirstOperator(Some(membership)) => {
            About { account: Some(membership.account.clone()), person: None }
        }
        Purpose::Operator | Purpose::FirstOperator(None) => About { account: None, person: None },
    };
    let maker = actor.to_string();
    let count =
        "SELECT count(*) FROM links WHERE made_by = ?1 AND used_at IS NULL AND ends_at > ?2 AND kind <> ?3";
    let count = sqlx::query_scalar(count).bind(&maker).bind(kept_time(now));
    let waiting: i64 = count.bind(FIRST_OPERATOR).fetch_one(&mut *connection).await?;
    if read(waiting) >= u64::from(MOST_LINKS) {
        return Ok(Err(Denial::TooManyLinks));
    }
    if let Purpose::FirstOperator(_) = link.purpose {
        let end = sqlx::query("DELETE FROM links WHERE kind = ?1 AND used_at IS NULL").bind(FIRST_OPERATOR);
        end.execute(&mut *connection).await?;
    }
    let role = match &link.purpose {
        Purpose::Invite(membership) | Purpose::FirstOperator(Some(membership)) => Some(membership.role),
        Purpose::Operator | Purpose::FirstOperator(None) | Purpose::Reset(_) => None,
    };
    let insert = "INSERT INTO links (digest, id, kind, account, role, person, made_by, created_at, ends_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let insert = sqlx::query(insert)
        .bind(link.digest.as_slice())
        .bind(link.id.as_ref())
        .bind(link.purpose.as_str())
        .bind(about.account.as_ref().map(AccountId::as_str))
        .bind(role.map(|role| role.as_str()))
        .bind(about.person.as_ref().map(PersonId::as_str))
        .bind(maker)
        .bind(kept_time(now))
        .bind(kept_time(link.ends_at));
    insert.execute(connection).await?;
    Ok(Ok(about))
}

/// What the store calls the purpose of which one link waits at most.
const FIRST_OPERATOR: &str = "first_operator";

pub(super) async fn end(
    id: &str,
    within: Option<&AccountId>,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let end = "DELETE FROM links WHERE id = ?1 AND used_at IS NULL AND ends_at > ?2 \
               AND (?3 IS NULL OR account = ?3) RETURNING account, person";
    let end = sqlx::query_as::<_, (Option<String>, Option<String>)>(end).bind(id).bind(kept_time(now));
    let ended = end.bind(within.map(AccountId::as_str)).fetch_optional(connection).await?;
    let about = ended.map(|(account, person)| About {
        account: account.as_deref().map(AccountId::new),
        person: person.as_deref().map(PersonId::new),
    });
    Ok(about.ok_or(Denial::NoLink))
}

/// What a link that waits to be used is for.
async fn waiting(digest: &TokenDigest, now: UnixTime, connection: &mut SqliteConnection) -> Verdict<Purpose> {
    let find = "SELECT kind, account, role, person FROM links \
                WHERE digest = ?1 AND used_at IS NULL AND ends_at > ?2";
    let find = sqlx::query(find).bind(digest.as_slice()).bind(kept_time(now));
    match find.fetch_optional(connection).await? {
        Some(row) => purpose_of(&row).map(Ok),
        None => Ok(Err(Denial::NoLink)),
    }
}

/// What a link lets somebody be.
pub(super) async fn joining(
    digest: &TokenDigest,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<Joining> {
    let purpose = granted!(waiting(digest, now, connection).await?);
    Ok(match purpose {
        Purpose::Invite(membership) => Ok(Joining { membership: Some(membership), is_operator: false }),
        Purpose::Operator => Ok(Joining { membership: None, is_operator: true }),
        Purpose::FirstOperator(membership) => {
            let find = "SELECT EXISTS (SELECT 1 FROM people WHERE is_operator = 1 AND disabled_at IS NULL)";
            let is_late: bool = sqlx::query_scalar(find).fetch_one(connection).await?;
            if is_late { Err(Denial::NoLink) } else { Ok(Joining { membership, is_operator: true }) }
        }
        Purpose::Reset(_) => Err(Denial::NoLink),
    })
}

/// Whose password a link sets.
pub(super) async fn resetting(
    digest: &TokenDigest,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<PersonId> {
    let purpose = granted!(waiting(digest, now, connection).await?);
    Ok(if let Purpose::Reset(person) = purpose { Ok(person) } else { Err(Denial::NoLink) })
}

pub(super) async fn mark_used(
    digest: &TokenDigest,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let mark = sqlx::query("UPDATE links SET used_at = ?2 WHERE digest = ?1").bind(digest.as_slice());
    mark.bind(kept_time(now)).execute(connection).await.map(drop)
}

/// Ends the links that would set somebody's password.
pub(super) async fn end_about(
    person: &PersonId,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let end = sqlx::query("DELETE FROM links WHERE person = ?1 AND used_at IS NULL").bind(person.as_str());
    end.execute(connection).await.map(drop)
}

/// Ends the links that somebody has made.
pub(super) async fn end_made_by(
    person: &PersonId,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let end = sqlx::query("DELETE FROM links WHERE made_by = ?1 AND used_at IS NULL").bind(person.as_str());
    end.execute(connection).await.map(drop)
}
