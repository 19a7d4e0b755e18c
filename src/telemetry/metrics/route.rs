//! The metrics of one route's requests, each looked up once.

use std::sync::OnceLock;
use std::time::Duration;

use crate::outcome::finished::Outcome;
use crate::telemetry::metrics::counted::{Counter, CounterVec, Histogram};

/// Status codes whose counters are kept resolved; others are looked up.
const COMMON_STATUSES: [u16; 16] =
    [0, 200, 201, 204, 304, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504];

/// One route's request metrics, resolved.
#[derive(Debug)]
pub struct RouteMetrics {
    outcomes: Vec<OutcomeMetrics>,
    requests: CounterVec,
    label: Box<str>,
}

/// Those of one outcome.
#[derive(Debug)]
pub(super) struct OutcomeMetrics {
    duration: Histogram,
    overhead: Histogram,
    statuses: [OnceLock<Counter>; COMMON_STATUSES.len()],
}

impl OutcomeMetrics {
    pub(super) fn new(duration: Histogram, overhead: Histogram) -> Self {
        Self { duration, overhead, statuses: std::array::from_fn(|_| OnceLock::new()) }
    }
}

impl RouteMetrics {
    /// Of the route labelled `label`; `outcomes` are in the order of [`Outcome::ALL`].
    pub(super) fn new(outcomes: Vec<OutcomeMetrics>, requests: CounterVec, label: &str) -> Self {
        Self { outcomes, requests, label: label.into() }
    }

    /// Records the end of a request.
    pub fn finished(&self, outcome: Outcome, status: u16, times: Times) {
        let Some(metrics) = self.outcomes.get(outcome as usize) else { return };
        metrics.duration.observe(times.duration);
        metrics.overhead.observe(times.overhead);
        let resolve =
            || self.requests.with_label_values(&[&self.label, outcome.as_str(), &status.to_string()]);
        let place = COMMON_STATUSES.iter().position(|common| *common == status);
        match place.and_then(|place| metrics.statuses.get(place)) {
            Some(slot) => slot.get_or_init(resolve).inc(),
            None => resolve().inc(),
        }
    }
}

/// The spans recorded of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// All of it.
    pub duration: Duration,
    /// The gateway's own share.
    pub overhead: Duration,
}
