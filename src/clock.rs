//! Time as a value: one clock, read once per request, replaced by hand in tests.
//!
//! Everything below `proxy` takes a [`Now`]; only this file reads the operating system's clocks. Limits and
//! ages use [`Monotonic`], so a jump of the wall clock moves no bucket; dates shown to people use [`UnixTime`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds on a clock that never goes back. The origin is arbitrary and differs from process to process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The instant `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant plus `span`, at most the clock's last instant (584 years after its origin).
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// Wall-clock time: nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time `nanos` nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The time `seconds` after the Unix epoch; at most the year 2554.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time as RFC 3339 has it, in UTC with a `Z`, to the millisecond; no digits that would be zeros.
    pub fn rfc3339(self) -> String {
        let millis = i64::try_from(self.as_millis()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
    }

    /// The time that RFC 3339 spells, 1970 to 2554, with any offset.
    pub fn of_rfc3339(text: &str) -> Option<Self> {
        let is_rfc_3339 = !text.contains('[') && text.len() >= "2027-01-01T00:00:00Z".len();
        let time = text.parse::<jiff::Timestamp>().ok().filter(|_| is_rfc_3339);
        time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).map(Self)
    }

    /// This time plus `span`, at most the last one that can be told.
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For spans: limits, ages, timeouts.
    pub monotonic: Monotonic,
    /// For dates: expiry, headers, logs.
    pub unix: UnixTime,
}

/// How long somebody has waited so far for what nobody may wait for long.
#[derive(Debug, Default)]
pub struct Waited(AtomicU64);

impl Waited {
    /// What is left of the `most` that may be waited.
    pub fn left_of(&self, most: Duration) -> Duration {
        most.saturating_sub(Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }

    /// Waited for so long, once more.
    pub fn add(&self, time: Duration) {
        self.0.fetch_add(nanos(time), Ordering::Relaxed);
    }
}

/// The process's clock. Clones share their time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { origin: Instant },
    Manual(Arc<ManualTime>),
}

#[derive(Debug)]
struct ManualTime {
    monotonic: AtomicU64,
    unix: AtomicU64,
}

/// Moves a manual clock. Clones move the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

/// Where a manual clock's monotonic side begins: late enough for spans that reach back a day.
const MANUAL_ORIGIN: u64 = 100 * 24 * 3600 * 1_000_000_000;

impl Clock {
    /// The operating system's clocks.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still at `start` until its [`ManualClock`] moves it.
    pub fn manual(start: UnixTime) -> (Self, ManualClock) {
        let time = Arc::new(ManualTime {
            monotonic: AtomicU64::new(MANUAL_ORIGIN),
            unix: AtomicU64::new(start.as_nanos()),
        });
        (Self(Source::Manual(Arc::clone(&time))), ManualClock(time))
    }

    /// Both clocks, now.
    pub fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), unix: self.unix() }
    }

    /// The monotonic clock alone.
    pub fn monotonic(&self) -> Monotonic {
        match &self.0 {
            Source::System { origin } => Monotonic(nanos(origin.elapsed())),
            Source::Manual(time) => Monotonic(time.monotonic.load(Ordering::SeqCst)),
        }
    }

    /// The wall clock alone. A system clock set before 1970 reads as 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn unix(&self) -> UnixTime {
        match &self.0 {
            Source::System { .. } => UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)),
            Source::Manual(time) => UnixTime(time.unix.load(Ordering::SeqCst)),
        }
    }
}

impl ManualClock {
    /// Moves both clocks forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.0.monotonic.fetch_add(nanos(span), Ordering::SeqCst);
        self.0.unix.fetch_add(nanos(span), Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_unix(&self, to: UnixTime) {
        self.0.unix.store(to.as_nanos(), Ordering::SeqCst);
    }
}

/// `span` in nanoseconds, at most `u64::MAX`.
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
