//! The store as the gateway opens, tends and closes it, on a runtime of its own: neither requests nor reloads wait for it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::accounts::people::PeopleService;
use crate::clock::Clock;
use crate::config::Config;
use crate::server::threads::Threads;
use crate::shelf::Shelf;
use crate::shelf::follower::follow;
use crate::shelf::tender::tend;
use crate::store::Store;
use crate::store::directory::Directory;
use crate::store::folder::FolderLock;
use crate::store::moving::standing::MovedTo;
use crate::store::people::People;
use crate::store::postgres::directory::PostgresDirectory;
use crate::store::postgres::{PostgresStore, connections};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::directory::SqliteDirectory;
use crate::store::sqlite::writer::Bounds;
use crate::units::ByteSize;

/// How long what waits to be written may take when the gateway ends.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// What cannot be of a store that was opened here.
const NOT_OURS: &str = "the data folder is another process's";

/// What is said if nothing comes back from the store's runtime.
const ENDED_EARLY: &str = "the store's runtime ended early";

/// Who starts on a folder that was moved should know it: what lasts is there twice from then on.
fn warn_if_moved(store: &Arc<SqliteStore>, folder: &Path, threads: &Threads) -> anyhow::Result<()> {
    let store = Arc::clone(store);
    let looking = async move { store.moved_to().await };
    if let Some(MovedTo { place, at }) = threads.wait_for(looking).context(ENDED_EARLY)?? {
        let (folder, at) = (folder.display(), at.rfc3339());
        tracing::warn!(%folder, %place, %at, "this data folder was moved; what changes in it is not where it was moved to");
    }
    Ok(())
}

/// The open store and what drives it.
pub(super) struct Lasting {
    kept: Kept,
    threads: Threads,
    /// What is tended.
    shelf: Option<Arc<Shelf>>,
}

/// Where it is kept.
enum Kept {
    /// In the data folder.
    Here(Arc<SqliteStore>),
    /// In PostgreSQL; the folder is this gateway's all the same.
    There(Arc<PostgresStore>, FolderLock),
}

impl Lasting {
    /// Opens the store of `config`: in PostgreSQL, or in its data folder. The folder's lock is taken, or `inherited`.
    pub(super) fn open(config: &Config, inherited: Option<OwnedFd>) -> anyhow::Result<Self> {
        let folder = &config.data_dir;
        let lock = match inherited {
            None => FolderLock::take(folder)?,
            Some(handle) => FolderLock::take_over(folder, handle)?,
        };
        let threads = Threads::start("store")?;
        let kept = match config.postgres() {
            None => {
                let opened = threads.wait_for(SqliteStore::open(lock, Bounds::default()));
                let store = Arc::new(opened.context(ENDED_EARLY)??);
                warn_if_moved(&store, folder, &threads)?;
                if config.cluster.is_some() {
                    store.directory().keep_as_it_is();
                }
                Kept::Here(store)
            }
            Some(url) => {
                let address = url.secret().clone();
                let opening =
                    async move { PostgresStore::open(&address, connections::Bounds::default()).await };
                Kept::There(Arc::new(threads.wait_for(opening).context(ENDED_EARLY)??), lock)
            }
        };
        Ok(Self { kept, threads, shelf: None })
    }

    /// The store itself.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        match &self.kept {
            Kept::Here(store) => Arc::<SqliteStore>::clone(store),
            Kept::There(store, _) => Arc::<PostgresStore>::clone(store),
        }
    }

    /// Accounts and keys.
    pub(super) fn directory(&self) -> Arc<dyn Directory> {
        match &self.kept {
            Kept::Here(store) => Arc::<SqliteDirectory>::clone(store.directory()),
            Kept::There(store, _) => Arc::<PostgresDirectory>::clone(store.directory()),
        }
    }

    /// Who may log in, by the time of `clock`.
    pub(super) fn people(&self, clock: &Clock) -> Arc<PeopleService> {
        let people: Arc<dyn People> = match &self.kept {
            Kept::Here(store) => Arc::<SqliteDirectory>::clone(store.directory()),
            Kept::There(store, _) => Arc::<PostgresDirectory>::clone(store.directory()),
        };
        Arc::new(PeopleService::new(people, clock.clone()))
    }

    /// PostgreSQL, if that is where it is kept.
    pub(super) fn postgres(&self) -> Option<&Arc<PostgresStore>> {
        match &self.kept {
            Kept::Here(_) => None,
            Kept::There(store, _) => Some(store),
        }
    }

    /// The folder's lock.
    fn lock(&self) -> anyhow::Result<&FolderLock> {
        match &self.kept {
            Kept::Here(store) => store.lock().context(NOT_OURS),
            Kept::There(_, lock) => Ok(lock),
        }
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
        Ok(self.lock()?.share()?)
    }

    /// The folder is this process's from here on, for who asks.
    pub(super) fn sign_lock(&self) -> anyhow::Result<()> {
        Ok(self.lock()?.sign()?)
    }

    /// Writes and commits what waits, and ends.
    pub(super) fn close(mut self) {
        let (store, shelf) = (self.store(), self.shelf.take());
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
