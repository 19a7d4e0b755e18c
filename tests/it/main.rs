//! The integration tests: one binary, one file an area.

#![cfg(test)]

mod admission;
mod admission_address;
mod admission_models;
mod admission_shapes;
mod auth;
mod bounds;
mod bounds_head;
mod bounds_readers;
mod cache;
mod cache_rules;
mod canonical;
mod certificates;
mod config;
mod demo_llm;
mod demo_process;
mod early_answers;
mod forward_answers;
mod forward_bodies;
mod forward_failures;
mod forward_heads;
mod forward_retries;
mod forward_streams;
mod forward_upgrade;
mod framing;
mod http2;
mod key_list;
mod key_ring;
mod limits;
mod limits_front;
mod patience;
mod readme;
mod reload;
mod reload_admin;
mod reload_rules;
mod secrets;
mod seeing;
mod shipped;
mod smoke;
mod stopping;
mod support;
mod tidy;
mod timed;
mod upstream_changes;
