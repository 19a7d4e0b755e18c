//! safecache: a reverse-proxy gateway for LLM back ends.
//!
//! A request is *admitted* (route, key, limits), *answered* from the cache or by one upstream call, and
//! *finished* (limits settled, metrics, one log line). The code map, from the ground up; imports go downward only:
//!
//! - [`clock`], [`dice`], [`form`], [`ids`], [`pem`], [`secret`], [`units`], [`memory`], [`money`], [`spread`]: time,
//!   randomness, form encoding, names, certificates, redaction, sizes, counted bytes, what each worker has for itself.
//! - [`routing`], [`auth`], [`limits`], [`llm`], [`cache`], [`usage`], [`upstream`]: the pure rules.
//! - [`config`], [`outcome`]: what operators write; what clients are told.
//! - [`runtime`], [`telemetry`], [`store`]: the live snapshot and its reloads; metrics and logs; what lasts.
//! - [`shelf`]: the cache in memory and the one on the disk behind it, as one; [`accounts`]: accounts, their keys and
//!   people, and who may do what; [`cluster`]: what gateways share over Redis.
//! - [`proxy`], [`admin`], [`console`], [`demo`]: the listeners, and the pages on the second of them; [`api`]: the calls
//!   of the cache API.
//! - [`server`]: the one place where everything meets. [`cli`]: the commands over it.

pub mod accounts;
pub mod admin;
pub mod api;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod console;
pub mod demo;
pub mod dice;
pub mod form;
pub mod ids;
pub mod limits;
pub mod llm;
pub mod memory;
pub mod money;
pub mod outcome;
pub mod pem;
pub mod proxy;
pub mod routing;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod shelf;
pub mod spread;
pub mod stock;
pub mod store;
pub mod telemetry;
pub mod units;
pub mod upstream;
pub mod usage;
