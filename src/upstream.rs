//! Where requests go: an upstream's settings, the choice of a server, and which servers are well.

pub mod health;
pub mod pool;
pub mod rest;
pub mod settings;
