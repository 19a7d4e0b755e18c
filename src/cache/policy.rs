//! A route's cache policy, as configured.

use std::time::Duration;

use http::HeaderName;

/// What becomes of an upstream call that nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It is stopped.
    Stop,
    /// It runs to its end and is stored.
    Finish,
}

/// Who may be answered from an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Keys of the account that paid for it.
    Account,
    /// Every key of this gateway.
    Global,
}

/// How the answers of one route are cached.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    /// How long an entry is served.
    pub ttl: Duration,
    /// Suffixes of the paths that are cached, each with its leading `/`.
    pub paths: Box<[Box<str>]>,
    /// Top-level body members left out of the key, beside those that the API's own list leaves out.
    pub ignore: Box<[Box<str>]>,
    /// More request headers in the key.
    pub vary: Box<[HeaderName]>,
    /// More upstream headers kept in an entry.
    pub keep_headers: Box<[HeaderName]>,
    /// Above this temperature nothing is cached.
    pub max_temperature: f64,
    /// What becomes of a call whose clients have left.
    pub on_disconnect: OnDisconnect,
    /// Who may be answered.
    pub scope: Scope,
}

impl RoutePolicy {
    /// True if `path` ends in one of the cached suffixes.
    pub fn takes(&self, path: &str) -> bool {
        self.paths.iter().any(|suffix| path.ends_with(suffix.as_ref()))
    }
}
