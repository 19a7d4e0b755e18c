//! What the proxy makes of a policy once, so that a request looks nothing up: live upstreams, resolved
//! metrics, and what listeners say in handshakes.

use std::num::NonZeroU32;
use std::sync::Arc;

use prometheus::IntCounter;

use crate::ids::PlanName;
use crate::proxy::auth_failures::AuthFailures;
use crate::proxy::handshakes::Handshakes;
use crate::proxy::upstreams::LiveUpstream;
use crate::routing::route::Route;
use crate::runtime::snapshot::{Loaded, Snapshot};
use crate::telemetry::metrics::{Metrics, RouteMetrics};

/// The proxy's side of a snapshot.
#[derive(Debug)]
pub struct Derived {
    routes: Vec<Arc<LiveRoute>>,
    pub(super) unrouted: Arc<RouteMetrics>,
    upstreams: Vec<Arc<LiveUpstream>>,
    /// What each plan's buckets refused.
    rate_limited: Vec<(PlanName, IntCounter)>,
    pub(super) failures: Arc<AuthFailures>,
    auth_failures: Option<NonZeroU32>,
    handshakes: Handshakes,
}

/// A route with everything that a request on it needs.
#[derive(Debug)]
pub struct LiveRoute {
    pub(super) route: Arc<Route>,
    pub(super) upstream: Arc<LiveUpstream>,
    pub(super) metrics: Arc<RouteMetrics>,
}

/// Prepares the proxy's side of `next`, keeping what it shares with `previous`. Asks no resolver: that is `resolver`'s.
pub fn derive(next: &Snapshot, previous: Option<&Loaded<Derived>>, metrics: &Metrics) -> Derived {
    let before = |name: &crate::ids::UpstreamName| {
        previous?.derived.upstreams.iter().find(|upstream| upstream.settings.name == *name)
    };
    let upstreams: Vec<_> = next
        .config
        .upstreams
        .iter()
        .map(|settings| LiveUpstream::prepare(settings, before(&settings.name), metrics))
        .collect();
    let routes = next.config.routes.iter().filter_map(|route| {
        // Present by construction: `config::build` resolved the index.
        let upstream = Arc::clone(upstreams.get(route.upstream)?);
        Some(Arc::new(LiveRoute { route: Arc::clone(route), upstream, metrics: metrics.route(&route.label) }))
    });
    // A counter that is there from the start shows its first event as a rise.
    let counted = |plan: &PlanName| (plan.clone(), metrics.rate_limited(plan.as_str()));
    let rate_limited = next.config.plans.iter().map(|plan| counted(plan.name())).collect();
    let auth_failures = next.config.limits.auth_failures;
    let kept =
        previous.map(|loaded| &loaded.derived).filter(|derived| derived.auth_failures == auth_failures);
    Derived {
        routes: routes.collect(),
        rate_limited,
        unrouted: metrics.route("none"),
        failures: kept
            .map_or_else(|| Arc::new(AuthFailures::new(auth_failures)), |kept| Arc::clone(&kept.failures)),
        auth_failures,
        handshakes: Handshakes::of(&next.config, previous.map(|loaded| &loaded.derived.handshakes)),
        upstreams,
    }
}

impl Derived {
    /// The route at an index of the configuration's table.
    pub(super) fn route(&self, index: usize) -> Option<&Arc<LiveRoute>> {
        self.routes.get(index)
    }

    /// The counter of what a plan's buckets refuse; `None` for a plan of another snapshot.
    pub(super) fn rate_limited(&self, plan: &PlanName) -> Option<&IntCounter> {
        self.rate_limited.iter().find(|(name, _)| name == plan).map(|(_, counter)| counter)
    }

    /// How the listeners shake hands.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// All upstreams, for the tasks that look after them.
    pub fn upstreams(&self) -> &[Arc<LiveUpstream>] {
        &self.upstreams
    }
}
