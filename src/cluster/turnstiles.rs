//! Who waits for the end of a question about a bucket, and who is told of it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::limits::limiter::Owner;

/// The turnstiles of all owners that somebody asks or waits for: no more than there are requests.
#[derive(Debug, Default)]
pub(super) struct Turnstiles(Arc<Table>);

type Table = Mutex<HashMap<Owner, Arc<Turnstile>>>;

#[derive(Debug, Default)]
struct Turnstile {
    inside: AtomicU32,
    failures: AtomicU32,
    ended: Notify,
}

/// Somebody at a turnstile.
#[derive(Debug)]
pub(super) struct Place {
    owner: Owner,
    turnstile: Arc<Turnstile>,
    table: Arc<Table>,
}

impl Turnstiles {
    /// A place at the owner's.
    pub(super) fn enter(&self, owner: &Owner) -> Place {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turnstile = Arc::clone(table.entry(owner.clone()).or_default());
        turnstile.inside.fetch_add(1, Ordering::Relaxed);
        Place { owner: owner.clone(), turnstile, table: Arc::clone(&self.0) }
    }
}

impl Place {
    /// Comes to pass when a question ends, from the moment on at which it is enabled.
    pub(super) fn ended(&self) -> Notified<'_> {
        self.turnstile.ended.notified()
    }

    /// How many are here.
    pub(super) fn waiting(&self) -> NonZeroU32 {
        NonZeroU32::new(self.turnstile.inside.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    /// How many questions have failed.
    pub(super) fn failures(&self) -> u32 {
        self.turnstile.failures.load(Ordering::Relaxed)
    }

    /// A question has failed.
    pub(super) fn fail(&self) {
        self.turnstile.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A question has ended.
    pub(super) fn end(&self) {
        self.turnstile.ended.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if self.turnstile.inside.fetch_sub(1, Ordering::Relaxed) == 1 {
            table.remove(&self.owner);
        }
    }
}
