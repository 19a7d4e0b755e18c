//! All policy of one moment: what a request begins with, it ends with.

use std::sync::Arc;

use crate::auth::key_ring::KeyRing;
use crate::config::Config;

/// The policy itself.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the builds of the key ring, from 1.
    pub generation: u64,
    /// Routes, plans, bounds.
    pub config: Arc<Config>,
    /// All keys.
    pub ring: KeyRing,
}

/// A snapshot with what an upper layer derived from it. Both are swapped together: no request sees a mix.
#[derive(Debug)]
pub struct Loaded<D> {
    /// The policy.
    pub snapshot: Snapshot,
    /// What was derived from it.
    pub derived: D,
}
