//! Where buckets are found by their owners.
//!
//! A table in shards, each behind a lock that is held for one look. It has no bound of its own, as whoever were put out
//! would get a fresh burst, but holds authenticated owners alone. A shard that has doubled since it was swept is swept again:
//! cells that have been idle for so long that they are full go. Until then they stay. So a cell costs fifty bytes here beside
//! its own; a general cache took three hundred, and seven times the instructions to make one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::clock::Monotonic;
use crate::limits::bucket::{Bucket, Rate};
use crate::limits::lease::Lease;
use crate::limits::leases::Leased;
use crate::limits::limiter::{Cell, Owner};

/// So many that of a million cells a sweep looks at a thousand, and that workers seldom meet.
const SHARDS: usize = 1024;

/// A shard of fewer cells is not swept.
const FEW: usize = 32;

/// All buckets.
pub(super) struct Cells {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

/// What new cells hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bucket of their own.
    Own,
    /// A lease.
    Leased,
}

/// The cell that serves an owner, and the one whose place it has just taken.
pub(super) struct Settled {
    pub(super) cell: Arc<Cell>,
    pub(super) replaced: Option<Arc<Cell>>,
}

struct Shard {
    cells: HashMap<Owner, Arc<Cell>, RandomState>,
    /// With so many it is swept.
    full: usize,
}

impl Default for Cells {
    fn default() -> Self {
        let hasher = RandomState::new();
        let shard = || Shard { cells: HashMap::with_hasher(hasher.clone()), full: FEW };
        Self { shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(), hasher }
    }
}

impl Cells {
    /// The cell of `owner`, if there is one.
    pub(super) fn get(&self, owner: &Owner) -> Option<Arc<Cell>> {
        self.shard(owner)?.cells.get(owner).cloned()
    }

    /// The one cell of `owner`, which runs at `rate` from now on, and is in use. If it has none it gets a full one: whoever
    /// remembers one that was swept comes here too, before it is used again.
    pub(super) fn settle(&self, owner: Owner, rate: Rate, kind: Kind, now: Monotonic) -> Settled {
        let new = || match kind {
            Kind::Own => Cell::new(Bucket::full(), rate, now),
            Kind::Leased => Cell::leasing(Leased::new(owner.clone(), Lease::new(rate)), rate, now),
        };
        let Some(mut shard) = self.shard(&owner) else {
            return Settled { cell: Arc::new(new()), replaced: None };
        };
        let replaced = shard.cells.get(&owner).cloned();
        let cell = match &replaced {
            Some(live) if live.serves(rate) => {
                live.touch(now);
                return Settled { cell: Arc::clone(live), replaced: None };
            }
            Some(live) => live.successor(rate, now),
            None => new(),
        };
        let cell = Arc::new(cell);
        shard.put(owner, Arc::clone(&cell), now);
        Settled { cell, replaced }
    }

    /// Gives `owner` this cell in place of any other.
    pub(super) fn insert(&self, owner: Owner, cell: Arc<Cell>, now: Monotonic) {
        if let Some(mut shard) = self.shard(&owner) {
            shard.put(owner, cell, now);
        }
    }

    /// All that are there, in no order.
    pub(super) fn all(&self) -> Vec<(Owner, Arc<Cell>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(locked(shard).cells.iter().map(|(owner, cell)| (owner.clone(), Arc::clone(cell))));
        }
        all
    }

    /// Shows every cell to `see`, under its shard's lock.
    pub(super) fn each(&self, mut see: impl FnMut(&Cell)) {
        for shard in &self.shards {
            locked(shard).cells.values().for_each(|cell| see(cell));
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).cells.len()).sum()
    }

    /// `None` cannot come up.
    fn shard(&self, owner: &Owner) -> Option<MutexGuard<'_, Shard>> {
        // Neither the lowest bits nor the highest ones, by which the shard's own table goes.
        let [_, _, high, low, ..] = self.hasher.hash_one(owner).to_be_bytes();
        self.shards.get(usize::from(u16::from_be_bytes([high, low])) % SHARDS).map(locked)
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn put(&mut self, owner: Owner, cell: Arc<Cell>, now: Monotonic) {
        if self.cells.len() >= self.full {
            self.cells.retain(|_, cell| !cell.is_long_idle(now));
            self.full = (self.cells.len() * 2).max(FEW);
            self.cells.shrink_to(self.full);
        }
        self.cells.insert(owner, cell);
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("len", &self.len()).finish_non_exhaustive()
    }
}
