//! What is counted where gateways share answers.

use prometheus::{IntGaugeVec, Registry};

use crate::telemetry::metrics::counted::{Counter, CounterVec};
use crate::telemetry::metrics::families::{counters, gauges};

/// The families; without a child, as where nothing is shared, none is shown.
#[derive(Debug)]
pub struct SharedMetrics {
    reads: CounterVec,
    writes: CounterVec,
    flights: CounterVec,
    up: IntGaugeVec,
}

impl SharedMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            reads: counters(
                registry,
                "safecache_shared_reads_total",
                "Answers looked for among those that gateways share: hit, miss, timeout, damaged, failed.",
                &["result"],
            )?,
            writes: counters(
                registry,
                "safecache_shared_writes_total",
                "Answers to be shared with other gateways: stored, dropped, failed.",
                &["result"],
            )?,
            flights: counters(
                registry,
                "safecache_shared_flights_total",
                "Calls for which other gateways were asked: led, answered (by another), apart (each for itself).",
                &["result"],
            )?,
            up: gauges(
                registry,
                "safecache_shared_up",
                "1 while answers are shared with other gateways, 0 while this one goes on alone.",
                &[],
            )?,
        })
    }

    /// The counter of look-ups with this result: `hit`, `miss`, `timeout`, `damaged` or `failed`.
    pub fn reads(&self, result: &str) -> Counter {
        self.reads.with_label_values(&[result])
    }

    /// The counter of answers written with this result: `stored`, `dropped` or `failed`.
    pub fn writes(&self, result: &str) -> Counter {
        self.writes.with_label_values(&[result])
    }

    /// The counter of calls with this result: `led`, `answered` or `apart`.
    pub fn flights(&self, result: &str) -> Counter {
        self.flights.with_label_values(&[result])
    }

    /// Shows that answers are shared, or that they are not.
    pub fn show(&self, shared: Result<(), ()>) {
        self.up.with_label_values::<&str>(&[]).set(i64::from(shared.is_ok()));
    }
}
