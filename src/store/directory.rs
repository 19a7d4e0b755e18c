//! Accounts and their keys, and who changed what: what must survive a power cut. The only door to them.
//!
//! - `account`, `key`: what is kept of each.
//! - `edit`: every change that can be made, and why one is denied.
//! - `audit`: the trail that changes leave.

use std::time::Duration;

use async_trait::async_trait;

use crate::auth::key::StoredKey;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::directory::edit::{Author, Denial, Edit, Edited};
use crate::store::directory::key::{Key, KeyPage, KeysOf};
use crate::store::failure::StoreError;

pub mod account;
pub mod audit;
pub mod edit;
pub mod key;

/// How long a deleted key, and a secret that has ended, can still be learnt of by who follows the keys; and how long a
/// request is known that may be sent again.
pub const TOMBSTONE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How much of the trail is forgotten at once, from its oldest row on: a clock that was set ahead takes no more of it until
/// somebody notices.
pub const MOST_OF_TRAIL: Duration = Duration::from_secs(2 * 24 * 3600);

/// The most secrets of a key that are valid at the same time.
pub const MOST_SECRETS: u64 = 8;

/// How far the keys have been followed: what has changed behind it is new. The default is before all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The revision of the last key that was read.
    pub revision: u64,
    /// That key; several may have changed at once.
    pub key: Box<str>,
}

/// How often what is followed has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Keys, by themselves or through their account.
    pub keys: u64,
    /// Which accounts are suspended.
    pub suspended: u64,
}

/// Keys as they are now that have changed behind a cursor.
#[derive(Debug, Default, PartialEq)]
pub struct Followed {
    /// In the order in which they changed.
    pub keys: Vec<StoredKey>,
    /// Behind the last of them.
    pub cursor: Cursor,
}

/// What is known of accounts and keys. Shared by all that use it.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Makes a change, and leaves its trail in the same transaction: both or none. What it changes of keys is there for
    /// [`Directory::follow`] at once. Edits may be made at the same time from several processes: each sees what those before
    /// it have left, and revisions become visible in their order. Where a database was lost while it committed, the error
    /// says that nobody knows whether it did.
    async fn edit(
        &self,
        edit: Edit,
        author: Author,
        now: UnixTime,
    ) -> Result<Result<Edited, Denial>, StoreError>;

    /// An account.
    async fn account(&self, id: &AccountId) -> Result<Option<Account>, StoreError>;

    /// At most `limit` accounts, in the order of their ids, behind `after`.
    async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError>;

    /// How many accounts are on each plan that has any, in no order. No more than `most` are looked at.
    async fn count_by_plan(&self, most: u32) -> Result<Vec<(PlanName, u64)>, StoreError>;

    /// A key that is not deleted.
    async fn key(&self, id: &KeyId) -> Result<Option<Key>, StoreError>;

    /// Keys that are not deleted, in the order of their ids; no more than [`MOST_LOOKED_AT`](key::MOST_LOOKED_AT) are looked
    /// at for them.
    async fn keys(&self, of: KeysOf) -> Result<KeyPage, StoreError>;

    /// At most `limit` keys that have changed behind `cursor`, as the ring takes them at `now`; none: it has seen all.
    async fn follow(&self, cursor: &Cursor, limit: u32, now: UnixTime) -> Result<Followed, StoreError>;

    /// How often keys and suspensions have changed. Costs next to nothing: it is asked all the time.
    async fn revisions(&self) -> Result<Revisions, StoreError>;

    /// Returns when keys or suspensions may have changed elsewhere since it returned last; never where nobody tells. It is
    /// for one who follows: of several that wait, one is woken.
    async fn changed(&self);

    /// Between two looks at what may have changed elsewhere, for what nobody has told.
    fn look_every(&self) -> Duration;

    /// The accounts that are suspended, in no order.
    async fn suspended(&self) -> Result<Vec<AccountId>, StoreError>;

    /// The trail, the newest first.
    async fn audit(&self, of: AuditOf) -> Result<Vec<AuditRow>, StoreError>;

    /// Forgets what nobody has to learn of any more: keys and secrets that ended and requests that were made [`TOMBSTONE`]
    /// before `now`, and the trail from before `first`, but no more of it than [`MOST_OF_TRAIL`]; how many rows there were.
    async fn forget(&self, first: UnixTime, now: UnixTime) -> Result<u64, StoreError>;
}
