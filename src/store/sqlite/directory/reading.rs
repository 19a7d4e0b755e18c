//! Pages of accounts and keys, and what has changed of the keys.

use sqlx::SqlitePool;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::directory::key::{Key, KeyPage, KeysOf, MOST_LOOKED_AT};
use crate::store::directory::{Cursor, Followed, Revisions};
use crate::store::number::{kept, kept_time, read, read_time};
use crate::store::sql::directory::rows::{BEHIND_ALL, account_of, audit_of, followed_of, key_of, page_of};

/// Keys with their accounts, and their secrets as lines of `digest,public id,made,ends`.
macro_rules! select_keys {
    ($rest:expr) => {
        concat!(
            "SELECT k.id, k.account, k.name, k.environment, k.plan, k.expires_at, k.allowed_ips, k.allowed_models, ",
            "k.created_at, k.revoked_at, coalesce(k.plan, a.plan) AS has_plan, ",
            "a.suspended_at IS NOT NULL AS is_suspended, k.deleted_at IS NOT NULL AS is_deleted, k.revision, ",
            "(SELECT group_concat(hex(s.digest) || ',' || s.public_id || ',' || s.created_at || ',' || ",
            "coalesce(s.ends_at, ''), ';') FROM key_secrets AS s WHERE s.key = k.id) AS secrets ",
            "FROM keys AS k JOIN accounts AS a ON a.id = k.account ",
            $rest
        )
    };
}

/// Accounts, with how many keys each has in force.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, plan, created_at, suspended_at, ",
            "(SELECT count(*) FROM keys WHERE account = accounts.id AND revoked_at IS NULL) AS keys ",
            "FROM accounts ",
            $rest
        )
    };
}

pub(super) async fn account(readers: &SqlitePool, id: &AccountId) -> Result<Option<Account>, sqlx::Error> {
    let select = sqlx::query(select_accounts!("WHERE id = ?1")).bind(id.as_str());
    select.fetch_optional(readers).await?.as_ref().map(account_of).transpose()
}

pub(super) async fn accounts(
    readers: &SqlitePool,
    after: &str,
    limit: u32,
) -> Result<Vec<Account>, sqlx::Error> {
    let select = sqlx::query(select_accounts!("WHERE id > ?1 ORDER BY id LIMIT ?2"));
    let rows = select.bind(after).bind(limit).fetch_all(readers).await?;
    rows.iter().map(account_of).collect()
}

pub(super) async fn count_by_plan(
    readers: &SqlitePool,
    most: u32,
) -> Result<Vec<(PlanName, u64)>, sqlx::Error> {
    let select = "SELECT plan, count(*) FROM (SELECT plan FROM accounts LIMIT ?1) GROUP BY plan";
    let rows: Vec<(String, i64)> = sqlx::query_as(select).bind(most).fetch_all(readers).await?;
    Ok(rows.into_iter().map(|(plan, count)| (PlanName::new(&plan), read(count))).collect())
}

pub(super) async fn key(readers: &SqlitePool, id: &KeyId) -> Result<Option<Key>, sqlx::Error> {
    let select = select_keys!("WHERE k.id = ?1 AND k.deleted_at IS NULL");
    let row = sqlx::query(select).bind(id.as_str()).fetch_optional(readers).await?;
    row.as_ref().map(key_of).transpose()
}

/// Keys behind an id, up to another, that are not deleted, of an environment and in a state if those are given: `?1` to `?6`
/// are the first id, how many, the environment, the state and the time that it is told by, and the last id.
macro_rules! page_of_keys {
    ($whose:literal) => {
        concat!(
            $whose,
            "k.id > ?1 AND k.id <= ?6 AND k.deleted_at IS NULL AND (?3 IS NULL OR k.environment = ?3) AND ",
            "(?4 IS NULL OR ?4 = CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' ",
            "WHEN k.expires_at <= ?5 THEN 'expired' WHEN a.suspended_at IS NOT NULL THEN 'suspended' ",
            "ELSE 'active' END) ORDER BY k.id LIMIT ?2"
        )
    };
}

pub(super) async fn keys(readers: &SqlitePool, of: &KeysOf) -> Result<KeyPage, sqlx::Error> {
    let KeysOf { account, environment, state, after, limit } = of;
    let is_filtered = environment.is_some() || state.is_some();
    let horizon = if is_filtered { horizon(readers, of).await? } else { None };
    let select = match account {
        Some(_) => select_keys!(page_of_keys!("WHERE k.account = ?7 AND ")),
        None => select_keys!(page_of_keys!("WHERE ")),
    };
    let select = sqlx::query(select)
        .bind(after.as_ref())
        .bind(limit)
        .bind(environment.map(|environment| environment.as_str()))
        .bind(state.map(|(state, _)| state.as_str()))
        .bind(state.map(|(_, now)| kept_time(now)))
        .bind(horizon.as_deref().unwrap_or(BEHIND_ALL));
    let select = match account {
        Some(account) => select.bind(account.as_str()),
        None => select,
    };
    let rows = select.fetch_all(readers).await?;
    page_of(&rows, *limit, horizon)
}

/// The last key that is looked at for a page; `None`: all are.
async fn horizon(readers: &SqlitePool, of: &KeysOf) -> Result<Option<Box<str>>, sqlx::Error> {
    let select = match &of.account {
        Some(_) => {
            "SELECT id FROM keys WHERE account = ?3 AND id > ?1 AND deleted_at IS NULL ORDER BY id LIMIT 1 OFFSET ?2"
        }
        None => "SELECT id FROM keys WHERE id > ?1 AND deleted_at IS NULL ORDER BY id LIMIT 1 OFFSET ?2",
    };
    let select = sqlx::query_scalar::<_, String>(select).bind(of.after.as_ref()).bind(MOST_LOOKED_AT - 1);
    let select = match &of.account {
        Some(account) => select.bind(account.as_str()),
        None => select,
    };
    Ok(select.fetch_optional(readers).await?.map(Into::into))
}

pub(super) async fn follow(
    readers: &SqlitePool,
    cursor: &Cursor,
    limit: u32,
    now: UnixTime,
) -> Result<Followed, sqlx::Error> {
    let select = select_keys!("WHERE (k.revision, k.id) > (?1, ?2) ORDER BY k.revision, k.id LIMIT ?3");
    let select = sqlx::query(select).bind(kept(cursor.revision)).bind(cursor.key.as_ref()).bind(limit);
    let rows = select.fetch_all(readers).await?;
    followed_of(&rows, cursor, now)
}

pub(super) async fn revisions(readers: &SqlitePool) -> Result<Revisions, sqlx::Error> {
    // Of a file that an older build has made there may be none of the second.
    let select = "SELECT (SELECT revision FROM revisions WHERE of = 'keys'), \
                  coalesce((SELECT revision FROM revisions WHERE of = 'suspended'), 0)";
    let (keys, suspended) = sqlx::query_as::<_, (i64, i64)>(select).fetch_one(readers).await?;
    Ok(Revisions { keys: read(keys), suspended: read(suspended) })
}

pub(super) async fn suspended(readers: &SqlitePool) -> Result<Vec<AccountId>, sqlx::Error> {
    let select = "SELECT id FROM accounts WHERE suspended_at IS NOT NULL";
    let ids: Vec<String> = sqlx::query_scalar(select).fetch_all(readers).await?;
    Ok(ids.iter().map(|id| AccountId::new(id)).collect())
}

/// When the oldest change was made that the trail tells of.
pub(super) async fn oldest_of_trail(readers: &SqlitePool) -> Result<Option<UnixTime>, sqlx::Error> {
    let oldest: Option<i64> = sqlx::query_scalar("SELECT min(at) FROM audit").fetch_one(readers).await?;
    Ok(oldest.map(read_time))
}

pub(super) async fn audit(readers: &SqlitePool, of: &AuditOf) -> Result<Vec<AuditRow>, sqlx::Error> {
    let before = of.before.map_or(i64::MAX, kept);
    let rows = match &of.account {
        Some(account) => {
            let select = "SELECT id, at, actor, action, account, subject, detail FROM audit \
                          WHERE account = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
            let select = sqlx::query(select).bind(account.as_str()).bind(before).bind(of.limit);
            select.fetch_all(readers).await?
        }
        None => {
            let select = "SELECT id, at, actor, action, account, subject, detail FROM audit \
                          WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            sqlx::query(select).bind(before).bind(of.limit).fetch_all(readers).await?
        }
    };
    rows.iter().map(audit_of).collect()
}
