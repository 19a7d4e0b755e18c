//! The live policy: an immutable snapshot, swapped whole.

pub mod live;
mod look;
pub mod reload;
pub mod snapshot;
pub mod watch;
