//! What is counted of what lies behind memory, and what is said of it: once when it fails, and once when it does no more.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Monotonic};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::counted::Counter;

/// How a look-up behind memory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// What was found is in memory now.
    Hit,
    /// Nothing was found that may be served.
    Miss,
    /// It took too long.
    Timeout,
    /// What was found is not what was written.
    Damaged,
    /// It could not be read.
    Failed,
}

impl Read {
    const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Timeout, Self::Damaged, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Timeout => "timeout",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
        }
    }
}

/// The counters, resolved once.
#[derive(Debug)]
pub(super) struct Counts {
    metrics: Arc<Metrics>,
    reads: [Counter; Read::ALL.len()],
    stored: Counter,
    dropped: Counter,
    failed: Counter,
    reading: Health,
    writing: Health,
    tending: Health,
}

/// What is asked for again and again, and fails now and then, is well when it has not failed for so long.
const STEADY: Duration = Duration::from_secs(5);

/// Whether something fails, and what it is.
#[derive(Debug)]
struct Health {
    what: &'static str,
    clock: Clock,
    /// How long it must not have failed until that is told.
    steady: Duration,
    fails: AtomicBool,
    /// When it failed last, in nanoseconds of the clock.
    failed_at: AtomicU64,
}

impl Health {
    fn of(what: &'static str, clock: &Clock) -> Self {
        Self {
            what,
            clock: clock.clone(),
            steady: Duration::ZERO,
            fails: AtomicBool::new(false),
            failed_at: AtomicU64::new(0),
        }
    }

    /// Says so if that is new.
    fn note(&self, error: Option<&dyn Display>) {
        match error {
            None if !self.fails.load(Ordering::Relaxed) => {}
            None => {
                let failed_at = Monotonic::from_nanos(self.failed_at.load(Ordering::Relaxed));
                let is_steady = self.clock.monotonic().saturating_since(failed_at) >= self.steady;
                if is_steady && self.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("{} again", self.what);
                }
            }
            Some(error) => {
                self.failed_at.store(self.clock.monotonic().as_nanos(), Ordering::Relaxed);
                if !self.fails.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "{} no more, until it is well", self.what);
                }
            }
        }
    }
}

impl Counts {
    /// Of the disk.
    pub(super) fn of_disk(metrics: Arc<Metrics>, clock: &Clock) -> Self {
        Self {
            reads: Read::ALL.map(|read| metrics.disk_reads(read.as_str())),
            stored: metrics.disk_writes("stored"),
            dropped: metrics.disk_writes("dropped"),
            failed: metrics.disk_writes("failed"),
            reading: Health::of("cached answers are read from the disk", clock),
            writing: Health::of("cached answers are written to the disk", clock),
            tending: Health::of("the cache on the disk is tended", clock),
            metrics,
        }
    }

    /// Of what gateways share.
    pub(super) fn of_shared(metrics: Arc<Metrics>, clock: &Clock) -> Self {
        Self {
            reads: Read::ALL.map(|read| metrics.shared.reads(read.as_str())),
            stored: metrics.shared.writes("stored"),
            dropped: metrics.shared.writes("dropped"),
            failed: metrics.shared.writes("failed"),
            reading: Health::of("answers are read that gateways share", clock),
            writing: Health::of("answers are written that gateways share", clock),
            tending: Health {
                steady: STEADY,
                ..Health::of("the purges of other gateways are followed", clock)
            },
            metrics,
        }
    }

    /// Counts a look-up.
    pub(super) fn read(&self, read: Read) {
        let counter = self.reads.get(read as usize);
        counter.into_iter().for_each(Counter::inc);
        if matches!(read, Read::Hit | Read::Miss) {
            self.reading.note(None);
        }
    }

    /// It cannot be read.
    pub(super) fn failed_to_read(&self, error: &dyn Display) -> Read {
        self.reading.note(Some(error));
        Read::Failed
    }

    /// Counts answers that were not to be written.
    pub(super) fn dropped(&self, answers: u64) {
        self.dropped.inc_by(answers);
    }

    /// Counts answers that have been written.
    pub(super) fn stored(&self, answers: u64) {
        self.stored.inc_by(answers);
        self.writing.note(None);
    }

    /// Counts answers that could not be written.
    pub(super) fn failed(&self, answers: u64, error: &dyn Display) {
        self.failed.inc_by(answers);
        self.writing.note(Some(error));
    }

    /// What is done beside reading and writing was done, or why not.
    pub(super) fn tended(&self, error: Option<&dyn Display>) {
        self.tending.note(error);
    }

    /// Shows what there is.
    pub(super) fn show(&self, entries: u64, bytes: u64) {
        let told = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.disk_entries.set(told(entries));
        self.metrics.disk_bytes.set(told(bytes));
    }
}
