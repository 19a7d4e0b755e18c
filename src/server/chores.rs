//! What is done again and again while the gateway runs, by tasks that nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::proxy::checks::Checks;
use crate::proxy::derived::Derived;
use crate::proxy::resolver::Resolver;
use crate::proxy::shared::Shared;
use crate::runtime::live::Live;

/// Between two looks at connections to upstreams that wait for a request.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Between two looks at which health checks are due.
const CHECK_LOOK: Duration = Duration::from_millis(100);

/// Between two questions to the resolver.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// Begins all of it on `runtime`, which ends it.
pub(super) fn begin(runtime: &Handle, shared: &Arc<Shared>, live: Arc<Live<Derived>>, resolver: Resolver) {
    runtime.spawn(sweep(Arc::clone(shared)));
    runtime.spawn(check(Checks::new(Arc::clone(shared))));
    runtime.spawn(resolve(live, resolver));
}

async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let now = shared.clock().monotonic();
        shared.policy().derived.upstreams().iter().for_each(|upstream| upstream.end_idle(now));
    }
}

async fn check(checks: Checks) {
    loop {
        checks.begin_due();
        tokio::time::sleep(CHECK_LOOK).await;
    }
}

async fn resolve(live: Arc<Live<Derived>>, resolver: Resolver) {
    loop {
        tokio::time::sleep(RESOLVE_EVERY).await;
        // The answers are put in place as they come.
        drop(resolver.ask_all(&live.load().derived));
    }
}
