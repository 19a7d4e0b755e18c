//! Which servers are well: passive ejection, as a state machine over what requests see.
//!
//! A server that fails [`EJECT_AFTER`] times in a row, with no success between, is passed over for a while; the while
//! doubles with each further failure, up to a bound. After it, requests try the server again; one success heals it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Monotonic;

/// Failures in a row before a server is passed over.
pub const EJECT_AFTER: u32 = 3;

const FIRST_EJECTION: Duration = Duration::from_secs(1);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// The health of one server. Shared by all workers; every operation is one or two atomic words.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    ejected_until: AtomicU64,
}

impl Health {
    /// True if requests may be sent there at `now`.
    pub fn is_well(&self, now: Monotonic) -> bool {
        self.ejected_until.load(Ordering::Relaxed) <= now.as_nanos()
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
        self.ejected_until.fetch_max(now.saturating_add(ejection).as_nanos(), Ordering::Relaxed);
    }
}
