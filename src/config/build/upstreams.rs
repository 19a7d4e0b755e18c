//! Upstreams: servers, credentials and bounds.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use rustls::pki_types::ServerName;

use crate::config::build::{Builder, MOST_NAMED};
use crate::config::node::Place;
use crate::config::raw::traffic::{
    RawHeaders, RawHealth, RawQueue, RawRetry, RawServer, RawUpstream, RawUpstreamTls,
};
use crate::config::scalar::{Count, Slot, Text};
use crate::config::server_url::parse_server_url;
use crate::ids::UpstreamName;
use crate::pem;
use crate::upstream::settings::{
    Concurrency, HealthCheck, Retry, Scheme, ServerUrl, TlsSettings, UpstreamSettings,
};

/// A server's largest share.
const MOST_WEIGHT: u32 = 1000;

/// Between two checks of a server, at least.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Schemes that, written alone, mean that no credentials are sent.
const BARE_SCHEMES: [&str; 4] = ["bearer", "basic", "token", "apikey"];

/// What was written under `upstreams`: names in order, and what could be built.
pub(super) struct Upstreams(Vec<(String, Arc<UpstreamSettings>)>);

impl Upstreams {
    /// The index of an upstream by name.
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(other, _)| other == name)
    }

    /// All names, for hints.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The settings, in the order of the indices.
    pub(super) fn built(self) -> Vec<Arc<UpstreamSettings>> {
        self.0.into_iter().map(|(_, settings)| settings).collect()
    }
}

impl Builder<'_> {
    /// All upstreams, sorted by name. One with a problem is still there, so that routes may name it.
    pub(super) fn upstreams(&self, slot: Slot<BTreeMap<String, Slot<RawUpstream>>>) -> Upstreams {
        let root = Place::Root;
        let place = root.key("upstreams");
        let written = slot.or(BTreeMap::new());
        if written.len() > MOST_NAMED {
            self.scene.refuse(
                &place,
                format!("more than {MOST_NAMED} upstreams"),
                "one upstream may have many servers",
            );
        }
        let build = |(name, raw): (String, Slot<RawUpstream>)| {
            let at = place.key(&name);
            self.check_name(&name, &at);
            let is_bad = matches!(raw, Slot::Bad);
            let settings =
                self.upstream(&name, raw.or(RawUpstream::default()), &at, is_bad.then_some(Unread));
            (name, Arc::new(settings))
        };
        Upstreams(written.into_iter().map(build).collect())
    }

    fn upstream(
        &self,
        name: &str,
        raw: RawUpstream,
        place: &Place<'_>,
        unread: Option<Unread>,
    ) -> UpstreamSettings {
        let servers = match unread {
            Some(Unread) => Box::default(),
            None => self.servers(raw.servers, &place.key("servers")),
        };
        let headers = raw.headers.or(RawHeaders::default());
        let (set_headers, remove_headers) = self.header_rules(headers, &place.key("headers"));
        let seconds = Duration::from_secs;
        UpstreamSettings {
            name: UpstreamName::new(name),
            authorization: self.authorization(raw.authorization, &place.key("authorization")),
            set_headers,
            remove_headers,
            connect_timeout: self.positive_span(
                raw.connect_timeout,
                &place.key("connect_timeout"),
                seconds(2),
            ),
            first_byte_timeout: self.positive_span(
                raw.first_byte_timeout,
                &place.key("first_byte_timeout"),
                seconds(600),
            ),
            idle_timeout: self.positive_span(raw.idle_timeout, &place.key("idle_timeout"), seconds(300)),
            concurrency: self.concurrency(raw.max_concurrent, raw.queue, place),
            health: self.health(raw.health, &place.key("health")),
            retry: match raw.retry.or(RawRetry::Safe) {
                RawRetry::Safe => Retry::Safe,
                RawRetry::Never => Retry::Never,
            },
            tls: self.upstream_tls(raw.tls, &servers, &place.key("tls")),
            servers,
        }
    }

    fn servers(&self, slot: Slot<Vec<Slot<RawServer>>>, place: &Place<'_>) -> Box<[ServerUrl]> {
        let Some(items) = self.required(slot, place, "[http://127.0.0.1:8000]") else {
            return Box::default();
        };
        if items.is_empty() {
            self.scene.refuse(place, "the list is empty", "write [http://127.0.0.1:8000]");
        }
        let mut servers: Vec<ServerUrl> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = place.index(index);
            let Some(server) = item.given().and_then(|item| self.server(item, &at)) else { continue };
            let is_twice = servers.iter().any(|s| {
                s.scheme == server.scheme
                    && s.authority == server.authority
                    && s.base_path == server.base_path
            });
            if is_twice {
                self.scene.refuse(&at, "this server is listed twice", "give it a weight instead");
            } else {
                servers.push(server);
            }
        }
        servers.into()
    }

    fn server(&self, raw: RawServer, place: &Place<'_>) -> Option<ServerUrl> {
        let (url, url_at, weight) = match raw {
            RawServer::Text(text) => (Some(text), *place, Slot::Absent),
            RawServer::Mapping(raw) => {
                let at = place.key("url");
                (self.required(raw.url, &at, "http://127.0.0.1:8000"), at, raw.weight)
            }
        };
        let weight_at = place.key("weight");
        let weight = self.positive(weight, &weight_at, NonZeroU32::MIN);
        if weight.get() > MOST_WEIGHT {
            self.scene.refuse(
                &weight_at,
                format!("at most {MOST_WEIGHT}"),
                "weights are relative to each other",
            );
        }
        match parse_server_url(&url?.0) {
            Ok(server) => Some(ServerUrl { weight, ..server }),
            Err(error) => {
                self.scene.refuse(&url_at, error.to_string(), error.hint());
                None
            }
        }
    }

    fn authorization(&self, slot: Slot<Text>, place: &Place<'_>) -> Option<HeaderValue> {
        let text = slot.given()?.0;
        let text = text.trim();
        let is_bare = text.is_empty() || BARE_SCHEMES.iter().any(|scheme| text.eq_ignore_ascii_case(scheme));
        if is_bare {
            return None;
        }
        if !text.contains(' ') {
            let hint = "write `Bearer ${UPSTREAM_API_KEY}`";
            self.scene.refuse(place, "expected a scheme, a space and credentials", hint);
            return None;
        }
        match HeaderValue::from_str(text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                Some(value)
            }
            Err(_) => {
                let hint = "no line breaks or control characters";
                self.scene.refuse(place, "no header can carry this value", hint);
                None
            }
        }
    }

    fn concurrency(&self, max: Slot<Count>, queue: Slot<RawQueue>, place: &Place<'_>) -> Concurrency {
        let queue_at = place.key("queue");
        let max = NonZeroU32::new(max.or(Count(0)).0);
        if max.is_none() && matches!(queue, Slot::Given(_)) {
            self.scene.refuse(
                &queue_at,
                "nothing ever waits without `max_concurrent`",
                "set it, or remove `queue`",
            );
        }
        let queue = queue.or(RawQueue::default());
        let wait = self.positive_span(queue.wait, &queue_at.key("wait"), Duration::from_secs(1));
        match max {
            Some(max) => Concurrency::Bounded { max, queue: queue.length.or(Count(0)).0, wait },
            None => Concurrency::Unbounded,
        }
    }

    fn health(&self, slot: Slot<RawHealth>, place: &Place<'_>) -> Option<HealthCheck> {
        let raw = slot.given()?;
        let interval_at = place.key("interval");
        if matches!((&raw.path, &raw.interval), (Slot::Absent, Slot::Given(_))) {
            self.scene.refuse(&interval_at, "nothing is checked without `path`", "write path: /health");
        }
        let interval = self.positive_span(raw.interval, &interval_at, Duration::from_secs(10));
        if interval < SHORTEST_INTERVAL {
            self.scene.refuse(&interval_at, "too short", "at least 100ms");
        }
        let path = raw.path.given()?.0;
        let is_target = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
        if !is_target {
            self.scene.refuse(
                &place.key("path"),
                "this is no path",
                "begin it with a slash, such as /health",
            );
        }
        is_target.then(|| HealthCheck { path: path.into(), interval })
    }

    fn upstream_tls(
        &self,
        slot: Slot<RawUpstreamTls>,
        servers: &[ServerUrl],
        place: &Place<'_>,
    ) -> TlsSettings {
        let Some(raw) = slot.given() else { return TlsSettings::default() };
        let is_empty = matches!(
            raw,
            RawUpstreamTls {
                ca: Slot::Absent,
                cert: Slot::Absent,
                key: Slot::Absent,
                server_name: Slot::Absent
            }
        );
        let speaks_tls = servers.iter().any(|server| server.scheme == Scheme::Https);
        if !is_empty && !speaks_tls && !servers.is_empty() {
            self.scene.refuse(place, "no server of this upstream is https", "write https:// or remove `tls`");
        }
        let ca = match raw.ca {
            Slot::Absent => None,
            ca => {
                let place = place.key("ca");
                self.read_file(ca, &place)
                    .and_then(|(path, content)| self.unfaulted(pem::authorities(path, &content), &place))
            }
        };
        let client = match (raw.cert, raw.key) {
            (Slot::Absent, Slot::Absent) => None,
            (cert, key) => self.identity(cert, key, place),
        };
        let server_name = raw.server_name.given().and_then(|name| {
            let at = place.key("server_name");
            if ServerName::try_from(name.0.as_str()).is_err() {
                self.scene.refuse(&at, "this is no host name", "a name such as llm.example.com");
                return None;
            }
            Some(name.0.into())
        });
        TlsSettings { ca, client, server_name }
    }
}

/// The upstream could not be read: that it has no servers is not a problem of its own.
struct Unread;
