//! The configuration as the gateway uses it: every value checked, every name resolved.
//!
//! - `yaml` reads text into a tree (`node`) that knows its lines; the only file that knows YAML.
//! - `interpolate` replaces `${VAR}` in string values.
//! - `raw` mirrors what may be written, out of `scalar`s and read by `de` (`hint`: what would be right); `build` turns it into [`Config`]: all
//!   defaults, all problems. `server_url` is the URL of an upstream server.
//! - `key_list` reads the hot-reloaded list of keys (`json_lines`: a line of one); `problem` is how all of them say
//!   what is wrong.
//! - `prices` are what models cost; `cluster` is what several gateways share.
//! - `restart` names what a reload cannot change; `files` holds connections to the open files that they need;
//!   `tls_files` reads certificates and keys anew; `file` reads any file that operators name.
//!
//! Relative paths, in the configuration and in `${file:PATH}`, begin at the folder of the configuration file.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::key::KeyEntry;
use crate::auth::model_glob::ModelGlob;
use crate::config::build::Builder;
use crate::config::cluster::{Cluster, EngineUrl};
use crate::config::interpolate::{Sources, interpolate};
use crate::config::key_list::Known;
use crate::config::node::{Kind, Place, Scene};
use crate::config::prices::PriceList;
use crate::config::problem::{Report, Sink};
use crate::config::raw::RawConfig;
use crate::limits::plan::Plan;
use crate::pem::Identity;
use crate::routing::table::RouteTable;
use crate::secret::Secret;
use crate::units::ByteSize;
use crate::upstream::settings::UpstreamSettings;

pub mod build;
pub mod cluster;
pub mod de;
pub mod file;
pub mod files;
mod hint;
pub mod interpolate;
pub mod json_lines;
pub mod key_list;
pub mod key_rules;
pub mod node;
mod plain_key;
pub mod prices;
pub mod problem;
pub mod raw;
pub mod restart;
pub mod scalar;
pub mod server_url;
pub mod tls_files;
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
    /// What is counted of requests.
    pub usage: UsageSettings,
    /// What models cost.
    pub prices: PriceList,
    /// Requests in flight end when their key is revoked.
    pub cuts_revoked: bool,
    /// Origins whose preflights are answered; `*` is an origin like any other.
    pub cors_origins: Box<[Box<str>]>,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What several gateways share; `None`: this one is alone.
    pub cluster: Option<Cluster>,
}

impl Config {
    /// Where PostgreSQL is that keeps what must last; `None`: the data folder does.
    pub fn postgres(&self) -> Option<&EngineUrl> {
        self.cluster.as_ref()?.postgres.as_ref()
    }
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Certificate and key, for TLS.
    pub tls: Option<Identity>,
}

/// Where a listener on every address can be reached from here.
pub fn from_here(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where.
    pub listen: Listener,
    /// The operator's token; `None`: that API is off.
    pub token: Option<Secret>,
    /// Who may make an account in the console.
    pub sign_up: SignUp,
}

/// Who may make an account in the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Whoever reaches the admin listener.
    Open,
    /// Nobody.
    Closed,
}

/// The answer cache as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// What all entries may take.
    pub memory: ByteSize,
    /// What all proxied answers on the disk may take; 0: none are kept there.
    pub disk: ByteSize,
    /// What one may take.
    pub max_entry: ByteSize,
}

/// The most fields of a request's head that are read at all, whatever `limits.head.fields` says.
pub const MOST_HEAD_FIELDS: usize = 256;

/// The bounds of contract §2 `limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One request body.
    pub max_body: ByteSize,
    /// Client connections, as written or as many as open files allow; see [`files::fit`].
    pub max_connections: NonZeroU32,
    /// Whether `max_connections` was written, or is the default.
    pub max_connections_from: Provenance,
    /// Those of one address; `None`: half of `max_connections`.
    pub max_connections_per_address: Option<NonZeroU32>,
    /// Requests that one connection may carry.
    pub max_requests_per_connection: NonZeroU32,
    /// How long a connection may wait for its next request, at least a second.
    pub keep_alive: Duration,
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

impl Limits {
    /// Connections that one address may have.
    pub fn connections_per_address(&self) -> u32 {
        let max = self.max_connections.get();
        self.max_connections_per_address.map_or(max.div_ceil(2), NonZeroU32::get)
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The operator wrote it.
    Written,
    /// It is the default, and gives way.
    Default,
}

/// What is counted of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSettings {
    /// How long sums are kept, at least a day.
    pub keep: Duration,
    /// The models that are counted by name.
    pub models: Box<[ModelGlob]>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Served on after the signal, while load balancers look away.
    pub delay: Duration,
    /// Longest wait for answers in flight after that.
    pub timeout: Duration,
}

/// Reads the configuration file at `path`, and the files that it names (certificates, keys, `${file:PATH}`), but for
/// the key list.
///
/// # Errors
/// Every problem, each with its place.
pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Config, Report> {
    let (file, text) = read_text(path)?;
    parse(&text, &file, env, path.parent().unwrap_or(Path::new("")))
}

/// Reads a configuration from text; `file` is its name in problems, `base_dir` where relative paths begin.
///
/// # Errors
/// Every problem, each with its place.
pub fn parse(
    text: &str,
    file: &str,
    env: &BTreeMap<String, String>,
    base_dir: &Path,
) -> Result<Config, Report> {
    let (config, report) = examine(text, file, env, base_dir);
    match config {
        Some(config) if report.is_empty() => Ok(config),
        Some(_) | None => Err(report),
    }
}

/// Reads the configuration file at `path` and the key list that it names, as `safecache check` does.
///
/// # Errors
/// Every problem of both, each with its place.
pub fn check(path: &Path, env: &BTreeMap<String, String>) -> Result<(Config, Vec<KeyEntry>), Report> {
    let (file, text) = read_text(path)?;
    let (config, mut report) = examine(&text, &file, env, path.parent().unwrap_or(Path::new("")));
    let Some(config) = config else { return Err(report) };
    let mut listed = Vec::new();
    if let Some(keys_file) = &config.keys_file {
        let read = match file::read(keys_file) {
            Ok(content) => key_list::parse(keys_file, &content, Known::of(&config)),
            Err(error) => Err(Report::of_file(
                &keys_file.display().to_string(),
                format!("the key list cannot be read: {error}"),
                "keys_file is relative to the folder of the configuration file",
            )),
        };
        match read {
            Ok(keys) => listed = keys,
            Err(problems) => report.append(problems),
        }
    }
    if report.is_empty() { Ok((config, listed)) } else { Err(report) }
}

/// The configuration as far as it can be made out, and all that is wrong with it.
fn examine(
    text: &str,
    name: &str,
    env: &BTreeMap<String, String>,
    base_dir: &Path,
) -> (Option<Config>, Report) {
    let sink = Sink::new(name);
    let Some(mut root) = yaml::parse(text, yaml::Document::Configuration, &sink) else {
        return (None, sink.into_report());
    };
    if root.kind == Kind::Null {
        let hint = "the gateway.yaml that ships explains every key".to_owned();
        sink.add((1, 1), String::new(), "the configuration is empty".to_owned(), hint);
        return (None, sink.into_report());
    }
    let text_of_file = |path: &str| text_of_file(&base_dir.join(path));
    let sources = Sources { variables: env, file: &text_of_file };
    interpolate(&mut root, &Place::Root, &sources, &sink);
    let config = de::read::<RawConfig>(&root, &Place::Root, &sink).map(|raw| {
        let scene = Scene { root: &root, sink: &sink };
        Builder { scene, base_dir, read: &file::read }.build(raw)
    });
    (config, sink.into_report())
}

/// What `text`, which was given beside the configuration file at `path`, is with what stands for `${…}` in it.
///
/// # Errors
/// Why it cannot be completed, and what helps.
pub fn complete(text: &str, path: &Path, env: &BTreeMap<String, String>) -> Result<String, String> {
    let base_dir = path.parent().unwrap_or(Path::new(""));
    let text_of_file = |path: &str| text_of_file(&base_dir.join(path));
    interpolate::complete(text, &Sources { variables: env, file: &text_of_file })
}

fn text_of_file(path: &Path) -> Result<String, String> {
    match file::read(path) {
        Ok(content) => String::from_utf8(content).map_err(|_| "it is not UTF-8 text".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn read_text(path: &Path) -> Result<(String, String), Report> {
    let file = path.display().to_string();
    let content = match file::read_any(path) {
        Ok(content) => content,
        Err(error) => {
            return Err(Report::of_file(
                &file,
                format!("the file cannot be read: {error}"),
                "--config names it",
            ));
        }
    };
    match String::from_utf8(content) {
        Ok(text) => Ok((file, text)),
        Err(_) => Err(Report::of_file(&file, "the file is not UTF-8 text", "save it as UTF-8")),
    }
}
