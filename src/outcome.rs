//! How a request ended: what the client is told, and what is recorded.

pub mod api_error;
pub mod finished;
pub mod openapi;
pub mod rejection;
