//! How a request ended: what the client is told, and what is recorded.

pub mod finished;
pub mod rejection;
