//! Counted memory: bodies and answers held at once, against a total and a key's share of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

    fn subtract(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
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
    total: Pool,
    share: Pool,
    bounds: Bounds,
    bytes: u64,
}

impl Permit {
    /// A permit for nothing yet.
    pub fn new(total: &Pool, share: &Pool, bounds: Bounds) -> Self {
        Self { total: total.clone(), share: share.clone(), bounds, bytes: 0 }
    }

    /// A permit for `bytes` that are held already, whatever the bounds; counted in the total alone.
    pub fn for_held(total: &Pool, bytes: u64) -> Self {
        total.0.fetch_add(bytes, Ordering::Relaxed);
        let share = Pool::default();
        share.0.fetch_add(bytes, Ordering::Relaxed);
        Self { total: total.clone(), share, bounds: Bounds { total: 0, share: 0 }, bytes }
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
        if !self.total.try_add(bytes, self.bounds.total) {
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

    /// The share that it counts in.
    pub fn share(&self) -> &Pool {
        &self.share
    }

    /// Counts in another share from now on, even if that is full: it holds what it held.
    pub fn move_to(&mut self, share: &Pool) {
        if !Arc::ptr_eq(&self.share.0, &share.0) {
            share.0.fetch_add(self.bytes, Ordering::Relaxed);
            self.share.subtract(self.bytes);
            self.share = share.clone();
        }
    }

    /// Gives all but `bytes` back.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.total.subtract(surplus);
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
