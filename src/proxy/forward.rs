//! Requests that are passed on as they come: pingora's own path, its phases filled in.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::{H1UpgradePolicy, HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::cache::control::CacheStatus;
use crate::cache::recording::Failure;
use crate::llm::request::Api;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::ctx::{Ctx, Forwarding};
use crate::proxy::headers::{self, Cookies, Outbound};
use crate::proxy::respond;
use crate::proxy::send::{error_event, is_event_stream_type, rejection_of};
use crate::proxy::shared::Shared;
use crate::proxy::upstreams::{MOST_ATTEMPTS, STALE_WITHIN};
use crate::routing::route::Upgrade;
use crate::upstream::settings::Retry;

/// Takes a place upstream, before pingora connects.
///
/// # Errors
/// The upstream is at its limits.
pub(super) async fn begin(ctx: &mut Ctx) -> Result<(), Rejection> {
    let Some(live) = ctx.route.clone() else { return Err(Rejection::Internal) };
    let place = live.upstream.place().await?;
    if let Some(room) = &mut ctx.room {
        room.upstream = Some(place);
    }
    if live.route.cache.is_some() {
        ctx.cache_status = Some(CacheStatus::Bypass);
    }
    ctx.forwarding = Some(Forwarding::default());
    Ok(())
}

/// The server of the next attempt.
///
/// # Errors
/// None is left.
pub(super) fn peer(shared: &Shared, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let none = || Error::explain(ErrorType::ConnectNoRoute, "no server left to try");
    let Some(live) = &ctx.route else { return Err(none()) };
    let forwarding = ctx.forwarding.get_or_insert_default();
    if forwarding.tried.len() >= MOST_ATTEMPTS {
        return Err(none());
    }
    let choice = live.upstream.choose(&mut forwarding.tried, shared.clock.monotonic()).ok_or_else(none)?;
    forwarding.server = Some(choice.server);
    let mut peer = Box::new(HttpPeer::clone(&choice.peer));
    if forwarding.is_second_try {
        // Another pooled connection may be as dead as the first: nothing is pooled yet in a group of its own.
        peer.group_key = shared.second_tries.fetch_add(1, Ordering::Relaxed);
    }
    peer.options.http_upstream_request_policy.h1_upgrade = match live.route.upgrade {
        Upgrade::Deny => H1UpgradePolicy::Deny,
        Upgrade::WebSocket => HttpUpstreamRequestPolicy::default().h1_upgrade,
    };
    Ok(peer)
}

/// Rewrites the head that is about to be sent.
///
/// # Errors
/// As `headers::to_upstream`.
pub(super) fn request(
    shared: &Shared,
    session: &Session,
    head: &mut RequestHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    let internal = || Error::explain(ErrorType::InternalError, "a request without route");
    let (Some(live), Some(address), Some(request_id)) = (&ctx.route, &ctx.address, &ctx.request_id) else {
        return Err(internal());
    };
    let outbound = Outbound {
        route: &live.route,
        upstream: &live.upstream.settings,
        address,
        request_id,
        path: session.req_header().uri.path(),
        host: headers::host_of(session.req_header()),
        scheme: headers::scheme_of(session),
    };
    headers::strip_credentials(head);
    headers::to_upstream(head, &outbound)?;
    let Some(forwarding) = &mut ctx.forwarding else { return Err(internal()) };
    if let Some(server) = forwarding.server.and_then(|index| live.upstream.server(index)) {
        head.insert_header(HOST, server.host.clone())?;
        headers::to_server(head, &live.route, &server.url)?;
    }
    let now = shared.clock.monotonic();
    forwarding.sent = Some(now);
    ctx.report.sent(now);
    Ok(())
}

/// An empty last piece is no piece. pingora would write it as the last chunk and then another last chunk, which the
/// upstream would take for the beginning of the next request; HTTP/2 clients commonly end a body with an empty frame.
#[expect(clippy::fn_params_excessive_bools, reason = "as pingora's phase has it")]
pub(super) fn request_body(body: &mut Option<Bytes>, end_of_stream: bool) {
    if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
        *body = None;
    }
}

/// Rewrites the head of the answer, and notes that it has come.
///
/// # Errors
/// As `respond::decorate`.
pub(super) fn response(
    shared: &Shared,
    session: &mut Session,
    head: &mut ResponseHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    if head.status.is_informational() && head.status != http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    let path = session.req_header().uri.path();
    let cookies = ctx.route.as_ref().map_or(Cookies::Passed, |live| Cookies::of(&live.route, path));
    headers::from_upstream(head, cookies)?;
    let now = shared.clock.monotonic();
    ctx.answered = Some(now);
    if let (Some(live), Some(forwarding)) = (&ctx.route, &mut ctx.forwarding) {
        if let Some(server) = forwarding.server {
            live.upstream.succeeded(server);
        }
        if let Some(sent) = forwarding.sent {
            let waited = now.saturating_since(sent);
            live.upstream.first_byte.observe(waited.as_secs_f64());
            ctx.report.first_byte(waited);
        }
        forwarding.is_event_stream =
            head.headers.get(CONTENT_TYPE).is_some_and(|value| is_event_stream_type(value.as_bytes()));
    }
    respond::decorate(head, session, ctx)
}

/// Notes how the answer's bytes end, so that a stream that breaks off can be finished.
pub(super) fn body(piece: Option<&Bytes>, ctx: &mut Ctx) {
    if let (Some(piece), Some(forwarding)) = (piece, &mut ctx.forwarding) {
        forwarding.tail.note(piece);
    }
}

/// A connection could not be made: the next server may be tried, nothing has been sent.
pub(super) fn not_connected(shared: &Shared, ctx: &mut Ctx, mut error: Box<Error>) -> Box<Error> {
    let (Some(live), Some(forwarding)) = (&ctx.route, &mut ctx.forwarding) else { return error };
    if let Some(server) = forwarding.server {
        live.upstream.failed(server, shared.clock.monotonic());
        forwarding.tried.push(server);
    }
    let servers = live.upstream.settings.servers.len();
    error.set_retry(forwarding.tried.len() < servers.min(MOST_ATTEMPTS));
    error
}

/// An exchange broke off: sent again only if its connection must have been dead before (contract §4).
pub(super) fn broke_off(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
) -> Box<Error> {
    let (Some(live), Some(forwarding)) = (&ctx.route, &mut ctx.forwarding) else { return error };
    let now = shared.clock.monotonic();
    let is_upstream = *error.esource() == ErrorSource::Upstream;
    let is_recent = forwarding.sent.is_some_and(|sent| now.saturating_since(sent) <= STALE_WITHIN);
    let is_stale =
        forwarding.reused && !forwarding.is_second_try && is_recent && session.response_written().is_none();
    let can_be_sent_again = !session.retry_buffer_truncated();
    let wants = live.upstream.settings.retry == Retry::Safe;
    let again = is_upstream && is_stale && can_be_sent_again && wants && ctx.answered.is_none();
    if is_upstream
        && !again
        && let Some(server) = forwarding.server
    {
        live.upstream.failed(server, now);
    }
    forwarding.is_second_try = again;
    error.set_retry(again);
    error
}

/// How an exchange that failed for good ends for the client.
pub(super) enum Ending {
    /// Nothing was sent: this is to be told.
    Tell(Rejection),
    /// A stream had begun: this event is its last.
    EndStream(String),
    /// Anything else had begun, or nobody is there: the connection ends.
    Reset,
}

/// Decides how the failure `error` ends.
pub(super) fn ending(session: &Session, ctx: &mut Ctx, error: &Error) -> Ending {
    if ctx.forwarding.is_none() {
        ctx.outcome.get_or_insert(Outcome::ClientClosed);
        return Ending::Reset;
    }
    if *error.esource() == ErrorSource::Downstream {
        return match error.etype() {
            ErrorType::InvalidHTTPHeader | ErrorType::Custom("InvalidChunk")
                if session.response_written().is_none() =>
            {
                Ending::Tell(Rejection::BodyBroken)
            }
            ErrorType::ReadTimedout if session.response_written().is_none() => {
                Ending::Tell(Rejection::BodyTimeout)
            }
            _ => {
                ctx.outcome = Some(Outcome::ClientClosed);
                Ending::Reset
            }
        };
    }
    let failure = failure_of(error, ctx);
    ctx.outcome = Some(Outcome::UpstreamError);
    if session.response_written().is_none() {
        return Ending::Tell(match *error.esource() {
            ErrorSource::Upstream => rejection_of(failure),
            _ if failure == Failure::Connect => rejection_of(failure),
            _ => Rejection::Internal,
        });
    }
    let stream = ctx.forwarding.as_ref().filter(|forwarding| forwarding.is_event_stream);
    stream.map_or(Ending::Reset, |forwarding| {
        let api = Api::of(session.req_header().uri.path());
        Ending::EndStream(format!("{}{}", forwarding.tail.completion(), error_event(api, failure)))
    })
}

fn failure_of(error: &Error, ctx: &Ctx) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::ConnectTimeout,
        ErrorType::ReadTimedout if ctx.answered.is_none() => Failure::FirstByteTimeout,
        ErrorType::ReadTimedout => Failure::IdleTimeout,
        ErrorType::InvalidHTTPHeader | ErrorType::Custom("InvalidChunk") => Failure::Invalid,
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::BindError
        | ErrorType::SocketError
        | ErrorType::TLSHandshakeFailure
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError => Failure::Connect,
        _ => Failure::Reset,
    }
}
