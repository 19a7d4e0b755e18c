//! The gateway itself, as operators see and reload it. The console knows nothing of what runs it; `server` joins the two.

use futures_util::future::BoxFuture;

use crate::clock::UnixTime;
use crate::runtime::journal::{Change, Refusal};
use crate::runtime::reload::Shrinking;
use crate::runtime::state::PolicyState;

/// How a reload ended; `None`: it did not come to its end.
pub type Reloaded = Option<Result<Change, Refusal>>;

/// A server that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The upstream that it belongs to.
    pub upstream: String,
    /// Its URL, without credentials.
    pub server: String,
    /// Whether requests are sent to it as usual; else those alone that try whether it answers again.
    pub is_up: bool,
}

/// What operators see and do.
pub trait Operated: Send + Sync {
    /// The policy of this moment, and how its reloads went.
    fn state(&self) -> PolicyState;

    /// All servers of all upstreams, in the order of the configuration.
    fn servers(&self) -> Vec<ServerState>;

    /// Since when it runs.
    fn since(&self) -> UnixTime;

    /// Reads configuration, certificates and key list anew, on a thread that may block.
    fn reload(&self, shrinking: Shrinking) -> BoxFuture<'static, Reloaded>;
}
