//! The integration tests: one binary, one file an area.

mod config;
mod key_list;
mod shipped;
