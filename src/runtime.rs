//! The live policy: an immutable snapshot, swapped whole; and what is asked under it of the cache API (`answerer`).

pub mod answerer;
pub mod journal;
pub mod live;
mod look;
pub mod reload;
mod retire;
pub mod snapshot;
pub mod state;
pub mod watch;
