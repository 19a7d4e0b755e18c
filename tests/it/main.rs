//! The integration tests: one binary, one file an area.

mod auth;
mod key_ring;
mod limits;
