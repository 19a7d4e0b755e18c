//! The integration tests: one binary, one file an area.

#![cfg(test)]

mod auth;
mod bounds;
mod bounds_head;
mod bounds_readers;
mod cache_rules;
mod canonical;
mod config;
mod demo_llm;
mod demo_process;
mod framing;
mod key_list;
mod key_ring;
mod limits;
mod patience;
mod readme;
mod secrets;
mod seeing;
mod shipped;
mod smoke;
mod stopping;
#[expect(dead_code, reason = "an area uses a part of it")]
mod support;
mod tidy;
