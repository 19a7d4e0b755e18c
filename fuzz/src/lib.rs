//! The gateway without its upper layers, compiled as it is: what decides and does not serve builds in a minute.

/// What `src/lib.rs` lists, as far as it is fuzzed here.
#[path = "../../src"]
mod layers {
    pub mod auth;
    pub mod cache;
    pub mod clock;
    pub mod config;
    pub mod ids;
    pub mod limits;
    pub mod llm;
    pub mod memory;
    pub mod money;
    pub mod outcome;
    pub mod pem;
    pub mod routing;
    pub mod secret;
    pub mod spread;
    pub mod stock;
    pub mod units;
    pub mod upstream;
}

pub use layers::{
    auth, cache, clock, config, ids, limits, llm, memory, money, outcome, pem, routing, secret, spread,
    stock, units, upstream,
};
