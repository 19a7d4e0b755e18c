//! Connections to one address of a server that wait for their next request.
//!
//! Each worker has a place for those that it used last, so that workers do not wait for one lock; one that has none takes
//! from another's.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Monotonic;
use crate::proxy::link::Link;
use crate::spread::{Spread, cores};
use crate::stock::Stock;

/// Connections that wait at one address, at most: beyond it one ends that has waited for long.
const MOST: u64 = 256;

/// There are as many more of them as makes so many a core.
const MOST_A_CORE: u64 = 64;

/// The connections that wait. The one that came last leaves first, so that those which are too many grow old.
#[derive(Debug, Default)]
pub(super) struct Idle {
    places: Spread<Mutex<Place>>,
    /// How many wait.
    count: Stock,
}

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
        let mine = self.places.mine();
        self.take_from(mine, now, Link::again).or_else(|| {
            let mut others = self.places.all().filter(|place| !std::ptr::eq(*place, mine));
            others.find_map(|place| self.take_from(place, now, |link| link.again()?.moved()))
        })
    }

    /// The one of a place that came last, of those that are of use.
    fn take_from(
        &self,
        place: &Mutex<Place>,
        now: Monotonic,
        again: impl Fn(Box<Link>) -> Option<Box<Link>>,
    ) -> Option<Box<Link>> {
        loop {
            let waiting = lock(place).waiting.pop_back()?;
            self.count.give(1);
            if now < waiting.until
                && let Some(link) = again(waiting.link)
            {
                return Some(link);
            }
        }
    }

    /// Lets a connection wait `until` then.
    pub(super) fn put(&self, link: Box<Link>, until: Monotonic) {
        let mut place = lock(self.places.mine());
        if place.has_ended {
            return;
        }
        let has_room = self.count.take(1, most());
        let oldest = if has_room { None } else { place.waiting.pop_front() };
        if has_room || oldest.is_some() {
            place.waiting.push_back(Waiting { link, until });
        }
        drop(place);
        drop(oldest);
    }

    /// Ends those that have waited for too long.
    pub(super) fn sweep(&self, now: Monotonic) {
        for place in self.places.all() {
            let mut place = lock(place);
            let all = mem::take(&mut place.waiting);
            let (over, rest) = all.into_iter().partition(|waiting| waiting.until <= now);
            place.waiting = rest;
            drop(place);
            self.count.give(over.len() as u64);
            drop::<VecDeque<_>>(over);
        }
    }

    /// Ends all of them, and every one that comes later.
    pub(super) fn end(&self) {
        for place in self.places.all() {
            let mut place = lock(place);
            place.has_ended = true;
            let all = mem::take(&mut place.waiting);
            drop(place);
            self.count.give(all.len() as u64);
            drop(all);
        }
    }
}

fn most() -> u64 {
    MOST.max(MOST_A_CORE * cores().get() as u64)
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::Builder;

    use super::{Idle, lock, most};
    use crate::clock::{Clock, UnixTime};
    use crate::proxy::line::Line;
    use crate::proxy::link::Link;
    use crate::spread::begin_worker;

    #[test]
    fn no_more_wait_than_may_and_a_worker_takes_what_others_have() {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (clock, _) = Clock::manual(UnixTime::from_secs(1));
            let now = clock.monotonic();
            let until = now.saturating_add(Duration::from_secs(1));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("its address");
            let idle = Idle::default();
            let most = usize::try_from(most()).expect("few");
            let mut ends = Vec::new();
            for _ in 0..most + 3 {
                let stream = TcpStream::connect(address).await.expect("a connection");
                ends.push(listener.accept().await.expect("a connection").0);
                idle.put(Box::new(Link::new(Line::Plain(stream), clock.clone())), until);
            }
            let waiting = || idle.places.all().map(|place| lock(place).waiting.len()).sum::<usize>();
            assert_eq!((waiting(), idle.count.used()), (most, most as u64));
            for end in &ends[..3] {
                end.readable().await.expect("readable");
                assert_eq!(end.try_read(&mut [0]).expect("the end"), 0, "the oldest have ended");
            }
            begin_worker(1);
            assert!(idle.take(until).is_none(), "none that has waited for too long");
            assert_eq!(waiting(), 0);
            for end in ends.drain(3..).take(2) {
                end.readable().await.expect("readable");
            }
            let stream = TcpStream::connect(address).await.expect("a connection");
            let (end, _) = listener.accept().await.expect("a connection");
            begin_worker(0);
            idle.put(Box::new(Link::new(Line::Plain(stream), clock.clone())), until);
            begin_worker(1);
            let link = idle.take(now).expect("another worker's");
            idle.put(link, until);
            assert_eq!(waiting(), 1);
            idle.end();
            end.readable().await.expect("readable");
            begin_worker(0);
            assert_eq!((waiting(), idle.count.used()), (0, 0));
        });
    }
}
