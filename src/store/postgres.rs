//! The store of many gateways: one PostgreSQL, in the tables of whatever schema the connection comes into.
//!
//! - `address`: where it is; `connections`: how work is done there, within bounds, and again where that harms nothing.
//! - `form`: recognised and brought to its newest form before anybody uses it, also when many start at once.
//! - `answers`, `proxied`, `entries`, `usage`: the SQL of each; `text`, `trouble`: its values and errors.
//! - `roll`: which gateways are there; `target`: a database that a data folder is moved into.
//! - `directory`: accounts and keys, and what others say of them; `people`: who may log in.
//!
//! **Many write at once.** What must hold for all of them together holds by a lock on one row, taken before anything is
//! looked at: an account's total for its stored answers, the one total of proxied answers, the revision of the keys for
//! accounts, keys and people. Rows that several may add to are touched in the order of their keys. What still meets is told by
//! PostgreSQL, undone and done again.
//!
//! **Text.** What clients write is kept as BYTEA, since TEXT holds no U+0000, which names never have; what is ordered or looked up has the
//! collation "C", whose order is that of bytes, as in SQLite and in Rust.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cache::entries::Slot;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::secret::Secret;
use crate::store::Store;
use crate::store::answer::{Answer, LookUp, NewAnswer, Put, Question, Which};
use crate::store::entries::{Expired, Page, PageOf};
use crate::store::failure::{StoreError, Trouble};
use crate::store::postgres::address::Address;
use crate::store::postgres::answers::{CountUse, DropAnswer, StoredBytes};
use crate::store::postgres::connections::{Bounds, Connections};
use crate::store::postgres::directory::PostgresDirectory;
use crate::store::postgres::entries::{DeleteExpired, List};
use crate::store::postgres::proxied::{DropRow, DropSlots, PutProxied, ReadTotal};
use crate::store::postgres::usage::reports::LastUses;
use crate::store::proxied::{Found, KeyPage, NewProxied, Purge, SlotPage};
use crate::store::summing::{DeleteUsage, Kept};
use crate::store::usage::{UsageBatch, UsageOf, UsageSums};
use crate::units::ByteSize;
use crate::usage::record::Hour;

mod address;
mod answers;
pub mod connections;
pub mod directory;
mod entries;
mod form;
mod people;
mod proxied;
mod roll;
pub(in crate::store) mod target;
mod text;
mod trouble;
mod usage;

/// An open store. Let go without being closed, it loses nothing that was committed.
#[derive(Debug)]
pub struct PostgresStore {
    connections: Arc<Connections>,
    directory: Arc<PostgresDirectory>,
    installation: String,
}

impl PostgresStore {
    /// Opens the store at a `postgres://` address, and makes its tables if they are not there. Waits for others that do
    /// so at the same time. Tasks that it needs run in the current runtime.
    ///
    /// # Errors
    /// The address cannot be read or reached; what is there is newer than this version, or not ours, or
    /// half of a move.
    pub async fn open(address: &Secret, bounds: Bounds) -> Result<Self, StoreError> {
        let connections = Connections::new(&Address::read(address)?, bounds);
        form::bring_up(&connections).await?;
        target::refuse_half_moved(&connections).await?;
        let installation = connections.read(&form::ReadInstallation).await?;
        let connections = Arc::new(connections);
        let directory = Arc::new(PostgresDirectory::over(&connections));
        Ok(Self { connections, directory, installation })
    }

    /// What tells this installation from others.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Accounts, keys and people.
    pub fn directory(&self) -> &Arc<PostgresDirectory> {
        &self.directory
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn put_answer(&self, answer: NewAnswer) -> Result<Put, StoreError> {
        self.connections.change(&answer).await
    }

    async fn find_answer(&self, question: Question, now: UnixTime) -> Result<LookUp, StoreError> {
        let mut damaged = 0;
        let (id, answer) = loop {
            match self.connections.read(&answers::Find { question: &question, now }).await? {
                answers::Found::Nothing => return Ok(LookUp { answer: None, damaged }),
                answers::Found::Answer(id, answer) => break (id, *answer),
                answers::Found::Damaged(id) => {
                    tracing::error!(place = ?self.connections, "a stored answer is not what was put; it is deleted");
                    self.connections.change(&DropAnswer { account: &question.account, id }).await?;
                    damaged += 1;
                }
            }
        };
        let uses = match self.connections.change(&CountUse { id }).await {
            Ok(uses) => uses,
            Err(error) if error.trouble == Trouble::Closed => return Err(error),
            Err(error) => {
                // The answer is there, and worth more than its count.
                tracing::warn!(%error, "a use of a stored answer was not counted");
                Some(answer.usage_count.saturating_add(1))
            }
        };
        Ok(LookUp { answer: uses.map(|usage_count| Answer { usage_count, ..answer }), damaged })
    }

    async fn stored_bytes(&self, account: &AccountId) -> Result<ByteSize, StoreError> {
        self.connections.read(&StoredBytes(account)).await
    }

    async fn delete_answers(&self, which: Which) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            match self.connections.change(&which).await? {
                0 => return Ok(all),
                deleted => all += deleted,
            }
        }
    }

    async fn put_proxied(&self, batch: Vec<NewProxied>, bound: ByteSize) -> Result<Vec<Slot>, StoreError> {
        let put = self.connections.change(&PutProxied { batch, bound, purges: None }).await?;
        Ok(put.unwrap_or_default())
    }

    async fn put_unless_purged(
        &self,
        batch: Vec<NewProxied>,
        bound: ByteSize,
        purges: u64,
    ) -> Result<Option<Vec<Slot>>, StoreError> {
        self.connections.change(&PutProxied { batch, bound, purges: Some(purges) }).await
    }

    async fn proxied_purges(&self) -> Result<u64, StoreError> {
        self.connections.read(&ReadTotal).await.map(|total| total.purges)
    }

    async fn find_proxied(&self, slot: Slot, now: UnixTime) -> Result<Found, StoreError> {
        let (found, damaged) = self.connections.read(&proxied::Find { slot, now }).await?;
        if let Some(id) = damaged {
            self.connections.change(&DropRow { id }).await?;
        }
        Ok(found)
    }

    async fn delete_proxied(&self, slots: Vec<Slot>) -> Result<(), StoreError> {
        self.connections.change(&DropSlots { slots }).await
    }

    async fn purge_proxied(&self, purge: Purge) -> Result<Vec<Slot>, StoreError> {
        self.connections.change(&purge).await
    }

    async fn proxied_slots(&self, page: KeyPage) -> Result<SlotPage, StoreError> {
        self.connections.read(&page).await
    }

    async fn proxied_bytes(&self) -> Result<ByteSize, StoreError> {
        self.connections.read(&ReadTotal).await.map(|total| total.bytes)
    }

    async fn list_entries(&self, page: Page, now: UnixTime) -> Result<PageOf, StoreError> {
        self.connections.report(&List { page: &page, now }).await
    }

    async fn delete_expired(&self, now: UnixTime) -> Result<Expired, StoreError> {
        self.connections.change(&DeleteExpired { now }).await
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        self.connections.change(&batch).await
    }

    async fn usage(&self, of: UsageOf) -> Result<UsageSums, StoreError> {
        self.connections.report(&of).await
    }

    async fn last_uses(&self, keys: Vec<(AccountId, KeyId)>) -> Result<Vec<Option<UnixTime>>, StoreError> {
        self.connections.read(&LastUses(keys)).await
    }

    async fn delete_usage(&self, first: Hour) -> Result<u64, StoreError> {
        let mut all = 0;
        for of in Kept::ALL {
            let mut deleted = 1;
            while deleted > 0 {
                deleted = self.connections.change(&DeleteUsage { first, of }).await?;
                all += if of == Kept::Hours { deleted } else { 0 };
            }
        }
        Ok(all)
    }

    async fn close(&self) {
        self.directory.close();
        self.connections.close().await;
    }
}
