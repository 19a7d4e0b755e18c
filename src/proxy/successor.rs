//! Whom requests are charged with once the buckets have moved to the process that takes over.
//!
//! A hand-over leaves connections behind, and what they still ask is held to the same bucket as what comes to the new
//! process: it is charged there, one question a request. Before the hand-over none of this is looked at.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::Now;
use crate::limits::bucket::{Decision, Rate};
use crate::limits::limiter::{Holder, Moved, Owner, Undecided};
use crate::limits::verdict::Verdict;
use crate::outcome::rejection::Rejection;
use crate::proxy::ctx::Ctx;
use crate::proxy::shared::Shared;

/// The process that has the buckets.
#[async_trait]
pub trait Successor: Send + Sync {
    /// Charges one request to the bucket of `owner`; `None` if nobody could be asked in time. Does not wait for long.
    async fn charge(&self, owner: Owner, rate: Rate) -> Option<Decision>;
}

/// Where the buckets are.
#[derive(Clone)]
enum Place {
    Here,
    OnTheWay,
    There(Arc<dyn Successor>),
}

/// The one move of the buckets.
pub struct Succession(watch::Sender<Place>);

impl Default for Succession {
    fn default() -> Self {
        Self(watch::channel(Place::Here).0)
    }
}

impl Succession {
    /// The buckets are about to move: who would be charged waits. To be called before they do.
    pub fn begin(&self) {
        self.0.send_replace(Place::OnTheWay);
    }

    /// The buckets are back. To be called after they are.
    pub fn give_up(&self) {
        self.0.send_replace(Place::Here);
    }

    /// The buckets are the successor's.
    pub fn complete(&self, successor: Arc<dyn Successor>) {
        self.0.send_replace(Place::There(successor));
    }

    /// Whom to ask, once they are no longer on their way; `None`: they are here.
    async fn successor(&self) -> Option<Arc<dyn Successor>> {
        let mut place = self.0.subscribe();
        // The sender is as long-lived as this.
        let settled = place.wait_for(|place| !matches!(place, Place::OnTheWay)).await.ok()?;
        match &*settled {
            Place::There(successor) => Some(Arc::clone(successor)),
            Place::Here | Place::OnTheWay => None,
        }
    }
}

/// Decides on a request of `holder` that was [`Undecided`], wherever its bucket is.
///
/// # Errors
/// The successor did not answer: nothing may pass that nobody counts.
pub(super) async fn decide(
    shared: &Shared,
    holder: &Holder,
    undecided: Undecided,
    ctx: &Ctx,
) -> Result<Verdict, Rejection> {
    let now = ctx.started;
    match undecided {
        Undecided::Moved => charge(shared, holder, now).await,
        Undecided::Ask(leased) => {
            let decided = match &shared.leases {
                Some(leases) => leases.decide(holder, leased, &ctx.waited).await,
                None => shared.limiter.check_alone(holder, now.monotonic, now),
            };
            match decided {
                Ok(verdict) => Ok(verdict),
                Err(Moved) => charge(shared, holder, now).await,
            }
        }
    }
}

async fn charge(shared: &Shared, holder: &Holder, now: Now) -> Result<Verdict, Rejection> {
    let plan = holder.plan();
    let decision = shared.charge(&holder.owner(), plan.rate()).await.ok_or(Rejection::Overloaded)?;
    Ok(Verdict::new(decision, plan, now.unix))
}

impl Shared {
    /// Charges one request to the bucket of `owner` wherever that is; `None` if its place did not answer.
    pub async fn charge(&self, owner: &Owner, rate: Rate) -> Option<Decision> {
        loop {
            if let Some(successor) = self.succession.successor().await {
                return successor.charge(owner.clone(), rate).await;
            }
            if let Ok(decision) = self.limiter.charge(owner, rate, self.clock.monotonic()) {
                return Some(decision);
            }
        }
    }
}
