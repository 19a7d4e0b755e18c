//! What several gateways share over Redis.

pub mod bucket;
