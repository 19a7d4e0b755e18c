//! The integration tests: one binary, one file an area.

mod auth;
mod limits;
