//! The cache in memory and the one on the disk behind it, as one: what is put here is in both, what is not in memory is
//! looked for on the disk, and a purge holds for both.
//!
//! - `filter` says in memory whether the disk may have an answer, so that a miss asks it for nothing.
//! - `queue` holds what waits to be written, within a bound; `tender` is the task that writes it, and the only one that
//!   changes what is on the disk.
//! - `reads` lets requests for the same answer read it once.
//! - `purges` knows which purges there have been since a call was begun.
//! - `counts`: what is counted, and said once for each change of state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::cache::entries::{Entries, Entry, Epoch, Origin, Slot};
use crate::cache::key::EntryKey;
use crate::cache::packed::{Content, Fault, unpack, unpacked_size};
use crate::cache::recording::complete;
use crate::clock::{Clock, Monotonic, Now, UnixTime};
use crate::llm::translate::AnswerForm;
use crate::memory::Permit;
use crate::shelf::counts::{Counts, Read};
use crate::shelf::filter::Filter;
use crate::shelf::purges::Purges;
use crate::shelf::queue::{Item, Queue};
use crate::shelf::reads::{Reads, Turn};
use crate::shelf::tender::Command;
use crate::store::Store;
use crate::store::failure::{StoreError, Trouble};
use crate::store::proxied::{Found, Purge};
use crate::telemetry::metrics::Metrics;
use crate::units::ByteSize;

mod counts;
mod filter;
mod purges;
mod queue;
mod reads;
pub mod tender;

/// Longer answers are unpacked on a thread that may take its time, in bytes.
const LONGEST_AT_ONCE: u64 = 64 * 1024;

/// Purges that wait for their turn; who asks for one more waits for a place.
const MOST_COMMANDS: usize = 64;

/// How long a request waits for the disk, as a rule.
pub const DISK_WAIT: Duration = Duration::from_millis(5);

/// Both caches.
pub struct Shelf {
    entries: Entries,
    store: Arc<dyn Store>,
    clock: Clock,
    /// How long a request waits for the disk.
    wait: Duration,
    /// False: nothing is read from the disk or written to it.
    is_on: AtomicBool,
    purges: Purges,
    filter: Filter,
    queue: Queue,
    reads: Reads,
    counts: Counts,
    commands: mpsc::Sender<Command>,
    /// For the one task that tends it.
    inbox: Mutex<Option<mpsc::Receiver<Command>>>,
}

/// What a shelf is made of.
pub struct Parts {
    /// The cache in memory.
    pub entries: Entries,
    /// Where answers last.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Clock,
    /// How long a request waits for the disk.
    pub wait: Duration,
    /// What answers on the disk may take; 0: there are none.
    pub bound: ByteSize,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

/// An answer to look for on the disk.
pub struct Wanted<'a> {
    /// Where it would be in memory.
    pub slot: Slot,
    /// The forms that it can be made from, this one not among them.
    pub others: &'a [AnswerForm],
    /// Whose it would be.
    pub origin: Origin,
    /// When it was asked: what a purge has forgotten since is not found.
    pub epoch: Epoch,
    /// This moment.
    pub now: Now,
    /// The largest body, in bytes.
    pub most: u64,
    /// Counts the memory that reading takes.
    pub memory: Permit,
}

/// An answer that has come whole.
pub struct NewAnswer<'a> {
    /// Where it belongs.
    pub slot: Slot,
    /// The answer.
    pub entry: Entry,
    /// When its call was begun.
    pub begun: Monotonic,
    /// The forms in which there is an answer that cannot be given in this one: they stay.
    pub apart: &'a [AnswerForm],
}

impl Shelf {
    /// Joins the parts. Until it is tended, nothing is written.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        Arc::new(Self {
            entries: parts.entries,
            store: parts.store,
            clock: parts.clock,
            wait: parts.wait,
            is_on: AtomicBool::new(parts.bound > ByteSize::default()),
            purges: Purges::default(),
            filter: Filter::default(),
            queue: Queue::default(),
            reads: Reads::default(),
            counts: Counts::new(parts.metrics),
            commands,
            inbox: Mutex::new(Some(inbox)),
        })
    }

    /// The epoch of what is begun now.
    pub fn epoch(&self) -> Epoch {
        self.purges.epoch()
    }

    /// True if no purge has forgotten what was begun in `epoch` for `key`; whose it is is asked only if there was one.
    pub fn is_good(&self, epoch: Epoch, key: &EntryKey, origin: impl FnOnce() -> Origin) -> bool {
        self.purges.is_good(epoch, key, origin)
    }

    /// Puts a new answer into memory, and queues it for the disk.
    pub fn put(&self, new: NewAnswer<'_>) {
        let NewAnswer { slot, entry, begun, apart } = new;
        let (epoch, origin) = (entry.epoch, entry.origin.clone());
        let replaced = slot.others().filter(|other| !apart.contains(&other.form));
        let is_on = self.is_on.load(Ordering::Relaxed);
        let of_before = std::iter::once(slot).chain(replaced.clone());
        let queued = || {
            let hidden = of_before.filter(|slot| self.filter.may_have(slot)).collect();
            Item::of(slot, &entry, self.clock.unix(), replaced.clone(), hidden)
        };
        let item = is_on.then(queued).flatten();
        let put = || self.entries.insert(slot, entry, begun, replaced.clone());
        let is_put = self.purges.while_good(epoch, &slot.key, &origin, put) == Some(true);
        let Some(item) = item.filter(|_| is_put) else { return };
        let hidden = item.hidden().to_vec();
        self.filter.remove(hidden.iter().copied());
        if !self.queue.push(item) {
            self.counts.dropped(1);
            self.empty(std::iter::once(slot).chain(hidden));
        }
    }

    /// What the disk has in these slots is older than what was to take its place: it goes, or is at least found no more.
    fn empty(&self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            if !self.queue.push(Item::Drop(slot)) {
                self.filter.remove(std::iter::once(slot));
            }
        }
    }

    /// Puts into memory what `source`, the entry in the slot `from`, became in the form of `slot`.
    pub fn put_translated(&self, slot: Slot, entry: &Arc<Entry>, from: &Slot, source: &Arc<Entry>) {
        let put = || self.entries.insert_translated(slot, entry, from, source);
        if self.purges.while_good(entry.epoch, &slot.key, &entry.origin, put).is_none() {
            entry.recording.leave_cache();
        }
    }

    /// True if the disk may have an answer to `key`. Costs one look into memory, and waits for nothing.
    pub fn may_have(&self, key: &EntryKey) -> bool {
        self.is_on.load(Ordering::Relaxed) && self.filter.which(key).is_any()
    }

    /// Puts into memory what the disk has of an answer, in its own form or else in the others; true if there may be
    /// something new in memory. Waits no longer than a request may.
    pub async fn fetch(&self, wanted: Wanted<'_>) -> bool {
        let which = self.filter.which(&wanted.slot.key);
        let forms = std::iter::once(wanted.slot.form).chain(wanted.others.iter().copied());
        let slots = forms.filter(|form| which.has(*form)).map(|form| Slot { form, ..wanted.slot });
        let slots: Vec<Slot> = slots.filter(|slot| !self.entries.may_have(slot)).collect();
        if slots.is_empty() {
            return false;
        }
        match self.reads.begin(wanted.slot) {
            Turn::Mine(reading) => {
                let is_found = self.read(wanted, slots).await;
                drop(reading);
                is_found
            }
            Turn::Another(mut reading) => {
                // It ends with the one who reads, however that goes.
                let waited = tokio::time::timeout(self.wait, reading.ended()).await;
                if waited.is_err() {
                    self.counts.read(Read::Timeout);
                }
                true
            }
        }
    }

    async fn read(&self, wanted: Wanted<'_>, slots: Vec<Slot>) -> bool {
        let mut found = Vec::new();
        let reading = async {
            for slot in slots {
                let one = self.store.find_proxied(slot, wanted.now.unix).await;
                let is_wanted = slot == wanted.slot && matches!(one, Ok(Found::Payload { .. }));
                found.push((slot, one));
                if is_wanted {
                    break;
                }
            }
        };
        if tokio::time::timeout(self.wait, reading).await.is_err() {
            self.counts.read(Read::Timeout);
        }
        let mut wanted = wanted;
        let mut is_any = false;
        for (slot, one) in found {
            let read = match one {
                Ok(Found::Nothing) => Read::Miss,
                Ok(Found::Damaged) => Read::Damaged,
                Ok(Found::Payload { payload, created_at, .. }) => {
                    self.take(&mut wanted, slot, payload, created_at).await
                }
                Err(error) => self.counts.failed_to_read(&error),
            };
            is_any |= read == Read::Hit;
            self.counts.read(read);
        }
        is_any
    }

    /// Unpacks what was found in `slot` and puts it into memory.
    async fn take(&self, wanted: &mut Wanted<'_>, slot: Slot, payload: Vec<u8>, came: UnixTime) -> Read {
        let size = unpacked_size(&payload).unwrap_or_default();
        // What is read, and the body that is made of it.
        let needed = size.saturating_mul(2).saturating_add(payload.len() as u64);
        let most = wanted.most;
        if size <= most.saturating_mul(2) && !wanted.memory.try_grow_to(needed) {
            return Read::Miss;
        }
        let unpacked = match size <= LONGEST_AT_ONCE {
            true => unpack(&payload, most),
            false => tokio::task::spawn_blocking(move || unpack(&payload, most))
                .await
                .unwrap_or(Err(Fault::Damaged)),
        };
        match unpacked {
            Ok(content) => self.put_kept(wanted, slot, content, came),
            Err(Fault::Newer | Fault::TooLarge) => Read::Miss,
            Err(Fault::Damaged) => {
                // If there is no room, whoever finds it next tries again.
                self.queue.push(Item::Drop(slot));
                Read::Damaged
            }
        }
    }

    fn put_kept(&self, wanted: &Wanted<'_>, slot: Slot, content: Content, came: UnixTime) -> Read {
        let Content { head, body, ttl, usage, model } = content;
        // What came in the future, by a clock that was set back, is new.
        let aged = wanted.now.unix.saturating_since(came);
        if ttl <= aged {
            return Read::Miss;
        }
        let origin = Origin { model, ..wanted.origin.clone() };
        let now = wanted.now.monotonic;
        let entry = Entry {
            recording: complete(head, body),
            stored: now,
            aged,
            ttl,
            usage,
            epoch: wanted.epoch,
            origin: origin.clone(),
        };
        let put = || self.entries.insert_kept(slot, entry, now);
        let is_put = self.purges.while_kept(wanted.epoch, &slot.key, &origin, put).is_some();
        if is_put { Read::Hit } else { Read::Miss }
    }

    /// Forgets answers, in memory and on the disk, and what calls bring that were begun before; how many answers there
    /// were, each slot counted once. It goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// The disk could not be changed. Memory has forgotten all the same, and nothing that the purge names is read from
    /// the disk until it could.
    pub async fn purge(self: Arc<Self>, purge: Purge) -> Result<u64, StoreError> {
        let (done, told) = oneshot::channel();
        let shelf = Arc::clone(&self);
        let begun = tokio::task::spawn_blocking(move || shelf.begin_purge(purge, done)).await;
        let closed = || StoreError::new(std::path::Path::new("the cache on the disk"), Trouble::Closed);
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
                self.entries.forget_key(*key, |slot, origin| purges::concerns(&purge, &slot.key, origin))
            }
            purge => self.entries.forget(|slot, origin| purges::concerns(purge, &slot.key, origin)),
        };
        let command = Command::Purge { begun, forgotten, done };
        let closed = |_| StoreError::new(std::path::Path::new("the cache on the disk"), Trouble::Closed);
        self.commands.blocking_send(command).map_err(closed)
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
            tracing::warn!("the disk is so slow that the cache on it was left as it is");
        }
    }

    fn inbox(&self) -> Option<mpsc::Receiver<Command>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
