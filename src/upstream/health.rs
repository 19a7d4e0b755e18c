//! Which servers are well, as a state machine over what requests see and what checks find.
//!
//! *Passive ejection*: a server that fails [`EJECT_AFTER`] times in a row, with no success between, is passed over for
//! a while; the while doubles with each further failure, up to a bound. After it the server is *half open*: one request
//! probes it, and the others still pass it over until that one has succeeded, which heals it, or [`PROBE`] is over.
//! *Active checks*: a server that fails [`CHECKS`] of them in a row is passed over until one succeeds.
//! *Rest*: a server that says when it wants to be asked again is passed over until then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Monotonic;

/// Failures in a row before a server is passed over.
pub const EJECT_AFTER: u32 = 3;

/// Failed checks in a row before a server is passed over.
pub const CHECKS: u32 = 2;

/// A probe without a result is followed by another after so long.
pub const PROBE: Duration = Duration::from_secs(10);

/// The longest rest that a server is given, whatever it asks for.
pub const LONGEST_REST: Duration = Duration::from_secs(300);

const FIRST_EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// The health of one server. Shared by all workers; every operation is a few atomic words.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    ejected_until: AtomicU64,
    rests_until: AtomicU64,
    failed_checks: AtomicU32,
}

impl Health {
    /// True if requests may be sent there at `now`.
    pub fn is_well(&self, now: Monotonic) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed).max(self.rests_until.load(Ordering::Relaxed));
        until <= now.as_nanos() && self.failed_checks.load(Ordering::Relaxed) < CHECKS
    }

    /// True if a request is to be sent there at `now`. Of a server that is half open, to one caller alone.
    pub fn admits(&self, now: Monotonic) -> bool {
        self.is_well(now) && (self.failures.load(Ordering::Relaxed) < EJECT_AFTER || self.begins_probe(now))
    }

    fn begins_probe(&self, now: Monotonic) -> bool {
        let ejected_until = self.ejected_until.load(Ordering::Relaxed);
        let probed_until = now.saturating_add(PROBE).as_nanos();
        ejected_until <= now.as_nanos()
            && self
                .ejected_until
                .compare_exchange(ejected_until, probed_until, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// A request was answered.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed for a reason that is the server's.
    pub fn failed(&self, now: Monotonic) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let Some(further) = failures.checked_sub(EJECT_AFTER) else { return };
        let ejection = FIRST_EJECTION.saturating_mul(1 << further.min(5)).min(LONGEST_EJECTION);
        self.ejected_until.store(now.saturating_add(ejection).as_nanos(), Ordering::Relaxed);
    }

    /// The server wants to be left alone for `rest`; it is for [`LONGEST_REST`] at most.
    pub fn wants_rest(&self, rest: Duration, now: Monotonic) {
        let until = now.saturating_add(rest.min(LONGEST_REST));
        self.rests_until.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    /// A check succeeded, or there are none any more. True if the server was passed over for those before.
    pub fn check_passed(&self) -> bool {
        self.failed_checks.swap(0, Ordering::Relaxed) >= CHECKS
    }

    /// A check failed. True if the server is passed over from now on.
    pub fn check_failed(&self) -> bool {
        let add = |failed: u32| Some(failed.saturating_add(1));
        let before = self.failed_checks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        before == Ok(CHECKS - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CHECKS, EJECT_AFTER, Health, LONGEST_REST, PROBE};
    use crate::clock::Monotonic;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_nanos(millis * 1_000_000)
    }

    fn ejected() -> Health {
        let health = Health::default();
        (0..EJECT_AFTER).for_each(|_| health.failed(at(0)));
        health
    }

    #[test]
    fn a_server_that_is_half_open_is_probed_by_one_alone() {
        let health = ejected();
        assert!(!health.admits(at(999)));
        assert!(health.is_well(at(1000)) && health.admits(at(1000)));
        assert!(!health.admits(at(1000)) && !health.is_well(at(1000)), "the probe is under way");
        health.succeeded();
        assert!(health.admits(at(1000)) && health.admits(at(1000)));
    }

    #[test]
    fn a_probe_that_fails_ejects_for_longer() {
        let health = ejected();
        assert!(health.admits(at(1000)));
        health.failed(at(1500));
        assert!(!health.admits(at(3499)) && health.admits(at(3500)));
    }

    #[test]
    fn a_probe_without_a_result_is_followed_by_another() {
        let health = ejected();
        let probe = u64::try_from(PROBE.as_millis()).expect("fits");
        assert!(health.admits(at(1000)));
        assert!(!health.admits(at(999 + probe)) && health.admits(at(1000 + probe)));
    }

    #[test]
    fn a_rest_is_kept_whatever_else_succeeds_and_has_a_bound() {
        let health = Health::default();
        health.wants_rest(Duration::from_secs(2), at(0));
        health.wants_rest(Duration::from_secs(1), at(0));
        health.succeeded();
        assert!(!health.admits(at(1999)) && health.admits(at(2000)));
        health.wants_rest(Duration::MAX, at(2000));
        let longest = u64::try_from(LONGEST_REST.as_millis()).expect("fits");
        assert!(!health.admits(at(1999 + longest)) && health.admits(at(2000 + longest)));
    }

    #[test]
    fn failed_checks_in_a_row_pass_a_server_over_until_one_succeeds() {
        let health = Health::default();
        assert!(!health.check_failed() && health.admits(at(0)), "one is not enough");
        assert!(!health.check_passed());
        (1..CHECKS).for_each(|_| assert!(!health.check_failed()));
        assert!(health.check_failed() && !health.admits(at(0)));
        health.succeeded();
        assert!(!health.check_failed() && !health.admits(at(0)));
        assert!(health.check_passed() && health.admits(at(0)));
    }
}
