//! The store of a single gateway: two SQLite files in its data folder, by how much they may lose.
//!
//! - `file`: which files there are; each is recognised, checked and brought to its newest form before it is used.
//! - `writer`: one task a file commits changes in groups. Readers are a few more connections, which see the last commit.
//! - `answers`, `proxied`, `entries`, `usage`: the SQL of each; `trouble`: its errors.
//! - `directory`: the file of accounts and keys, with its own writer and readers; `people`: who may log in, in the same.
//! - `backup`: both files in one, and back; `source`: the folder while it is moved into PostgreSQL.
//!
//! SQLite runs on threads of its own, one a connection; a task that waits for it blocks nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};

use crate::cache::entries::Slot;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::store::Store;
use crate::store::answer::{Answer, LookUp, NewAnswer, Put, Question, Which};
use crate::store::entries::{Expired, Page, PageOf};
use crate::store::failure::{StoreError, Trouble};
use crate::store::folder::FolderLock;
use crate::store::moving::standing::MovedTo;
use crate::store::proxied::{Found, KeyPage, NewProxied, Purge, SlotPage};
use crate::store::sqlite::answers::{CountUse, DropAnswer};
use crate::store::sqlite::directory::SqliteDirectory;
use crate::store::sqlite::entries::DeleteExpired;
use crate::store::sqlite::file::FileKind;
use crate::store::sqlite::proxied::{DropRow, DropSlots, PutProxied};
use crate::store::sqlite::trouble::of_sqlx;
use crate::store::sqlite::usage::reports;
use crate::store::sqlite::writer::{Bounds, Writer};
use crate::store::summing::{DeleteUsage, Kept};
use crate::store::usage::{UsageBatch, UsageOf, UsageSums};
use crate::units::ByteSize;
use crate::usage::record::Hour;

mod answers;
pub mod backup;
pub mod directory;
mod entries;
pub mod file;
mod people;
mod proxied;
pub(in crate::store) mod source;
mod trouble;
mod usage;
pub mod writer;

/// Connections that read at the same time; who finds none waits, within [`Bounds::lock_wait`].
const READERS: u32 = 4;

/// The same for reports and lists.
const REPORTERS: u32 = 2;

/// How long a use of an answer waits to be counted: whoever asked for the answer waits with it.
const COUNT_WAIT: Duration = Duration::from_millis(250);

/// What the name of a file ends in as long as a restore has not come to its end.
const RESTORING: &str = "restoring";

/// An open store. Let go without [`Store::close`], it loses nothing that was committed.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: SqlitePool,
    /// For what may look at many rows: nobody else waits for it.
    reports: SqlitePool,
    directory: Arc<SqliteDirectory>,
    /// Of who has the folder.
    lock: Option<FolderLock>,
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
        let directory = SqliteDirectory::open(folder, bounds).await?;
        let connection = file::open(folder, FileKind::Answers, bounds.lock_wait).await?;
        let store = Self::over((connection, directory), folder, bounds);
        open_all(&store.readers).await;
        Ok(Self { lock: Some(lock), ..store })
    }

    /// Opens the store beside the gateway that has the folder: as that keeps it, and without reading all of it.
    ///
    /// # Errors
    /// A file is not there, newer than this version, or not ours.
    pub async fn beside(folder: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        let directory = SqliteDirectory::beside(folder, bounds).await?;
        let connection = file::open_beside(folder, FileKind::Answers, bounds.lock_wait).await?;
        Ok(Self::over((connection, directory), folder, bounds))
    }

    fn over(
        (connection, directory): (SqliteConnection, SqliteDirectory),
        folder: &Path,
        bounds: Bounds,
    ) -> Self {
        let path = FileKind::Answers.path(folder);
        let writer = Writer::start(path.clone(), connection, bounds);
        let options = file::options(&path, FileKind::Answers, bounds.lock_wait).pragma("query_only", "ON");
        let (readers, reports) = (pool(READERS, &options, bounds), pool(REPORTERS, &options, bounds));
        Self { path, writer, readers, reports, directory: Arc::new(directory), lock: None }
    }

    /// Accounts and keys.
    pub fn directory(&self) -> &Arc<SqliteDirectory> {
        &self.directory
    }

    /// The folder's lock, for a process that takes over; `None`: the folder is another's.
    pub fn lock(&self) -> Option<&FolderLock> {
        self.lock.as_ref()
    }

    /// Where the folder was moved to: what is changed in it since then is not there.
    ///
    /// # Errors
    /// The file of accounts cannot be read.
    pub async fn moved_to(&self) -> Result<Option<MovedTo>, StoreError> {
        let noted = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?1").bind(source::MOVED);
        let noted: Option<String> = noted
            .fetch_optional(&self.directory.readers)
            .await
            .map_err(|error| self.directory.error(error))?;
        Ok(noted.as_deref().and_then(MovedTo::read))
    }

    fn error(&self, error: sqlx::Error) -> StoreError {
        of_sqlx(&self.path, &error)
    }
}

/// So many connections that read.
fn pool(connections: u32, options: &SqliteConnectOptions, bounds: Bounds) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(bounds.lock_wait)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone())
}

/// Opens every connection of the pool, so that nobody who reads has to wait for that.
async fn open_all(readers: &SqlitePool) {
    let mut opened = Vec::new();
    for _ in 0..READERS {
        let Ok(mut reader) = readers.acquire().await else { return };
        // What fails now does so again, for who wants to know.
        let _ = sqlx::query("SELECT bytes FROM proxied_total").fetch_one(&mut *reader).await;
        opened.push(reader);
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

    async fn find_answer(&self, question: Question, now: UnixTime) -> Result<LookUp, StoreError> {
        let mut damaged = 0;
        let (id, answer) = loop {
            let found = answers::find(&self.readers, &question, now).await;
            match found.map_err(|error| self.error(error))? {
                answers::Found::Nothing => return Ok(LookUp { answer: None, damaged }),
                answers::Found::Answer(id, answer) => break (id, *answer),
                answers::Found::Damaged(id) => {
                    tracing::error!(path = %self.path.display(), "a stored answer is not what was put; it is deleted");
                    self.writer.submit(DropAnswer { id }).await?;
                    damaged += 1;
                }
            }
        };
        let counting = tokio::time::timeout(COUNT_WAIT, self.writer.submit(CountUse { id }));
        let busy = |_| Err(StoreError::new(&self.path, Trouble::Busy));
        let uses = match counting.await.unwrap_or_else(busy) {
            Ok(uses) => uses,
            Err(error) if matches!(error.trouble, Trouble::Full | Trouble::Busy | Trouble::ReadOnly) => {
                // The answer is there, and worth more than its count.
                tracing::warn!(%error, "a use of a stored answer was not counted, or will be later");
                let uses = answers::uses(&self.readers, id).await.map_err(|error| self.error(error))?;
                Some(uses.saturating_add(1))
            }
            Err(error) => return Err(error),
        };
        Ok(LookUp { answer: uses.map(|usage_count| Answer { usage_count, ..answer }), damaged })
    }

    async fn stored_bytes(&self, account: &AccountId) -> Result<ByteSize, StoreError> {
        answers::stored_bytes(&self.readers, account).await.map_err(|error| self.error(error))
    }

    async fn delete_answers(&self, which: Which) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            match self.writer.submit(which.clone()).await? {
                0 => return Ok(all),
                deleted => all += deleted,
            }
        }
    }

    async fn put_proxied(&self, batch: Vec<NewProxied>, bound: ByteSize) -> Result<Vec<Slot>, StoreError> {
        let put = self.writer.submit(PutProxied { batch, bound, purges: None }).await?;
        Ok(put.unwrap_or_default())
    }

    async fn put_unless_purged(
        &self,
        batch: Vec<NewProxied>,
        bound: ByteSize,
        purges: u64,
    ) -> Result<Option<Vec<Slot>>, StoreError> {
        self.writer.submit(PutProxied { batch, bound, purges: Some(purges) }).await
    }

    async fn proxied_purges(&self) -> Result<u64, StoreError> {
        proxied::purges(&self.readers).await.map_err(|error| self.error(error))
    }

    async fn find_proxied(&self, slot: Slot, now: UnixTime) -> Result<Found, StoreError> {
        let found = proxied::find(&self.readers, slot, now).await;
        let (found, damaged) = found.map_err(|error| self.error(error))?;
        if let Some(id) = damaged {
            self.writer.submit(DropRow { id }).await?;
        }
        Ok(found)
    }

    async fn delete_proxied(&self, slots: Vec<Slot>) -> Result<(), StoreError> {
        self.writer.submit(DropSlots { slots }).await
    }

    async fn purge_proxied(&self, purge: Purge) -> Result<Vec<Slot>, StoreError> {
        self.writer.submit(purge).await
    }

    async fn proxied_slots(&self, page: KeyPage) -> Result<SlotPage, StoreError> {
        proxied::slots(&self.readers, page).await.map_err(|error| self.error(error))
    }

    async fn proxied_bytes(&self) -> Result<ByteSize, StoreError> {
        proxied::bytes(&self.readers).await.map_err(|error| self.error(error))
    }

    async fn list_entries(&self, page: Page, now: UnixTime) -> Result<PageOf, StoreError> {
        entries::list(&self.reports, &page, now).await.map_err(|error| self.error(error))
    }

    async fn delete_expired(&self, now: UnixTime) -> Result<Expired, StoreError> {
        self.writer.submit(DeleteExpired { now }).await
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        self.writer.submit(batch).await
    }

    async fn usage(&self, of: UsageOf) -> Result<UsageSums, StoreError> {
        reports::usage(&self.reports, &of).await.map_err(|error| self.error(error))
    }

    async fn last_uses(&self, keys: Vec<(AccountId, KeyId)>) -> Result<Vec<Option<UnixTime>>, StoreError> {
        reports::last_uses(&self.readers, &keys).await.map_err(|error| self.error(error))
    }

    async fn delete_usage(&self, first: Hour) -> Result<u64, StoreError> {
        let mut all = 0;
        for of in Kept::ALL {
            let mut deleted = 1;
            while deleted > 0 {
                deleted = self.writer.submit(DeleteUsage { first, of }).await?;
                all += if of == Kept::Hours { deleted } else { 0 };
            }
        }
        Ok(all)
    }

    async fn close(&self) {
        // Readers first: the last connection to end tidies up, and only a writer can.
        self.readers.close().await;
        self.reports.close().await;
        self.writer.close().await;
        self.directory.close().await;
    }
}
