//! Accounts and keys in SQLite: a file of its own, on the disk with each commit.
//!
//! - `edits`: what changes them, in the writer's queue; `tables`: the SQL of that.
//! - `reading`: pages of them, and what has changed of the keys.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::directory::edit::{Author, Denial, Edit, Edited};
use crate::store::directory::key::{Key, KeyPage, KeysOf};
use crate::store::directory::{Cursor, Directory, Followed, MOST_OF_TRAIL, Revisions};
use crate::store::failure::StoreError;
use crate::store::sql::directory::edits::Signed;
use crate::store::sqlite::directory::edits::Forget;
use crate::store::sqlite::file::{self, FileKind};
use crate::store::sqlite::pool;
use crate::store::sqlite::trouble::of_sqlx;
use crate::store::sqlite::writer::{Bounds, Writer};

mod edits;
mod reading;
mod tables;

/// Connections that read at the same time.
const READERS: u32 = 2;

/// Between two looks at what another process may have changed. They cost next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The open file of accounts.
#[derive(Debug)]
pub struct SqliteDirectory {
    path: PathBuf,
    pub(super) writer: Writer,
    pub(super) readers: SqlitePool,
    /// One of several, none of which sees what the others change: nothing is, and no key is told of.
    is_kept: AtomicBool,
}

impl SqliteDirectory {
    /// Opens the file in `folder`, which is locked, and makes it if it is not there.
    pub(super) async fn open(folder: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        let connection = file::open(folder, FileKind::Accounts, bounds.lock_wait).await?;
        Ok(Self::over(connection, folder, bounds))
    }

    /// Opens it beside the gateway that has the folder.
    pub(super) async fn beside(folder: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        let connection = file::open_beside(folder, FileKind::Accounts, bounds.lock_wait).await?;
        Ok(Self::over(connection, folder, bounds))
    }

    fn over(connection: SqliteConnection, folder: &Path, bounds: Bounds) -> Self {
        let path = FileKind::Accounts.path(folder);
        let writer = Writer::start(path.clone(), connection, bounds);
        let options = file::options(&path, FileKind::Accounts, bounds.lock_wait).pragma("query_only", "ON");
        Self { path, writer, readers: pool(READERS, &options, bounds), is_kept: AtomicBool::new(false) }
    }

    /// From here on nothing is changed, and who follows the keys is told of none: other gateways, for which it would have to
    /// hold too, do not see this file.
    pub fn keep_as_it_is(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// True if nothing may be changed.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// Commits what waits, and ends.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) fn error(&self, error: sqlx::Error) -> StoreError {
        of_sqlx(&self.path, &error)
    }
}

#[async_trait]
impl Directory for SqliteDirectory {
    async fn edit(
        &self,
        edit: Edit,
        author: Author,
        now: UnixTime,
    ) -> Result<Result<Edited, Denial>, StoreError> {
        if self.is_kept() {
            return Ok(Err(Denial::ListOnly));
        }
        self.writer.submit(Signed { edit, author, now }).await
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        reading::account(&self.readers, id).await.map_err(|error| self.error(error))
    }

    async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        reading::accounts(&self.readers, after, limit).await.map_err(|error| self.error(error))
    }

    async fn count_by_plan(&self, most: u32) -> Result<Vec<(PlanName, u64)>, StoreError> {
        reading::count_by_plan(&self.readers, most).await.map_err(|error| self.error(error))
    }

    async fn key(&self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        reading::key(&self.readers, id).await.map_err(|error| self.error(error))
    }

    async fn keys(&self, of: KeysOf) -> Result<KeyPage, StoreError> {
        reading::keys(&self.readers, &of).await.map_err(|error| self.error(error))
    }

    async fn follow(&self, cursor: &Cursor, limit: u32, now: UnixTime) -> Result<Followed, StoreError> {
        if self.is_kept() {
            return Ok(Followed { keys: Vec::new(), cursor: cursor.clone() });
        }
        reading::follow(&self.readers, cursor, limit, now).await.map_err(|error| self.error(error))
    }

    async fn revisions(&self) -> Result<Revisions, StoreError> {
        reading::revisions(&self.readers).await.map_err(|error| self.error(error))
    }

    /// Who else writes to the file tells nobody.
    async fn changed(&self) {
        std::future::pending().await
    }

    fn look_every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn suspended(&self) -> Result<Vec<AccountId>, StoreError> {
        reading::suspended(&self.readers).await.map_err(|error| self.error(error))
    }

    async fn audit(&self, of: AuditOf) -> Result<Vec<AuditRow>, StoreError> {
        reading::audit(&self.readers, &of).await.map_err(|error| self.error(error))
    }

    async fn forget(&self, first: UnixTime, now: UnixTime) -> Result<u64, StoreError> {
        let oldest = reading::oldest_of_trail(&self.readers).await.map_err(|error| self.error(error))?;
        let first = oldest.map_or(first, |oldest| first.min(oldest.saturating_add(MOST_OF_TRAIL)));
        let mut all = 0;
        loop {
            match self.writer.submit(Forget { first, now }).await? {
                0 => return Ok(all),
                forgotten => all += forgotten,
            }
        }
    }
}
