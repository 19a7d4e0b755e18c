//! Telling a client no, so that it hears it: a body that is still coming is read away first.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::Result;
use pingora::protocols::http::ServerSession;

use crate::outcome::rejection::Rejection;
use crate::proxy::body;
use crate::proxy::ctx::Ctx;
use crate::proxy::respond;
use crate::routing::route::ErrorShape;

/// Sends `rejection` as the whole answer.
///
/// # Errors
/// The client left.
pub(super) async fn reject(session: &mut ServerSession, ctx: &mut Ctx, rejection: Rejection) -> Result<()> {
    ctx.outcome = Some(rejection.row().outcome);
    ctx.cache_status = None;
    let policy = std::sync::Arc::clone(&ctx.policy);
    let is_drained = body::drain(session, &policy.snapshot.config.limits).await;
    if rejection.closes() || !is_drained {
        session.set_keepalive(None);
    }
    let (head, body) = respond::rejected(session, ctx, rejection)?;
    let body = match body {
        std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    };
    ctx.answered = Some(ctx.clock.monotonic());
    respond::begin(session, ctx, head).await?;
    session.write_response_body(body, true).await
}

/// Tells that a head is too large to be read to its end: what it asks for, and so the shape of its route's errors, is not
/// known.
///
/// # Errors
/// The client left.
pub(super) async fn large_head(session: &mut ServerSession) -> Result<()> {
    let rejection = Rejection::HeadTooLarge;
    let body = rejection.body(ErrorShape::Safecache);
    let mut fields = HeaderMap::with_capacity(4);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    session.set_keepalive(None);
    let head = respond::head(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, fields);
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(Bytes::from(body.into_owned()), true).await
}
