//! Connections to one address of a server that wait for their next request.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Monotonic;
use crate::proxy::link::Link;

/// Connections that wait at one address, at most: beyond it the one that has waited longest ends.
const MOST: usize = 512;

/// The connections that wait. The one that came last leaves first, so that those which are too many grow old.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<VecDeque<Waiting>>);

#[derive(Debug)]
struct Waiting {
    link: Box<Link>,
    until: Monotonic,
}

impl Idle {
    /// A connection that has not waited for too long, and that nothing has come on since.
    pub(super) fn take(&self, now: Monotonic) -> Option<Box<Link>> {
        loop {
            let waiting = self.waiting().pop_back()?;
            if now < waiting.until
                && let Some(link) = waiting.link.again()
            {
                return Some(link);
            }
        }
    }

    /// Lets a connection wait `until` then.
    pub(super) fn put(&self, link: Box<Link>, until: Monotonic) {
        let mut waiting = self.waiting();
        let oldest = if waiting.len() < MOST { None } else { waiting.pop_front() };
        waiting.push_back(Waiting { link, until });
        drop(waiting);
        drop(oldest);
    }

    /// Ends those that have waited for too long.
    pub(super) fn sweep(&self, now: Monotonic) {
        let mut waiting = self.waiting();
        let (over, rest) = mem::take(&mut *waiting).into_iter().partition(|waiting| waiting.until <= now);
        *waiting = rest;
        drop(waiting);
        drop::<VecDeque<_>>(over);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
