//! The configuration as the gateway uses it: every value checked, every name resolved.
//!
//! - `yaml` reads text into a tree that knows its lines; the only file that knows YAML.
//! - `interpolate` replaces `${VAR}` in string values.
//! - `raw` mirrors what may be written; `build` turns it into [`Config`]: all defaults, all problems.
//! - `key_list` reads the hot-reloaded list of keys; `problem` is how both say what is wrong.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::key::KeyEntry;
use crate::limits::plan::Plan;
use crate::routing::table::RouteTable;
use crate::secret::Secret;
use crate::units::ByteSize;
use crate::upstream::settings::UpstreamSettings;

pub mod build;
pub mod interpolate;
pub mod key_list;
pub mod problem;
pub mod raw;
pub mod yaml;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect; at least one.
    pub listen: Vec<Listener>,
    /// Where operators connect.
    pub admin: Admin,
    /// The folder for what lasts.
    pub data_dir: PathBuf,
    /// Worker threads; 0: one a core.
    pub threads: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Box<[IpNet]>,
    /// All plans, built-in ones included, sorted by name.
    pub plans: Vec<Arc<Plan>>,
    /// The hot-reloaded list of keys.
    pub keys_file: Option<PathBuf>,
    /// Keys written in the configuration itself.
    pub keys: Vec<KeyEntry>,
    /// All upstreams; routes name them by index.
    pub upstreams: Vec<Arc<UpstreamSettings>>,
    /// The routes.
    pub routes: RouteTable,
    /// The answer cache.
    pub cache: CacheSettings,
    /// Every bound.
    pub limits: Limits,
    /// Origins whose preflights are answered; `*` is an origin like any other.
    pub cors_origins: Box<[Box<str>]>,
    /// How the process ends.
    pub shutdown: Shutdown,
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where; port 0 lets the system choose.
    pub address: SocketAddr,
    /// PEM files of certificate and key, for TLS.
    pub tls: Option<ListenerTls>,
}

/// PEM files of a listener's certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where.
    pub listen: Listener,
    /// The operator's token; `None`: that API is off.
    pub token: Option<Secret>,
}

/// The answer cache as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// What all entries may take.
    pub memory: ByteSize,
    /// What one may take.
    pub max_entry: ByteSize,
}

/// The bounds of contract §2 `limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One request body.
    pub max_body: ByteSize,
    /// Client connections.
    pub max_connections: NonZeroU32,
    /// Requests in flight.
    pub max_requests: NonZeroU32,
    /// From a request's first byte, or the connection's opening, to the end of its head.
    pub head_timeout: Duration,
    /// One request head.
    pub head_bytes: ByteSize,
    /// Fields of a request head.
    pub head_fields: NonZeroU32,
    /// What is read of an unread body before an early answer.
    pub drain_bytes: ByteSize,
    /// How long that may take.
    pub drain_timeout: Duration,
    /// Bytes a second that a client must take while data waits, over 30 s; 0: no such rule.
    pub min_send_rate: ByteSize,
    /// All bodies and answers held at once.
    pub buffer_memory: ByteSize,
    /// One key's share of it.
    pub buffer_memory_per_key: ByteSize,
    /// Looked-up-and-refused keys a minute and address; `None`: off.
    pub auth_failures: Option<NonZeroU32>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Served on after the signal, while load balancers look away.
    pub delay: Duration,
    /// Longest wait for answers in flight after that.
    pub timeout: Duration,
}
