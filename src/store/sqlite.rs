//! The store of a single gateway: two SQLite files in its data folder, by how much they may lose.
//!
//! - `file`: which files there are; each is recognised, checked and brought to its newest form before it is used.
//! - `writer`: one task a file commits changes in groups. Readers are a few more connections, which see the last commit.
//! - `answers`, `proxied`, `entries`, `usage`: the SQL of each; `number`, `trouble`: its values and errors.
//! - `backup`: both files in one, and back.
//!
//! SQLite runs on threads of its own, one a connection; a task that waits for it blocks nobody.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection, SqlitePool};

use crate::cache::entries::Slot;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::Store;
use crate::store::answer::{Answer, NewAnswer, Put, Question, Which};
use crate::store::entries::{Page, PageOf};
use crate::store::failure::{StoreError, Trouble};
use crate::store::folder::FolderLock;
use crate::store::proxied::{Found, KeyPage, NewProxied, Purge};
use crate::store::sqlite::answers::CountUse;
use crate::store::sqlite::entries::DeleteExpired;
use crate::store::sqlite::file::FileKind;
use crate::store::sqlite::proxied::{DropRow, PutProxied};
use crate::store::sqlite::trouble::of_sqlx;
use crate::store::sqlite::usage::{AddUsage, DeleteUsage};
use crate::store::sqlite::writer::{Bounds, Writer};
use crate::store::usage::{KeyPageOf, KeyUsage, ModelSum, Period, Step, TimeSum, UsageRow};
use crate::units::ByteSize;
use crate::usage::record::Hour;

mod answers;
pub mod backup;
mod entries;
pub mod file;
mod number;
mod proxied;
mod trouble;
mod usage;
pub mod writer;

/// Connections that read at the same time; who finds none waits, within [`Bounds::lock_wait`].
const READERS: u32 = 4;

/// What the name of a file ends in as long as a restore has not come to its end.
const RESTORING: &str = "restoring";

/// An open store. Let go without [`Store::close`], it loses nothing that was committed.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: SqlitePool,
    lock: FolderLock,
}

impl SqliteStore {
    /// Opens the store in the locked folder, and makes what is not there. Reads all of it once, to see that it is whole.
    /// Tasks that it needs run in the current runtime.
    ///
    /// # Errors
    /// A file is damaged, newer than this version, or not ours; the folder cannot be written or holds half a restore.
    pub async fn open(lock: FolderLock, bounds: Bounds) -> Result<Self, StoreError> {
        let folder = lock.folder();
        refuse_half_restored(folder)?;
        let accounts = file::open(folder, FileKind::Accounts, bounds.lock_wait).await?;
        let path = FileKind::Answers.path(folder);
        accounts.close().await.map_err(|error| of_sqlx(&FileKind::Accounts.path(folder), &error))?;
        let connection = file::open(folder, FileKind::Answers, bounds.lock_wait).await?;
        let writer = Writer::start(path.clone(), connection, bounds);
        let options = file::options(&path, FileKind::Answers, bounds.lock_wait).pragma("query_only", "ON");
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(bounds.lock_wait)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        Ok(Self { path, writer, readers, lock })
    }

    /// The folder's lock, for a process that takes over.
    pub fn lock(&self) -> &FolderLock {
        &self.lock
    }

    fn error(&self, error: sqlx::Error) -> StoreError {
        of_sqlx(&self.path, &error)
    }
}

/// A folder that holds half a restore is nothing to work with.
fn refuse_half_restored(folder: &Path) -> Result<(), StoreError> {
    for kind in FileKind::ALL {
        let path = kind.path(folder).with_added_extension(RESTORING);
        if path.try_exists().map_err(|error| StoreError::of_io(&path, &error))? {
            return Err(StoreError::new(folder, Trouble::HalfRestored));
        }
    }
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    async fn put_answer(&self, answer: NewAnswer) -> Result<Put, StoreError> {
        self.writer.submit(answer).await
    }

    async fn find_answer(&self, question: Question, now: UnixTime) -> Result<Option<Answer>, StoreError> {
        let found = answers::find(&self.readers, &question, now).await;
        let Some((id, answer)) = found.map_err(|error| self.error(error))? else { return Ok(None) };
        let uses = match self.writer.submit(CountUse { id }).await {
            Ok(uses) => uses,
            Err(error) if matches!(error.trouble, Trouble::Full | Trouble::Busy | Trouble::ReadOnly) => {
                // The answer is there, and worth more than its count.
                tracing::warn!(%error, "a use of a stored answer was not counted");
                let uses = answers::uses(&self.readers, id).await.map_err(|error| self.error(error))?;
                Some(uses.saturating_add(1))
            }
            Err(error) => return Err(error),
        };
        Ok(uses.map(|usage_count| Answer { usage_count, ..answer }))
    }

    async fn stored_bytes(&self, account: &AccountId) -> Result<ByteSize, StoreError> {
        answers::stored_bytes(&self.readers, account).await.map_err(|error| self.error(error))
    }

    async fn delete_answers(&self, which: Which) -> Result<u64, StoreError> {
        self.writer.submit(which).await
    }

    async fn put_proxied(&self, batch: Vec<NewProxied>, bound: ByteSize) -> Result<Vec<Slot>, StoreError> {
        self.writer.submit(PutProxied { batch, bound }).await
    }

    async fn find_proxied(&self, slot: Slot, now: UnixTime) -> Result<Found, StoreError> {
        let found = proxied::find(&self.readers, slot, now).await;
        let (found, damaged) = found.map_err(|error| self.error(error))?;
        if let Some(id) = damaged {
            self.writer.submit(DropRow { id }).await?;
        }
        Ok(found)
    }

    async fn purge_proxied(&self, purge: Purge) -> Result<u64, StoreError> {
        self.writer.submit(purge).await
    }

    async fn proxied_slots(&self, page: KeyPage) -> Result<(Vec<Slot>, Option<KeyPage>), StoreError> {
        proxied::slots(&self.readers, page).await.map_err(|error| self.error(error))
    }

    async fn list_entries(&self, page: Page, now: UnixTime) -> Result<PageOf, StoreError> {
        entries::list(&self.readers, &page, now).await.map_err(|error| self.error(error))
    }

    async fn delete_expired(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.writer.submit(DeleteExpired { now }).await
    }

    async fn add_usage(&self, rows: Vec<UsageRow>) -> Result<(), StoreError> {
        self.writer.submit(AddUsage { rows }).await
    }

    async fn usage_by_time(
        &self,
        account: &AccountId,
        period: Period,
        step: Step,
    ) -> Result<Vec<TimeSum>, StoreError> {
        usage::by_time(&self.readers, account, period, step).await.map_err(|error| self.error(error))
    }

    async fn usage_by_model(&self, account: &AccountId, period: Period) -> Result<Vec<ModelSum>, StoreError> {
        usage::by_model(&self.readers, account, period).await.map_err(|error| self.error(error))
    }

    async fn usage_by_key(
        &self,
        page: KeyPageOf,
        period: Period,
    ) -> Result<(Vec<KeyUsage>, u64), StoreError> {
        usage::by_key(&self.readers, &page, period).await.map_err(|error| self.error(error))
    }

    async fn delete_usage(&self, first: Hour) -> Result<u64, StoreError> {
        self.writer.submit(DeleteUsage { first }).await
    }

    async fn close(&self) {
        // Readers first: the last connection to end tidies up, and only a writer can.
        self.readers.close().await;
        self.writer.close().await;
    }
}
