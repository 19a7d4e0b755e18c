//! Heads rewritten on the way through: requests to the upstream, answers to the client (contract §4).

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, FORWARDED, HOST,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr, Result};

use crate::auth::client_address::{ClientAddress, Trust};
use crate::proxy::fields::{FieldList, Fields};
use crate::routing::route::Route;
use crate::upstream::settings::{ServerUrl, UpstreamSettings};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields about one connection, not about the message (RFC 9110 §7.6.1), beside those that Connection names.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The client's credentials: never sent on.
const CREDENTIALS: [HeaderName; 5] = [AUTHORIZATION, X_API_KEY, API_KEY, PROXY_AUTHORIZATION, COOKIE];

/// What a request's rewriting goes by.
pub(super) struct Outbound<'a> {
    pub(super) route: &'a Route,
    pub(super) upstream: &'a UpstreamSettings,
    pub(super) address: &'a ClientAddress,
    pub(super) request_id: &'a HeaderValue,
    /// The request's path.
    pub(super) path: &'a str,
    /// The host that the client named.
    pub(super) host: Option<HeaderValue>,
    /// `http` or `https`: how the client came.
    pub(super) scheme: &'static str,
}

/// The settings, with copies of the fields that are set: who clones a field counts, and not where others do.
pub(super) fn copied(settings: &UpstreamSettings) -> UpstreamSettings {
    // What has been a name or a value is one.
    let name =
        |name: &HeaderName| HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
    let value = |value: &HeaderValue| {
        let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        copy
    };
    UpstreamSettings {
        authorization: settings.authorization.as_ref().map(value),
        set_headers: settings.set_headers.iter().map(|(n, v)| (name(n), value(v))).collect(),
        ..settings.clone()
    }
}

/// The host that a request names: its Host, or on HTTP/2 its `:authority`.
pub(super) fn host_of(head: &RequestHeader) -> Option<HeaderValue> {
    let authority = || HeaderValue::from_str(head.uri.authority()?.as_str()).ok();
    head.headers.get(HOST).cloned().or_else(authority)
}

/// Rewrites all that does not depend on the server chosen. Credentials and hop-by-hop fields are the caller's to
/// leave out.
///
/// # Errors
/// As [`Fields::insert`].
pub(super) fn to_upstream(head: &mut impl Fields, outbound: &Outbound<'_>) -> Result<()> {
    forwarded(head, outbound)?;
    head.insert(X_REQUEST_ID, outbound.request_id.clone())?;
    let is_cached = outbound.route.cache.as_ref().is_some_and(|policy| policy.takes(outbound.path));
    if is_cached {
        head.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"))?;
    }
    if let Some(authorization) = &outbound.upstream.authorization {
        head.insert(AUTHORIZATION, authorization.clone())?;
    }
    for name in &outbound.upstream.remove_headers {
        head.remove(name);
    }
    for (name, value) in &outbound.upstream.set_headers {
        head.insert(name.clone(), value.clone())?;
    }
    Ok(())
}

/// The target as a server is asked for it: its base path before the request's, without the route's prefix. `raw` is the
/// target's bytes as they came, `uri` what was read of them; one in absolute form becomes one in origin form.
pub(super) fn server_target<'a>(
    raw: &'a [u8],
    uri: &Uri,
    route: &Route,
    server: &ServerUrl,
) -> Cow<'a, [u8]> {
    if raw.starts_with(b"/") && route.strip_prefix.is_empty() && server.base_path.is_empty() {
        return Cow::Borrowed(raw);
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let stripped = target.strip_prefix(route.strip_prefix.as_ref()).unwrap_or(target);
    let slash = if stripped.starts_with('/') { "" } else { "/" };
    Cow::Owned(format!("{}{slash}{stripped}", server.base_path).into_bytes())
}

/// `X-Forwarded-*`: made anew for a peer that is not believed, extended for one that is.
fn forwarded(head: &mut impl Fields, outbound: &Outbound<'_>) -> Result<()> {
    let scheme = HeaderValue::from_static(outbound.scheme);
    let host = outbound.host.clone();
    let peer = outbound.address.peer;
    if outbound.address.trust == Trust::Untrusted {
        head.remove(&FORWARDED);
        head.remove(&X_REAL_IP);
        head.insert(X_FORWARDED_FOR, address_value(peer)?)?;
        head.insert(X_FORWARDED_PROTO, scheme)?;
        match host {
            Some(host) => head.insert(X_FORWARDED_HOST, host)?,
            None => head.remove(&X_FORWARDED_HOST),
        }
        return Ok(());
    }
    let chain_name = X_FORWARDED_FOR;
    let so_far = head.values(&chain_name).filter_map(|value| value.to_str().ok());
    let own = peer.to_string();
    let chain = so_far.chain([own.as_str()]).collect::<Vec<_>>().join(", ");
    head.insert(chain_name, field_value(chain)?)?;
    if head.values(&X_FORWARDED_PROTO).next().is_none() {
        head.insert(X_FORWARDED_PROTO, scheme)?;
    }
    match host.filter(|_| head.values(&X_FORWARDED_HOST).next().is_none()) {
        Some(host) => head.insert(X_FORWARDED_HOST, host),
        None => Ok(()),
    }
}

/// The address as text. IPv4 is written digit by digit: that is cheaper than formatting, and done for every request.
fn address_value(address: IpAddr) -> Result<HeaderValue> {
    let IpAddr::V4(address) = address else { return field_value(address.to_string()) };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    field_value(text)
}

fn field_value(text: String) -> Result<HeaderValue> {
    let value = HeaderValue::from_maybe_shared(Bytes::from(text));
    value.or_err(ErrorType::InternalError, "a list of addresses is no field value")
}

/// Removes the fields that are about the client's connection.
pub(super) fn strip_hops(head: &mut RequestHeader) {
    for name in nominated(&head.headers).iter().chain(&HOP_BY_HOP) {
        head.remove_header(name);
    }
}

/// Removes the client's credentials.
pub(super) fn strip_credentials(head: &mut RequestHeader) {
    for name in &CREDENTIALS {
        head.remove_header(name);
    }
}

/// The request's fields without those that Connection [names](nominated): a server would not be sent them, so that they
/// must not decide which answers are alike.
pub(super) fn without<'a>(headers: &'a HeaderMap, nominated: &[HeaderName]) -> Cow<'a, HeaderMap> {
    if !nominated.iter().any(|name| headers.contains_key(name)) {
        return Cow::Borrowed(headers);
    }
    let mut rest = headers.clone();
    for name in nominated {
        rest.remove(name);
    }
    Cow::Owned(rest)
}

/// A copy of the request's fields that are about the message: without those about the client's connection, which
/// [names](nominated) some itself, its credentials, its framing, and `Expect`, which has been answered. Room is left for
/// what is added.
pub(super) fn message_fields(headers: &HeaderMap, nominated: &[HeaderName]) -> FieldList {
    let mut fields = FieldList::with_capacity(headers.len() + 8);
    for (name, value) in headers {
        let is_dropped = HOP_BY_HOP.contains(name)
            || CREDENTIALS.contains(name)
            || nominated.contains(name)
            || *name == EXPECT
            || *name == CONTENT_LENGTH;
        if !is_dropped {
            fields.push(name.clone(), value.clone());
        }
    }
    fields
}

/// What becomes of the cookies that an upstream sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookies {
    /// They reach the client.
    Passed,
    /// They do not: on cached paths an answer may be another's tomorrow.
    Dropped,
}

impl Cookies {
    /// What becomes of them on `path` of `route`.
    pub(super) fn of(route: &Route, path: &str) -> Self {
        let is_cached = route.cache.as_ref().is_some_and(|policy| policy.takes(path));
        if is_cached { Self::Dropped } else { Self::Passed }
    }
}

/// The fields of an upstream's answer that concern the client, in their order: `fetch`'s side.
pub(super) fn end_to_end(head: &ResponseHeader, cookies: Cookies) -> Vec<(HeaderName, HeaderValue)> {
    let nominated = nominated(&head.headers);
    let is_kept = |name: &HeaderName| *name == UPGRADE && tells_protocols(head.status);
    head.headers
        .iter()
        .filter(|(name, _)| is_kept(name) || !HOP_BY_HOP.contains(name) && !nominated.contains(name))
        .filter_map(|(name, value)| answer_field(name).map(|name| (name, value.clone())))
        .filter(|(name, _)| *name != SET_COOKIE || cookies == Cookies::Passed)
        .filter(|(name, _)| *name != CONTENT_LENGTH)
        .collect()
}

/// The same for an answer that is passed on as it comes, its framing and the spelling of its names included. Its Date is
/// the gateway's, as on every answer.
///
/// # Errors
/// None that can come up.
pub(super) fn from_upstream(head: &mut ResponseHeader, cookies: Cookies) -> Result<()> {
    let is_switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut unwanted = nominated(&head.headers);
    unwanted.extend([KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, UPGRADE]);
    if tells_protocols(head.status) {
        unwanted.retain(|name| *name != UPGRADE);
    }
    if is_switching {
        head.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    } else {
        unwanted.push(CONNECTION);
    }
    if !head.status.is_informational() {
        unwanted.push(DATE);
    }
    unwanted.extend(head.headers.keys().filter(|name| answer_field(name).is_none()).cloned());
    if cookies == Cookies::Dropped {
        unwanted.push(SET_COOKIE);
    }
    for name in &unwanted {
        head.remove_header(name);
    }
    match head.remove_header(&X_REQUEST_ID) {
        Some(id) => head.insert_header(X_UPSTREAM_REQUEST_ID, id),
        None => Ok(()),
    }
}

/// True if an answer's Upgrade is for the client: it changes, or is required (RFC 9110 §15.5.22).
fn tells_protocols(status: StatusCode) -> bool {
    matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED)
}

/// The name under which an upstream's field reaches the client; `None`: not at all, because the gateway says it.
fn answer_field(name: &HeaderName) -> Option<HeaderName> {
    let text = name.as_str();
    if text.starts_with("x-ratelimit") || text.starts_with("ratelimit") {
        return None;
    }
    match text {
        "x-request-id" => Some(X_UPSTREAM_REQUEST_ID),
        "x-cache" | "cache-status" | "age" => None,
        _ => Some(name.clone()),
    }
}

/// The fields that Connection names, but for those that no connection option may remove. What is no name in it takes
/// nothing from the others.
pub(super) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !matches!(name.as_str(), "host" | "content-length" | "content-type"))
        .collect()
}
