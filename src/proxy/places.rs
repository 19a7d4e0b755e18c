//! How many requests an upstream takes at once: counted through every reload, waited for in turn.
//!
//! A semaphore would not do: its permits cannot be made fewer while they are out, and without a bound nothing would be
//! counted that a later bound must hold for. Places are a stock; only who has to wait takes a lock.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::spread::{Lending, Lent};
use crate::stock::Stock;
use crate::upstream::settings::Concurrency;

/// The places of one upstream; they outlive its settings.
#[derive(Debug)]
pub(super) struct Places {
    taken: Stock,
    /// `u32::MAX`: no bound.
    max: AtomicU32,
    queued: AtomicU32,
    freed: Notify,
}

/// One of the requests under way; counted until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Lent<Places>>);

/// A place in the queue, left when dropped.
struct Queued<'a> {
    places: &'a Places,
    /// How many waited already.
    ahead: u32,
}

impl Places {
    /// Places of which none is taken.
    pub(super) fn new(concurrency: Concurrency) -> Arc<Lending<Self>> {
        Arc::new(Lending::new(Arc::new(Self {
            taken: Stock::default(),
            max: AtomicU32::new(most(concurrency)),
            queued: AtomicU32::new(0),
            freed: Notify::new(),
        })))
    }

    /// Another bound holds from now on. Whoever waits goes on at once if it is higher; if it is lower, no place is
    /// given until so many have come back.
    pub(super) fn rebound(&self, concurrency: Concurrency) {
        self.max.store(most(concurrency), Ordering::SeqCst);
        self.call_next();
    }

    /// Wakes the next in the queue, if there is a place for it.
    fn call_next(&self) {
        let is_awaited = self.queued.load(Ordering::SeqCst) > 0;
        if is_awaited && self.taken.used() < self.max.load(Ordering::SeqCst).into() {
            self.freed.notify_one();
        }
    }
}

/// A place, waited for within the queue's bounds; `None`: there is none, and none came in time.
pub(super) async fn take(places: &Arc<Lent<Places>>, concurrency: Concurrency) -> Option<Place> {
    // Those who wait have gone first: what is left beyond them is free.
    if let Some(place) = try_take(places, places.queued.load(Ordering::SeqCst)) {
        return Some(place);
    }
    let Concurrency::Bounded { queue, wait, .. } = concurrency else { return None };
    let queued = Queued::enter(places, queue)?;
    tokio::time::timeout(wait, turn(places, queued.ahead)).await.ok()
}

async fn turn(places: &Arc<Lent<Places>>, mut ahead: u32) -> Place {
    loop {
        // From here on a place that is freed wakes this request, so that none is missed between the two looks.
        let mut freed = pin!(places.freed.notified());
        freed.as_mut().enable();
        if let Some(place) = try_take(places, ahead) {
            return place;
        }
        freed.await;
        ahead = 0;
    }
}

/// A place, if there is one beside those that are taken and those `reserved`.
fn try_take(places: &Arc<Lent<Places>>, reserved: u32) -> Option<Place> {
    let max = places.max.load(Ordering::SeqCst).saturating_sub(reserved);
    if places.taken.take(1, max.into()) {
        return Some(Place(Arc::clone(places)));
    }
    // What was spare has gone back: who gave it meanwhile may not have seen that there is room for the next.
    places.call_next();
    None
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
        self.0.taken.give(1);
        self.0.call_next();
    }
}

fn most(concurrency: Concurrency) -> u32 {
    match concurrency {
        Concurrency::Unbounded => u32::MAX,
        Concurrency::Bounded { max, .. } => max.get(),
    }
}
