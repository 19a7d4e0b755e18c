//! The hand-over: a gateway gives its sockets, its store and its buckets to the process that takes its place.
//!
//! The old process is told QUIT and the new one started with `--upgrade`, in any order; they meet at a Unix socket in the
//! data folder. Until the new one is ready to serve, the old one serves as if nothing had happened, and should the new
//! one fail, it goes on.
//!
//! ```text
//! old                                           new
//!  offer: what is listened to, and the handles →   has read its configuration; opens, binds, resolves
//!                                              ←  ready
//!  the buckets end here;  levels               →   the buckets begin
//!                                              ←  loaded
//!  yours: closes its listeners, runs out       →   accepts
//!  charges: what its last connections ask      →
//!                                              ←  decisions
//! ```
//!
//! - `line`: how the two talk. `give`: the old side. `take`: the new side. `message`: what is said.

use std::time::Duration;

pub(super) mod give;
mod line;
pub(super) mod message;
pub mod take;

/// The socket's name in the data folder.
const MEETING_POINT: &str = "hand-over";

/// How long either side waits for the other to come.
const MEET_WITHIN: Duration = Duration::from_secs(60);

/// How long the old process waits for the new one to be ready: it opens the store and reads the key list meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long buckets may be on their way; who would be charged waits as long.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// How long a request's charge may take.
const CHARGED_WITHIN: Duration = Duration::from_secs(1);
