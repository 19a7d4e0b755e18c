//! The store as the gateway opens, tends and closes it, on a runtime of its own: neither requests nor reloads wait for it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::clock::Clock;
use crate::server::threads::Threads;
use crate::store::Store;
use crate::store::failure::StoreError;
use crate::store::folder::FolderLock;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::writer::Bounds;

/// Between two looks at what has expired.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// The open store and what drives it.
pub(super) struct Lasting {
    store: Arc<SqliteStore>,
    threads: Threads,
}

impl Lasting {
    /// Opens the store in `folder`, whose lock is taken, or `inherited`, and begins to delete what expires.
    pub(super) fn open(folder: &Path, inherited: Option<OwnedFd>, clock: Clock) -> anyhow::Result<Self> {
        let lock = match inherited {
            None => FolderLock::take(folder)?,
            Some(handle) => FolderLock::take_over(folder, handle)?,
        };
        let threads = Threads::start("store")?;
        let opened = threads.wait_for(SqliteStore::open(lock, Bounds::default()));
        let store = Arc::new(opened.context("the store's runtime ended early")??);
        threads.handle().spawn(expire(Arc::clone(&store), clock));
        Ok(Self { store, threads })
    }

    /// The folder's lock, for a process that takes over.
    pub(super) fn share_lock(&self) -> anyhow::Result<OwnedFd> {
        Ok(self.store.lock().share()?)
    }

    /// The folder is this process's from here on, for who asks.
    pub(super) fn sign_lock(&self) -> anyhow::Result<()> {
        Ok(self.store.lock().sign()?)
    }

    /// Commits what waits, and ends.
    pub(super) fn close(mut self) {
        let store = Arc::clone(&self.store);
        // Nothing comes back from a runtime that has ended; then there is nothing to close.
        let _ = self.threads.wait_for(async move { store.close().await });
        self.threads.stop();
    }
}

async fn expire(store: Arc<SqliteStore>, clock: Clock) {
    loop {
        match delete_expired(&*store, &clock).await {
            Ok(0) => {}
            Ok(deleted) => tracing::debug!(deleted, "expired answers were deleted"),
            Err(error) => tracing::warn!(%error, "expired answers were not deleted"),
        }
        tokio::time::sleep(EXPIRE_EVERY).await;
    }
}

/// All that has expired, batch after batch; others' changes come between.
async fn delete_expired(store: &dyn Store, clock: &Clock) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        match store.delete_expired(clock.unix()).await? {
            0 => return Ok(deleted),
            more => deleted += more,
        }
    }
}
