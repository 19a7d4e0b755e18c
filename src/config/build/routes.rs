//! Routes: patterns, names and cache policies.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::policy::{OnDisconnect, RoutePolicy, Scope};
use crate::config::build::upstreams::Upstreams;
use crate::config::build::{Builder, MOST_NAMED};
use crate::config::de::suggest;
use crate::config::node::Place;
use crate::config::raw::traffic::{RawErrors, RawRoute, RawRouteCache, RawUpgrade};
use crate::config::scalar::{Flag, Number, Slot, Text};
use crate::routing::route::{ErrorShape, PathPattern, Route, Upgrade};
use crate::routing::table::RouteTable;

/// Suffixes of the model APIs whose answers may be cached.
const DEFAULT_PATHS: [&str; 7] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/moderations",
    "/rerank",
    "/messages",
    "/responses",
];

/// Paths that the gateway answers itself, before any route.
const BUILT_IN_PATHS: [&str; 2] = ["/api/v1/", "/healthz"];

/// Members that decide what a model answers: without them, different questions would share an answer.
const NEVER_IGNORED: [&str; 8] =
    ["contents", "input", "instructions", "messages", "model", "prompt", "system", "tools"];

const DEFAULT_TTL: Duration = Duration::from_secs(3600);

impl Builder<'_> {
    /// The route table. A route with a problem is left out.
    pub(super) fn routes(
        &self,
        slot: Slot<Vec<Slot<RawRoute>>>,
        upstreams: &Upstreams,
        scope: Scope,
    ) -> RouteTable {
        let root = Place::Root;
        let place = root.key("routes");
        let written = slot.or(Vec::new());
        if written.len() > MOST_NAMED {
            self.scene.refuse(
                &place,
                format!("more than {MOST_NAMED} routes"),
                "one route takes many paths with a pattern such as /v1/*",
            );
        }
        let mut routes = Vec::new();
        let mut earlier: Vec<(usize, String)> = Vec::new();
        for (index, raw) in written.into_iter().enumerate() {
            let Some(raw) = raw.given() else { continue };
            let at = place.index(index);
            if let Some(path) = raw.path.get() {
                self.check_reachable(&path.0, &earlier, &at.key("path"));
                earlier.push((index, path.0.clone()));
            }
            routes.extend(self.route(raw, &at, upstreams, scope));
        }
        RouteTable::new(routes)
    }

    fn route(&self, raw: RawRoute, place: &Place<'_>, upstreams: &Upstreams, scope: Scope) -> Option<Route> {
        let pattern = self.pattern(raw.path, &place.key("path"));
        let upstream = self.upstream_index(raw.upstream, upstreams, &place.key("upstream"));
        let literal = pattern.as_ref().map(|(_, pattern)| literal_of(pattern));
        let strip_prefix = self.strip_prefix(raw.strip_prefix, literal, &place.key("strip_prefix"));
        let cache_at = place.key("cache");
        let cache = raw.cache.given().map(|cache| self.route_cache(cache, &cache_at, scope));
        if let (Some((_, PathPattern::Exact(path))), Some(policy)) = (&pattern, &cache)
            && !policy.takes(path)
        {
            let hint = "add the route's path to `cache.paths`, or remove `cache`";
            self.scene.refuse(&cache_at, "none of this route's paths is cached", hint);
        }
        let (label, pattern) = pattern?;
        Some(Route {
            label: label.into(),
            pattern,
            upstream: upstream?,
            strip_prefix: strip_prefix.into(),
            errors: match raw.errors.or(RawErrors::Safecache) {
                RawErrors::Safecache => ErrorShape::Safecache,
                RawErrors::Openai => ErrorShape::Openai,
            },
            upgrade: match raw.upgrade.or(RawUpgrade::None) {
                RawUpgrade::None => Upgrade::Deny,
                RawUpgrade::Websocket => Upgrade::WebSocket,
            },
            cache: cache.map(Arc::new),
        })
    }

    fn pattern(&self, slot: Slot<Text>, place: &Place<'_>) -> Option<(String, PathPattern)> {
        let text = self.required(slot, place, "/v1/*")?.0;
        let has_forbidden =
            text.contains("//") || text.split('/').any(|segment| segment == "." || segment == "..");
        let is_clean = text.bytes().all(|b| b.is_ascii_graphic()) && !has_forbidden;
        match PathPattern::parse(&text).filter(|_| is_clean) {
            Some(pattern) => Some((text, pattern)),
            None => {
                let hint = "a path such as /v1/models, or a prefix such as /v1/*";
                self.scene.refuse(place, format!("{} is no path pattern", self.scene.quote(place)), hint);
                None
            }
        }
    }

    fn upstream_index(&self, slot: Slot<Text>, upstreams: &Upstreams, place: &Place<'_>) -> Option<usize> {
        let name = self.required(slot, place, "llm, a name under `upstreams`")?.0;
        let index = upstreams.index_of(&name);
        if index.is_none() {
            let hint = suggest(&name, &upstreams.names(), "defined are");
            self.scene.refuse(place, format!("no upstream is named {}", self.scene.quote(place)), hint);
        }
        index
    }

    /// The prefix must be whole segments of every path that the route takes, and leave something.
    fn strip_prefix(&self, slot: Slot<Text>, literal: Option<&str>, place: &Place<'_>) -> String {
        let prefix = slot.or(Text(String::new())).0;
        let Some(literal) = literal.filter(|_| !prefix.is_empty()) else { return prefix };
        let is_form = prefix.starts_with('/') && !prefix.ends_with('/');
        let leaves_path = literal.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if !is_form {
            self.scene.refuse(place, "a prefix begins with `/` and does not end with one", "such as /openai");
        } else if !leaves_path {
            let hint = "it must be the first segments of the route's path";
            self.scene.refuse(place, "the route's paths do not begin with this prefix", hint);
        }
        prefix
    }

    /// Refuses a route whose every path goes to the gateway itself or to an earlier route.
    fn check_reachable(&self, path: &str, earlier: &[(usize, String)], place: &Place<'_>) {
        if let Some(own) = BUILT_IN_PATHS.iter().find(|own| covers(own, path)) {
            let message = format!("can never match: the gateway itself answers {own}");
            self.scene.refuse(place, message, "choose another path");
            return;
        }
        let shadow = earlier.iter().find(|(_, other)| match other.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => other == path,
        });
        if let Some((index, _)) = shadow {
            let message = format!("can never match: routes[{index}] takes all of its paths");
            self.scene.refuse(place, message, "the first match wins: put the narrower route first");
        }
    }

    fn route_cache(&self, raw: RawRouteCache, place: &Place<'_>, scope: Scope) -> RoutePolicy {
        let temperature_at = place.key("max_temperature");
        let max_temperature = raw.max_temperature.or(Number(2.0)).0;
        if max_temperature < 0.0 {
            self.scene.refuse(
                &temperature_at,
                "must not be negative",
                "0 caches requests that name temperature 0 or none",
            );
        }
        RoutePolicy {
            ttl: self.positive_span(raw.ttl, &place.key("ttl"), DEFAULT_TTL),
            paths: self.cached_paths(raw.paths, &place.key("paths")),
            ignore: self.ignored(raw.ignore, &place.key("ignore")),
            vary: self.cached_headers(raw.vary, &place.key("vary")),
            keep_headers: self.cached_headers(raw.headers, &place.key("headers")),
            max_temperature,
            on_disconnect: match raw.finish_on_disconnect.or(Flag(false)).0 {
                true => OnDisconnect::Finish,
                false => OnDisconnect::Stop,
            },
            scope,
        }
    }

    fn cached_paths(&self, slot: Slot<Vec<Slot<Text>>>, place: &Place<'_>) -> Box<[Box<str>]> {
        let Some(items) = slot.given() else {
            return DEFAULT_PATHS.iter().map(|path| Box::from(*path)).collect();
        };
        if items.is_empty() {
            self.scene.refuse(place, "the list is empty", "remove `cache` to cache nothing");
        }
        let mut paths: Vec<Box<str>> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = place.index(index);
            let Some(Text(text)) = item.given() else { continue };
            let is_suffix = text.starts_with('/') && text.len() > 1 && !text.contains(['*', '?', '#']);
            if !is_suffix {
                self.scene.refuse(
                    &at,
                    "expected the end of a path",
                    "such as /chat/completions, without `*`",
                );
            } else if paths.iter().any(|other| **other == *text) {
                self.scene.refuse(&at, "this path is listed twice", "remove one of them");
            } else {
                paths.push(text.into());
            }
        }
        paths.into()
    }

    fn ignored(&self, slot: Slot<Vec<Slot<Text>>>, place: &Place<'_>) -> Box<[Box<str>]> {
        let mut names: Vec<Box<str>> = Vec::new();
        for (index, item) in slot.or(Vec::new()).into_iter().enumerate() {
            let at = place.index(index);
            let Some(Text(text)) = item.given() else { continue };
            if text.is_empty() {
                self.scene.refuse(&at, "the name is empty", "the name of a body member, such as user");
            } else if NEVER_IGNORED.contains(&text.as_str()) {
                let hint = "different questions would get one answer";
                self.scene.refuse(&at, format!("`{text}` must stay in the key"), hint);
            } else if names.iter().any(|other| **other == *text) {
                self.scene.refuse(&at, "this name is listed twice", "remove one of them");
            } else {
                names.push(text.into());
            }
        }
        names.into()
    }
}

/// What every path of the pattern begins with.
fn literal_of(pattern: &PathPattern) -> &str {
    match pattern {
        PathPattern::Exact(text) | PathPattern::Prefix(text) => text,
    }
}

/// True if the built-in path `own` (a prefix if it ends in `/`) takes all that the pattern `path` takes.
fn covers(own: &str, path: &str) -> bool {
    if own.ends_with('/') { path.starts_with(own) } else { path == own }
}
