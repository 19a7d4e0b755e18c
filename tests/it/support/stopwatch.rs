//! How long something took, by the machine's clock.

use std::time::Duration;

use safecache::clock::{Clock, Monotonic};

/// A clock that was started.
pub(crate) struct Stopwatch {
    clock: Clock,
    begun: Monotonic,
}

impl Stopwatch {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let clock = Clock::system();
        let begun = clock.monotonic();
        Self { clock, begun }
    }

    /// The time since.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_since(self.begun)
    }
}
