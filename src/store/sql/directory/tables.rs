//! What edits of accounts and keys ask of the tables, in the transaction of the edit.

use async_trait::async_trait;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::edit::{NewKey, Request, Which};
use crate::store::directory::key::NewSecret;
use crate::store::sql::trail::Step;

/// A connection to the tables. Whoever has it is the only one who edits until their transaction ends.
#[async_trait]
pub(in crate::store) trait DirectoryTables: Send {
    /// Adds a row to the trail.
    async fn leave(&mut self, step: Step<'_>) -> Result<(), sqlx::Error>;

    /// What a request asked for, as SHA-256, and the key that it was about.
    async fn request(&mut self, maker: &str, name: &str) -> Result<Option<(Vec<u8>, KeyId)>, sqlx::Error>;

    /// The key that a request made in the days when nobody noted what it asked for.
    async fn older_request(&mut self, account: &AccountId, name: &str) -> Result<Option<KeyId>, sqlx::Error>;

    /// Notes a request that was made.
    async fn remember_request(
        &mut self,
        maker: &str,
        request: &Request,
        key: &KeyId,
        now: UnixTime,
    ) -> Result<(), sqlx::Error>;

    /// Forgets the requests that were about a key.
    async fn forget_requests(&mut self, key: &KeyId) -> Result<(), sqlx::Error>;

    /// True if the account is there.
    async fn has_account(&mut self, id: &AccountId) -> Result<bool, sqlx::Error>;

    /// Makes an account with this name, on this plan, unless there is one with its id.
    async fn insert_account(
        &mut self,
        id: &AccountId,
        given: (&str, &PlanName),
        now: UnixTime,
    ) -> Result<Inserted, sqlx::Error>;

    /// The name and the plan of an account, which is there.
    async fn given(&mut self, id: &AccountId) -> Result<(String, String), sqlx::Error>;

    /// Gives an account another name or another plan, or both.
    async fn give(
        &mut self,
        id: &AccountId,
        name: Option<&str>,
        plan: Option<&str>,
    ) -> Result<(), sqlx::Error>;

    /// Since when an account is suspended; `None`: not any more. True if it was otherwise before: then it counts as a change
    /// of who is suspended.
    async fn suspend(&mut self, id: &AccountId, since: Option<UnixTime>) -> Result<bool, sqlx::Error>;

    /// The keys of an account that are not revoked.
    async fn keys_in_force(&mut self, account: &AccountId) -> Result<u64, sqlx::Error>;

    /// A key that is not deleted.
    async fn find_key(&mut self, which: &Which) -> Result<Option<FoundKey>, sqlx::Error>;

    /// Makes a key, without its secret.
    async fn insert_key(&mut self, new: &NewKey, now: UnixTime, revision: u64) -> Result<(), sqlx::Error>;

    /// Gives a key another name, or none.
    async fn rename_key(&mut self, id: &KeyId, name: Option<&str>) -> Result<(), sqlx::Error>;

    /// Has a key refused from now on.
    async fn revoke_key(&mut self, id: &KeyId, now: UnixTime) -> Result<(), sqlx::Error>;

    /// The same, unless it is already, and lists it no more.
    async fn delete_key(&mut self, id: &KeyId, now: UnixTime) -> Result<(), sqlx::Error>;

    /// Gives a key a secret, its newest.
    async fn insert_secret(
        &mut self,
        key: &KeyId,
        secret: &NewSecret,
        now: UnixTime,
    ) -> Result<(), sqlx::Error>;

    /// How many secrets of a key are valid.
    async fn valid_secrets(&mut self, key: &KeyId, now: UnixTime) -> Result<u64, sqlx::Error>;

    /// Says when the newest secret of a key ends.
    async fn end_newest_secret(&mut self, key: &KeyId, ends_at: UnixTime) -> Result<(), sqlx::Error>;

    /// Ends every secret of a key but the newest; how many had not ended.
    async fn end_older_secrets(&mut self, key: &KeyId, now: UnixTime) -> Result<u64, sqlx::Error>;

    /// Marks a key as changed.
    async fn mark_key(&mut self, id: &KeyId, revision: u64) -> Result<(), sqlx::Error>;

    /// Marks all keys of an account as changed.
    async fn mark_keys_of(&mut self, account: &AccountId, revision: u64) -> Result<(), sqlx::Error>;

    /// The revision of the keys.
    async fn revision(&mut self) -> Result<u64, sqlx::Error>;

    /// The next one: something of the keys is about to change.
    async fn next_revision(&mut self) -> Result<u64, sqlx::Error>;
}

/// Whether an account was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Inserted {
    /// It was.
    Yes,
    /// There is one with this id.
    WasThere,
}

/// A key that is there, and whose it is.
pub(in crate::store) struct FoundKey {
    pub(in crate::store) account: AccountId,
    pub(in crate::store) name: Option<Box<str>>,
    pub(in crate::store) is_revoked: bool,
    pub(in crate::store) expires_at: Option<UnixTime>,
}
