//! Rate limits: a plan's numbers, the token bucket, and every key's own bucket, here or leased from Redis.

pub mod bucket;
mod cells;
pub mod lease;
pub mod leases;
pub mod levels;
pub mod limiter;
pub mod link;
pub mod plan;
pub mod question;
mod share;
pub mod verdict;
