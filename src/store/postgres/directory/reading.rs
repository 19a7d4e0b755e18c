//! Pages of accounts and keys, and what has changed of the keys.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::key::{Key, KeyPage, KeysOf, MOST_LOOKED_AT};
use crate::store::directory::{Cursor, Followed, Revisions};
use crate::store::number::{kept, kept_time, read};
use crate::store::postgres::connections::Work;
use crate::store::postgres::text::{behind, sought};
use crate::store::sql::directory::rows::{BEHIND_ALL, account_of, followed_of, key_of, page_of};

/// Keys with their accounts, and their secrets as lines of `digest,public id,made,ends`.
macro_rules! select_keys {
    ($rest:expr) => {
        concat!(
            "SELECT k.id, k.account, k.name, k.environment, k.plan, k.expires_at, k.allowed_ips, k.allowed_models, ",
            "k.created_at, k.revoked_at, coalesce(k.plan, a.plan) AS has_plan, ",
            "a.suspended_at IS NOT NULL AS is_suspended, k.deleted_at IS NOT NULL AS is_deleted, k.revision, ",
            "(SELECT string_agg(upper(encode(s.digest, 'hex')) || ',' || s.public_id || ',' || s.created_at || ',' ",
            "|| coalesce(s.ends_at::text, ''), ';') FROM key_secrets AS s WHERE s.key = k.id) AS secrets ",
            "FROM keys AS k JOIN accounts AS a ON a.id = k.account ",
            $rest
        )
    };
}

/// Accounts, with how many keys each has in force.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.name, a.plan, a.created_at, a.suspended_at, ",
            "(SELECT count(*) FROM keys AS k WHERE k.account = a.id AND k.revoked_at IS NULL) AS keys ",
            "FROM accounts AS a ",
            $rest
        )
    };
}

/// An account.
pub(super) struct OneAccount<'a>(pub(super) &'a AccountId);

#[async_trait]
impl Work for OneAccount<'_> {
    type Done = Option<Account>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = sqlx::query(select_accounts!("WHERE a.id = $1")).bind(sought(self.0.as_str()));
        select.fetch_optional(connection).await?.as_ref().map(account_of).transpose()
    }
}

/// A page of accounts.
pub(super) struct SomeAccounts<'a> {
    pub(super) after: &'a str,
    pub(super) limit: u32,
}

#[async_trait]
impl Work for SomeAccounts<'_> {
    type Done = Vec<Account>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = sqlx::query(select_accounts!("WHERE a.id > $1 ORDER BY a.id LIMIT $2"));
        let select = select.bind(behind(self.after)).bind(i64::from(self.limit));
        select.fetch_all(connection).await?.iter().map(account_of).collect()
    }
}

/// How many accounts are on each plan.
pub(super) struct CountByPlan {
    pub(super) most: u32,
}

#[async_trait]
impl Work for CountByPlan {
    type Done = Vec<(PlanName, u64)>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = "SELECT s.plan, count(*) FROM (SELECT plan FROM accounts LIMIT $1) AS s GROUP BY s.plan";
        let select = sqlx::query_as::<_, (String, i64)>(select).bind(i64::from(self.most));
        let rows = select.fetch_all(connection).await?;
        Ok(rows.into_iter().map(|(plan, count)| (PlanName::new(&plan), read(count))).collect())
    }
}

/// A key that is not deleted.
pub(super) struct OneKey<'a>(pub(super) &'a KeyId);

#[async_trait]
impl Work for OneKey<'_> {
    type Done = Option<Key>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = sqlx::query(select_keys!("WHERE k.id = $1 AND k.deleted_at IS NULL"));
        let row = select.bind(sought(self.0.as_str())).fetch_optional(connection).await?;
        row.as_ref().map(key_of).transpose()
    }
}

/// Keys behind an id, up to another, that are not deleted, of an environment and in a state if those are given: `$1` to `$6`
/// are the first id, how many, the environment, the state and the time that it is told by, and the last id.
macro_rules! page_of_keys {
    ($whose:literal) => {
        concat!(
            $whose,
            "k.id > $1 AND k.id <= $6 AND k.deleted_at IS NULL AND ($3::text IS NULL OR k.environment = $3) AND ",
            "($4::text IS NULL OR $4 = CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' ",
            "WHEN k.expires_at <= $5 THEN 'expired' WHEN a.suspended_at IS NOT NULL THEN 'suspended' ",
            "ELSE 'active' END) ORDER BY k.id LIMIT $2"
        )
    };
}

#[async_trait]
impl Work for KeysOf {
    type Done = KeyPage;

    async fn run(&self, connection: &mut PgConnection) -> Result<KeyPage, sqlx::Error> {
        let Self { account, environment, state, after, limit } = self;
        let is_filtered = environment.is_some() || state.is_some();
        let horizon = if is_filtered { horizon(self, &mut *connection).await? } else { None };
        let select = match account {
            Some(_) => select_keys!(page_of_keys!("WHERE k.account = $7 AND ")),
            None => select_keys!(page_of_keys!("WHERE ")),
        };
        let select = sqlx::query(select)
            .bind(behind(after))
            .bind(i64::from(*limit))
            .bind(environment.map(|environment| environment.as_str()))
            .bind(state.map(|(state, _)| state.as_str()))
            .bind(state.map(|(_, now)| kept_time(now)))
            .bind(horizon.as_deref().unwrap_or(BEHIND_ALL));
        let select = match account {
            Some(account) => select.bind(sought(account.as_str())),
            None => select,
        };
        page_of(&select.fetch_all(connection).await?, *limit, horizon)
    }
}

/// The last key that is looked at for a page; `None`: all are.
async fn horizon(of: &KeysOf, connection: &mut PgConnection) -> Result<Option<Box<str>>, sqlx::Error> {
    let select = match &of.account {
        Some(_) => {
            "SELECT id FROM keys WHERE account = $3 AND id > $1 AND deleted_at IS NULL ORDER BY id LIMIT 1 OFFSET $2"
        }
        None => "SELECT id FROM keys WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT 1 OFFSET $2",
    };
    let select = sqlx::query_scalar::<_, String>(select).bind(behind(&of.after));
    let select = select.bind(i64::from(MOST_LOOKED_AT - 1));
    let select = match &of.account {
        Some(account) => select.bind(sought(account.as_str())),
        None => select,
    };
    Ok(select.fetch_optional(connection).await?.map(Into::into))
}

/// Keys that have changed behind a cursor.
pub(super) struct Follow<'a> {
    pub(super) cursor: &'a Cursor,
    pub(super) limit: u32,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for Follow<'_> {
    type Done = Followed;

    async fn run(&self, connection: &mut PgConnection) -> Result<Followed, sqlx::Error> {
        let select = select_keys!("WHERE (k.revision, k.id) > ($1, $2) ORDER BY k.revision, k.id LIMIT $3");
        let select = sqlx::query(select).bind(kept(self.cursor.revision)).bind(self.cursor.key.as_ref());
        let rows = select.bind(i64::from(self.limit)).fetch_all(connection).await?;
        followed_of(&rows, self.cursor, self.now)
    }
}

/// How often keys and suspensions have changed.
pub(super) struct ReadRevisions;

#[async_trait]
impl Work for ReadRevisions {
    type Done = Revisions;

    async fn run(&self, connection: &mut PgConnection) -> Result<Revisions, sqlx::Error> {
        let select = "SELECT (SELECT revision FROM revisions WHERE of = 'keys'), \
                      (SELECT revision FROM revisions WHERE of = 'suspended')";
        let (keys, suspended) = sqlx::query_as::<_, (i64, i64)>(select).fetch_one(connection).await?;
        Ok(Revisions { keys: read(keys), suspended: read(suspended) })
    }
}

/// The accounts that are suspended.
pub(super) struct ReadSuspended;

#[async_trait]
impl Work for ReadSuspended {
    type Done = Vec<AccountId>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = sqlx::query_scalar("SELECT id FROM accounts WHERE suspended_at IS NOT NULL");
        let ids: Vec<String> = select.fetch_all(connection).await?;
        Ok(ids.iter().map(|id| AccountId::new(id)).collect())
    }
}
