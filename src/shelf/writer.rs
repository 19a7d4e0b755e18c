//! The task that writes answers to where gateways share them, behind the requests.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::cache::packed::pack;
use crate::shelf::Shelf;
use crate::shelf::flight::Hold;
use crate::shelf::queue::{Item, Keep};
use crate::shelf::shared::{NewShared, Unshared};
use crate::shelf::sharing::Sharing;

/// Between two looks at a place that cannot be asked.
const REST: Duration = Duration::from_millis(100);

/// What is to be done there.
enum Change {
    Put(Box<NewShared>, Option<Hold>),
    Delete(Item),
}

/// Writes what comes to `shelf`, until nobody holds what `ended` waits for. What comes while nobody can be asked waits, within
/// the bounds of the queue.
pub(super) async fn write(shelf: Arc<Shelf>, sharing: Arc<Sharing>, mut ended: oneshot::Receiver<()>) {
    loop {
        let ready = async {
            shelf.queue.filled().await;
            while !sharing.answers.is_up() {
                tokio::time::sleep(REST).await;
            }
        };
        tokio::select! {
            biased;
            _ = &mut ended => return,
            () = ready => {}
        }
        write_some(&shelf, &sharing).await;
    }
}

/// Writes some of what waits. False if there is nothing.
pub(super) async fn write_some(shelf: &Arc<Shelf>, sharing: &Sharing) -> bool {
    let items = shelf.queue.take();
    if items.is_empty() {
        return false;
    }
    let before = Arc::clone(shelf);
    let prepare = move || items.into_iter().filter_map(|item| before.prepared(item)).collect::<Vec<_>>();
    // It fails only where the runtime ends.
    let changes = tokio::task::spawn_blocking(prepare).await.unwrap_or_default();
    // They go over one connection, one behind the other, and are done in that order.
    join_all(changes.into_iter().map(|change| shelf.change(sharing, change))).await;
    true
}

impl Shelf {
    /// What is to be done for what waited; `None`: nothing, as a purge has forgotten it, or as nobody can tell which would.
    fn prepared(&self, item: Item) -> Option<Change> {
        let keep = match item {
            Item::Keep(keep) => keep,
            delete @ Item::Drop { .. } => return Some(Change::Delete(delete)),
        };
        let Keep { slot, replaced, content, origin, epoch, came, hold, .. } = *keep;
        let is_good = self.purges.is_good(epoch, &slot.key, || origin.clone());
        let mark = self.purges.mark(epoch).filter(|_| is_good);
        let aged = self.clock.unix().saturating_since(came);
        let ttl = content.ttl.checked_sub(aged).filter(|ttl| !ttl.is_zero());
        let Some(((mark, ttl), payload)) = mark.zip(ttl).zip(pack(&content)) else {
            self.counts.dropped(1);
            return None;
        };
        let lock = hold.as_ref().map(Hold::lock);
        let account = origin.account;
        let new = NewShared { slot, replaced, account, mark, created_at: came, ttl, lock, payload };
        Some(Change::Put(Box::new(new), hold))
    }

    async fn change(&self, sharing: &Sharing, change: Change) {
        match change {
            Change::Put(new, hold) => match sharing.answers.put(*new).await {
                Ok(is_put) => {
                    hold.into_iter().for_each(Hold::landed);
                    if is_put { self.counts.stored(1) } else { self.counts.dropped(1) }
                }
                Err(error) => self.unwritten(&error),
            },
            Change::Delete(Item::Drop { slot, account }) => {
                if let Err(error) = sharing.answers.delete(account.as_ref(), &[slot]).await {
                    tracing::debug!(%error, "an answer that is of no use was not deleted");
                }
            }
            Change::Delete(Item::Keep(_)) => {}
        }
    }

    fn unwritten(&self, error: &Unshared) {
        self.counts.failed(1, error);
    }
}
