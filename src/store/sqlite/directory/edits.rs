//! Changes of accounts and keys, each with its row of the trail.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::edit::{Author, Denial, Edit, Edited, NewKey, Which};
use crate::store::directory::key::NewSecret;
use crate::store::directory::{MOST_SECRETS, TOMBSTONE};
use crate::store::sqlite::number::{kept_time, read};
use crate::store::sqlite::usage::list;
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// What an edit holds while it waits, about: none of its texts is long.
const SIZE: ByteSize = ByteSize::kib(4);

/// The most rows that are forgotten at once: others wait meanwhile.
const MOST_FORGOTTEN: u32 = 1000;

/// An edit, and whose and of when it is.
pub(super) struct Signed {
    pub(super) edit: Edit,
    pub(super) author: Author,
    pub(super) now: UnixTime,
}

/// What an edit was about, for the trail.
struct About {
    account: AccountId,
    key: Option<KeyId>,
    revision: u64,
}

type Verdict<T> = Result<Result<T, Denial>, sqlx::Error>;

/// What is denied leaves the function that an edit is made in.
macro_rules! granted {
    ($verdict:expr) => {
        match $verdict {
            Ok(done) => done,
            Err(denial) => return Ok(Err(denial)),
        }
    };
}

#[async_trait]
impl Change for Signed {
    type Done = Result<Edited, Denial>;

    fn size(&self) -> ByteSize {
        SIZE
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Verdict<Edited> {
        if let Edit::CreateKey(new) = &self.edit
            && let Some(known) = asked_before(new, connection).await?
        {
            return Ok(Ok(Edited { revision: 0, key: Some(known), is_new: false }));
        }
        let About { account, key, revision } = granted!(self.make(connection).await?);
        let trail = "INSERT INTO audit (at, actor, action, account, subject, detail) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let trail = sqlx::query(trail).bind(kept_time(self.now)).bind(self.author.to_string());
        let trail = trail.bind(self.edit.action()).bind(account.as_str());
        let subject = key.as_ref().map_or(account.as_str(), KeyId::as_str);
        trail.bind(subject).bind(self.edit.detail()).execute(connection).await?;
        Ok(Ok(Edited { revision, key, is_new: true }))
    }
}

impl Signed {
    async fn make(&self, connection: &mut SqliteConnection) -> Verdict<About> {
        let now = self.now;
        match &self.edit {
            Edit::CreateAccount { id, name, plan } => create_account((id, name, plan), now, connection).await,
            Edit::ChangeAccount { id, name, plan } => {
                change_account(id, (name.as_deref(), plan.as_ref()), connection).await
            }
            Edit::SuspendAccount(id) => suspend(id, Some(now), connection).await,
            Edit::ResumeAccount(id) => suspend(id, None, connection).await,
            Edit::CreateKey(new) => create_key(new, now, connection).await,
            Edit::RenameKey { which, name } => {
                let found = granted!(find(which, connection).await?);
                let rename = sqlx::query("UPDATE keys SET name = ?2 WHERE id = ?1").bind(which.id.as_str());
                rename.bind(name.as_deref()).execute(&mut *connection).await?;
                touch(found, connection).await.map(Ok)
            }
            Edit::RotateKey { which, secret, ends_at } => {
                rotate(which, (secret, *ends_at), now, connection).await
            }
            Edit::EndOverlap(which) => {
                let found = granted!(find(which, connection).await?);
                end_older(which, now, connection).await?;
                touch(found, connection).await.map(Ok)
            }
            Edit::RevokeKey(which) => revoke(which, now, connection).await,
            Edit::DeleteKey(which) => {
                let about = granted!(revoke(which, now, connection).await?);
                let delete = sqlx::query("UPDATE keys SET deleted_at = ?2, request = NULL WHERE id = ?1");
                delete.bind(which.id.as_str()).bind(kept_time(now)).execute(connection).await?;
                Ok(Ok(about))
            }
        }
    }
}

async fn create_account(
    (id, name, plan): (&AccountId, &str, &PlanName),
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let insert = "INSERT INTO accounts (id, name, plan, created_at) VALUES (?1, ?2, ?3, ?4) \
                  ON CONFLICT (id) DO NOTHING";
    let insert = sqlx::query(insert).bind(id.as_str()).bind(name).bind(plan.as_str()).bind(kept_time(now));
    match insert.execute(connection).await?.rows_affected() {
        0 => Ok(Err(Denial::AccountExists)),
        _ => Ok(Ok(About { account: id.clone(), key: None, revision: 0 })),
    }
}

async fn change_account(
    id: &AccountId,
    (name, plan): (Option<&str>, Option<&PlanName>),
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let change = "UPDATE accounts SET name = coalesce(?2, name), plan = coalesce(?3, plan) WHERE id = ?1";
    let change = sqlx::query(change).bind(id.as_str()).bind(name).bind(plan.map(PlanName::as_str));
    if change.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(Err(Denial::NoAccount));
    }
    let revision = if plan.is_some() { touch_all(id, connection).await? } else { 0 };
    Ok(Ok(About { account: id.clone(), key: None, revision }))
}

/// Since when the account is suspended; `None`: not any more.
async fn suspend(
    id: &AccountId,
    since: Option<UnixTime>,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let suspend = "UPDATE accounts SET suspended_at = \
                   CASE WHEN ?2 IS NULL THEN NULL ELSE coalesce(suspended_at, ?2) END WHERE id = ?1";
    let suspend = sqlx::query(suspend).bind(id.as_str()).bind(since.map(kept_time));
    if suspend.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(Err(Denial::NoAccount));
    }
    let revision = touch_all(id, connection).await?;
    Ok(Ok(About { account: id.clone(), key: None, revision }))
}

/// The key that the same request has made before.
async fn asked_before(new: &NewKey, connection: &mut SqliteConnection) -> Result<Option<KeyId>, sqlx::Error> {
    let Some(request) = &new.request else { return Ok(None) };
    let find = "SELECT id FROM keys WHERE account = ?1 AND request = ?2 AND deleted_at IS NULL";
    let find = sqlx::query_scalar::<_, String>(find).bind(new.account.as_str()).bind(request.as_ref());
    Ok(find.fetch_optional(connection).await?.map(|id| KeyId::new(&id)))
}

async fn create_key(new: &NewKey, now: UnixTime, connection: &mut SqliteConnection) -> Verdict<About> {
    let NewKey { id, account, terms, secret, request, most, new_account } = new;
    let count = "SELECT (SELECT count(*) FROM keys WHERE account = ?1 AND revoked_at IS NULL), \
                 EXISTS (SELECT 1 FROM accounts WHERE id = ?1)";
    let count = sqlx::query_as::<_, (i64, bool)>(count).bind(account.as_str());
    let (keys, is_there) = count.fetch_one(&mut *connection).await?;
    if read(keys) >= u64::from(*most) {
        return Ok(Err(Denial::TooManyKeys { most: *most }));
    }
    match new_account {
        _ if is_there => {}
        Some(plan) => {
            granted!(create_account((account, account.as_str(), plan), now, connection).await?);
        }
        None => return Ok(Err(Denial::NoAccount)),
    }
    let revision = next_revision(connection).await?;
    let insert = "INSERT INTO keys (id, account, name, environment, plan, expires_at, allowed_ips, allowed_models, \
                  created_at, revision, request) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let insert = sqlx::query(insert)
        .bind(id.as_str())
        .bind(account.as_str())
        .bind(terms.name.as_deref())
        .bind(terms.environment.map(|environment| environment.as_str()))
        .bind(terms.plan.as_ref().map(PlanName::as_str))
        .bind(terms.expires_at.map(kept_time))
        .bind(list(terms.allowed_ips.iter().map(ToString::to_string))?)
        .bind(list(terms.allowed_models.iter().map(ToString::to_string))?)
        .bind(kept_time(now))
        .bind(revision)
        .bind(request.as_deref());
    insert.execute(&mut *connection).await?;
    add_secret(id, secret, now, connection).await?;
    Ok(Ok(About { account: account.clone(), key: Some(id.clone()), revision: read(revision) }))
}

async fn add_secret(
    key: &KeyId,
    secret: &NewSecret,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO key_secrets (digest, key, public_id, created_at) VALUES (?1, ?2, ?3, ?4)";
    let insert = sqlx::query(insert).bind(secret.digest.as_slice()).bind(key.as_str());
    insert.bind(secret.public_id.as_ref()).bind(kept_time(now)).execute(connection).await.map(drop)
}

async fn rotate(
    which: &Which,
    (secret, ends_at): (&NewSecret, UnixTime),
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    let found = granted!(find(which, connection).await?);
    if found.is_revoked {
        return Ok(Err(Denial::Revoked));
    }
    if found.expires_at.is_some_and(|at| at <= kept_time(now)) {
        return Ok(Err(Denial::Expired));
    }
    let valid =
        sqlx::query_scalar("SELECT count(*) FROM key_secrets WHERE key = ?1 AND coalesce(ends_at > ?2, 1)");
    let valid: i64 = valid.bind(which.id.as_str()).bind(kept_time(now)).fetch_one(&mut *connection).await?;
    if read(valid) >= MOST_SECRETS {
        return Ok(Err(Denial::TooManySecrets));
    }
    let end = sqlx::query("UPDATE key_secrets SET ends_at = ?2 WHERE key = ?1 AND ends_at IS NULL");
    end.bind(which.id.as_str()).bind(kept_time(ends_at)).execute(&mut *connection).await?;
    add_secret(&which.id, secret, now, connection).await?;
    touch(found, connection).await.map(Ok)
}

/// Ends every secret of the key but the newest.
async fn end_older(
    which: &Which,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let end = sqlx::query("UPDATE key_secrets SET ends_at = ?2 WHERE key = ?1 AND ends_at > ?2");
    end.bind(which.id.as_str()).bind(kept_time(now)).execute(connection).await.map(drop)
}

async fn revoke(which: &Which, now: UnixTime, connection: &mut SqliteConnection) -> Verdict<About> {
    let found = granted!(find(which, connection).await?);
    let revoke = sqlx::query("UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1");
    revoke.bind(which.id.as_str()).bind(kept_time(now)).execute(&mut *connection).await?;
    touch(found, connection).await.map(Ok)
}

/// A key that is there, and whose it must be.
struct FoundKey {
    id: KeyId,
    account: AccountId,
    is_revoked: bool,
    expires_at: Option<i64>,
}

async fn find(which: &Which, connection: &mut SqliteConnection) -> Verdict<FoundKey> {
    let find = "SELECT account, revoked_at IS NOT NULL, expires_at FROM keys \
                WHERE id = ?1 AND deleted_at IS NULL AND (?2 IS NULL OR account = ?2)";
    let find = sqlx::query_as::<_, (String, bool, Option<i64>)>(find).bind(which.id.as_str());
    let found = find.bind(which.within.as_ref().map(AccountId::as_str)).fetch_optional(connection).await?;
    let found = found.map(|(account, is_revoked, expires_at)| {
        let (id, account) = (which.id.clone(), AccountId::new(&account));
        FoundKey { id, account, is_revoked, expires_at }
    });
    Ok(found.ok_or(Denial::NoKey))
}

/// Marks a key as changed.
async fn touch(found: FoundKey, connection: &mut SqliteConnection) -> Result<About, sqlx::Error> {
    let revision = next_revision(connection).await?;
    let touch = sqlx::query("UPDATE keys SET revision = ?2 WHERE id = ?1").bind(found.id.as_str());
    touch.bind(revision).execute(connection).await?;
    Ok(About { account: found.account, key: Some(found.id), revision: read(revision) })
}

/// Marks all keys of an account as changed; 0 if it has none.
async fn touch_all(id: &AccountId, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let revision = next_revision(connection).await?;
    let touch = sqlx::query("UPDATE keys SET revision = ?2 WHERE account = ?1 AND deleted_at IS NULL");
    let touched = touch.bind(id.as_str()).bind(revision).execute(connection).await?.rows_affected();
    Ok(if touched > 0 { read(revision) } else { 0 })
}

async fn next_revision(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let next = "UPDATE revisions SET revision = revision + 1 WHERE of = 'keys' RETURNING revision";
    sqlx::query_scalar(next).fetch_one(connection).await
}

/// Deletes some of what nobody has to learn of any more.
pub(super) struct Forget {
    /// The trail begins here.
    pub(super) first: UnixTime,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Change for Forget {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let learnt = UnixTime::from_secs(self.now.as_secs().saturating_sub(TOMBSTONE.as_secs()));
        let learnt = kept_time(learnt);
        let mut forgotten = 0;
        for (delete, before) in [
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 LIMIT ?2)",
                kept_time(self.first),
            ),
            (
                "DELETE FROM key_secrets WHERE digest IN \
                 (SELECT digest FROM key_secrets WHERE ends_at < ?1 LIMIT ?2)",
                learnt,
            ),
            (
                "DELETE FROM key_secrets WHERE digest IN (SELECT s.digest FROM keys AS k JOIN key_secrets AS s \
                 ON s.key = k.id WHERE k.deleted_at < ?1 LIMIT ?2)",
                learnt,
            ),
            (
                "DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE deleted_at < ?1 AND NOT EXISTS \
                 (SELECT 1 FROM key_secrets WHERE key = keys.id) LIMIT ?2)",
                learnt,
            ),
        ] {
            let delete = sqlx::query(delete).bind(before).bind(MOST_FORGOTTEN);
            forgotten += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(forgotten)
    }
}
