//! Where a server is: the addresses of its name, and which of them were lately not to be reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;

use crate::clock::Monotonic;
use crate::proxy::idle::Idle;
use crate::spread::{Lent, Spread};

/// Addresses of one server that are tried for one request, at most.
const MOST_TRIED: usize = 3;

/// An address that could not be reached is tried after the others for so long.
const LAST_FOR: Duration = Duration::from_secs(10);

/// One address of a server.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) peer: HttpPeer,
    pub(super) idle: Idle,
    last_until: AtomicU64,
}

/// The addresses of a server as one request sees them.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    all: Arc<Lent<Vec<Arc<Address>>>>,
    /// Where this request begins.
    first: usize,
}

impl Address {
    /// An address of which nothing is known.
    pub(super) fn new(template: &HttpPeer, address: SocketAddr) -> Self {
        let mut peer = template.clone();
        peer._address = address.into();
        Self { peer, idle: Idle::default(), last_until: AtomicU64::new(0) }
    }

    /// It could not be reached.
    pub(super) fn failed(&self, now: Monotonic) {
        self.last_until.store(now.saturating_add(LAST_FOR).as_nanos(), Ordering::Relaxed);
    }

    fn is_last(&self, now: Monotonic) -> bool {
        self.last_until.load(Ordering::Relaxed) > now.as_nanos()
    }
}

impl Addresses {
    /// `all` as the next request sees them, which begins with the next one in turn; `None` if there is none.
    pub(super) fn in_turn(all: Arc<Lent<Vec<Arc<Address>>>>, turn: &Spread<AtomicUsize>) -> Option<Self> {
        let turn = if all.len() < 2 { 0 } else { turn.mine().fetch_add(1, Ordering::Relaxed) };
        let first = turn.checked_rem(all.len())?;
        Some(Self { all, first })
    }

    /// The next address, and its place in `tried`; those that were lately not to be reached come last. `None` when
    /// enough have been tried.
    pub(super) fn next(&self, tried: &[usize], now: Monotonic) -> Option<(usize, &Address)> {
        if tried.len() >= MOST_TRIED {
            return None;
        }
        let order =
            || self.all.iter().map(AsRef::as_ref).enumerate().cycle().skip(self.first).take(self.all.len());
        let mut untried = order().filter(|(place, _)| !tried.contains(place));
        let well = untried.clone().find(|(_, address)| !address.is_last(now));
        well.or_else(|| untried.next())
    }

    /// The address at a place.
    pub(super) fn at(&self, place: usize) -> Option<&Address> {
        self.all.get(place).map(AsRef::as_ref)
    }
}
