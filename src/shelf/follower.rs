//! The task that follows the purges of all gateways that share answers, and tells them of this one's.
//!
//! Four times a second it asks for what is new in their log. What is new there, memory forgets at once; as long as it cannot
//! be asked, nothing is read from where answers are shared, and memory alone answers. If the log has lost something, nobody
//! can tell what should have been forgotten: memory forgets all, and what was written under the old log is not read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::cache::entries::Slot;
use crate::llm::translate::AnswerForm;
use crate::shelf::Shelf;
use crate::shelf::purges::{Forget, Unfinished};
use crate::shelf::shared::{Begins, Unshared};
use crate::shelf::sharing::Sharing;
use crate::shelf::tender::Command;
use crate::shelf::told::concerns;
use crate::shelf::writer::{write, write_some};
use crate::store::failure::{StoreError, Trouble};
use crate::store::proxied::Purge;

/// Between two looks at the log.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What all of it is called in an error.
const PLACE: &str = "the answers that gateways share";

/// Which time it is that a purge is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    First,
    Again,
}

struct Follower {
    shelf: Arc<Shelf>,
    sharing: Arc<Sharing>,
}

/// Follows for `shelf`, and writes what comes to it, until it is closed.
pub async fn follow(shelf: Arc<Shelf>) {
    let Some((mut inbox, sharing)) = shelf.inbox().zip(shelf.sharing().cloned()) else { return };
    let (end, ended) = oneshot::channel();
    let writing = tokio::spawn(write(Arc::clone(&shelf), Arc::clone(&sharing), ended));
    let follower = Follower { shelf, sharing };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            command = inbox.recv() => match command {
                Some(Command::Purge { begun, forgotten, done }) => {
                    // Nobody may wait for it any more.
                    let _ = done.send(follower.purge(&begun, &forgotten).await);
                }
                Some(Command::End { within, done }) => {
                    drop(end);
                    follower.end(writing, within).await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            },
            _ = looks.tick() => follower.look().await,
        }
    }
}

impl Follower {
    async fn look(&self) {
        let looked = self.read_log().await;
        self.shelf.counts.tended(looked.as_ref().err().map(|error| error as &dyn std::fmt::Display));
        if looked.is_err() {
            return;
        }
        if let Some(failed) = self.shelf.purges.next_failed() {
            // What fails again is tried again.
            let _ = self.tell(&failed, Turn::Again).await;
        }
    }

    /// Reads what is new in the log, and has memory forget what it says.
    async fn read_log(&self) -> Result<(), Unshared> {
        let known = self.shelf.purges.position();
        let news = match self.sharing.answers.news(known).await {
            Ok(news) => news,
            Err(error) => {
                self.sharing.know(Err(()));
                return Err(error);
            }
        };
        if news.begins == Begins::Anew || !news.purges.is_empty() {
            if known.is_some() && news.begins == Begins::Anew {
                tracing::warn!(
                    "purges of other gateways have been lost: all answers in memory are forgotten"
                );
            }
            let shelf = Arc::clone(&self.shelf);
            let replica = self.sharing.replica;
            // It fails only where the runtime ends.
            let _ =
                tokio::task::spawn_blocking(move || shelf.heed(&shelf.purges.follow(&news, replica))).await;
        }
        self.sharing.know(Ok(()));
        Ok(())
    }

    /// Has all gateways forget; how many answers memory had `forgotten`, with those that were deleted.
    async fn purge(&self, begun: &Unfinished, forgotten: &[Slot]) -> Result<u64, StoreError> {
        if let Err(error) = self.tell(begun, Turn::First).await {
            self.shelf.purges.fail(begun.number);
            return Err(StoreError::new(PLACE.as_ref(), Trouble::Untold(error.to_string())));
        }
        let mut deleted = Vec::new();
        if let Purge::Key { account, key, allowed_models } = &begun.purge
            && allowed_models.is_empty()
        {
            let slots = AnswerForm::ALL.map(|form| Slot { key: *key, form });
            // What is left is not read any more.
            deleted = self.sharing.answers.delete(Some(account), &slots).await.unwrap_or_default();
        }
        deleted.retain(|slot| !forgotten.contains(slot));
        Ok((forgotten.len() + deleted.len()) as u64)
    }

    /// Writes a purge into the log, unless it is there already, as one is of whose writing nothing was heard.
    async fn tell(&self, begun: &Unfinished, turn: Turn) -> Result<(), Unshared> {
        // The log may be begun anew just then.
        for _ in 0..2 {
            self.read_log().await?;
            if turn == Turn::Again && self.shelf.purges.is_finished(begun.number) {
                return Ok(());
            }
            let Some(known) = self.shelf.purges.position() else { continue };
            let id = self.sharing.replica.tag(begun.number);
            if self.sharing.answers.log(known.mark.log, id, &begun.purge).await? {
                // If it is not read now, nothing else is, until it can be.
                let _ = self.read_log().await;
                self.shelf.purges.finish(begun.number);
                return Ok(());
            }
        }
        Err(Unshared::Failed("the log of purges is begun anew again and again".to_owned()))
    }

    /// Writes what waits.
    async fn end(&self, writing: JoinHandle<()>, within: Duration) {
        let written = async {
            // What it is about to write is written; one that has failed writes nothing more.
            let _ = writing.await;
            while self.sharing.answers.is_up() && write_some(&self.shelf, &self.sharing).await {}
        };
        let is_late = tokio::time::timeout(within, written).await.is_err();
        let left = self.shelf.queue.give_up();
        self.shelf.counts.dropped(left);
        if left > 0 || is_late {
            tracing::warn!(answers = left, is_late, "cached answers were not shared before the end");
        }
    }
}

impl Shelf {
    /// Has memory forget. Blocks while it looks.
    fn heed(&self, forget: &Forget) {
        match forget {
            Forget::Before(epoch) => drop(self.entries.forget_before(*epoch)),
            Forget::These(purges) if purges.contains(&Purge::All) => {
                drop(self.entries.forget_before(self.epoch()));
            }
            Forget::These(purges) => {
                let (keys, more): (Vec<&Purge>, Vec<&Purge>) =
                    purges.iter().partition(|purge| matches!(purge, Purge::Key { .. }));
                for purge in keys {
                    if let Purge::Key { key, .. } = purge {
                        self.entries.forget_key(*key, |slot, origin| concerns(purge, &slot.key, origin));
                    }
                }
                // One look at all entries for all of them.
                if !more.is_empty() {
                    let is_one = |purge: &&Purge, slot: &Slot, origin: &_| concerns(purge, &slot.key, origin);
                    self.entries.forget(|slot, origin| more.iter().any(|purge| is_one(purge, slot, origin)));
                }
            }
        }
    }
}
