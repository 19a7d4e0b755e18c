//! Complete recordings, kept within a bound of bytes.
//!
//! Expiry is decided on reading, by the caller's clock; `moka` evicts by size, and removes what expired on its own
//! clock so that it does not take room from others.

use std::hash::{BuildHasher, Hash, Hasher};
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;

use crate::cache::key::EntryKey;
use crate::cache::recording::Recording;
use crate::clock::{Monotonic, nanos};
use crate::ids::AccountId;
use crate::llm::translate::AnswerForm;
use crate::llm::usage::Usage;
use crate::memory::allocated;
use crate::spread::cores;
use crate::units::ByteSize;

/// Bytes counted for an entry beside its body, its head's fields and its model: key, recording and bookkeeping, as measured
/// with bodies of 300 bytes to 3 KiB.
const OVERHEAD: u64 = 888;

/// Bytes of the counts beside a name that is shared.
const COUNTS: u64 = 16;

/// Bytes of a common entry. The table has room from the start for as many of these as fit into the cache: a table that
/// grows looks at each of its keys again.
const COMMON_SIZE: u64 = 4096;

/// Each of several tables has room for so many bytes at least, and for two of the largest entries.
const LEAST_TABLE: u64 = 64 * 1024 * 1024;

/// Entries that there is room for from the start, at most.
const MOST_AT_FIRST: u64 = 1 << 20;

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What was asked.
    pub key: EntryKey,
    /// In which form.
    pub form: AnswerForm,
}

impl Slot {
    /// The slots of the same answer in its other forms.
    pub fn others(self) -> impl Iterator<Item = Self> + Clone {
        let other = move |form| (form != self.form).then_some(Self { form, ..self });
        AnswerForm::ALL.into_iter().filter_map(other)
    }
}

/// All forms of an answer have one hash: they lie side by side, so that to look for each of them costs little more than
/// to look for one.
impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// How many purges there had been when a call was begun: what it brings is held against those that came after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// After so many purges.
    pub const fn after(purges: u64) -> Self {
        Self(purges)
    }

    /// How many purges there had been.
    pub const fn purges(self) -> u64 {
        self.0
    }
}

/// Whose an answer is, and what it is an answer of: which purges concern it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whose it is; `None`: everybody's.
    pub account: Option<AccountId>,
    /// The label of its route.
    pub route: Arc<str>,
    /// The model that was asked, if one was named.
    pub model: Option<Arc<str>>,
}

/// An answer that may be given again.
#[derive(Debug)]
pub struct Entry {
    /// Its kept head and its body.
    pub recording: Arc<Recording>,
    /// When it was put here.
    pub stored: Monotonic,
    /// How old it was then: none, unless it comes from elsewhere.
    pub aged: Duration,
    /// How long it is served.
    pub ttl: Duration,
    /// What it cost.
    pub usage: Option<Usage>,
    /// When its call was begun.
    pub epoch: Epoch,
    /// Whose it is.
    pub origin: Origin,
}

/// Why an entry is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Its time was over.
    Expired,
    /// Others needed its room.
    Size,
    /// A newer answer took its place.
    Replaced,
}

impl Removal {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Size, Self::Replaced];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Size => "size",
            Self::Replaced => "replaced",
        }
    }
}

/// All entries. Clones share them.
///
/// Each look-up is told to a queue of its table, from which the table learns what is asked for often. So that cores do not
/// crowd at one queue there are more tables with more cores, as far as there is room for each.
#[derive(Clone, Debug)]
pub struct Entries {
    first: Table,
    /// All of them, the first too.
    tables: Arc<[Table]>,
    /// The first epoch of which entries are served.
    first_epoch: Arc<AtomicU64>,
}

type Table = Cache<Slot, Arc<Entry>, SpreadKeys>;

impl Entries {
    /// Room for `memory` bytes of entries, the largest of so many bytes; `removed` hears of each that goes.
    pub fn new(
        memory: ByteSize,
        largest: ByteSize,
        removed: impl Fn(Removal, &Entry) + Send + Sync + 'static,
    ) -> Self {
        let least = largest.as_u64().saturating_mul(2).max(LEAST_TABLE);
        let count = (memory.as_u64() / least).clamp(1, cores().get() as u64);
        let removed = Arc::new(removed);
        let table = || {
            let removed = Arc::clone(&removed);
            table(memory.as_u64() / count, move |removal, entry| removed(removal, entry))
        };
        let first = table();
        let others = (1..count).map(|_| table());
        Self { tables: iter::once(first.clone()).chain(others).collect(), first, first_epoch: Arc::default() }
    }

    /// Where a slot is, and the same answer's in its other forms.
    fn table(&self, slot: &Slot) -> &Table {
        let [.., last] = slot.key.as_bytes();
        self.tables.get(usize::from(*last) % self.tables.len()).unwrap_or(&self.first)
    }

    /// The entry in `slot` and its age, if it is to be served at `now`.
    pub fn find(&self, slot: &Slot, now: Monotonic) -> Option<(Arc<Entry>, Duration)> {
        let entry = self.table(slot).get(slot)?;
        let age = self.age_if_served(&entry, now)?;
        Some((entry, age))
    }

    fn first_epoch(&self) -> Epoch {
        Epoch(self.first_epoch.load(Ordering::SeqCst))
    }

    /// Forgets all entries of before `first`; which slots they were in.
    pub fn forget_before(&self, first: Epoch) -> Vec<Slot> {
        let forgotten = self.slots(|_, entry| entry.epoch < first);
        self.first_epoch.fetch_max(first.0, Ordering::SeqCst);
        self.tables.iter().for_each(Table::invalidate_all);
        forgotten
    }

    /// Forgets the entries that `concerns` says yes to; which slots they were in. Looks at each entry: not for the request
    /// path.
    pub fn forget(&self, concerns: impl Fn(&Slot, &Origin) -> bool) -> Vec<Slot> {
        let forgotten = self.slots(|slot, entry| concerns(slot, &entry.origin));
        forgotten.iter().for_each(|slot| self.table(slot).invalidate(slot));
        forgotten
    }

    /// The same among the entries to one question, which costs a look at each of its forms.
    pub fn forget_key(&self, key: EntryKey, concerns: impl Fn(&Slot, &Origin) -> bool) -> Vec<Slot> {
        let slots = AnswerForm::ALL.into_iter().map(|form| Slot { key, form });
        let is_one = |slot: &Slot| {
            let there = self.table(slot).get(slot).filter(|entry| entry.epoch >= self.first_epoch());
            there.is_some_and(|entry| concerns(slot, &entry.origin))
        };
        slots.filter(is_one).inspect(|slot| self.table(slot).invalidate(slot)).collect()
    }

    /// The slots of the entries that are served and that `is_one` says yes to.
    fn slots(&self, is_one: impl Fn(&Slot, &Entry) -> bool) -> Vec<Slot> {
        let first = self.first_epoch();
        let served = self.tables.iter().flat_map(Table::iter).filter(|(_, entry)| entry.epoch >= first);
        served.filter(|(slot, entry)| is_one(slot, entry)).map(|(slot, _)| *slot).collect()
    }

    /// Puts in the answer to a call that was begun at `begun`, in place of an older one and of those in the slots
    /// `others`. What was stored since then stays: it is the answer to a call that may have begun later. False if so.
    pub fn insert(
        &self,
        slot: Slot,
        entry: Entry,
        begun: Monotonic,
        others: impl Iterator<Item = Slot> + Clone,
    ) -> bool {
        let is_newer = |there: &Entry| begun < there.born() && there.born() < entry.born();
        let table = self.table(&slot);
        if table.contains_key(&slot) && table.get(&slot).is_some_and(|there| is_newer(&there)) {
            return false;
        }
        // Before, so that nothing is made of them any more; and behind, for what had been begun.
        remove(table, others.clone());
        table.insert(slot, Arc::new(entry));
        remove(table, others);
        true
    }

    /// Puts in an entry that was kept elsewhere, unless there is one that is served at `now`.
    pub fn insert_kept(&self, slot: Slot, entry: Entry, now: Monotonic) {
        let put = |there: Option<moka::Entry<Slot, Arc<Entry>>>| match there {
            Some(there) if self.age_if_served(there.value(), now).is_some() => Op::Nop,
            _ => Op::Put(Arc::new(entry)),
        };
        self.table(&slot).entry(slot).and_compute_with(put);
    }

    fn age_if_served(&self, entry: &Entry, now: Monotonic) -> Option<Duration> {
        let age = now.saturating_since(entry.stored).saturating_add(entry.aged);
        (age < entry.ttl && entry.epoch >= self.first_epoch()).then_some(age)
    }

    /// Puts in what `source` became, the entry in the slot `from`, unless that has been replaced meanwhile, or there is
    /// a newer answer in `slot`.
    pub fn insert_translated(&self, slot: Slot, entry: &Arc<Entry>, from: &Slot, source: &Arc<Entry>) {
        let put = |there: Option<moka::Entry<Slot, Arc<Entry>>>| match there {
            Some(there) if entry.born() < there.value().born() => Op::Nop,
            _ => Op::Put(Arc::clone(entry)),
        };
        let table = self.table(&slot);
        let is_put = !matches!(table.entry(slot).and_compute_with(put), CompResult::Unchanged(_));
        if !is_put {
            entry.recording.leave_cache();
            return;
        }
        // It looks behind it, so that a newer answer that came at the same time is not outlived by this one.
        let is_there = table.get(from).is_some_and(|there| Arc::ptr_eq(&there, source));
        if !is_there {
            table.invalidate(&slot);
        }
    }

    /// True if there may be an entry in `slot`. Costs less than to find it, and keeps it no longer.
    pub fn may_have(&self, slot: &Slot) -> bool {
        self.table(slot).contains_key(slot)
    }

    /// How many entries there are and how many bytes they take, brought up to date first: not for the request path.
    pub fn measure(&self) -> (u64, u64) {
        self.tables.iter().fold((0, 0), |(count, bytes), table| {
            table.run_pending_tasks();
            (count + table.entry_count(), bytes + table.weighted_size())
        })
    }
}

/// Removes `slots`, which are all of this table.
fn remove(table: &Table, slots: impl Iterator<Item = Slot>) {
    slots.filter(|slot| table.contains_key(slot)).for_each(|slot| table.invalidate(&slot));
}

/// A table with room for `memory` bytes of entries.
fn table(memory: u64, removed: impl Fn(Removal, &Entry) + Send + Sync + 'static) -> Table {
    let listener = move |_: Arc<Slot>, entry: Arc<Entry>, cause| {
        let removal = match cause {
            RemovalCause::Expired => Removal::Expired,
            RemovalCause::Replaced | RemovalCause::Explicit => Removal::Replaced,
            RemovalCause::Size => Removal::Size,
        };
        removed(removal, &entry);
    };
    let at_first = (memory / COMMON_SIZE).min(MOST_AT_FIRST);
    Cache::builder()
        .max_capacity(memory)
        .initial_capacity(usize::try_from(at_first).unwrap_or_default())
        .weigher(|_, entry: &Arc<Entry>| u32::try_from(entry.size()).unwrap_or(u32::MAX))
        .expire_after(Lifetimes)
        .eviction_listener(listener)
        .build_with_hasher(SpreadKeys)
}

impl Entry {
    /// When it had come whole; the clock's first instant, if that was before it.
    pub fn born(&self) -> Monotonic {
        Monotonic::from_nanos(self.stored.as_nanos().saturating_sub(nanos(self.aged)))
    }

    /// Bytes that it is counted as.
    pub fn size(&self) -> u64 {
        let head = self.recording.head();
        let fields = head.iter().flat_map(|head| &head.fields);
        let place = size_of::<(HeaderName, HeaderValue)>();
        let field_bytes: usize = fields.map(|(name, value)| place + name.as_str().len() + value.len()).sum();
        let model = self.origin.model.as_ref().map_or(0, |model| allocated(model.len() as u64 + COUNTS));
        self.recording.held() + field_bytes as u64 + model + OVERHEAD
    }
}

/// Each entry lives as long as its route says.
struct Lifetimes;

impl Expiry<Slot, Arc<Entry>> for Lifetimes {
    fn expire_after_create(&self, _: &Slot, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.ttl.saturating_sub(entry.aged))
    }

    fn expire_after_update(
        &self,
        _: &Slot,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl.saturating_sub(entry.aged))
    }
}

/// Takes a key as its own hash: it is a SHA-256 already, or a keyed hash, of which no client can choose many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpreadKeys;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstBytes(u64);

impl BuildHasher for SpreadKeys {
    type Hasher = FirstBytes;

    fn build_hasher(&self) -> FirstBytes {
        FirstBytes::default()
    }
}

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(1) ^ u64::from(byte);
    }

    fn write_isize(&mut self, number: isize) {
        self.0 = self.0.rotate_left(1) ^ number.unsigned_abs() as u64;
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
