//! The live policy: an immutable snapshot, swapped whole.

pub mod journal;
pub mod live;
mod look;
pub mod reload;
mod retire;
pub mod snapshot;
pub mod watch;
