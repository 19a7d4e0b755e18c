//! Failed authentications per address, counted in constant memory.
//!
//! Whoever guesses keys sends from wherever they like, so a map by address would be theirs to fill. A count-min
//! sketch errs upwards only, and by little: at 100,000 failures a minute from as many addresses, an innocent one is
//! counted some ten too many.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pingora_limits::estimator::Estimator;

use crate::auth::client_address::network;
use crate::clock::Monotonic;

/// Failures are kept by the half minute: the running one, the one before, and what is still in the window of the
/// one before that. With whole minutes, a burst across their border would be counted short.
const SLOT_NANOS: u64 = 30_000_000_000;
const SLOTS: u64 = 3;

/// Rows and columns of one slot's sketch: 256 KiB.
const HASHES: usize = 4;
const COLUMNS: usize = 8192;

/// Where an address stands after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may fail on, and be told why.
    Within,
    /// It has failed too often in the last minute.
    Beyond,
}

/// Counts the keys that were looked up and refused, by address and minute.
pub struct AuthFailures(Option<Window>);

struct Window {
    per_minute: u64,
    sketches: [Estimator; SLOTS as usize],
    /// The running slot's number since the clock's origin.
    slot: AtomicU64,
    /// Held while a new slot is begun, every half minute; nothing waits under it.
    turning: Mutex<()>,
}

impl fmt::Debug for AuthFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFailures").finish_non_exhaustive()
    }
}

impl AuthFailures {
    /// Allows each address `per_minute` failures a minute; `None`: any number, and no memory is spent.
    pub fn new(per_minute: Option<NonZeroU32>) -> Self {
        Self(per_minute.map(|per_minute| Window {
            per_minute: per_minute.get().into(),
            sketches: std::array::from_fn(|_| Estimator::new(HASHES, COLUMNS)),
            slot: AtomicU64::new(0),
            turning: Mutex::new(()),
        }))
    }

    /// Counts one failure of `address` and says where that leaves it. IPv6 addresses count by their /64,
    /// IPv4-mapped ones as IPv4. The oldest half minute counts by the share of it that is still in the window.
    pub fn record(&self, address: IpAddr, now: Monotonic) -> Standing {
        let Some(window) = &self.0 else { return Standing::Within };
        let slot = window.turn_to(now.as_nanos() / SLOT_NANOS);
        let network = network(address);
        let running = window.sketch(slot).map_or(0, |sketch| count(sketch.incr(network, 1)));
        let slots_ago =
            |slots| window.sketch(slot + SLOTS - slots).map_or(0, |sketch| count(sketch.get(network)));
        let ahead = SLOT_NANOS - now.as_nanos() % SLOT_NANOS;
        let leaving = slots_ago(2) * ahead.div_ceil(1_000_000) / (SLOT_NANOS / 1_000_000);
        let failures = running + slots_ago(1) + leaving;
        if failures > window.per_minute { Standing::Beyond } else { Standing::Within }
    }
}

impl Window {
    /// Begins the slot `slot`, unless it or a later one runs, and empties the sketches that it and any skipped
    /// slots take over. Returns the running one.
    fn turn_to(&self, slot: u64) -> u64 {
        let running = self.slot.load(Ordering::Acquire);
        if slot <= running {
            return running;
        }
        let _turn = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.slot.load(Ordering::Acquire);
        if slot <= running {
            return running;
        }
        let first = (running + 1).max(slot.saturating_sub(SLOTS - 1));
        (first..=slot).filter_map(|begun| self.sketch(begun)).for_each(Estimator::reset);
        self.slot.store(slot, Ordering::Release);
        slot
    }

    fn sketch(&self, slot: u64) -> Option<&Estimator> {
        self.sketches.get(usize::try_from(slot % SLOTS).ok()?)
    }
}

/// A sketch's count, small enough to be summed and weighed in a word.
fn count(counted: isize) -> u64 {
    u64::try_from(counted).unwrap_or(0).min(u32::MAX.into())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU32;

    use super::{AuthFailures, SLOT_NANOS, Standing};
    use crate::clock::Monotonic;

    const MINUTE: u64 = 2 * SLOT_NANOS;
    const LIMIT: usize = 600;

    fn limited() -> AuthFailures {
        AuthFailures::new(NonZeroU32::new(600))
    }

    fn record(failures: &AuthFailures, address: &str, nanos: u64) -> Standing {
        failures.record(address.parse().unwrap(), Monotonic::from_nanos(nanos))
    }

    /// How many of `LIMIT + 1` failures, a millisecond apart, leave `address` within its bounds.
    fn allowed(failures: &AuthFailures, address: &str, from: u64) -> usize {
        let times = (0..=LIMIT as u64).map(|n| from + n * 1_000_000);
        times.filter(|time| record(failures, address, *time) == Standing::Within).count()
    }

    #[test]
    fn the_601st_in_a_minute_is_beyond_wherever_the_slots_begin() {
        for from in (0..MINUTE).step_by(250_000_000) {
            let failures = limited();
            assert_eq!(allowed(&failures, "192.0.2.1", from), LIMIT, "from {from} ns on");
            assert_eq!(record(&failures, "192.0.2.1", from + SLOT_NANOS), Standing::Beyond);
            assert_eq!(record(&failures, "192.0.2.2", from + SLOT_NANOS), Standing::Within);
            let after = from + MINUTE + 2_000_000_000;
            assert_eq!(record(&failures, "192.0.2.1", after), Standing::Within, "from {from} ns on");
        }
    }

    #[test]
    fn nothing_is_left_after_two_minutes() {
        let failures = limited();
        allowed(&failures, "192.0.2.1", 0);
        assert_eq!(allowed(&failures, "192.0.2.1", 2 * MINUTE), LIMIT);
        assert_eq!(allowed(&failures, "192.0.2.1", 2000 * MINUTE), LIMIT);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() {
        let failures = limited();
        allowed(&failures, "2001:db8:0:1::1", 0);
        assert_eq!(record(&failures, "2001:db8:0:1:ffff::2", MINUTE / 2), Standing::Beyond);
        assert_eq!(record(&failures, "2001:db8:0:2::1", MINUTE / 2), Standing::Within);
        allowed(&failures, "192.0.2.1", 0);
        assert_eq!(record(&failures, "::ffff:192.0.2.1", MINUTE / 2), Standing::Beyond);
        assert_eq!(record(&failures, "::ffff:192.0.2.2", MINUTE / 2), Standing::Within);
    }

    #[test]
    fn a_hundred_thousand_strangers_do_not_count_against_an_innocent_address() {
        let failures = limited();
        for n in 0..100_000_u32 {
            failures.record(IpAddr::V4((0x0a00_0000 + n).into()), Monotonic::from_nanos(0));
        }
        let innocent = (0..575).filter(|_| record(&failures, "192.0.2.1", 0) == Standing::Within).count();
        assert_eq!(innocent, 575);
    }

    #[test]
    fn off_is_off() {
        let failures = AuthFailures::new(None);
        assert!((0..10_000).all(|_| record(&failures, "192.0.2.1", 0) == Standing::Within));
    }
}
