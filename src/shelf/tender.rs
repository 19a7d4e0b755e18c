//! The task that tends the disk: it alone changes what is there, one change after another, and so no answer is written
//! behind a purge that was to forget it.
//!
//! What waits in the queue it writes as it comes. Everything else is done in steps between: the slots that are there are
//! looked up, first all and then, each second, what another process has added; what has expired is deleted, and what is more
//! than the bound allows. Another process, with which a hand-over shares the disk, tells of its purges by their count there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::cache::entries::{Epoch, Slot};
use crate::shelf::Shelf;
use crate::shelf::purges::Unfinished;
use crate::shelf::queue::{Item, Keep};
use crate::store::failure::StoreError;
use crate::store::proxied::{KeyPage, NewProxied, Purge, ROW_BYTES};
use crate::units::ByteSize;

/// Between two looks at the bound, and at what others have written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So many looks are between two at what has expired.
const LOOKS_AN_EXPIRY: u32 = 60;

/// Slots that are looked up at once.
const PAGE: u32 = 1000;

/// What the task is told.
pub(super) enum Command {
    /// To forget.
    Purge {
        /// What.
        begun: Unfinished,
        /// The slots that memory has forgotten.
        forgotten: Vec<Slot>,
        /// Hears how many there were.
        done: oneshot::Sender<Result<u64, StoreError>>,
    },
    /// To end.
    End {
        /// What waits is written for so long at most.
        within: Duration,
        /// Hears that it has ended.
        done: oneshot::Sender<()>,
    },
}

/// What there is to do, step by step.
#[derive(Debug, Default)]
struct Chores {
    /// What others have done is looked up: purges, and slots, all or those behind the last one known.
    lists: bool,
    /// What has expired is deleted.
    expires: bool,
    /// What is beyond the bound is deleted.
    evicts: bool,
    /// Nothing is to be left.
    empties: bool,
    /// Purges are tried again.
    purges: bool,
}

impl Chores {
    fn is_any(&self) -> bool {
        self.lists || self.expires || self.evicts || self.empties || self.purges
    }
}

struct Tender<B> {
    shelf: Arc<Shelf>,
    bound_now: B,
    bound: ByteSize,
    chores: Chores,
    /// The number of the last answer that was looked up.
    last: i64,
    /// False as long as not all have been.
    is_listed: bool,
    /// True from a failure to the next look: what cannot be written is not tried again at once.
    rests: bool,
    looks: u32,
    /// The purges of all processes that this one knows of; `None`: not read yet.
    purges: Option<u64>,
}

/// Tends `shelf` until it is closed. `bound` tells what answers on the disk may take now; 0: there are none.
pub async fn tend(shelf: Arc<Shelf>, bound: impl Fn() -> ByteSize + Send + Sync) {
    let Some(mut inbox) = shelf.inbox() else { return };
    let mut tender = Tender {
        bound: bound(),
        bound_now: bound,
        chores: Chores::default(),
        last: 0,
        is_listed: false,
        rests: false,
        looks: 0,
        purges: None,
        shelf,
    };
    // What cannot be read now is read with the first list.
    tender.purges = tender.shelf.store.proxied_purges().await.ok();
    tender.begin();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            command = inbox.recv() => match command {
                Some(Command::Purge { begun, forgotten, done }) => {
                    let purged = tender.purge(&begun, &forgotten).await;
                    // Nobody may wait for it any more.
                    let _ = done.send(purged);
                }
                Some(Command::End { within, done }) => {
                    tender.end(within).await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            },
            _ = looks.tick() => tender.look(),
            () = tender.shelf.queue.filled(), if !tender.rests => {
                tender.write().await;
                tender.step().await;
            }
            () = std::future::ready(()), if tender.chores.is_any() && !tender.rests => tender.step().await,
        }
    }
}

impl<B: Fn() -> ByteSize> Tender<B> {
    fn is_on(&self) -> bool {
        self.bound > ByteSize::default()
    }

    /// Begins with the bound of now.
    fn begin(&mut self) {
        self.shelf.is_on.store(self.is_on(), std::sync::atomic::Ordering::Relaxed);
        self.relist();
        self.chores.evicts = self.is_on();
        self.chores.empties = !self.is_on();
    }

    /// Forgets which slots there are, and looks all of them up.
    fn relist(&mut self) {
        self.shelf.filter.clear();
        (self.last, self.is_listed, self.chores.lists) = (0, false, self.is_on());
    }

    /// Sees what has changed, and what there is to do.
    fn look(&mut self) {
        self.rests = false;
        let bound = (self.bound_now)();
        if bound != self.bound {
            let was_on = self.is_on();
            self.bound = bound;
            if was_on && self.is_on() {
                self.chores.evicts = true;
            } else {
                self.begin();
            }
        }
        self.chores.lists = true;
        self.chores.expires |= self.looks == 0;
        self.chores.purges = self.shelf.purges.next_failed().is_some();
        self.looks = (self.looks + 1) % LOOKS_AN_EXPIRY;
        let is_over = self.shelf.filter.count() > self.bound.as_u64() / ROW_BYTES;
        if self.is_listed && !self.chores.evicts && is_over {
            // Others have deleted what is still held to be there.
            self.relist();
        }
    }

    /// Does one step of each thing to do.
    async fn step(&mut self) {
        let stepped = self.steps().await;
        self.rests |= stepped.is_err();
        self.shelf.counts.tended(stepped.as_ref().err().map(|error| error as _));
        if !self.chores.is_any() {
            self.show().await;
        }
    }

    async fn steps(&mut self) -> Result<(), StoreError> {
        if self.chores.purges {
            self.purge_again().await?;
        }
        if self.chores.empties {
            self.empty().await?;
        }
        if self.chores.lists {
            self.list().await?;
        }
        if self.chores.evicts {
            let evicted = self.shelf.store.put_proxied(Vec::new(), self.bound).await?;
            self.chores.evicts = !evicted.is_empty();
            self.shelf.filter.remove(evicted.into_iter());
        }
        if self.chores.expires {
            let expired = self.shelf.store.delete_expired(self.shelf.clock.unix()).await?;
            self.chores.expires = expired.stored > 0 || !expired.proxied.is_empty();
            self.shelf.filter.remove(expired.proxied.into_iter());
        }
        Ok(())
    }

    /// Deletes everything. A disk with nothing is not written to.
    async fn empty(&mut self) -> Result<(), StoreError> {
        let there = self.shelf.store.proxied_slots(KeyPage { after: 0, limit: 1 }).await?;
        if there.last > 0 {
            self.purge_some(Purge::All).await?;
        }
        self.chores.empties = there.last > 0;
        Ok(())
    }

    /// Purges once on the disk, which other processes see by the count.
    async fn purge_some(&mut self, purge: Purge) -> Result<Vec<Slot>, StoreError> {
        let slots = self.shelf.store.purge_proxied(purge).await?;
        self.purges = self.purges.map(|purges| purges + 1);
        Ok(slots)
    }

    /// Another process, with which a hand-over shares the disk, has purged something: what, this one does not know, and
    /// forgets all that it has in memory or under way.
    fn others_purged(&mut self, purges: u64) {
        tracing::info!("another process has purged cached answers: all in memory are forgotten");
        let begun = self.shelf.purges.begin(&Purge::All);
        self.shelf.entries.forget_before(Epoch::after(begun.number));
        self.shelf.purges.finish(begun.number);
        self.purges = Some(purges);
        self.relist();
    }

    async fn list(&mut self) -> Result<(), StoreError> {
        let purges = self.shelf.store.proxied_purges().await?;
        if self.purges.is_some_and(|known| known != purges) {
            self.others_purged(purges);
        }
        self.purges = Some(purges);
        self.chores.lists = self.is_on();
        if !self.is_on() {
            return Ok(());
        }
        let page = self.shelf.store.proxied_slots(KeyPage { after: self.last, limit: PAGE }).await?;
        self.shelf.filter.add(page.slots.into_iter());
        (self.last, self.chores.lists) = (page.last, page.goes_on);
        if !page.goes_on && !self.is_listed {
            self.is_listed = true;
            self.shelf.filter.loaded();
        }
        Ok(())
    }

    async fn show(&self) {
        // Shown again with the next look; what could not be read is told by what else fails.
        if let Ok(bytes) = self.shelf.store.proxied_bytes().await {
            self.shelf.counts.show(self.shelf.filter.count(), bytes.as_u64());
        }
    }

    /// Writes some of what waits. False if there is nothing.
    async fn write(&mut self) -> bool {
        let items = self.shelf.queue.take();
        if items.is_empty() {
            return false;
        }
        let (keeps, drops) = self.sorted(items);
        let count = keeps.len() as u64;
        if !self.is_on() {
            self.shelf.counts.dropped(count);
            return true;
        }
        let slots: Vec<Slot> = keeps.iter().map(|keep| keep.slot).chain(drops.iter().copied()).collect();
        match self.put(keeps, drops).await {
            Ok(stored) => {
                self.shelf.counts.stored(stored);
                self.shelf.counts.dropped(count.saturating_sub(stored));
            }
            Err(error) => {
                self.rests = true;
                // What is there is older than what was to take its place.
                self.shelf.filter.remove(slots.into_iter());
                self.shelf.counts.failed(count, &error);
            }
        }
        self.show().await;
        true
    }

    /// What is to be kept in the end, and what is to go: of what nobody has purged since, the newest of each slot.
    fn sorted(&self, items: Vec<Item>) -> (Vec<Keep>, Vec<Slot>) {
        let (mut keeps, mut drops, mut hidden): (Vec<Keep>, Vec<Slot>, Vec<Slot>) = Default::default();
        for item in items {
            match item {
                Item::Drop { slot, .. } => {
                    keeps.retain(|keep| keep.slot != slot);
                    drops.push(slot);
                    hidden.push(slot);
                }
                Item::Keep(keep) => {
                    let gone = |slot: &Slot| *slot == keep.slot || keep.replaced.contains(slot);
                    keeps.retain(|other| !gone(&other.slot));
                    drops.retain(|slot| !gone(slot));
                    drops.extend(keep.replaced.iter().copied());
                    hidden.extend(keep.hidden.iter().copied());
                    let is_good =
                        self.shelf.purges.is_good(keep.epoch, &keep.slot.key, || keep.origin.clone());
                    keeps.extend(is_good.then_some(*keep));
                }
            }
        }
        drops.retain(|slot| hidden.contains(slot) || self.shelf.filter.may_have(slot));
        (keeps, drops)
    }

    /// Writes what is to be kept, and deletes what is to go; how many were kept: none that would push out all others.
    async fn put(&mut self, keeps: Vec<Keep>, mut drops: Vec<Slot>) -> Result<u64, StoreError> {
        drops.extend(keeps.iter().map(|keep| keep.slot));
        let most = self.bound.as_u64().saturating_sub(ROW_BYTES);
        let fits = move |new: &NewProxied| new.payload.len() as u64 <= most;
        let pack = move || keeps.into_iter().filter_map(Keep::row).filter(fits).collect::<Vec<_>>();
        // It fails only where the runtime ends.
        let batch = tokio::task::spawn_blocking(pack).await.unwrap_or_default();
        let put: Vec<Slot> = batch.iter().map(|new| new.slot).collect();
        drops.retain(|slot| !put.contains(slot));
        if !drops.is_empty() {
            self.shelf.store.delete_proxied(drops.clone()).await?;
            self.shelf.filter.remove(drops.into_iter());
        }
        let stored = put.len() as u64;
        let store = Arc::clone(&self.shelf.store);
        let purges = match self.purges {
            Some(purges) => purges,
            None => store.proxied_purges().await?,
        };
        self.purges = Some(purges);
        let Some(evicted) = store.put_unless_purged(batch, self.bound, purges).await? else {
            self.others_purged(store.proxied_purges().await?);
            return Ok(0);
        };
        self.shelf.filter.add(put.into_iter());
        self.shelf.filter.remove(evicted.into_iter());
        Ok(stored)
    }

    /// Forgets what is on the disk; how many there were with those that memory has `forgotten`.
    async fn purge(&mut self, begun: &Unfinished, forgotten: &[Slot]) -> Result<u64, StoreError> {
        // What memory had alone. Until all slots on the disk are known it is held to have had none.
        let is_on = self.shelf.is_on.load(Ordering::Relaxed);
        let alone =
            forgotten.iter().filter(|slot| !is_on || !self.shelf.filter.may_have(slot)).count() as u64;
        let mut deleted = 0;
        loop {
            match self.purge_some(begun.purge.clone()).await {
                Ok(slots) if slots.is_empty() => break,
                Ok(slots) => {
                    deleted += slots.len() as u64;
                    self.shelf.filter.remove(slots.into_iter());
                }
                Err(error) => {
                    self.shelf.purges.fail(begun.number);
                    return Err(error);
                }
            }
        }
        self.shelf.purges.finish(begun.number);
        self.show().await;
        Ok(alone + deleted)
    }

    /// Tries what the disk could not do.
    async fn purge_again(&mut self) -> Result<(), StoreError> {
        self.chores.purges = false;
        if let Some(failed) = self.shelf.purges.next_failed() {
            self.purge(&failed, &[]).await?;
            self.chores.purges = self.shelf.purges.next_failed().is_some();
        }
        Ok(())
    }

    /// Writes what waits.
    async fn end(&mut self, within: Duration) {
        self.rests = false;
        let written = async { while !self.rests && self.write().await {} };
        let is_late = tokio::time::timeout(within, written).await.is_err();
        let left = self.shelf.queue.give_up();
        self.shelf.counts.dropped(left);
        if left > 0 || is_late {
            tracing::warn!(
                answers = left,
                is_late,
                "cached answers were not written to the disk before the end"
            );
        }
    }
}
