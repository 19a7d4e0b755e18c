//! An upstream as configured: servers, credentials, headers and bounds.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::ids::UpstreamName;
use crate::pem::{Authorities, Identity};

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// http or https.
    pub scheme: Scheme,
    /// A name or an address, without brackets.
    pub host: Box<str>,
    /// The port, the scheme's own if none was written.
    pub port: u16,
    /// Put before every path; empty or begins with `/` and does not end with one.
    pub base_path: Box<str>,
    /// `host[:port]` as the `Host` header carries it.
    pub authority: Box<str>,
    /// The URL as written, without credentials: its label in metrics and logs.
    pub label: Box<str>,
    /// Its share of the requests beside the others'.
    pub weight: NonZeroU32,
}

impl ServerUrl {
    /// True if both lead to the same place: what is known of one is true of the other.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (&self.host, self.port, &self.base_path) == (&other.host, other.port, &other.base_path)
    }
}

/// Whether a call may be made a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Where no server can have begun to work: connect failures, and a reused connection that ended at once.
    Safe,
    /// Connect failures only.
    Never,
}

/// How many requests an upstream takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as come.
    Unbounded,
    /// At most `max`; `queue` more wait for at most `wait` each.
    Bounded {
        /// Requests under way.
        max: NonZeroU32,
        /// Requests waiting.
        queue: u32,
        /// Longest wait.
        wait: Duration,
    },
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The target of a GET; anything but a 2xx answer is a failure.
    pub path: Box<str>,
    /// Between two checks of a server.
    pub interval: Duration,
}

/// TLS towards the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate authorities that are trusted instead of the system's.
    pub ca: Option<Authorities>,
    /// Our own certificate and key.
    pub client: Option<Identity>,
    /// The name expected in the certificate, instead of the URL's host.
    pub server_name: Option<Box<str>>,
}

/// A checked upstream. Equal: the same settings, and the same content of its TLS files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name.
    pub name: UpstreamName,
    /// At least one.
    pub servers: Box<[ServerUrl]>,
    /// Replaces the client's credentials; marked sensitive. `None`: none are sent.
    pub authorization: Option<HeaderValue>,
    /// Set on every request.
    pub set_headers: Box<[(HeaderName, HeaderValue)]>,
    /// Removed from every request.
    pub remove_headers: Box<[HeaderName]>,
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte_timeout: Duration,
    /// Between two pieces of an answer.
    pub idle_timeout: Duration,
    /// Requests at once.
    pub concurrency: Concurrency,
    /// Active checks; `None`: none.
    pub health: Option<HealthCheck>,
    /// Second tries.
    pub retry: Retry,
    /// TLS towards the servers.
    pub tls: TlsSettings,
}
