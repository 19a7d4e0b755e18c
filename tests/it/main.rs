//! The integration tests: one binary, one file an area.

#![cfg(test)]

mod auth;
mod cache;
mod cache_rules;
mod canonical;
mod config;
mod demo_llm;
mod key_list;
mod key_ring;
mod limits;
mod shipped;
mod smoke;
#[expect(dead_code, reason = "an area uses a part of it")]
mod support;
mod tidy;
