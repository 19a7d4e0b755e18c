//! The token bucket's arithmetic: GCRA in one atomic word.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) keeps one instant, the theoretical arrival time. How far
//! it lies ahead of now is the bucket's *debt*: zero when full, `tau` when empty. Time pays the debt back, so no
//! task refills anything, and a request costs one load and one compare-and-swap.
//! The package in `loom/` compiles this very file and tries every interleaving.

use std::num::NonZeroU32;
use std::time::Duration;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Monotonic, nanos};

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

    /// The rate with this emission interval and this time to fill, as [`Rate::interval`] and [`Rate::fill_time`] told
    /// them; `None` if not even one token fits.
    pub fn of_spans(interval: Duration, fill_time: Duration) -> Option<Self> {
        let interval = u64::try_from(interval.as_nanos()).ok().filter(|interval| *interval > 0)?;
        let tolerance =
            u64::try_from(fill_time.as_nanos()).ok().filter(|tolerance| *tolerance >= interval)?;
        Some(Self { interval, tolerance })
    }

    /// The time in which an empty bucket fills: `tau`.
    pub fn fill_time(self) -> Duration {
        Duration::from_nanos(self.tolerance)
    }

    /// The time in which one token arrives: `T`.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(self.interval)
    }
}

/// One bucket. All its users must run it at the same [`Rate`]; another rate needs a successor, see
/// [`Bucket::retire`].
#[derive(Debug)]
pub struct Bucket {
    tat: AtomicU64,
}

/// The theoretical arrival time of a bucket that has a successor.
const RETIRED: u64 = u64::MAX;

/// The bucket has been replaced by a successor; ask for that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired;

impl Bucket {
    /// A full bucket.
    pub fn full() -> Self {
        Self { tat: AtomicU64::new(0) }
    }

    /// One that has no successor and never did: it stands where none is used.
    pub(super) fn retired() -> Self {
        Self { tat: AtomicU64::new(RETIRED) }
    }

    /// A bucket that is full once `debt` has passed from `now` on.
    pub fn owing(debt: Duration, now: Monotonic) -> Self {
        Self { tat: AtomicU64::new(last_valid(now.saturating_add(debt).as_nanos())) }
    }

    /// Takes one token if there is one, else nothing. Never blocks. A caller whose `now` lies behind another's
    /// finds the bucket emptier than it is, never fuller.
    ///
    /// # Errors
    /// [`Retired`] if the bucket has a successor; nothing was taken.
    pub fn take(&self, rate: Rate, now: Monotonic) -> Result<Decision, Retired> {
        let now = now.as_nanos();
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            if tat == RETIRED {
                return Err(Retired);
            }
            let debt = tat.saturating_sub(now);
            let debt_after = debt.saturating_add(rate.interval);
            if debt_after > rate.tolerance {
                return Ok(Decision { rate, debt, wait: debt_after - rate.tolerance });
            }
            let next = last_valid(now.saturating_add(debt_after));
            // The word is all there is to agree on, so its own modification order is order enough.
            match self.tat.compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(Decision { rate, debt: debt_after, wait: 0 }),
                Err(seen) => tat = seen,
            }
        }
    }

    /// Gives one token back, as if it had not been taken; a bucket that has filled up since stays full.
    ///
    /// # Errors
    /// [`Retired`] if the bucket has a successor; nothing was given back.
    pub fn refund(&self, rate: Rate) -> Result<(), Retired> {
        let less = |tat: u64| (tat != RETIRED).then(|| tat.saturating_sub(rate.interval));
        self.tat.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(|_| Retired)
    }

    /// Ends this bucket, which ran at `from`, and returns its successor for the rate `to`, filled to the same
    /// ratio, rounded down. From here on every [`Bucket::take`] of this one says [`Retired`]. There is one
    /// successor: retiring a retired bucket yields an empty one.
    pub fn retire(&self, from: Rate, to: Rate, now: Monotonic) -> Self {
        let debt = self.close(now).map_or(from.tolerance, nanos);
        let scaled =
            (u128::from(debt) * u128::from(to.tolerance)).div_ceil(u128::from(from.tolerance.max(1)));
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        Self { tat: AtomicU64::new(last_valid(now.as_nanos().saturating_add(scaled))) }
    }

    /// Ends this bucket and returns the time after which it would have been full; `None` if it had ended before. From
    /// here on every [`Bucket::take`] says [`Retired`].
    pub fn close(&self, now: Monotonic) -> Option<Duration> {
        let tat = self.tat.swap(RETIRED, Ordering::Relaxed);
        (tat != RETIRED).then(|| Duration::from_nanos(tat.saturating_sub(now.as_nanos())))
    }

    /// True once the bucket has a successor.
    pub fn is_retired(&self) -> bool {
        self.tat.load(Ordering::Relaxed) == RETIRED
    }
}

/// `tat`, kept off the mark of a retired bucket.
fn last_valid(tat: u64) -> u64 {
    tat.min(RETIRED - 1)
}

/// What became of one request at a bucket, and how full the bucket was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    rate: Rate,
    debt: u64,
    wait: u64,
}

impl Decision {
    /// A decision that was made elsewhere: the debt that the request left, and the time that it is to wait for, if it was
    /// refused.
    pub fn told(rate: Rate, debt: Duration, wait: Option<Duration>) -> Self {
        Self { rate, debt: nanos(debt), wait: wait.map_or(0, |wait| nanos(wait).max(1)) }
    }

    /// `None`: admitted. Else the time after which one request would pass, were it the only one; never zero.
    pub fn wait(&self) -> Option<Duration> {
        (self.wait > 0).then(|| Duration::from_nanos(self.wait))
    }

    /// Whole tokens left, after this request.
    pub fn level(&self) -> u64 {
        self.rate.tolerance.saturating_sub(self.debt) / self.rate.interval.max(1)
    }

    /// The time until at least `tokens` are in the bucket, counted from the decision; zero if they are. More
    /// than the bucket holds counts as full.
    pub fn time_to_level(&self, tokens: u64) -> Duration {
        let missing_then = self.rate.tolerance.saturating_sub(self.rate.interval.saturating_mul(tokens));
        Duration::from_nanos(self.debt.saturating_sub(missing_then))
    }

    /// The time until there is one more whole token; `None` if the bucket is full.
    pub fn time_to_one_more(&self) -> Option<Duration> {
        (self.debt > 0).then(|| self.time_to_level(self.level().saturating_add(1)))
    }

    /// The time until the bucket is full; zero if it is.
    pub fn time_to_full(&self) -> Duration {
        Duration::from_nanos(self.debt)
    }
}
