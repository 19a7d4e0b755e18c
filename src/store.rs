//! Everything that lasts, behind one trait.
//!
//! - `answer`, `proxied`, `entries`, `usage`: what is kept, and what is asked of it.
//! - `cursor`: a place in the list of entries, as text.
//! - `failure`: what can go wrong, told apart as far as somebody acts on the difference.
//! - `directory`, `people`: accounts and their keys; who may log in. Each has a trait of its own.
//! - `folder`: the data folder and its lock: one gateway at a time, or the two of a hand-over.
//! - `moving`: what is in a data folder, moved into PostgreSQL.
//! - `sqlite`: the store of a single gateway, in two files; `postgres`: that of many, in one database. Both are laid out
//!   by `migrations`. What both need: `number`, how numbers are kept; `listing`, `summing`, what rows mean; `sql`,
//!   the way of an edit, and what rows of accounts and people mean.
//!
//! **What survives.** A method that changes something returns when the change is committed. It then survives the end of
//! the process, however sudden. A power cut, or the end of the operating system, may take the last moments of answers
//! and usage, which are not flushed to the disk with each commit; never those of accounts and keys, which are; and it
//! damages neither file.

use async_trait::async_trait;

use crate::cache::entries::Slot;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::store::answer::{LookUp, NewAnswer, Put, Question, Which};
use crate::store::entries::{Expired, Page, PageOf};
use crate::store::failure::StoreError;
use crate::store::proxied::{Found, KeyPage, NewProxied, Purge, SlotPage};
use crate::store::usage::{UsageBatch, UsageOf, UsageSums};
use crate::units::ByteSize;
use crate::usage::record::Hour;

pub mod answer;
pub mod cursor;
pub mod directory;
pub mod entries;
pub mod failure;
pub mod folder;
mod listing;
pub mod migrations;
pub mod moving;
mod number;
pub mod people;
pub mod postgres;
pub mod proxied;
mod sql;
pub mod sqlite;
mod summing;
pub mod usage;

/// The only door to what lasts. Shared by all that use it; every method may be called at any time from any task, and
/// does its work elsewhere. A change that fails has changed nothing, unless the database was lost while it committed
/// ([`failure::Trouble::Unreachable`] then): who must know asks, or does again what is done once.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps an answer in place of what was kept under the same account, hash and model, unless the account's quota
    /// does not allow it. Expired answers of the account make room first.
    async fn put_answer(&self, answer: NewAnswer) -> Result<Put, StoreError>;

    /// The newest answer that fits the question and has not expired at `now`, counted as used once more. One that is not
    /// what was put is deleted, and passed over.
    async fn find_answer(&self, question: Question, now: UnixTime) -> Result<LookUp, StoreError>;

    /// What the account's stored answers take of its quota, expired ones that are still there included.
    async fn stored_bytes(&self, account: &AccountId) -> Result<ByteSize, StoreError>;

    /// Deletes stored answers; how many there were.
    async fn delete_answers(&self, which: Which) -> Result<u64, StoreError>;

    /// Keeps answers of upstreams, each in place of what was kept in the same slot, and deletes the oldest until all of
    /// them take at most `bound`. Returns the slots of those deleted, the newly kept included where they do not fit.
    /// Deletes at most [`proxied::MOST_EVICTED`] at once: an empty batch goes on where a lower bound needs more.
    async fn put_proxied(&self, batch: Vec<NewProxied>, bound: ByteSize) -> Result<Vec<Slot>, StoreError>;

    /// The same, unless answers were purged more often than `purges` times by now: then nothing is done, and `None` told.
    async fn put_unless_purged(
        &self,
        batch: Vec<NewProxied>,
        bound: ByteSize,
        purges: u64,
    ) -> Result<Option<Vec<Slot>>, StoreError>;

    /// How often [`Store::purge_proxied`] was called, by whichever process.
    async fn proxied_purges(&self) -> Result<u64, StoreError>;

    /// The answer in a slot, if it has not expired at `now`. One that is not what was put is deleted.
    async fn find_proxied(&self, slot: Slot, now: UnixTime) -> Result<Found, StoreError>;

    /// Deletes the answers in these slots; those that hold none are passed over.
    async fn delete_proxied(&self, slots: Vec<Slot>) -> Result<(), StoreError>;

    /// Deletes answers of upstreams, at most [`proxied::MOST_PURGED`] at once, so that others' changes come between: all
    /// are gone when it returns none. Returns their slots.
    async fn purge_proxied(&self, purge: Purge) -> Result<Vec<Slot>, StoreError>;

    /// The slots that are taken, page after page, in the order in which they were. What is put or deleted meanwhile may or
    /// may not be among them; what is put later is behind the last.
    async fn proxied_slots(&self, page: KeyPage) -> Result<SlotPage, StoreError>;

    /// What all answers of upstreams take.
    async fn proxied_bytes(&self) -> Result<ByteSize, StoreError>;

    /// What is kept for an account and has not expired at `now`, of both kinds, the newest first.
    async fn list_entries(&self, page: Page, now: UnixTime) -> Result<PageOf, StoreError>;

    /// Deletes what has expired at `now`, of both kinds, the longest expired first and at most [`entries::MOST_EXPIRED`]
    /// of each. What they were: all are gone when it returns none.
    async fn delete_expired(&self, now: UnixTime) -> Result<Expired, StoreError>;

    /// Adds to the sums, all rows or none; none of a batch that was added before. A model that is new to its account, which has [`usage::MOST_MODELS`] already,
    /// is added to those of [`crate::usage::ledger::OTHER_MODEL`].
    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError>;

    /// An account's sums in a period, by time, model and key.
    async fn usage(&self, of: UsageOf) -> Result<UsageSums, StoreError>;

    /// When each of these keys was used last, to the millisecond, in their order; `None`: never, or before what is kept.
    async fn last_uses(&self, keys: Vec<(AccountId, KeyId)>) -> Result<Vec<Option<UnixTime>>, StoreError>;

    /// Deletes the sums of hours before `first` and of days before its day, and the keys and models that were used last
    /// before it; it is no longer known then which batches were added before. How many sums of hours there were.
    async fn delete_usage(&self, first: Hour) -> Result<u64, StoreError>;

    /// Commits what waits, and ends. Every later call fails with [`failure::Trouble::Closed`].
    async fn close(&self);
}
