//! Telling a client no, so that it hears it: a body that is still coming is read away first.

use std::io;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use pingora::Result;
use tokio::io::AsyncWriteExt;

use crate::clock::UnixTime;
use crate::outcome::rejection::Rejection;
use crate::proxy::body;
use crate::proxy::connection::Connection;
use crate::proxy::ctx::Ctx;
use crate::proxy::fields::FieldList;
use crate::proxy::http1::{Part, Persistence, put_head};
use crate::proxy::respond;
use crate::proxy::response_head::ResponseHead;
use crate::proxy::session::Session;
use crate::routing::route::ErrorShape;

/// Sends `rejection` as the whole answer.
///
/// # Errors
/// The client left.
pub(super) async fn reject(session: &mut Session, ctx: &mut Ctx, rejection: Rejection) -> Result<()> {
    ctx.outcome = Some(rejection.row().outcome);
    ctx.cache_status = None;
    let policy = std::sync::Arc::clone(&ctx.policy);
    let is_drained = body::drain(session, &policy.snapshot.config.limits).await;
    if rejection.closes() || !is_drained {
        session.close();
    }
    let (head, body) = respond::rejected(session, ctx, rejection)?;
    ctx.answered = Some(ctx.clock.monotonic());
    respond::begin(session, ctx, head).await?;
    session.write_body(respond::bytes(body), Part::Last).await
}

/// Tells that a head is too large to be read to its end: what it asks for, and so the shape of its route's errors, is not
/// known.
///
/// # Errors
/// The client left.
pub(super) async fn large_head(connection: &mut Connection, now: UnixTime) -> io::Result<()> {
    let rejection = Rejection::HeadTooLarge;
    let body = rejection.body(ErrorShape::Safecache);
    let mut fields = FieldList::with_capacity(2);
    fields.push(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    refuse(connection, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, fields, &body, now).await
}

/// Tells, in no words, that a head is none.
///
/// # Errors
/// The client left.
pub(super) async fn unreadable_head(connection: &mut Connection, now: UnixTime) -> io::Result<()> {
    refuse(connection, StatusCode::BAD_REQUEST, FieldList::default(), "", now).await
}

async fn refuse(
    connection: &mut Connection,
    status: StatusCode,
    mut fields: FieldList,
    body: &str,
    now: UnixTime,
) -> io::Result<()> {
    fields.push(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let text = connection.gather();
    put_head(text, &ResponseHead::Plain(status, fields), Persistence::Closes, now);
    text.extend_from_slice(body.as_bytes());
    connection.flush().await
}
