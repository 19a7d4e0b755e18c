//! The store as the gateway opens, tends and closes it, on a runtime of its own: neither requests nor reloads wait for it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::accounts::people::PeopleService;
use crate::clock::Clock;
use crate::server::threads::Threads;
use crate::shelf::Shelf;
use crate::shelf::follower::follow;
use crate::shelf::tender::tend;
use crate::store::Store;
use crate::store::directory::Directory;
use crate::store::folder::FolderLock;
use crate::store::people::People;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::directory::SqliteDirectory;
use crate::store::sqlite::writer::Bounds;
use crate::units::ByteSize;

/// How long what waits to be written may take when the gateway ends.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// What cannot be of a store that was opened here.
const NOT_OURS: &str = "the data folder is another process's";

/// The open store and what drives it.
pub(super) struct Lasting {
    store: Arc<SqliteStore>,
    threads: Threads,
    /// What is tended.
    shelf: Option<Arc<Shelf>>,
}

impl Lasting {
    /// Opens the store in `folder`, whose lock is taken, or `inherited`.
    pub(super) fn open(folder: &Path, inherited: Option<OwnedFd>) -> anyhow::Result<Self> {
        let lock = match inherited {
            None => FolderLock::take(folder)?,
            Some(handle) => FolderLock::take_over(folder, handle)?,
        };
        let threads = Threads::start("store")?;
        let opened = threads.wait_for(SqliteStore::open(lock, Bounds::default()));
        let store = Arc::new(opened.context("the store's runtime ended early")??);
        Ok(Self { store, threads, shelf: None })
    }

    /// The store itself.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::<SqliteStore>::clone(&self.store)
    }

    /// Accounts and keys.
    pub(super) fn directory(&self) -> Arc<dyn Directory> {
        Arc::<SqliteDirectory>::clone(self.store.directory())
    }

    /// Who may log in, by the time of `clock`.
    pub(super) fn people(&self, clock: &Clock) -> Arc<PeopleService> {
        let store: Arc<dyn People> = Arc::<SqliteDirectory>::clone(self.store.directory());
        Arc::new(PeopleService::new(store, clock.clone()))
    }

    /// Begins to write what comes to `shelf`: to where gateways share it, or to the disk, within the `bound` of each moment,
    /// where it deletes what expires.
    pub(super) fn tend(&mut self, shelf: &Arc<Shelf>, bound: impl Fn() -> ByteSize + Send + Sync + 'static) {
        self.shelf = Some(Arc::clone(shelf));
        if shelf.is_shared() {
            self.threads.handle().spawn(follow(Arc::clone(shelf)));
        } else {
            self.threads.handle().spawn(tend(Arc::clone(shelf), bound));
        }
    }

    /// The runtime that drives it.
    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The folder's lock, for a process that takes over.
    pub(super) fn share_lock(&self) -> anyhow::Result<OwnedFd> {
        Ok(self.store.lock().context(NOT_OURS)?.share()?)
    }

    /// The folder is this process's from here on, for who asks.
    pub(super) fn sign_lock(&self) -> anyhow::Result<()> {
        Ok(self.store.lock().context(NOT_OURS)?.sign()?)
    }

    /// Writes and commits what waits, and ends.
    pub(super) fn close(mut self) {
        let (store, shelf) = (Arc::clone(&self.store), self.shelf.take());
        let closing = async move {
            if let Some(shelf) = shelf {
                shelf.close(LAST_WRITES).await;
            }
            store.close().await;
        };
        // Nothing comes back from a runtime that has ended; then there is nothing to close.
        let _ = self.threads.wait_for(closing);
        self.threads.stop();
    }
}
