//! Counted memory: bodies and answers held at once, against a total and a key's share of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::blocks::Blocks;
use crate::spread::{Lending, Lent};
use crate::stock::Stock;

pub mod blocks;

/// A count of bytes held. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<AtomicU64>);

impl Pool {
    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `bytes` unless the sum would pass `max`.
    fn try_add(&self, bytes: u64, max: u64) -> bool {
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= max)
            })
            .is_ok()
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The memory of all bodies and answers together. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Lending<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    total: Stock,
    blocks: Blocks,
}

impl Buffers {
    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.0.lend().total.used()
    }

    /// Where what is held for long is kept.
    pub fn blocks(&self) -> &Blocks {
        &self.0.lend().blocks
    }
}

/// What the allocator takes for a buffer of so many bytes: it knows four sizes between a power of two and the next.
pub fn allocated(bytes: u64) -> u64 {
    let step = (bytes.checked_next_power_of_two().unwrap_or(u64::MAX) / 8).max(16);
    bytes.checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

/// The two bounds that a permit grows within, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For everybody together.
    pub total: u64,
    /// For one key.
    pub share: u64,
}

/// A counted piece of memory; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    memory: Arc<Lent<Memory>>,
    share: Pool,
    bounds: Bounds,
    bytes: u64,
}

impl Permit {
    /// A permit for nothing yet.
    pub fn new(buffers: &Buffers, share: &Pool, bounds: Bounds) -> Self {
        Self { memory: Arc::clone(buffers.0.lend()), share: share.clone(), bounds, bytes: 0 }
    }

    /// Another permit within the same bounds, for nothing yet.
    pub fn another(&self) -> Self {
        Self { memory: Arc::clone(&self.memory), share: self.share.clone(), bounds: self.bounds, bytes: 0 }
    }

    /// Where what is held for long is kept.
    pub fn blocks(&self) -> &Blocks {
        &self.memory.blocks
    }

    /// Bytes held by this permit.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows by `bytes`; false, and nothing changes, if one of the bounds would be passed.
    #[must_use]
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        if !self.share.try_add(bytes, self.bounds.share) {
            return false;
        }
        if !self.memory.total.take(bytes, self.bounds.total) {
            self.share.subtract(bytes);
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Grows to at least `bytes`, if it holds less; false as in [`Permit::try_grow`].
    #[must_use]
    pub fn try_grow_to(&mut self, bytes: u64) -> bool {
        match bytes.checked_sub(self.bytes) {
            None | Some(0) => true,
            Some(missing) => self.try_grow(missing),
        }
    }

    /// Grows by `bytes` that are held already; false, and nothing changes, if its share has no room for them. That others
    /// use up the total does not matter then.
    #[must_use]
    pub fn try_hold(&mut self, bytes: u64) -> bool {
        if !self.share.try_add(bytes, self.bounds.share) {
            return false;
        }
        self.memory.total.add(bytes);
        self.bytes += bytes;
        true
    }

    /// Counts where `other` does from now on, even if that share is full: it holds what it held.
    pub fn move_to(&mut self, other: &Self) {
        if !Arc::ptr_eq(&self.share.0, &other.share.0) {
            other.share.add(self.bytes);
            self.share.subtract(self.bytes);
            self.share = other.share.clone();
            self.bounds = other.bounds;
        }
    }

    /// Gives all but `bytes` back.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.memory.total.give(surplus);
            self.share.subtract(surplus);
            self.bytes = bytes;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
