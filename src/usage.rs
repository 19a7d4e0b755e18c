//! What requests cost and spared, in sums.

pub mod record;
