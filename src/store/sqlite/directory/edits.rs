//! Changes of accounts and keys, each with its row of the trail; of those of accounts, what they do stands in `accounts`.
//!
//! Whatever may be denied is looked at before anything is written: what a denied edit has written would be committed with
//! the edits of others.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::edit::{Author, Denial, Edit, Edited, NewKey, Which};
use crate::store::directory::key::NewSecret;
use crate::store::directory::{MOST_SECRETS, TOMBSTONE};
use crate::store::number::{kept_time, read};
use crate::store::sqlite::directory::{accounts, requests};
use crate::store::sqlite::trail::{self, Step};
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

/// What an edit was about, and what came of it.
pub(super) struct About {
    account: AccountId,
    key: Option<KeyId>,
    effect: Effect,
}

/// What came of an edit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Something is another than before. With the revision of the keys with which it is in force; 0: it is about none.
    Changed(u64),
    /// All is as it was: there is nothing to tell.
    Nothing,
}

impl About {
    /// An edit of an account.
    pub(super) fn account(id: &AccountId, effect: Effect) -> Self {
        Self { account: id.clone(), key: None, effect }
    }
}

pub(super) type Verdict<T> = Result<Result<T, Denial>, sqlx::Error>;

#[async_trait]
impl Change for Signed {
    type Done = Result<Edited, Denial>;

    fn size(&self) -> ByteSize {
        SIZE
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Verdict<Edited> {
        if let Some(request) = self.edit.request()
            && let Some(key) = granted!(requests::made_before(self, request, connection).await?)
        {
            return unchanged(Some(key), connection).await.map(Ok);
        }
        let About { account, key, effect } = granted!(self.make(connection).await?);
        let Effect::Changed(revision) = effect else { return unchanged(key, connection).await.map(Ok) };
        if let (Some(request), Some(key)) = (self.edit.request(), &key) {
            requests::remember(self, (request, key), connection).await?;
        }
        let subject = key.as_ref().map_or(account.as_str(), KeyId::as_str);
        self.trail(self.edit.action(), (&account, subject), self.edit.detail(), connection).await?;
        Ok(Ok(Edited { revision, key, is_new: true }))
    }
}

/// All is as it was. What made it so may not be in force yet: whoever asks again waits for that.
async fn unchanged(key: Option<KeyId>, connection: &mut SqliteConnection) -> Result<Edited, sqlx::Error> {
    let current = sqlx::query_scalar("SELECT revision FROM revisions WHERE of = 'keys'");
    let current: i64 = current.fetch_one(connection).await?;
    Ok(Edited { revision: read(current), key, is_new: false })
}

impl Signed {
    /// Adds a row to the trail.
    pub(super) async fn trail(
        &self,
        action: &str,
        (account, subject): (&AccountId, &str),
        detail: Option<String>,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let (account, subject) = (Some(account.as_str()), Some(subject));
        let step = Step { at: self.now, actor: &self.author, action, account, subject, detail };
        trail::leave(step, connection).await
    }

    async fn make(&self, connection: &mut SqliteConnection) -> Verdict<About> {
        let now = self.now;
        match &self.edit {
            Edit::CreateAccount { id, name, plan } => self.create_account((id, name, plan), connection).await,
            Edit::ChangeAccount { id, name, plan, new_account } => {
                granted!(self.provide_account(id, new_account.as_ref(), connection).await?);
                accounts::change(id, (name.as_deref(), plan.as_ref()), connection).await.map(Ok)
            }
            Edit::SuspendAccount { id, new_account } => {
                granted!(self.provide_account(id, new_account.as_ref(), connection).await?);
                accounts::suspend(id, Some(now), connection).await.map(Ok)
            }
            Edit::ResumeAccount(id) => {
                granted!(self.provide_account(id, None, connection).await?);
                accounts::suspend(id, None, connection).await.map(Ok)
            }
            Edit::CreateKey(new) => self.create_key(new, connection).await,
            Edit::RenameKey { which, name } => {
                let found = granted!(find(which, connection).await?);
                if found.name == *name {
                    return Ok(Ok(found.unchanged()));
                }
                let rename = sqlx::query("UPDATE keys SET name = ?2 WHERE id = ?1").bind(which.id.as_str());
                rename.bind(name.as_deref()).execute(&mut *connection).await?;
                touch(found, connection).await.map(Ok)
            }
            Edit::RotateKey { which, secret, ends_at, request: _ } => {
                rotate(which, (secret, *ends_at), now, connection).await
            }
            Edit::EndOverlap(which) => {
                let found = granted!(find(which, connection).await?);
                match end_older(which, now, connection).await? {
                    0 => Ok(Ok(found.unchanged())),
                    _ => touch(found, connection).await.map(Ok),
                }
            }
            Edit::RevokeKey(which) => {
                let found = granted!(find(which, connection).await?);
                if found.is_revoked {
                    return Ok(Ok(found.unchanged()));
                }
                let revoke = sqlx::query("UPDATE keys SET revoked_at = ?2 WHERE id = ?1");
                revoke.bind(which.id.as_str()).bind(kept_time(now)).execute(&mut *connection).await?;
                touch(found, connection).await.map(Ok)
            }
            Edit::DeleteKey(which) => {
                let found = granted!(find(which, connection).await?);
                let delete = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2), deleted_at = ?2, \
                              request = NULL WHERE id = ?1";
                let delete = sqlx::query(delete).bind(which.id.as_str()).bind(kept_time(now));
                delete.execute(&mut *connection).await?;
                requests::forget(&which.id, connection).await?;
                touch(found, connection).await.map(Ok)
            }
        }
    }

    async fn create_key(&self, new: &NewKey, connection: &mut SqliteConnection) -> Verdict<About> {
        let NewKey { id, account, terms, secret, request: _, most, new_account } = new;
        let count = "SELECT count(*) FROM keys WHERE account = ?1 AND revoked_at IS NULL";
        let keys: i64 = sqlx::query_scalar(count).bind(account.as_str()).fetch_one(&mut *connection).await?;
        if read(keys) >= u64::from(*most) {
            return Ok(Err(Denial::TooManyKeys { most: *most }));
        }
        granted!(self.provide_account(account, new_account.as_ref(), connection).await?);
        let revision = next_revision(connection).await?;
        let insert = "INSERT INTO keys (id, account, name, environment, plan, expires_at, allowed_ips, allowed_models, \
                      created_at, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let insert = sqlx::query(insert)
            .bind(id.as_str())
            .bind(account.as_str())
            .bind(terms.name.as_deref())
            .bind(terms.environment.map(|environment| environment.as_str()))
            .bind(terms.plan.as_ref().map(PlanName::as_str))
            .bind(terms.expires_at.map(kept_time))
            .bind(list(terms.allowed_ips.iter().map(ToString::to_string))?)
            .bind(list(terms.allowed_models.iter().map(ToString::to_string))?)
            .bind(kept_time(self.now))
            .bind(revision);
        insert.execute(&mut *connection).await?;
        add_secret(id, secret, self.now, connection).await?;
        let effect = Effect::Changed(read(revision));
        Ok(Ok(About { account: account.clone(), key: Some(id.clone()), effect }))
    }
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

/// Ends every secret of the key but the newest; how many had not ended.
async fn end_older(
    which: &Which,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    let end = sqlx::query("UPDATE key_secrets SET ends_at = ?2 WHERE key = ?1 AND ends_at > ?2");
    let ended = end.bind(which.id.as_str()).bind(kept_time(now)).execute(connection).await?;
    Ok(ended.rows_affected())
}

/// A key that is there, and whose it must be.
struct FoundKey {
    id: KeyId,
    account: AccountId,
    name: Option<Box<str>>,
    is_revoked: bool,
    expires_at: Option<i64>,
}

impl FoundKey {
    /// There was nothing to change.
    fn unchanged(self) -> About {
        About { account: self.account, key: Some(self.id), effect: Effect::Nothing }
    }
}

async fn find(which: &Which, connection: &mut SqliteConnection) -> Verdict<FoundKey> {
    type Row = (String, Option<String>, bool, Option<i64>);
    let find = "SELECT account, name, revoked_at IS NOT NULL, expires_at FROM keys \
                WHERE id = ?1 AND deleted_at IS NULL AND (?2 IS NULL OR account = ?2)";
    let find = sqlx::query_as::<_, Row>(find).bind(which.id.as_str());
    let found = find.bind(which.within.as_ref().map(AccountId::as_str)).fetch_optional(connection).await?;
    let found = found.map(|(account, name, is_revoked, expires_at)| {
        let (id, account) = (which.id.clone(), AccountId::new(&account));
        FoundKey { id, account, name: name.map(Into::into), is_revoked, expires_at }
    });
    Ok(found.ok_or(Denial::NoKey))
}

/// Marks a key as changed.
async fn touch(found: FoundKey, connection: &mut SqliteConnection) -> Result<About, sqlx::Error> {
    let revision = next_revision(connection).await?;
    let touch = sqlx::query("UPDATE keys SET revision = ?2 WHERE id = ?1").bind(found.id.as_str());
    touch.bind(revision).execute(connection).await?;
    let effect = Effect::Changed(read(revision));
    Ok(About { account: found.account, key: Some(found.id), effect })
}

/// Marks all keys of an account as changed.
pub(super) async fn touch_all(id: &AccountId, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let revision = next_revision(connection).await?;
    let touch = sqlx::query("UPDATE keys SET revision = ?2 WHERE account = ?1 AND deleted_at IS NULL");
    touch.bind(id.as_str()).bind(revision).execute(connection).await?;
    Ok(read(revision))
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
                "DELETE FROM requests WHERE (maker, name) IN \
                 (SELECT maker, name FROM requests WHERE at < ?1 LIMIT ?2)",
                learnt,
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
