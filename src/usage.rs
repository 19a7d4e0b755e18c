//! What requests cost and spared, in sums.

pub mod ledger;
pub mod record;
pub mod summed;
