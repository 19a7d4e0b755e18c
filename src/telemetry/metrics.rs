//! Every metric the gateway has; nothing else registers one.
//!
//! Labels take values that the configuration or this program fixes, never one that a client can choose. Children of
//! a request's metrics are resolved once for each route and kept with it.

use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, IntGauge, IntGaugeVec, Registry, TextEncoder};

use crate::outcome::finished::Outcome;
use crate::telemetry::metrics::cluster::ClusterMetrics;
use crate::telemetry::metrics::counted::{Counter, CounterVec, Histogram, HistogramVec};
use crate::telemetry::metrics::families::{counter, counters, gauge, gauges, histograms};
use crate::telemetry::metrics::route::{OutcomeMetrics, RouteMetrics};
use crate::telemetry::metrics::shared::SharedMetrics;

pub mod cluster;
pub mod counted;
mod families;
pub mod route;
pub mod shared;

/// Upper bounds of request durations, in seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0];

/// Upper bounds of the gateway's own share of a request, in seconds.
const OVERHEAD_BUCKETS: [f64; 11] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.1, 1.0];

/// All metrics, on a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: CounterVec,
    duration: HistogramVec,
    overhead: HistogramVec,
    first_byte: HistogramVec,
    auth_failures: CounterVec,
    rate_limited: CounterVec,
    cache_lookups: CounterVec,
    cache_evictions: CounterVec,
    disk_writes: CounterVec,
    disk_reads: CounterVec,
    tokens: CounterVec,
    upstream_up: IntGaugeVec,
    keys: IntGaugeVec,
    config_reloads: CounterVec,
    connections_refused: CounterVec,
    /// Requests admitted and not yet finished, as last asked for.
    pub in_flight_requests: IntGauge,
    /// Client connections open.
    pub connections: IntGauge,
    /// Heads that were given up: late, too large, or no HTTP.
    pub heads_refused: Counter,
    /// HTTP/2 connections that were ended as they brought little but frames that ask for nothing.
    pub floods: Counter,
    /// Entries in the cache.
    pub cache_entries: IntGauge,
    /// Bytes of the entries in the cache.
    pub cache_bytes: IntGauge,
    /// Answers of upstreams on the disk.
    pub disk_entries: IntGauge,
    /// Bytes that they take there.
    pub disk_bytes: IntGauge,
    /// Tokens that hits did not have to buy.
    pub tokens_saved: Counter,
    /// Which build of the key ring is live.
    pub key_ring_generation: IntGauge,
    /// 1 if no refused reload stands, else 0.
    pub last_reload_successful: IntGauge,
    /// Bytes of bodies and answers held.
    pub buffer_bytes: IntGauge,
    /// Access lines dropped because the writer fell behind.
    pub access_lines_dropped: Counter,
    /// Requests whose usage could not be counted.
    pub usage_lost: Counter,
    /// Answers stored by clients that were not what they had stored.
    pub stored_damaged: Counter,
    /// Of what gateways share.
    pub cluster: ClusterMetrics,
    /// What gateways share.
    pub shared: SharedMetrics,
}

/// How a cache look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Found.
    Hit,
    /// Not found.
    Miss,
    /// Not looked up.
    Bypass,
}

impl Metrics {
    /// All metrics, each at zero.
    ///
    /// # Errors
    /// Two metrics of one name: a mistake in this file, which any start shows.
    #[expect(clippy::too_many_lines, reason = "a flat list with one entry a metric")]
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Arc::new(Self {
            requests: counters(
                &registry,
                "safecache_requests_total",
                "Requests, by route, outcome and status.",
                &["route", "outcome", "status"],
            )?,
            duration: histograms(
                &registry,
                "safecache_request_duration_seconds",
                "From the head's last byte to the answer's last.",
                &["route", "outcome"],
                &DURATION_BUCKETS,
            )?,
            overhead: histograms(
                &registry,
                "safecache_overhead_seconds",
                "The gateway's own share of a request: all but waiting for body, upstream and client.",
                &["outcome"],
                &OVERHEAD_BUCKETS,
            )?,
            first_byte: histograms(
                &registry,
                "safecache_upstream_first_byte_seconds",
                "From the upstream request's last byte to the answer's first.",
                &["upstream"],
                &DURATION_BUCKETS,
            )?,
            auth_failures: counters(
                &registry,
                "safecache_auth_failures_total",
                "Requests without a valid key, by reason.",
                &["reason"],
            )?,
            rate_limited: counters(
                &registry,
                "safecache_rate_limited_total",
                "Requests refused by a bucket, by plan.",
                &["plan"],
            )?,
            cache_lookups: counters(
                &registry,
                "safecache_cache_lookups_total",
                "Cache look-ups, by kind and result.",
                &["kind", "result"],
            )?,
            cache_evictions: counters(
                &registry,
                "safecache_cache_evictions_total",
                "Entries gone from the cache, by cause.",
                &["cause"],
            )?,
            disk_writes: counters(
                &registry,
                "safecache_disk_writes_total",
                "Answers to be kept on the disk: stored, dropped as too much waited, failed.",
                &["result"],
            )?,
            disk_reads: counters(
                &registry,
                "safecache_disk_reads_total",
                "Answers looked for on the disk, as memory had none: hit, miss, timeout, damaged, failed.",
                &["result"],
            )?,
            tokens: counters(
                &registry,
                "safecache_tokens_total",
                "Tokens that upstreams reported, by direction; estimated_: of streams that reported none.",
                &["direction"],
            )?,
            upstream_up: gauges(
                &registry,
                "safecache_upstream_up",
                "1 if the server takes requests, 0 while it is ejected.",
                &["upstream", "server"],
            )?,
            keys: gauges(
                &registry,
                "safecache_keys",
                "Keys in the ring, by state; those of suspended accounts are disabled.",
                &["state"],
            )?,
            config_reloads: counters(
                &registry,
                "safecache_config_reloads_total",
                "Reloads of configuration and key list, by result.",
                &["result"],
            )?,
            in_flight_requests: gauge(
                &registry,
                "safecache_in_flight_requests",
                "Requests admitted and not yet finished.",
            )?,
            connections: gauge(&registry, "safecache_connections", "Client connections open.")?,
            connections_refused: counters(
                &registry,
                "safecache_connections_refused_total",
                "Connections closed at once, by which bound: all, or those of one address.",
                &["bound"],
            )?,
            heads_refused: counter(
                &registry,
                "safecache_heads_refused_total",
                "Request heads that did not come to their end in time and in size, or were no HTTP.",
            )?,
            floods: counter(
                &registry,
                "safecache_http2_floods_total",
                "HTTP/2 connections ended because they brought too many frames that ask for nothing.",
            )?,
            cache_entries: gauge(&registry, "safecache_cache_entries", "Entries in the cache.")?,
            cache_bytes: gauge(&registry, "safecache_cache_bytes", "Bytes of the entries in the cache.")?,
            disk_entries: gauge(&registry, "safecache_disk_entries", "Answers of upstreams on the disk.")?,
            disk_bytes: gauge(
                &registry,
                "safecache_disk_bytes",
                "Bytes that answers of upstreams take on the disk.",
            )?,
            tokens_saved: counter(
                &registry,
                "safecache_tokens_saved_total",
                "Tokens that cache hits did not have to buy.",
            )?,
            key_ring_generation: gauge(
                &registry,
                "safecache_key_ring_generation",
                "Which build of the key ring is live.",
            )?,
            last_reload_successful: gauge(
                &registry,
                "safecache_config_last_reload_successful",
                "1 if configuration, key list and certificates are live as they were last read, 0 while one is refused.",
            )?,
            buffer_bytes: gauge(
                &registry,
                "safecache_buffer_bytes",
                "Bytes of request bodies and answers held.",
            )?,
            access_lines_dropped: counter(
                &registry,
                "safecache_access_lines_dropped_total",
                "Access lines dropped because the writer fell behind.",
            )?,
            usage_lost: counter(
                &registry,
                "safecache_usage_lost_total",
                "Requests whose usage could not be counted: there was no room, or no time.",
            )?,
            stored_damaged: counter(
                &registry,
                "safecache_stored_damaged_total",
                "Answers put by the cache API that were found damaged, and were deleted.",
            )?,
            cluster: ClusterMetrics::new(&registry)?,
            shared: SharedMetrics::register(&registry)?,
            registry,
        });
        let info = gauges(
            &metrics.registry,
            "safecache_build_info",
            "1, with the version as a label.",
            &["version"],
        )?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The metrics of the route labelled `label`; the same ones for the same label.
    pub fn route(&self, label: &str) -> Arc<RouteMetrics> {
        let outcomes = Outcome::ALL
            .iter()
            .map(|outcome| {
                let duration = self.duration.with_label_values(&[label, outcome.as_str()]);
                OutcomeMetrics::new(duration, self.overhead.with_label_values(&[outcome.as_str()]))
            })
            .collect();
        Arc::new(RouteMetrics::new(outcomes, self.requests.clone(), label))
    }

    /// The first-byte histogram of an upstream.
    pub fn first_byte(&self, upstream: &str) -> Histogram {
        self.first_byte.with_label_values(&[upstream])
    }

    /// The counter of requests that the plan's buckets refused.
    pub fn rate_limited(&self, plan: &str) -> Counter {
        self.rate_limited.with_label_values(&[plan])
    }

    /// The counter of requests without a valid key.
    pub fn auth_failures(&self, reason: &str) -> Counter {
        self.auth_failures.with_label_values(&[reason])
    }

    /// The counter of exact look-ups that ended so.
    pub fn cache_lookups(&self, result: Lookup) -> Counter {
        let result = match result {
            Lookup::Hit => "hit",
            Lookup::Miss => "miss",
            Lookup::Bypass => "bypass",
        };
        self.cache_lookups.with_label_values(&["exact", result])
    }

    /// The counter of entries gone for `cause`.
    pub fn cache_evictions(&self, cause: &str) -> Counter {
        self.cache_evictions.with_label_values(&[cause])
    }

    /// The counter of answers written to the disk with this result: `stored`, `dropped` or `failed`.
    pub fn disk_writes(&self, result: &str) -> Counter {
        self.disk_writes.with_label_values(&[result])
    }

    /// The counter of look-ups on the disk with this result: `hit`, `miss`, `timeout`, `damaged` or `failed`.
    pub fn disk_reads(&self, result: &str) -> Counter {
        self.disk_reads.with_label_values(&[result])
    }

    /// The token counter of a direction: `prompt`, `completion` or `cached`.
    pub fn tokens(&self, direction: &str) -> Counter {
        self.tokens.with_label_values(&[direction])
    }

    /// The gauge of a server's health.
    pub fn upstream_up(&self, upstream: &str, server: &str) -> IntGauge {
        self.upstream_up.with_label_values(&[upstream, server])
    }

    /// Removes the series of a server that is gone. Whoever holds its gauge sets it without effect.
    pub fn forget_server(&self, upstream: &str, server: &str) {
        // An error means that there was none.
        let _ = self.upstream_up.remove_label_values(&[upstream, server]);
    }

    /// Removes the series of an upstream that is gone, but for its servers'.
    pub fn forget_upstream(&self, upstream: &str) {
        // An error means that there was none.
        let _ = self.first_byte.remove_label_values(&[upstream]);
    }

    /// The counter of connections that were refused by a bound: `all` or `address`.
    pub fn connections_refused(&self, bound: &str) -> Counter {
        self.connections_refused.with_label_values(&[bound])
    }

    /// The gauge of keys in a state: `active`, `disabled` or `expired`.
    pub fn keys(&self, state: &str) -> IntGauge {
        self.keys.with_label_values(&[state])
    }

    /// Counts a reload.
    pub fn reloaded(&self, result: Result<(), ()>) {
        let label = if result.is_ok() { "applied" } else { "refused" };
        self.config_reloads.with_label_values(&[label]).inc();
    }

    /// Everything in Prometheus's text format, version 0.0.4.
    ///
    /// # Errors
    /// A family that cannot be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|_| prometheus::Error::Msg("not UTF-8".into()))
    }
}
