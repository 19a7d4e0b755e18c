//! The token bucket's arithmetic: GCRA in one atomic word.

use std::num::NonZeroU32;
use std::time::Duration;

/// The emission interval `T` and the tolerance `tau = burst * T`, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: u64,
    tolerance: u64,
}

impl Rate {
    /// `T = 60e9 / requests_per_minute`, rounded up; `tau = burst * T`.
    pub fn new(requests_per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = 60_000_000_000_u64.div_ceil(u64::from(requests_per_minute.get()));
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.get())) }
    }

    /// The time in which an empty bucket fills.
    pub fn fill_time(self) -> Duration {
        Duration::from_nanos(self.tolerance)
    }
}
