//! A whole gateway in this process, on free ports, with a clock that the test moves.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use safecache::auth::key_ring::KeyRing;
use safecache::clock::{Clock, ManualClock, UnixTime};
use safecache::cluster::link::ANSWER_WAIT;
use safecache::config;
use safecache::limits::limiter::Limiter;
use safecache::proxy::resolver::{self, Lookup};
use safecache::runtime::reload::{Reloader, Source, Tools, first};
use safecache::server::{Running, Start, start};
use safecache::telemetry::metrics::Metrics;
use tempfile::TempDir;

use crate::support::client::{Answer, Client};

/// The wall clock at which a test's gateway begins: 2027-01-15T08:00:00Z.
pub(crate) const START: UnixTime = UnixTime::from_secs(1_800_000_000);

/// How long a request waits for the disk, or for Redis: a test machine may be slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reloader on `folder/gateway.yaml`, which is written as `yaml`, without a server.
pub(crate) fn bare_reloader(folder: &Path, yaml: &str) -> Reloader<()> {
    let path = folder.join("gateway.yaml");
    std::fs::write(&path, yaml).expect("a configuration");
    let config = config::load(&path, &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"));
    let tools = Tools {
        source: Source::File { path, env: BTreeMap::new() },
        files: u64::MAX,
        limiter: Limiter::new(),
        metrics: Metrics::new().expect("metrics"),
        clock: Clock::manual(START).0,
        derive: Box::new(|_, _| ()),
    };
    first(config, &KeyRing::default(), tools).unwrap_or_else(|refusal| panic!("{refusal}")).1
}

/// A running gateway and what it writes.
pub(crate) struct Gateway {
    running: Option<Running>,
    log: Log,
    time: Clock,
    redis_wait: Duration,
    /// Moves its time.
    pub(crate) clock: ManualClock,
    /// Its folder: `gateway.yaml`, and whatever the test puts there; `data` is its data folder.
    pub(crate) folder: TempDir,
}

/// The SHA-256 of a key, as key lists have it.
pub(crate) fn sha256(key: &str) -> String {
    data_encoding::HEXLOWER.encode(&safecache::auth::token::digest(key.as_bytes()))
}

/// An inline key of account `acme`, for a `keys:` list: `id` doubles as the secret's ending, see [`secret`].
pub(crate) fn key(id: &str, more: &str) -> String {
    let comma = if more.contains("account:") { more.to_owned() } else { format!("account: acme, {more}") };
    let comma = comma.trim_end().trim_end_matches(',').to_owned();
    let plan = if more.contains("plan:") { "" } else { ", plan: enterprise" };
    format!("  - {{id: {id}, {comma}{plan}, sha256: {}}}\n", sha256(&secret(id)))
}

/// The key that [`key`] lists under `id`.
pub(crate) fn secret(id: &str) -> String {
    format!("test-secret-of-the-key-{id}")
}

impl Gateway {
    /// Starts a gateway from `yaml`, to which free ports and a data folder are added. Panics with the report if it
    /// is refused.
    pub(crate) fn start(yaml: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self::start_in(folder, yaml)
    }

    /// The same in a folder that the test has filled already; relative paths in `yaml` begin there.
    pub(crate) fn start_in(folder: TempDir, yaml: &str) -> Self {
        Self::start_resolving(folder, yaml, resolver::system())
    }

    /// The same with a resolver of the test's.
    pub(crate) fn start_resolving(folder: TempDir, yaml: &str, lookup: Lookup) -> Self {
        Self::start_with(folder, yaml, lookup, PATIENCE)
    }

    /// The same, that waits for each answer of Redis no longer than a gateway does as a rule.
    pub(crate) fn start_impatient(yaml: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self::start_with(folder, yaml, resolver::system(), ANSWER_WAIT)
    }

    fn start_with(folder: TempDir, yaml: &str, lookup: Lookup, redis_wait: Duration) -> Self {
        let path = folder.path().join("gateway.yaml");
        write_config(&path, yaml);
        let (clock, manual) = Clock::manual(START);
        let log = Log::default();
        let running = run(path, clock.clone(), (lookup, redis_wait), &log);
        Self { running: Some(running), log, time: clock, redis_wait, clock: manual, folder }
    }

    /// The gateway itself.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is stopped")
    }

    /// Where its first listener is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().data_addresses()[0]
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// Writes another configuration, for a reload.
    pub(crate) fn rewrite(&self, yaml: &str) {
        write_config(&self.folder.path().join("gateway.yaml"), yaml);
    }

    /// What an admin path answers, without a token.
    pub(crate) fn admin(&self, path: &str) -> Answer {
        Client::connect(self.running().admin_address())
            .send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
            .answer()
    }

    /// All metrics.
    pub(crate) fn metrics(&self) -> String {
        self.admin("/metrics").text()
    }

    /// The value of one series, written as in the metrics: `name{label="value"}`; 0 if it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits, at most ten seconds, until `is_so`.
    pub(crate) fn eventually(&self, what: &str, is_so: impl FnMut(&Self) -> bool) {
        let mut is_so = is_so;
        crate::support::client::eventually(what, || is_so(self));
    }

    /// Enough, as a rule, for the gateway to have seen what was sent; right or wrong does not hang on it.
    pub(crate) fn pass_some_time(&self) {
        for _ in 0..50 {
            self.metrics();
        }
    }

    /// Ends it in order, and starts another on the same folder, whose clock goes on.
    pub(crate) fn restarted(mut self) -> Self {
        self.running.take().expect("it runs").end();
        (self.time, self.clock) = Clock::manual(self.time.unix());
        self.log = Log::default();
        let path = self.folder.path().join("gateway.yaml");
        self.running = Some(run(path, self.time.clone(), (resolver::system(), self.redis_wait), &self.log));
        self
    }

    /// Stops it and returns its access log.
    pub(crate) fn stop(mut self) -> String {
        self.running.take().expect("it runs").end();
        self.log.text()
    }
}

impl Gateway {
    /// Stops it, in order, and returns its folder, for the next one.
    pub(crate) fn into_folder(mut self) -> TempDir {
        self.running.take().expect("it runs").end();
        std::mem::replace(&mut self.folder, TempDir::new().expect("a temporary folder"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

fn run(path: PathBuf, clock: Clock, (lookup, redis_wait): (Lookup, Duration), log: &Log) -> Running {
    let config = config::load(&path, &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"));
    let running = start(Start {
        config,
        source: Source::File { path, env: BTreeMap::new() },
        clock,
        lookup,
        access: Some(Box::new(log.clone())),
        disk_wait: PATIENCE,
        redis_wait,
        inherited: None,
    });
    running.unwrap_or_else(|error| panic!("{error:#}"))
}

fn write_config(path: &Path, yaml: &str) {
    let data = path.with_file_name("data");
    let mut text = String::new();
    if !yaml.contains("\nlisten:") && !yaml.starts_with("listen:") {
        text += "listen: 127.0.0.1:0\n";
    }
    if !yaml.contains("\nadmin:") && !yaml.starts_with("admin:") {
        text += "admin: {listen: \"127.0.0.1:0\"}\n";
    }
    text += &format!("data_dir: {}\n{yaml}", data.display());
    std::fs::write(path, text).expect("the configuration is written");
}

/// Access lines, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no writer panicked").clone()).expect("text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
