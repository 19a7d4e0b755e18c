//! Headers that operators may set, remove, keep or vary by.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use crate::config::build::Builder;
use crate::config::node::Place;
use crate::config::raw::traffic::RawHeaders;
use crate::config::scalar::{Slot, Text};

/// Belong to one connection (RFC 9110, 7.6.1), or to framing.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Set by the gateway itself on every upstream request.
const OURS: [&str; 8] = [
    "accept-encoding",
    "authorization",
    "forwarded",
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Carry what must not decide or enter an entry: credentials never reach the upstream, cookies never a cache.
const NEVER_CACHED: [&str; 5] = ["api-key", "authorization", "cookie", "set-cookie", "x-api-key"];

/// Said by the gateway itself on every answer, or not at all; so are the families of [`is_of_a_limit`].
const SAID_BY_US: [&str; 6] = ["age", "cache-status", "content-encoding", "vary", "x-cache", "x-request-id"];

/// Headers set, then headers removed.
pub(super) type HeaderRules = (Box<[(HeaderName, HeaderValue)]>, Box<[HeaderName]>);

impl Builder<'_> {
    /// An upstream's header rules.
    pub(super) fn header_rules(&self, raw: RawHeaders, place: &Place<'_>) -> HeaderRules {
        let set_at = place.key("set");
        let mut set: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in raw.set.or(BTreeMap::new()) {
            let at = set_at.key(&name);
            let (Some(header), Some(text)) = (self.free_header(&name, &at), value.given()) else { continue };
            if set.iter().any(|(other, _)| *other == header) {
                self.scene.refuse(&at, "this header is set twice", "upper and lower case make no difference");
                continue;
            }
            match HeaderValue::from_str(&text.0) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    set.push((header, value));
                }
                Err(_) => self.scene.refuse(
                    &at,
                    "no header can carry this value",
                    "no line breaks or control characters",
                ),
            }
        }
        let remove_at = place.key("remove");
        let mut remove: Vec<HeaderName> = Vec::new();
        for (index, name) in raw.remove.or(Vec::new()).into_iter().enumerate() {
            let at = remove_at.index(index);
            let Some(header) = name.given().and_then(|name| self.free_header(&name.0, &at)) else { continue };
            if set.iter().any(|(other, _)| *other == header) {
                self.scene.refuse(
                    &at,
                    "this header is both set and removed",
                    "setting replaces what the client sent",
                );
            } else if remove.contains(&header) {
                self.scene.refuse(&at, "this header is listed twice", "remove one of them");
            } else {
                remove.push(header);
            }
        }
        (set.into(), remove.into())
    }

    /// Header names of a route's cache policy: request headers in the key, or upstream headers in an entry.
    pub(super) fn cached_headers(&self, slot: Slot<Vec<Slot<Text>>>, place: &Place<'_>) -> Box<[HeaderName]> {
        let mut names: Vec<HeaderName> = Vec::new();
        for (index, text) in slot.or(Vec::new()).into_iter().enumerate() {
            let at = place.index(index);
            let Some(header) = text.given().and_then(|text| self.header_name(&text.0, &at)) else { continue };
            if HOP_BY_HOP.contains(&header.as_str()) || NEVER_CACHED.contains(&header.as_str()) {
                let hint = "headers of one connection, credentials and cookies never are part of the cache";
                self.scene.refuse(&at, format!("the header {header} cannot be listed here"), hint);
            } else if SAID_BY_US.contains(&header.as_str()) || is_of_a_limit(&header) {
                let hint = "the gateway says it itself, or drops it";
                self.scene.refuse(&at, format!("the header {header} cannot be listed here"), hint);
            } else if names.contains(&header) {
                self.scene.refuse(&at, "this header is listed twice", "remove one of them");
            } else {
                names.push(header);
            }
        }
        names.into()
    }

    fn header_name(&self, text: &str, place: &Place<'_>) -> Option<HeaderName> {
        let name = HeaderName::try_from(text).ok();
        if name.is_none() {
            self.scene.refuse(place, "this is no header name", "a name such as x-team");
        }
        name
    }

    /// A header that operators may rule over.
    fn free_header(&self, text: &str, place: &Place<'_>) -> Option<HeaderName> {
        let name = self.header_name(text, place)?;
        if name == "authorization" {
            self.scene.refuse(
                place,
                "authorization is set by the gateway",
                "write `authorization:` beside `headers:`",
            );
            return None;
        }
        if OURS.contains(&name.as_str()) {
            self.scene.refuse(place, format!("{name} is set by the gateway"), "it cannot be changed here");
            return None;
        }
        if HOP_BY_HOP.contains(&name.as_str()) {
            self.scene.refuse(
                place,
                format!("{name} belongs to one connection"),
                "it cannot be changed here",
            );
            return None;
        }
        Some(name)
    }
}

fn is_of_a_limit(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-ratelimit") || name.as_str().starts_with("ratelimit")
}
