//! The current snapshot, behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::runtime::snapshot::Loaded;
use crate::spread::{Lending, Lent};

/// A policy as a request holds it.
pub type Policy<D> = Arc<Lent<Loaded<D>>>;

/// Where requests find the policy. A request loads it once.
#[derive(Debug)]
pub struct Live<D>(ArcSwap<Lending<Loaded<D>>>);

impl<D> Live<D> {
    /// The first policy.
    pub fn new(first: Loaded<D>) -> Self {
        Self(ArcSwap::from_pointee(Lending::new(Arc::new(first))))
    }

    /// The policy of this moment. Takes no lock.
    pub fn load(&self) -> Policy<D> {
        Arc::clone(self.0.load().lend())
    }

    /// Puts `next` in its place. Requests that hold the old one keep it; returns it, so that the caller's thread
    /// bears the cost of dropping it.
    pub(super) fn swap(&self, next: Loaded<D>) -> Policy<D> {
        Arc::clone(self.0.swap(Arc::new(Lending::new(Arc::new(next)))).lend())
    }
}
