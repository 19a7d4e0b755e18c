//! The cache in memory and the one behind it, as one: what is put here is in both, what is not in memory is looked for
//! behind it, and a purge holds for both. Behind memory is the disk, or what gateways share.
//!
//! - `filter` says in memory whether the disk may have an answer, so that a miss asks it for nothing.
//! - `queue` holds what waits to be written, within a bound; `tender` is the task that writes it, and the only one that
//!   changes what is on the disk.
//! - `reads` lets requests for the same answer read it once.
//! - `purging` begins a purge; `purges` knows which there have been since a call was begun, `told` which answers they
//!   forget.
//! - `counts`: what is counted, and said once for each change of state.
//! - `shared` is the place where gateways share answers, as the shelf asks it; `sharing` reads from there, `writer` writes,
//!   `follower` tells and hears of purges, of which `followed` knows who had heard what, and by a `flight` one gateway makes
//!   a call for all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cache::entries::{Entries, Entry, Epoch, Origin, Slot};
use crate::cache::key::EntryKey;
use crate::cache::packed::{Content, Fault, unpack, unpacked_size};
use crate::cache::recording::complete;
use crate::clock::{Clock, Monotonic, Now, UnixTime, Waited};
use crate::llm::translate::AnswerForm;
use crate::memory::Permit;
use crate::shelf::counts::{Counts, Read};
use crate::shelf::filter::Filter;
use crate::shelf::flight::Hold;
use crate::shelf::purges::Purges;
use crate::shelf::queue::{Coming, Item, Queue};
use crate::shelf::reads::{Reads, Turn};
use crate::shelf::shared::{Mark, SharedAnswers};
use crate::shelf::sharing::Sharing;
use crate::shelf::tender::Command;
use crate::store::Store;
use crate::store::proxied::Found;
use crate::telemetry::metrics::Metrics;
use crate::units::ByteSize;

mod counts;
mod filter;
pub mod flight;
mod followed;
pub mod follower;
mod purges;
mod purging;
mod queue;
mod reads;
pub mod shared;
mod sharing;
pub mod tender;
mod told;
mod writer;

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
    /// How long a request waits for what lies behind memory.
    wait: Duration,
    /// False: nothing is read from the disk or written to it.
    is_on: AtomicBool,
    /// In place of the disk.
    sharing: Option<Arc<Sharing>>,
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
    /// How long a request waits for what lies behind memory.
    pub wait: Duration,
    /// What answers on the disk may take; 0: there are none.
    pub bound: ByteSize,
    /// Where gateways share answers: then there are none on the disk.
    pub shared: Option<Arc<dyn SharedAnswers>>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

/// An answer to look for behind memory.
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
    /// How long the request has waited for what gateways share.
    pub waited: &'a Waited,
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
    /// What keeps other gateways waiting for it.
    pub hold: Option<Hold>,
}

/// What came of looking behind memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There may be something new in memory.
    Something,
    /// There is nothing.
    Nothing,
    /// It could not be asked.
    Unasked,
}

impl Fetched {
    fn or(self, other: Self) -> Self {
        if self == Self::Something { self } else { other }
    }
}

/// What was kept behind memory.
struct Kept {
    payload: Vec<u8>,
    came: UnixTime,
    /// Which purges its writer had heard of, if gateways share it.
    mark: Option<Mark>,
}

impl Shelf {
    /// Joins the parts. Until it is tended, nothing is written.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        let Parts { metrics, clock, .. } = parts;
        let sharing = parts.shared.map(|answers| Arc::new(Sharing::new(answers, &metrics)));
        let is_on = parts.bound > ByteSize::default() && sharing.is_none();
        Arc::new(Self {
            entries: parts.entries,
            store: parts.store,
            wait: parts.wait,
            is_on: AtomicBool::new(is_on),
            purges: Purges::default(),
            filter: Filter::default(),
            queue: Queue::default(),
            reads: Reads::default(),
            counts: match &sharing {
                Some(_) => Counts::of_shared(metrics, &clock),
                None => Counts::of_disk(metrics, &clock),
            },
            clock,
            sharing,
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

    fn sharing(&self) -> Option<&Arc<Sharing>> {
        self.sharing.as_ref()
    }

    /// True if answers are shared with other gateways, and none are on the disk.
    pub fn is_shared(&self) -> bool {
        self.sharing.is_some()
    }

    /// Puts a new answer into memory, and queues it for what lies behind.
    pub fn put(&self, new: NewAnswer<'_>) {
        let NewAnswer { slot, entry, begun, apart, hold } = new;
        let (epoch, origin) = (entry.epoch, entry.origin.clone());
        let replaced = slot.others().filter(|other| !apart.contains(&other.form));
        let is_on = self.is_on.load(Ordering::Relaxed) || self.is_shared();
        let of_before = std::iter::once(slot).chain(replaced.clone());
        let queued = || {
            let hidden = of_before.filter(|slot| !self.is_shared() && self.filter.may_have(slot)).collect();
            Item::of(slot, &entry, Coming { came: self.clock.unix(), hold }, replaced.clone(), hidden)
        };
        let item = is_on.then(queued).flatten();
        let put = || self.entries.insert(slot, entry, begun, replaced.clone());
        let is_put = self.purges.while_good(epoch, &slot.key, &origin, put) == Some(true);
        let Some(item) = item.filter(|_| is_put) else { return };
        let hidden = item.hidden().to_vec();
        self.filter.remove(hidden.iter().copied());
        if !self.queue.push(item) {
            self.counts.dropped(1);
            self.empty(std::iter::once(slot).chain(hidden), &origin);
        }
    }

    /// What lies behind memory in these slots is older than what was to take its place: it goes, or is at least found no
    /// more on the disk.
    fn empty(&self, slots: impl Iterator<Item = Slot>, origin: &Origin) {
        for slot in slots {
            if !self.queue.push(Item::Drop { slot, account: origin.account.clone() }) {
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

    /// True if there may be an answer to `key` behind memory. Costs one look into memory, and waits for nothing.
    pub fn may_have(&self, key: &EntryKey) -> bool {
        if let Some(sharing) = &self.sharing {
            return sharing.can_be_read();
        }
        self.is_on.load(Ordering::Relaxed) && self.filter.which(key).is_any()
    }

    /// Puts into memory what lies behind it of an answer, in its own form or else in the others. Waits no longer than a
    /// request may.
    pub async fn fetch(&self, wanted: Wanted<'_>) -> Fetched {
        if let Some(sharing) = &self.sharing {
            return self.fetch_shared(sharing, wanted).await;
        }
        let is_any = self.fetch_from_disk(wanted).await;
        if is_any { Fetched::Something } else { Fetched::Nothing }
    }

    async fn fetch_from_disk(&self, wanted: Wanted<'_>) -> bool {
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
                    self.take(&mut wanted, slot, Kept { payload, came: created_at, mark: None }).await
                }
                Err(error) => self.counts.failed_to_read(&error),
            };
            is_any |= read == Read::Hit;
            self.counts.read(read);
        }
        is_any
    }

    /// Unpacks what was found in `slot` and puts it into memory.
    async fn take(&self, wanted: &mut Wanted<'_>, slot: Slot, kept: Kept) -> Read {
        let Kept { payload, came, mark } = kept;
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
            Ok(content) => self.put_kept(wanted, slot, content, (came, mark)),
            Err(Fault::Newer | Fault::TooLarge) => Read::Miss,
            Err(Fault::Damaged) => {
                // If there is no room, whoever finds it next tries again.
                self.queue.push(Item::Drop { slot, account: wanted.origin.account.clone() });
                Read::Damaged
            }
        }
    }

    fn put_kept(
        &self,
        wanted: &Wanted<'_>,
        slot: Slot,
        content: Content,
        (came, mark): (UnixTime, Option<Mark>),
    ) -> Read {
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
        let is_put = self.purges.while_kept((wanted.epoch, mark), &slot.key, &origin, put).is_some();
        if is_put { Read::Hit } else { Read::Miss }
    }

    fn inbox(&self) -> Option<mpsc::Receiver<Command>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
