//! The live policy: an immutable snapshot, swapped whole.

pub mod live;
pub mod reload;
pub mod snapshot;
pub mod watch;
