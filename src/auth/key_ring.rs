//! The immutable index of all keys by digest: those of the list and those of the store.
//!
//! A snapshot holds one ring; a reload builds the next from it, sharing every record and every shard in which nothing
//! changed. So a key's memory of its bucket outlives reloads, and a big ring is not held twice.
//!
//! - `building`: the ring of another list, with the keys of the store as they are.
//! - `stored`: the ring in which keys of the store have changed, and the list has not.
//! - `suspended`: the ring in which the list's keys of other accounts are refused, and nothing else has changed.
//! - `listed`: the accounts that the list names.
//! - `seen_ids`: finds ids that come twice.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use crate::auth::key::{Digest, KeyEntry};
use crate::auth::key_record::{Fingerprint, KeyRecord};
use crate::auth::key_ring::building::Building;
use crate::auth::key_ring::listed::ListedAccounts;
use crate::auth::key_ring::suspended::Suspended;
use crate::clock::UnixTime;
use crate::ids::{KeyId, PlanName};
use crate::limits::plan::Plan;

mod building;
pub mod listed;
mod seen_ids;
mod stored;
mod suspended;

/// Shards of a ring; a power of two.
const SHARDS: u16 = 1024;

/// All keys. Clones share everything.
#[derive(Clone)]
pub struct KeyRing {
    shards: Box<[Arc<Shard>]>,
    len: usize,
    /// Of them, those of the store.
    stored: usize,
    /// Of them, those that are refused, expired or not.
    disabled: usize,
    /// Of the keys that are not disabled, in order.
    expiries: Arc<[UnixTime]>,
    /// Whose keys of the list are refused.
    suspended: Arc<Suspended>,
    listed: ListedAccounts,
}

/// How many keys are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Accepted.
    pub active: usize,
    /// Refused, expired or not: the list says so, they are revoked, or their account is suspended.
    pub disabled: usize,
    /// Refused because their time has come.
    pub expired: usize,
}

/// Why an entry cannot be in a ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key `{id}`: {fault}")]
pub struct RingProblem {
    /// The entry's place in the list, counted from 0; `None`: it is in the store.
    pub index: Option<usize>,
    /// The entry's id.
    pub id: KeyId,
    /// What is wrong.
    pub fault: RingFault,
}

/// What is wrong with an entry among the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// An earlier entry has its id.
    #[error("an earlier key has the same id")]
    DuplicateId {
        /// That entry's place.
        first: usize,
    },
    /// A key of the store has its id.
    #[error("the store has a key with the same id")]
    StoredId,
    /// An earlier entry has its digest.
    #[error("it is the same key as `{first}`")]
    DuplicateKey {
        /// That entry's id.
        first: KeyId,
    },
    /// No plan has the name.
    #[error("no plan named `{plan}`")]
    UnknownPlan {
        /// The name.
        plan: PlanName,
    },
}

/// A record as a set holds it: found by its fingerprint.
#[derive(Clone)]
struct Slot(Arc<KeyRecord>);

type Shard = HashSet<Slot, BuildHasherDefault<OwnBytes>>;

/// The hash of a fingerprint: eight of its bytes.
#[derive(Default)]
struct OwnBytes(u64);

// === impl KeyRing ===

impl Default for KeyRing {
    /// A ring without keys.
    fn default() -> Self {
        let empty = Arc::new(Shard::default());
        let shards = (0..SHARDS).map(|_| Arc::clone(&empty)).collect();
        Self {
            shards,
            len: 0,
            stored: 0,
            disabled: 0,
            expiries: Arc::default(),
            suspended: Arc::default(),
            listed: ListedAccounts::default(),
        }
    }
}

impl KeyRing {
    /// A ring of `entries`, whose plans are among `plans`.
    ///
    /// # Errors
    /// All entries that cannot be in it; there is no ring then.
    pub fn build(
        entries: impl IntoIterator<Item = KeyEntry>,
        plans: &[Arc<Plan>],
    ) -> Result<Self, Vec<RingProblem>> {
        Self::default().rebuild(entries, plans)
    }

    /// The ring that follows this one: of `entries` and of the keys of the store that are in this one, with its records
    /// where they say the same.
    ///
    /// # Errors
    /// As [`KeyRing::build`]; this ring is as it was either way.
    pub fn rebuild(
        &self,
        entries: impl IntoIterator<Item = KeyEntry>,
        plans: &[Arc<Plan>],
    ) -> Result<Self, Vec<RingProblem>> {
        let entries = entries.into_iter();
        let mut building = Building::new(self, plans, entries.size_hint().0);
        building.keep_stored();
        for (index, entry) in entries.enumerate() {
            building.add(index, entry);
        }
        building.finish()
    }

    /// The record of the key with this digest.
    pub fn find(&self, digest: &Digest) -> Option<&Arc<KeyRecord>> {
        let fingerprint = Fingerprint::new(digest);
        let found = self.shards.get(fingerprint.shard(SHARDS))?.get(&fingerprint);
        if found.is_none() {
            // So that a key of nobody costs what a refused one costs, which is compared.
            std::hint::black_box(fingerprint == Fingerprint::new(&[0; 32]));
        }
        found.map(|slot| &slot.0)
    }

    /// The accounts that keys of the list name.
    pub fn listed(&self) -> &ListedAccounts {
        &self.listed
    }

    /// How many keys there are, in whatever state.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many of them are of the store: each secret of a key counts.
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys are in which state at `now`. Costs a binary search.
    pub fn counts(&self, now: UnixTime) -> KeyCounts {
        let expired = self.expiries.partition_point(|expires_at| *expires_at <= now);
        KeyCounts { active: self.len - self.disabled - expired, disabled: self.disabled, expired }
    }

    /// All records, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|slot| &slot.0)
    }

    /// The ids of the keys that `other` does not have under the same id and digest both, in no order.
    pub fn ids_beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a KeyId> {
        self.differences(other).filter_map(|(mine, theirs)| {
            let is_there = theirs.is_some_and(|theirs| theirs.id() == mine.id());
            (!is_there).then(|| mine.id())
        })
    }

    /// The records that `previous` does not have in this very form: those whose buckets may need another rate.
    pub fn changed_since<'a>(&'a self, previous: &'a Self) -> impl Iterator<Item = &'a Arc<KeyRecord>> {
        self.differences(previous).filter_map(|(record, before)| {
            let is_shared = before.is_some_and(|before| Arc::ptr_eq(before, record));
            (!is_shared).then_some(record)
        })
    }

    /// The records of this ring whose keys `next` has no more, has disabled or has of a suspended account: those to be
    /// cancelled.
    pub fn revoked_by<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = &'a Arc<KeyRecord>> {
        let is_refused = |after: &Arc<KeyRecord>| after.options().is_some_and(|options| options.disabled);
        self.differences(next)
            .filter_map(move |(record, after)| after.is_none_or(is_refused).then_some(record))
            .chain(self.listed_of(next.suspended.beyond(&self.suspended)))
    }

    /// The records in shards not shared with `other`, each with what `other` has under the same digest.
    fn differences<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a Arc<KeyRecord>, Option<&'a Arc<KeyRecord>>)> {
        self.shards.iter().zip(&other.shards).filter(|(mine, theirs)| !Arc::ptr_eq(mine, theirs)).flat_map(
            |(mine, theirs)| {
                mine.iter().map(|slot| (&slot.0, theirs.get(slot.0.fingerprint()).map(|slot| &slot.0)))
            },
        )
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("len", &self.len).finish_non_exhaustive()
    }
}

// === impl Slot, OwnBytes ===

impl Borrow<Fingerprint> for Slot {
    fn borrow(&self) -> &Fingerprint {
        self.0.fingerprint()
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint() == other.0.fingerprint()
    }
}

impl Eq for Slot {}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fingerprint().hash(state);
    }
}

impl Hasher for OwnBytes {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
