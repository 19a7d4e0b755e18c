//! How often somebody may try, in constant memory.
//!
//! Whoever guesses passwords chooses names and addresses, so a map by name would be theirs to fill. Each name has a bucket
//! in each of a few rows, which it shares with others; an attempt passes if any of them lets it. So a name alone gets
//! exactly its limit, and shares it with a stranger only where all of its buckets are shared.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::auth::client_address::network;
use crate::clock::Monotonic;
use crate::limits::bucket::{Bucket, Rate};

/// Rows, and the buckets of one: 512 KiB in all.
const ROWS: usize = 4;
const COLUMNS: usize = 16_384;

/// Attempts a minute on one name; as many may come at once.
pub const PER_NAME: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Attempts a minute from one address; as many may come at once.
pub const PER_ADDRESS: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Within,
    /// There were too many in the last minute.
    Beyond,
}

/// Attempts of one kind.
pub struct Attempts {
    rate: Rate,
    buckets: Box<[Bucket]>,
    state: RandomState,
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}

impl Attempts {
    /// Allows `per_minute` attempts a minute, as many of them at once.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let buckets = std::iter::repeat_with(Bucket::full).take(ROWS * COLUMNS).collect();
        Self { rate: Rate::new(per_minute, per_minute), buckets, state: RandomState::new() }
    }

    /// Counts an attempt on `what`, unless it is one too many.
    pub fn take(&self, what: impl Hash, now: Monotonic) -> Standing {
        let mut standing = Standing::Beyond;
        for (number, row) in self.buckets.chunks_exact(COLUMNS).enumerate() {
            let hash = self.state.hash_one((number, &what));
            let column = usize::try_from(hash % COLUMNS as u64).unwrap_or(0);
            let taken = row.get(column).and_then(|bucket| bucket.take(self.rate, now).ok());
            if taken.is_some_and(|decision| decision.wait().is_none()) {
                standing = Standing::Within;
            }
        }
        standing
    }
}

/// Attempts by name and by address.
#[derive(Debug)]
pub(super) struct Limits {
    names: Attempts,
    addresses: Attempts,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self { names: Attempts::new(PER_NAME), addresses: Attempts::new(PER_ADDRESS) }
    }

    /// Counts an attempt on a name, in whatever case it is spelt.
    pub(super) fn name(&self, name: &str, now: Monotonic) -> Standing {
        self.names.take(name.to_ascii_lowercase(), now)
    }

    /// Counts an attempt from an address. Whoever has an IPv6 address has as many as they want of its /64.
    pub(super) fn address(&self, address: IpAddr, now: Monotonic) -> Standing {
        self.addresses.take(network(address), now)
    }
}
