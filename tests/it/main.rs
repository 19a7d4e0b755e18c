//! The integration tests: one binary, one file an area.

mod cache_rules;
mod canonical;
