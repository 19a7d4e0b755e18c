//! What the proxy makes of a policy once, so that a request looks nothing up: live upstreams, resolved
//! metrics, and what listeners say in handshakes.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::ids::PlanName;
use crate::proxy::auth_failures::AuthFailures;
use crate::proxy::handshakes::Handshakes;
use crate::proxy::headers;
use crate::proxy::upstreams::LiveUpstream;
use crate::routing::route::Route;
use crate::runtime::snapshot::{Loaded, Snapshot};
use crate::spread::Spread;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::counted::Counter;
use crate::telemetry::metrics::route::RouteMetrics;
use crate::upstream::settings::UpstreamSettings;

/// The proxy's side of a snapshot.
#[derive(Debug)]
pub struct Derived {
    routes: Vec<Arc<LiveRoutes>>,
    pub(super) unrouted: Arc<RouteMetrics>,
    upstreams: Vec<Arc<LiveUpstream>>,
    /// What each plan's buckets refused.
    rate_limited: Vec<(PlanName, Counter)>,
    pub(super) failures: Arc<AuthFailures>,
    auth_failures: Option<NonZeroU32>,
    handshakes: Handshakes,
}

/// One route, as each worker has it.
#[derive(Debug)]
struct LiveRoutes {
    source: Arc<Route>,
    each: Spread<Arc<LiveRoute>>,
}

/// A route with everything that a request on it needs, and holds on to: each worker has its own, down to the values that
/// are cloned.
#[derive(Debug)]
#[repr(align(128))]
pub struct LiveRoute {
    pub(super) route: Route,
    pub(super) settings: UpstreamSettings,
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
        let upstream = upstreams.get(route.upstream)?;
        let known = previous
            .and_then(|previous| previous.derived.routes.iter().find(|known| known.is(route, upstream)));
        Some(known.map_or_else(|| LiveRoutes::new(route, upstream, metrics), Arc::clone))
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

impl LiveRoutes {
    fn new(route: &Arc<Route>, upstream: &Arc<LiveUpstream>, metrics: &Metrics) -> Arc<Self> {
        let shown = metrics.route(&route.label);
        let each = Spread::for_cores(|_| {
            let cache = route.cache.as_deref().cloned().map(Arc::new);
            Arc::new(LiveRoute {
                route: Route { label: Arc::from(&*route.label), cache, ..Route::clone(route) },
                settings: headers::copied(&upstream.settings),
                upstream: Arc::clone(upstream),
                metrics: Arc::clone(&shown),
            })
        });
        Arc::new(Self { source: Arc::clone(route), each })
    }

    /// True if it is made of these.
    fn is(&self, route: &Arc<Route>, upstream: &Arc<LiveUpstream>) -> bool {
        Arc::ptr_eq(&self.source, route) && Arc::ptr_eq(&self.each.mine().upstream, upstream)
    }
}

impl Derived {
    /// The route at an index of the configuration's table.
    pub(super) fn route(&self, index: usize) -> Option<&Arc<LiveRoute>> {
        self.routes.get(index).map(|routes| routes.each.mine())
    }

    /// The counter of what a plan's buckets refuse; `None` for a plan of another snapshot.
    pub(super) fn rate_limited(&self, plan: &PlanName) -> Option<&Counter> {
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
