//! What there is to count of a gateway that is one of several. All of it is there from the start, and stays at zero for
//! one that is alone.

use prometheus::{IntGauge, Registry};

use crate::telemetry::metrics::counted::{Counter, CounterVec};
use crate::telemetry::metrics::families::{counter, counters, gauge};

/// The metrics of a cluster.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// 1 while Redis can be asked.
    pub redis_up: IntGauge,
    /// 1 while PostgreSQL can be asked.
    pub postgres_up: IntGauge,
    /// How many gateways there are, as this one knows.
    pub replicas: IntGauge,
    /// Requests whose limit was decided without Redis, which should have been asked.
    pub limits_alone: Counter,
    limit_questions: CounterVec,
}

impl ClusterMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            redis_up: gauge(registry, "safecache_redis_up", "1 while Redis can be asked.")?,
            postgres_up: gauge(registry, "safecache_postgres_up", "1 while PostgreSQL can be asked.")?,
            replicas: gauge(
                registry,
                "safecache_replicas",
                "Gateways that share limits, as this one knows.",
            )?,
            limits_alone: counter(
                registry,
                "safecache_limits_alone_total",
                "Requests whose limit was decided without Redis, which could not be asked.",
            )?,
            limit_questions: counters(
                registry,
                "safecache_limit_questions_total",
                "Questions about limits to Redis, by result: answered, late, failed, down.",
                &["result"],
            )?,
        })
    }

    /// The counter of questions about limits that came to this: `answered`, `late`, `failed` or `down`.
    pub fn limit_questions(&self, result: &str) -> Counter {
        self.limit_questions.with_label_values(&[result])
    }
}
