//! How long the machine stood still while a test measured: in that time nobody did anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::support::stopwatch::Stopwatch;

/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Somebody looks at the clock as long as it is there.
pub(crate) struct Stalls {
    longest: Arc<AtomicU64>,
    _held: Sender<()>,
}

impl Stalls {
    /// Begins to look.
    pub(crate) fn watch() -> Self {
        let (held, over) = channel::<()>();
        let longest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&longest);
        std::thread::spawn(move || {
            let mut since = Stopwatch::start();
            while over
                .recv_timeout(LOOK_EVERY)
                .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let late = since.elapsed().saturating_sub(LOOK_EVERY);
                seen.fetch_max(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                since = Stopwatch::start();
            }
        });
        Self { longest, _held: held }
    }

    /// The longest time in which nobody could look.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }
}
