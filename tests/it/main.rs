//! The integration tests: one binary, one file an area.

#![cfg(test)]

mod auth;
mod cache_rules;
mod canonical;
mod config;
mod demo_llm;
mod forward_answers;
mod forward_bodies;
mod forward_failures;
mod forward_heads;
mod forward_retries;
mod forward_streams;
mod forward_upgrade;
mod http2;
mod key_list;
mod key_ring;
mod limits;
mod shipped;
mod smoke;
#[expect(dead_code, reason = "an area uses a part of it")]
mod support;
mod tidy;
