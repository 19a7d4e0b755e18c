//! What the tests stand on: a gateway in this process, an upstream that does as it is told, a client of raw bytes.

pub(crate) mod admin;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod closed_port;
pub(crate) mod disk;
pub(crate) mod fault_proxy;
pub(crate) mod fleet;
pub(crate) mod front;
pub(crate) mod gateway;
pub(crate) mod h2;
pub(crate) mod mounted;
pub(crate) mod next_hop;
pub(crate) mod nobody;
pub(crate) mod over;
pub(crate) mod plans;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod stalls;
pub(crate) mod stopwatch;
pub(crate) mod strict;
pub(crate) mod tap;
pub(crate) mod tls;
pub(crate) mod turn;
pub(crate) mod upstream;
