//! The purge of what is cached, and the end of all of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cache::entries::Epoch;
use crate::shelf::Shelf;
use crate::shelf::tender::Command;
use crate::shelf::told::concerns;
use crate::store::failure::{StoreError, Trouble};
use crate::store::proxied::Purge;

/// What all of it is called in an error.
const PLACE: &str = "the cache behind the one in memory";

fn closed() -> StoreError {
    StoreError::new(PLACE.as_ref(), Trouble::Closed)
}

impl Shelf {
    /// Forgets answers, in memory and behind it, and what calls bring that were begun before; how many answers there were,
    /// each slot counted once. Where gateways share answers, those of the others' memories are not counted, and of those that
    /// are shared only what a purge of one question deletes. It goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// The disk could not be changed, or other gateways could not be told. Memory has forgotten all the same, and nothing that
    /// the purge names is read from there until it could; that is tried again and again.
    pub async fn purge(self: Arc<Self>, purge: Purge) -> Result<u64, StoreError> {
        let (done, told) = oneshot::channel();
        let shelf = Arc::clone(&self);
        let begun = tokio::task::spawn_blocking(move || shelf.begin_purge(purge, done)).await;
        begun.map_err(|_| closed())??;
        told.await.map_err(|_| closed())?
    }

    /// Blocks until there is a place among the commands.
    fn begin_purge(
        &self,
        purge: Purge,
        done: oneshot::Sender<Result<u64, StoreError>>,
    ) -> Result<(), StoreError> {
        let begun = self.purges.begin(&purge);
        let forgotten = match &purge {
            Purge::All => self.entries.forget_before(Epoch::after(begun.number)),
            Purge::Key { key, .. } => {
                self.entries.forget_key(*key, |slot, origin| concerns(&purge, &slot.key, origin))
            }
            purge => self.entries.forget(|slot, origin| concerns(purge, &slot.key, origin)),
        };
        let command = Command::Purge { begun, forgotten, done };
        self.commands.blocking_send(command).map_err(|_| closed())
    }

    /// Writes what waits, as far as that takes no longer than `within`, and ends the task that tends it.
    pub async fn close(&self, within: Duration) {
        let (done, told) = oneshot::channel();
        let ended = async {
            // An error means that nobody tends it.
            if self.commands.send(Command::End { within, done }).await.is_ok() {
                let _ = told.await;
            }
        };
        // What is being changed when it is told has as long again.
        if tokio::time::timeout(within * 2, ended).await.is_err() {
            tracing::warn!("what lies behind the cache in memory is so slow that it was left as it is");
        }
    }
}
