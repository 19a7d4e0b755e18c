//! What is done again and again while the gateway runs, by tasks that nobody waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::Monotonic;
use crate::proxy::checks::Checks;
use crate::proxy::derived::Derived;
use crate::proxy::resolver::Resolver;
use crate::proxy::shared::Shared;
use crate::proxy::upstreams::LiveUpstream;
use crate::runtime::live::Live;

/// Between two looks at connections to upstreams that wait for a request.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Between two looks at which health checks are due.
const CHECK_LOOK: Duration = Duration::from_millis(100);

/// Between two questions to the resolver.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// The upstreams that there are: those of earlier policies as well, as long as a request still uses them.
#[derive(Clone, Default)]
pub(super) struct Roll(Arc<Mutex<Vec<Weak<LiveUpstream>>>>);

impl Roll {
    /// Takes up those of `upstreams` that are not known yet.
    pub(super) fn enter(&self, upstreams: &[Arc<LiveUpstream>]) {
        let mut known = self.known();
        for upstream in upstreams {
            if !known.iter().any(|known| known.as_ptr() == Arc::as_ptr(upstream)) {
                known.push(Arc::downgrade(upstream));
            }
        }
    }

    /// Ends the connections that have waited for too long at `now`.
    fn end_idle(&self, now: Monotonic) {
        self.known().retain(|known| known.upgrade().inspect(|upstream| upstream.end_idle(now)).is_some());
    }

    fn known(&self) -> MutexGuard<'_, Vec<Weak<LiveUpstream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all of it looks after.
pub(super) struct Charges {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live<Derived>>,
    pub(super) resolver: Resolver,
    pub(super) roll: Roll,
}

/// Begins all of it on `runtime`, which ends it.
pub(super) fn begin(runtime: &Handle, charges: Charges) {
    let Charges { shared, live, resolver, roll } = charges;
    runtime.spawn(check(Checks::new(Arc::clone(&shared))));
    runtime.spawn(sweep(shared, roll));
    runtime.spawn(resolve(live, resolver));
}

async fn sweep(shared: Arc<Shared>, roll: Roll) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        roll.end_idle(shared.clock().monotonic());
        shared.trim();
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
