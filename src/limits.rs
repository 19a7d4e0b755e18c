//! Rate limits: a plan's numbers, the token bucket, and every key's own bucket.

pub mod bucket;
mod cells;
pub mod levels;
pub mod limiter;
pub mod plan;
pub mod verdict;
