//! What a reload has taken away leaves the metrics.
//!
//! The series of upstreams and of their servers go at once: nobody but the reload makes them, and a request that still
//! runs there holds on to what it has. Those of routes and plans stay, with the count of what is past: a request may
//! end long after its route or plan is gone, and is counted where it began.

use crate::config::Config;
use crate::telemetry::metrics::Metrics;

/// Removes the series of upstreams and servers that `old` had and `new` has not.
pub(super) fn retire(old: &Config, new: &Config, metrics: &Metrics) {
    for upstream in &old.upstreams {
        let name = upstream.name.as_str();
        let next = new.upstreams.iter().find(|next| next.name == upstream.name);
        if next.is_none() {
            metrics.forget_upstream(name);
        }
        let stays = |label: &str| next.is_some_and(|next| next.servers.iter().any(|s| *s.label == *label));
        for server in upstream.servers.iter().filter(|server| !stays(&server.label)) {
            metrics.forget_server(name, &server.label);
        }
    }
}
