//! The cache API: what its calls mean (contract §5). The data port admits them, reads their bodies and writes what comes
//! back; here is no connection, no header and no clock but the one that is passed in.
//!
//! - `check`, `store`, `entries`, `delete`, `usage`: the calls, each with the documents that it answers with.
//! - `body`, `content_type`: a request's body, read onto a tape and never into a tree; `messages`: what may stand in the
//!   array that a prompt's hash is made of; `members`: the other members.
//! - `query`: checked query parameters.
//! - `period`, `counts`: the span of a report of usage, and what it is made of.
//! - `openapi`: the description of the data port.
//! - `wrong`, `failed`: how a request, and how the store, is said to be at fault.
//!
//! **Nothing, and null**: an optional member that is null counts as absent. **Order**: a request is read whole before
//! anything is decided by it, so a body that is wrong is a 400 also where the model it names would be a 403.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::api::usage::UsageCall;
use crate::auth::key_record::KeyRecord;
use crate::auth::model_glob::ModelGlob;
use crate::clock::Clock;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::runtime::answerer::{Answerer, Asked, Call, Refusal, Told};
use crate::store::Store;
use crate::store::failure::StoreError;
use crate::store::proxied::Purge;
use crate::store::usage::Settle;
use crate::telemetry::metrics::counted::Counter;
use crate::usage::record::Class;

mod body;
pub mod check;
mod content_type;
mod counts;
pub mod delete;
pub mod entries;
mod failed;
mod members;
mod messages;
pub mod openapi;
mod period;
pub mod query;
pub mod store;
pub mod usage;
mod wrong;

/// Deletes proxied answers wherever they are: in memory, on their way and on the disk; how many there were.
pub type Purger = Arc<dyn Fn(Purge) -> BoxFuture<'static, Result<u64, StoreError>> + Send + Sync>;

/// The cache API over a store.
pub struct Api {
    store: Arc<dyn Store>,
    purge: Purger,
    settle: Settle,
    damaged: Counter,
    clock: Clock,
}

impl Api {
    /// The API over `store`, whose proxied answers `purge` deletes, and whose usage is complete behind `settle`; `damaged`
    /// counts stored answers that are not what was put, and `clock` tells how long a look-up took.
    pub fn new(store: Arc<dyn Store>, purge: Purger, settle: Settle, damaged: Counter, clock: Clock) -> Self {
        Self { store, purge, settle, damaged, clock }
    }
}

#[async_trait]
impl Answerer for Api {
    async fn answer(&self, asked: Asked) -> Result<Told, Refusal> {
        match &asked.call {
            Call::Check => check::check(self, asked).await,
            Call::Store => store::store(self, asked).await,
            Call::Usage => UsageCall { store: &*self.store, settle: &self.settle }.answer(&asked).await,
            Call::List => entries::list(self, asked).await,
            Call::Delete(hash) => delete::delete(self, &asked, hash).await,
            Call::DeleteAll => delete::delete_all(self, &asked).await,
        }
    }

    fn openapi(&self) -> &'static str {
        openapi::COMMITTED
    }
}

/// The models that a key may use; empty: all.
fn allowed_models(key: &KeyRecord) -> Box<[ModelGlob]> {
    key.options().map(|options| options.allowed_models.clone()).unwrap_or_default()
}

/// `document` as JSON. What is serialised here always can be, so a failure is the gateway's.
fn json(document: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(document).map_err(|error| {
        tracing::error!(%error, "an answer of the cache API could not be written as JSON");
        Rejection::Internal.into()
    })
}

/// The answer of a call that neither looks up nor stores.
fn told(document: &impl Serialize) -> Result<Told, Refusal> {
    let body = json(document)?;
    Ok(Told { body, outcome: Outcome::Forwarded, class: Class::Other, model: None, tokens_saved: 0 })
}
