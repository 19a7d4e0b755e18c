//! What may be written in the configuration, and its JSON Schema.
//!
//! Nothing here has a default or a meaning yet: `build` gives both. A field is a `Slot`, so that a wrong one does
//! not hide the problems of the others; its doc is the description that the schema prints.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::auth::key::Environment;
use crate::config::raw::traffic::{RawRoute, RawUpstream};
use crate::config::scalar::{Count, Flag, Network, Number, Size, Slot, Span, Text};

pub mod traffic;

/// The configuration of a safecache gateway (gateway.yaml).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "gateway.yaml")]
pub struct RawConfig {
    /// Where clients connect: `address:port`, `{address, tls}`, or a list of these.
    pub listen: Slot<RawListen>,
    /// The operator's listener: console, admin API, metrics, health.
    pub admin: Slot<RawAdmin>,
    /// The folder for what lasts.
    pub data_dir: Slot<Text>,
    /// Worker threads; 0: one a core.
    pub threads: Slot<Count>,
    /// Networks of proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Slot<Vec<Slot<Network>>>,
    /// Plans by name. free, pro and enterprise are built in and may be overridden.
    pub plans: Slot<BTreeMap<String, Slot<RawPlan>>>,
    /// The key list, read again whenever it changes: YAML, or one key a line if its name ends in .jsonl.
    pub keys_file: Slot<Text>,
    /// Keys written here, beside those of keys_file.
    pub keys: Slot<RawKeys>,
    /// Upstreams by name.
    pub upstreams: Slot<BTreeMap<String, Slot<RawUpstream>>>,
    /// The routes; the first that takes a path wins.
    pub routes: Slot<Vec<Slot<RawRoute>>>,
    /// The answer cache as a whole.
    pub cache: Slot<RawCache>,
    /// Every bound.
    pub limits: Slot<RawLimits>,
    /// What is counted of requests.
    pub usage: Slot<RawUsage>,
    /// What models cost, by globs over their names.
    pub prices: Slot<BTreeMap<String, Slot<RawPrice>>>,
    /// Cross-origin requests from browsers.
    pub cors: Slot<RawCors>,
    /// What a revoked key's requests in flight are in for.
    pub revoke: Slot<RawRevoke>,
    /// How the process ends.
    pub shutdown: Slot<RawShutdown>,
    /// The engines that several gateways share; absent: this one is alone.
    pub cluster: Slot<RawCluster>,
}

/// Where clients connect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(untagged)]
pub enum RawListen {
    /// `address:port`
    Text(Text),
    /// With TLS.
    Mapping(RawListener),
    /// Several.
    List(Vec<Slot<RawListenItem>>),
}

/// One listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(untagged)]
pub enum RawListenItem {
    /// `address:port`
    Text(Text),
    /// With TLS.
    Mapping(RawListener),
}

/// One listener, written out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct RawListener {
    /// `address:port`; `[::]:8080` for IPv6.
    pub address: Slot<Text>,
    /// The certificate shown to clients; absent: plain HTTP.
    pub tls: Slot<RawListenerTls>,
}

/// PEM files of a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cert", "key"]))]
pub struct RawListenerTls {
    /// PEM file: the certificate and those that signed it.
    pub cert: Slot<Text>,
    /// PEM file: the private key.
    pub key: Slot<Text>,
}

/// The operator's side.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAdmin {
    /// `address:port` or `{address, tls}`.
    pub listen: Slot<RawListenItem>,
    /// The operator's token, 16 bytes or more; empty: the admin API is off.
    pub token: Slot<Text>,
    /// Who may make an account in the console.
    pub sign_up: Slot<RawSignUp>,
}

/// Who may make an account in the console.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawSignUp {
    /// Whoever reaches the admin listener.
    Open,
    /// Nobody: people come by one-time links.
    Closed,
}

/// A plan.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawPlan {
    /// Requests a minute, once the burst is spent.
    pub requests_per_minute: Slot<Count>,
    /// Requests that a rested key may make at once.
    pub burst: Slot<Count>,
    /// Whose bucket it is: every key's own, or one for the account.
    pub per: Slot<RawPer>,
    /// What the answers may take that an account stores over the cache API.
    pub stored_bytes: Slot<Size>,
    /// How many keys an account on this plan may have in the store.
    pub max_keys: Slot<Count>,
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawPer {
    /// Every key has one.
    Key,
    /// All keys of an account share one.
    Account,
}

/// A list of keys; `key_list` reads it.
#[derive(Debug)]
pub struct RawKeys;

impl<'de> Deserialize<'de> for RawKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for RawKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RawKeys".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> Schema {
        <Vec<RawKey>>::json_schema(generator)
    }
}

/// One key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "account", "plan", "sha256"]))]
pub struct RawKey {
    /// Unique; shown in logs and analytics.
    pub id: Slot<Text>,
    /// The owner.
    pub account: Slot<Text>,
    /// The plan's name.
    pub plan: Slot<Text>,
    /// What `safecache hash-key` prints.
    pub sha256: Slot<Text>,
    /// Shown to people.
    pub name: Slot<Text>,
    /// Shown to people.
    pub environment: Slot<RawEnvironment>,
    /// RFC 3339; from then on the key is refused.
    pub expires_at: Slot<Text>,
    /// Addresses and networks that may use it; empty: all.
    pub allowed_ips: Slot<Vec<Slot<Network>>>,
    /// Models that it may ask for, `*` for any run of characters; empty: all.
    pub allowed_models: Slot<Vec<Slot<Text>>>,
    /// Refused, but still listed.
    pub disabled: Slot<Flag>,
}

/// Where a key is used.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawEnvironment {
    /// While building.
    Development,
    /// Before release.
    Staging,
    /// For real.
    Production,
}

impl From<RawEnvironment> for Environment {
    fn from(environment: RawEnvironment) -> Self {
        match environment {
            RawEnvironment::Development => Self::Development,
            RawEnvironment::Staging => Self::Staging,
            RawEnvironment::Production => Self::Production,
        }
    }
}

/// The answer cache.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCache {
    /// What all answers in memory may take.
    pub memory: Slot<Size>,
    /// What all proxied answers on the disk may take; 0: none are kept there.
    pub disk: Slot<Size>,
    /// What one answer may take.
    pub max_entry: Slot<Size>,
    /// Who is answered from an entry.
    pub scope: Slot<RawScope>,
    /// Must be true for `scope: global`.
    pub i_accept_shared_answers: Slot<Flag>,
}

/// Who is answered from an entry.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawScope {
    /// The account that paid for it.
    Account,
    /// Every account of this gateway.
    Global,
}

/// Every bound.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    /// One request body.
    pub max_body: Slot<Size>,
    /// Client connections; each may need two open files.
    pub max_connections: Slot<Count>,
    /// Those of one address, unless it is a trusted proxy's.
    pub max_connections_per_address: Slot<Count>,
    /// Requests that one connection may carry.
    pub max_requests_per_connection: Slot<Count>,
    /// How long a connection may wait for its next request.
    pub keep_alive: Slot<Span>,
    /// Requests in flight.
    pub max_requests: Slot<Count>,
    /// Request heads.
    pub head: Slot<RawHead>,
    /// Unread bodies before an early answer.
    pub drain: Slot<RawDrain>,
    /// Bytes a second that a client must take while data waits, over 30 s; 0: no such rule.
    pub min_send_rate: Slot<Size>,
    /// All bodies and answers held at once.
    pub buffer_memory: Slot<Size>,
    /// One key's share of it.
    pub buffer_memory_per_key: Slot<Size>,
    /// Looked-up-and-refused keys a minute and address, or off.
    pub auth_failures: Slot<RawAuthFailures>,
}

/// Request heads.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHead {
    /// Until the head is complete.
    pub timeout: Slot<Span>,
    /// All of it.
    pub bytes: Slot<Size>,
    /// Its fields.
    pub fields: Slot<Count>,
}

/// Unread bodies.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDrain {
    /// What is read at most.
    pub bytes: Slot<Size>,
    /// How long at most.
    pub timeout: Slot<Span>,
}

/// A number, or off.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(untagged)]
pub enum RawAuthFailures {
    /// So many.
    Number(Count),
    /// No bound.
    Text(RawOff),
}

/// The word off.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawOff {
    /// No bound.
    Off,
}

/// What is counted of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawUsage {
    /// How long sums are kept.
    pub keep: Slot<Span>,
    /// Globs over the models that are counted by name; all others count as `other`.
    pub models: Slot<Vec<Slot<Text>>>,
}

/// What a model costs, in any one currency, for a million tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["prompt", "completion"]))]
pub struct RawPrice {
    /// Tokens that it reads.
    pub prompt: Slot<Number>,
    /// Those of them that the upstream's own prompt cache held; without it, as `prompt`.
    pub cached: Slot<Number>,
    /// Tokens that it writes.
    pub completion: Slot<Number>,
}

/// What a revoked key's requests in flight are in for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRevoke {
    /// Whether they end with the key, instead of running to their end.
    pub cut_streams: Slot<Flag>,
}

/// Browsers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCors {
    /// Origins whose preflights are answered.
    pub origins: Slot<Vec<Slot<Text>>>,
}

/// The end of the process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawShutdown {
    /// Served on after TERM, while load balancers look away.
    pub delay: Slot<Span>,
    /// Longest wait for answers in flight after that.
    pub timeout: Slot<Span>,
}

/// What several gateways share.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["replicas"]))]
pub struct RawCluster {
    /// PostgreSQL, for what must last: postgres://user:password@host:5432/database.
    pub postgres: Slot<Text>,
    /// Redis or Valkey, for limits and answers that all share: redis://:password@host:6379/0, or rediss:// for TLS.
    pub redis: Slot<Text>,
    /// How many gateways there are at least.
    pub replicas: Slot<Count>,
    /// What limits do while Redis cannot be asked.
    pub without_redis: Slot<RawWithoutRedis>,
}

/// What limits do while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawWithoutRedis {
    /// Each gateway keeps to its part of each limit.
    Share,
    /// Nothing is limited.
    Open,
    /// Nothing passes that Redis has not granted.
    Closed,
}
