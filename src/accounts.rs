//! The one service behind the operator's API, the command line and the console: whatever door a change comes through, it
//! passes the same rules, leaves the same trail and goes live in the same way.
//!
//! - `keys`: a key's life.
//! - `holders`: accounts, those of the store and those of the key list alike, and what they may.
//! - `draft`: what a person writes of a key, as text, and what it means.
//! - `request`: what a request is known by if it is sent again.
//! - `refused`: why something was not done.
//! - `people`: who comes in, who is who, and what each may do.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::auth::key_ring::listed::ListedAccounts;
use crate::clock::{Clock, Monotonic, UnixTime};
use crate::config::Config;
use crate::ids::{KeyId, PlanName};
use crate::limits::plan::Plan;
use crate::store::Store;
use crate::store::directory::Directory;
use crate::store::directory::edit::{Author, Edit, Edited};

use crate::accounts::refused::Refused;

pub mod draft;
pub mod holders;
pub mod keys;
pub mod people;
pub mod refused;
pub mod request;

/// The plan of accounts that nobody has given another.
pub const FIRST_PLAN: &str = "free";

/// A change is made, but whoever has the ring has not taken it in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

/// Waits until everything up to a revision is live.
pub type Publish = Box<dyn Fn(u64) -> BoxFuture<'static, Result<(), Late>> + Send + Sync>;

/// Whether a change is in force already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is: whoever asks from now on is treated accordingly.
    Live,
    /// It is made and will be, but that takes longer than was waited for.
    Pending,
}

/// What the service works with.
pub struct Parts {
    /// Accounts and keys.
    pub directory: Arc<dyn Directory>,
    /// Knows when keys were used.
    pub store: Arc<dyn Store>,
    /// Waits until a change is live.
    pub publish: Publish,
    /// The accounts that the key list of this moment names.
    pub listed: Box<dyn Fn() -> ListedAccounts + Send + Sync>,
    /// The configuration of this moment.
    pub config: Box<dyn Fn() -> Arc<Config> + Send + Sync>,
    /// The clock.
    pub clock: Clock,
}

/// The service.
pub struct Accounts(Parts);

impl Accounts {
    /// Over its parts.
    pub fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// This moment.
    pub fn now(&self) -> UnixTime {
        self.0.clock.unix()
    }

    /// The same, by the clock that nobody sets.
    pub fn monotonic(&self) -> Monotonic {
        self.0.clock.monotonic()
    }

    /// The configuration of this moment.
    pub fn config(&self) -> Arc<Config> {
        (self.0.config)()
    }

    /// The plans of the configuration, in the order of their names.
    pub fn plans(&self) -> Vec<Arc<Plan>> {
        (self.0.config)().plans.clone()
    }

    /// The plan of that name.
    ///
    /// # Errors
    /// There is none.
    fn plan(&self, name: &str) -> Result<Arc<Plan>, Refused> {
        let config = (self.0.config)();
        let found = config.plans.iter().find(|plan| plan.name().as_str() == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = config.plans.iter().map(|plan| plan.name().as_str()).collect();
            Refused::wrong("plan", format!("no plan is named {name:?}; there are {}", names.join(", ")))
        })
    }

    fn plan_name(&self, name: &str) -> Result<PlanName, Refused> {
        self.plan(name).map(|plan| plan.name().clone())
    }

    /// Makes a change, and waits until it is live.
    async fn edit(&self, author: Author, edit: Edit) -> Result<(Edited, Standing), Refused> {
        let action = edit.action();
        let edited = self.0.directory.edit(edit, author.clone(), self.0.clock.unix()).await??;
        if edited.is_new {
            let key = edited.key.as_ref().map_or("", KeyId::as_str);
            tracing::info!(%author, action, key, "changed");
        }
        let standing = match (self.0.publish)(edited.revision).await {
            Ok(()) => Standing::Live,
            Err(Late) => Standing::Pending,
        };
        Ok((edited, standing))
    }
}
