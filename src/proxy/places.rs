//! How many requests an upstream takes at once: counted through every reload, waited for in turn.
//!
//! A semaphore would not do: its permits cannot be made fewer while they are out, and without a bound nothing would be
//! counted that a later bound must hold for. The count is one atomic word; only who has to wait takes a lock.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::upstream::settings::Concurrency;

/// The places of one upstream; they outlive its settings.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicU32,
    /// `u32::MAX`: no bound.
    max: AtomicU32,
    queued: AtomicU32,
    freed: Notify,
}

/// One of the requests under way; counted until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

/// A place in the queue, left when dropped.
struct Queued<'a> {
    places: &'a Places,
    /// How many waited already.
    ahead: u32,
}

impl Places {
    /// Places of which none is taken.
    pub(super) fn new(concurrency: Concurrency) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicU32::new(0),
            max: AtomicU32::new(most(concurrency)),
            queued: AtomicU32::new(0),
            freed: Notify::new(),
        })
    }

    /// Another bound holds from now on. Whoever waits goes on at once if it is higher; if it is lower, no place is
    /// given until so many have come back.
    pub(super) fn rebound(&self, concurrency: Concurrency) {
        self.max.store(most(concurrency), Ordering::SeqCst);
        self.call_next();
    }

    /// A place, waited for within the queue's bounds; `None`: there is none, and none came in time.
    pub(super) async fn take(self: &Arc<Self>, concurrency: Concurrency) -> Option<Place> {
        // Those who wait have gone first: what is left beyond them is free.
        if let Some(place) = self.try_take(self.queued.load(Ordering::SeqCst)) {
            return Some(place);
        }
        let Concurrency::Bounded { queue, wait, .. } = concurrency else { return None };
        let queued = Queued::enter(self, queue)?;
        tokio::time::timeout(wait, self.turn(queued.ahead)).await.ok()
    }

    async fn turn(self: &Arc<Self>, mut ahead: u32) -> Place {
        loop {
            // From here on a place that is freed wakes this request, so that none is missed between the two looks.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(place) = self.try_take(ahead) {
                return place;
            }
            freed.await;
            ahead = 0;
        }
    }

    /// A place, if there is one beside those that are taken and those `reserved`.
    fn try_take(self: &Arc<Self>, reserved: u32) -> Option<Place> {
        let max = self.max.load(Ordering::SeqCst);
        let one_more = |taken: u32| (taken.saturating_add(reserved) < max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Place(Arc::clone(self)))
    }

    /// Wakes the next in the queue, if there is a place for it.
    fn call_next(&self) {
        let is_awaited = self.queued.load(Ordering::SeqCst) > 0;
        if is_awaited && self.taken.load(Ordering::SeqCst) < self.max.load(Ordering::SeqCst) {
            self.freed.notify_one();
        }
    }
}

impl<'a> Queued<'a> {
    fn enter(places: &'a Places, length: u32) -> Option<Self> {
        let one_more = |queued: u32| (queued < length).then_some(queued + 1);
        let ahead = places.queued.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Self { places, ahead })
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.places.queued.fetch_sub(1, Ordering::SeqCst);
        // Several places may have come free before anyone was woken.
        self.places.call_next();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.call_next();
    }
}

fn most(concurrency: Concurrency) -> u32 {
    match concurrency {
        Concurrency::Unbounded => u32::MAX,
        Concurrency::Bounded { max, .. } => max.get(),
    }
}
