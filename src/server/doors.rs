//! Where the flow runs upward: what the ports are given to ask of what lies beside them.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::admin::PurgeCache;
use crate::api::Purger;
use crate::cache::entries::Entries;
use crate::clock::UnixTime;
use crate::console::operated::{Operated, Reloaded, ServerState};
use crate::memory::Buffers;
use crate::proxy::derived::Derived;
use crate::proxy::shared::Shared;
use crate::proxy::upstreams::LiveUpstream;
use crate::runtime::reload::{Reloader, Shrinking};
use crate::runtime::state::PolicyState;
use crate::server::cluster::Standings;
use crate::shelf::Shelf;
use crate::telemetry::metrics::Metrics;

/// Deletes proxied answers for the cache API.
pub(super) fn purger(shelf: Arc<Shelf>) -> Purger {
    Arc::new(move |purge| Box::pin(Arc::clone(&shelf).purge(purge)))
}

/// Forgets cached answers, and says so in the log.
pub(super) fn purge(shelf: Arc<Shelf>) -> PurgeCache {
    Box::new(move |purge| {
        let shelf = Arc::clone(&shelf);
        Box::pin(async move {
            let purged = shelf.purge(purge.clone()).await;
            match &purged {
                Ok(purged) => tracing::info!(purged, ?purge, "the cache was purged"),
                Err(error) => tracing::error!(%error, ?purge, "the cache on the disk was not purged"),
            }
            purged
        })
    })
}

/// Brings the gauges up to date that are read from elsewhere.
pub(super) fn refresh(
    shared: &Arc<Shared>,
    metrics: &Arc<Metrics>,
    standings: &Standings,
    (entries, buffers): (Entries, Buffers),
) -> Box<dyn Fn() + Send + Sync> {
    let (shared, metrics) = (Arc::clone(shared), Arc::clone(metrics));
    let standings = standings.clone();
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Box::new(move || {
        standings.show(&metrics);
        let (count, bytes) = entries.measure();
        metrics.cache_entries.set(gauge(count));
        metrics.cache_bytes.set(gauge(bytes));
        metrics.buffer_bytes.set(gauge(buffers.used()));
        metrics.in_flight_requests.set(gauge(shared.in_flight()));
        let policy = shared.policy();
        let counts = policy.snapshot.ring.counts(shared.clock().unix());
        metrics.keys("active").set(gauge(counts.active as u64));
        metrics.keys("disabled").set(gauge(counts.disabled as u64));
        metrics.keys("expired").set(gauge(counts.expired as u64));
        for upstream in policy.derived.upstreams() {
            upstream.show_health(shared.clock().monotonic());
        }
    })
}

/// The gateway, as the console's operators see and reload it.
pub(super) struct Helm {
    pub(super) shared: Arc<Shared>,
    pub(super) reloader: Arc<Reloader<Derived>>,
    pub(super) since: UnixTime,
}

impl Operated for Helm {
    fn state(&self) -> PolicyState {
        self.reloader.state()
    }

    fn servers(&self) -> Vec<ServerState> {
        let (policy, now) = (self.shared.policy(), self.shared.clock().monotonic());
        let of = |upstream: &Arc<LiveUpstream>| -> Vec<ServerState> {
            let state = |(server, is_up): (&str, bool)| ServerState {
                upstream: upstream.name().to_string(),
                server: server.to_owned(),
                is_up,
            };
            upstream.health(now).map(state).collect()
        };
        policy.derived.upstreams().iter().flat_map(of).collect()
    }

    fn since(&self) -> UnixTime {
        self.since
    }

    fn reload(&self, shrinking: Shrinking) -> BoxFuture<'static, Reloaded> {
        Box::pin(Arc::clone(&self.reloader).reload_aside(shrinking))
    }
}
