//! What may be written about upstreams and routes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Count, Flag, Number, Slot, Span, Text};

/// A pool of servers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["servers"]))]
pub struct RawUpstream {
    /// URLs, or `{url, weight}`.
    pub servers: Slot<Vec<Slot<RawServer>>>,
    /// Replaces the client's credentials; empty or a bare scheme: none are sent.
    pub authorization: Slot<Text>,
    /// Headers set and removed on every request.
    pub headers: Slot<RawHeaders>,
    /// To connect, TLS included.
    pub connect_timeout: Slot<Span>,
    /// From the request's last byte to the answer's first.
    pub first_byte_timeout: Slot<Span>,
    /// Between two pieces of an answer.
    pub idle_timeout: Slot<Span>,
    /// Requests under way at once; 0: no bound.
    pub max_concurrent: Slot<Count>,
    /// Who waits when max_concurrent is reached.
    pub queue: Slot<RawQueue>,
    /// Active checks of the servers.
    pub health: Slot<RawHealth>,
    /// Second tries where no model can have run.
    pub retry: Slot<RawRetry>,
    /// TLS towards https servers.
    pub tls: Slot<RawUpstreamTls>,
}

/// One server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(untagged)]
pub enum RawServer {
    /// Its URL.
    Text(Text),
    /// URL and weight.
    Mapping(RawWeighted),
}

/// One server, written out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct RawWeighted {
    /// http or https, host, port; may end in a base path.
    pub url: Slot<Text>,
    /// Its share of the requests beside the others', 1 to 1000.
    pub weight: Slot<Count>,
}

/// Headers of upstream requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHeaders {
    /// Name and value.
    pub set: Slot<BTreeMap<String, Slot<Text>>>,
    /// Names.
    pub remove: Slot<Vec<Slot<Text>>>,
}

/// Who waits at a busy upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawQueue {
    /// How many requests wait; 0: none.
    pub length: Slot<Count>,
    /// Each one's longest wait.
    pub wait: Slot<Span>,
}

/// Active checks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHealth {
    /// What each server is asked for; without it there are no checks.
    pub path: Slot<Text>,
    /// Between two checks of a server, at least 100ms.
    pub interval: Slot<Span>,
}

/// Second tries.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawRetry {
    /// Where no server can have begun to work.
    Safe,
    /// Connect failures only.
    Never,
}

/// TLS towards the servers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawUpstreamTls {
    /// PEM file: authorities trusted instead of the system's.
    pub ca: Slot<Text>,
    /// PEM file: our own certificate; with key.
    pub cert: Slot<Text>,
    /// PEM file: our own private key; with cert.
    pub key: Slot<Text>,
    /// The name expected in the certificate, instead of the URL's host.
    pub server_name: Slot<Text>,
}

/// A route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "upstream"]))]
pub struct RawRoute {
    /// A path, or all that begin with what stands before `/*`.
    pub path: Slot<Text>,
    /// The upstream's name.
    pub upstream: Slot<Text>,
    /// Removed from the front of the path.
    pub strip_prefix: Slot<Text>,
    /// The shape of error bodies.
    pub errors: Slot<RawErrors>,
    /// Protocol upgrades that pass.
    pub upgrade: Slot<RawUpgrade>,
    /// How answers are cached; absent: never.
    pub cache: Slot<RawRouteCache>,
}

/// The shape of error bodies.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawErrors {
    /// Flat.
    Safecache,
    /// As OpenAI's API.
    Openai,
}

/// Protocol upgrades.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawUpgrade {
    /// No upgrade.
    None,
    /// WebSocket.
    Websocket,
}

/// A route's cache policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRouteCache {
    /// How long an answer is served.
    pub ttl: Slot<Span>,
    /// Suffixes of the paths that are cached.
    pub paths: Slot<Vec<Slot<Text>>>,
    /// More top-level body members that the key leaves out.
    pub ignore: Slot<Vec<Slot<Text>>>,
    /// More request headers in the key.
    pub vary: Slot<Vec<Slot<Text>>>,
    /// More upstream headers kept with an answer.
    pub headers: Slot<Vec<Slot<Text>>>,
    /// Above this temperature nothing is cached.
    pub max_temperature: Slot<Number>,
    /// True: an answer that nobody waits for any more is still taken to its end and stored.
    pub finish_on_disconnect: Slot<Flag>,
}
