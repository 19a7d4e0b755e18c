//! The way of an edit of accounts or keys, each with its row of the trail; of those of accounts, what they do stands in
//! `accounts`.
//!
//! Whatever may be denied is looked at before anything is written: what a denied edit has written would be committed, in
//! SQLite with the edits of others.

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::store::directory::MOST_SECRETS;
use crate::store::directory::edit::{Author, Denial, Edit, Edited, NewKey, Which};
use crate::store::directory::key::NewSecret;
use crate::store::sql::directory::tables::{DirectoryTables, FoundKey};
use crate::store::sql::directory::{accounts, requests};
use crate::store::sql::trail::Step;

/// An edit, and whose and of when it is.
pub(in crate::store) struct Signed {
    pub(in crate::store) edit: Edit,
    pub(in crate::store) author: Author,
    pub(in crate::store) now: UnixTime,
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

    /// An edit of a key.
    fn key(id: &KeyId, account: AccountId, effect: Effect) -> Self {
        Self { account, key: Some(id.clone()), effect }
    }
}

pub(in crate::store) type Verdict<T> = Result<Result<T, Denial>, sqlx::Error>;

/// All is as it was. What made it so may not be in force yet: whoever asks again waits for that.
async fn unchanged(key: Option<KeyId>, tables: &mut dyn DirectoryTables) -> Result<Edited, sqlx::Error> {
    Ok(Edited { revision: tables.revision().await?, key, is_new: false })
}

impl Signed {
    /// Makes the edit, and leaves its trail.
    pub(in crate::store) async fn carry_out(&self, tables: &mut dyn DirectoryTables) -> Verdict<Edited> {
        if let Some(request) = self.edit.request()
            && let Some(key) = granted!(requests::made_before(self, request, tables).await?)
        {
            return unchanged(Some(key), tables).await.map(Ok);
        }
        let About { account, key, effect } = granted!(self.make(tables).await?);
        let Effect::Changed(revision) = effect else { return unchanged(key, tables).await.map(Ok) };
        if let (Some(request), Some(key)) = (self.edit.request(), &key) {
            tables.remember_request(&self.author.to_string(), request, key, self.now).await?;
        }
        let subject = key.as_ref().map_or(account.as_str(), KeyId::as_str);
        self.trail(self.edit.action(), (&account, subject), self.edit.detail(), tables).await?;
        Ok(Ok(Edited { revision, key, is_new: true }))
    }

    /// Adds a row to the trail.
    pub(super) async fn trail(
        &self,
        action: &str,
        (account, subject): (&AccountId, &str),
        detail: Option<String>,
        tables: &mut dyn DirectoryTables,
    ) -> Result<(), sqlx::Error> {
        let (account, subject) = (Some(account.as_str()), Some(subject));
        tables.leave(Step { at: self.now, actor: &self.author, action, account, subject, detail }).await
    }

    async fn make(&self, tables: &mut dyn DirectoryTables) -> Verdict<About> {
        let now = self.now;
        match &self.edit {
            Edit::CreateAccount { id, name, plan } => self.create_account(id, (name, plan), tables).await,
            Edit::ChangeAccount { id, name, plan, new_account } => {
                granted!(self.provide_account(id, new_account.as_ref(), tables).await?);
                accounts::change(id, (name.as_deref(), plan.as_ref()), tables).await.map(Ok)
            }
            Edit::SuspendAccount { id, new_account } => {
                granted!(self.provide_account(id, new_account.as_ref(), tables).await?);
                accounts::suspend(id, Some(now), tables).await.map(Ok)
            }
            Edit::ResumeAccount(id) => {
                granted!(self.provide_account(id, None, tables).await?);
                accounts::suspend(id, None, tables).await.map(Ok)
            }
            Edit::CreateKey(new) => self.create_key(new, tables).await,
            Edit::RenameKey { which, name } => {
                let found = granted!(find(which, tables).await?);
                if found.name == *name {
                    return Ok(Ok(About::key(&which.id, found.account, Effect::Nothing)));
                }
                tables.rename_key(&which.id, name.as_deref()).await?;
                mark(which, found, tables).await.map(Ok)
            }
            Edit::RotateKey { which, secret, ends_at, request: _ } => {
                rotate(which, (secret, *ends_at), now, tables).await
            }
            Edit::EndOverlap(which) => {
                let found = granted!(find(which, tables).await?);
                match tables.end_older_secrets(&which.id, now).await? {
                    0 => Ok(Ok(About::key(&which.id, found.account, Effect::Nothing))),
                    _ => mark(which, found, tables).await.map(Ok),
                }
            }
            Edit::RevokeKey(which) => {
                let found = granted!(find(which, tables).await?);
                if found.is_revoked {
                    return Ok(Ok(About::key(&which.id, found.account, Effect::Nothing)));
                }
                tables.revoke_key(&which.id, now).await?;
                mark(which, found, tables).await.map(Ok)
            }
            Edit::DeleteKey(which) => {
                let found = granted!(find(which, tables).await?);
                tables.delete_key(&which.id, now).await?;
                tables.forget_requests(&which.id).await?;
                mark(which, found, tables).await.map(Ok)
            }
        }
    }

    async fn create_key(&self, new: &NewKey, tables: &mut dyn DirectoryTables) -> Verdict<About> {
        let NewKey { id, account, terms: _, secret, request: _, most, new_account } = new;
        if tables.keys_in_force(account).await? >= u64::from(*most) {
            return Ok(Err(Denial::TooManyKeys { most: *most }));
        }
        granted!(self.provide_account(account, new_account.as_ref(), tables).await?);
        let revision = tables.next_revision().await?;
        tables.insert_key(new, self.now, revision).await?;
        tables.insert_secret(id, secret, self.now).await?;
        Ok(Ok(About::key(id, account.clone(), Effect::Changed(revision))))
    }
}

async fn rotate(
    which: &Which,
    (secret, ends_at): (&NewSecret, UnixTime),
    now: UnixTime,
    tables: &mut dyn DirectoryTables,
) -> Verdict<About> {
    let found = granted!(find(which, tables).await?);
    if found.is_revoked {
        return Ok(Err(Denial::Revoked));
    }
    if found.expires_at.is_some_and(|at| at.as_millis() <= now.as_millis()) {
        return Ok(Err(Denial::Expired));
    }
    if tables.valid_secrets(&which.id, now).await? >= MOST_SECRETS {
        return Ok(Err(Denial::TooManySecrets));
    }
    tables.end_newest_secret(&which.id, ends_at).await?;
    tables.insert_secret(&which.id, secret, now).await?;
    mark(which, found, tables).await.map(Ok)
}

async fn find(which: &Which, tables: &mut dyn DirectoryTables) -> Verdict<FoundKey> {
    Ok(tables.find_key(which).await?.ok_or(Denial::NoKey))
}

/// Marks a key as changed.
async fn mark(
    which: &Which,
    found: FoundKey,
    tables: &mut dyn DirectoryTables,
) -> Result<About, sqlx::Error> {
    let revision = tables.next_revision().await?;
    tables.mark_key(&which.id, revision).await?;
    Ok(About::key(&which.id, found.account, Effect::Changed(revision)))
}
