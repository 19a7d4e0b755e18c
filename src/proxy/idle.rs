//! Connections to one address of a server that wait for their next request.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Monotonic;
use crate::proxy::link::Link;

/// Connections that wait at one address, at most: beyond it the one that has waited longest ends.
const MOST: usize = 256;

/// The connections that wait. The one that came last leaves first, so that those which are too many grow old.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Place>);

#[derive(Debug, Default)]
struct Place {
    waiting: VecDeque<Waiting>,
    /// Nobody will come for them any more.
    has_ended: bool,
}

#[derive(Debug)]
struct Waiting {
    link: Box<Link>,
    until: Monotonic,
}

impl Idle {
    /// A connection that has not waited for too long, and that nothing has come on since.
    pub(super) fn take(&self, now: Monotonic) -> Option<Box<Link>> {
        loop {
            let waiting = self.place().waiting.pop_back()?;
            if now < waiting.until
                && let Some(link) = waiting.link.again()
            {
                return Some(link);
            }
        }
    }

    /// Lets a connection wait `until` then.
    pub(super) fn put(&self, link: Box<Link>, until: Monotonic) {
        let mut place = self.place();
        if place.has_ended {
            return;
        }
        let oldest = if place.waiting.len() < MOST { None } else { place.waiting.pop_front() };
        place.waiting.push_back(Waiting { link, until });
        drop(place);
        drop(oldest);
    }

    /// Ends those that have waited for too long.
    pub(super) fn sweep(&self, now: Monotonic) {
        let mut place = self.place();
        let all = mem::take(&mut place.waiting);
        let (over, rest) = all.into_iter().partition(|waiting| waiting.until <= now);
        place.waiting = rest;
        drop(place);
        drop::<VecDeque<_>>(over);
    }

    /// Ends all of them, and every one that comes later.
    pub(super) fn end(&self) {
        let mut place = self.place();
        place.has_ended = true;
        let all = mem::take(&mut place.waiting);
        drop(place);
        drop(all);
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
