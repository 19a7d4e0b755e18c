//! The current snapshot, behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::runtime::snapshot::Loaded;

/// Where requests find the policy. A request loads it once.
#[derive(Debug)]
pub struct Live<D>(ArcSwap<Loaded<D>>);

impl<D> Live<D> {
    /// The first policy.
    pub fn new(first: Loaded<D>) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    /// The policy of this moment. Takes no lock.
    pub fn load(&self) -> Arc<Loaded<D>> {
        self.0.load_full()
    }

    /// Puts `next` in its place. Requests that hold the old one keep it; returns it, so that the caller's thread
    /// bears the cost of dropping it.
    pub(super) fn swap(&self, next: Loaded<D>) -> Arc<Loaded<D>> {
        self.0.swap(Arc::new(next))
    }
}
