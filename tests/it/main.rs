//! The integration tests: one binary, one file an area.

#![cfg(test)]

mod admission;
mod admission_address;
mod admission_models;
mod admission_shapes;
mod auth;
mod cache;
mod cache_rules;
mod canonical;
mod config;
mod demo_llm;
mod early_answers;
mod key_list;
mod key_ring;
mod limits;
mod limits_front;
mod reload;
mod reload_admin;
mod reload_rules;
mod shipped;
mod smoke;
#[expect(dead_code, reason = "an area uses a part of it")]
mod support;
mod tidy;
