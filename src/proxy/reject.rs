//! Telling a client no, so that it hears it: a body that is still coming is read away first.

use bytes::Bytes;
use pingora::Result;
use pingora::protocols::http::ServerSession;

use crate::outcome::rejection::Rejection;
use crate::proxy::body;
use crate::proxy::ctx::Ctx;
use crate::proxy::respond;

/// Sends `rejection` as the whole answer.
///
/// # Errors
/// The client left.
pub(super) async fn reject(session: &mut ServerSession, ctx: &mut Ctx, rejection: Rejection) -> Result<()> {
    ctx.outcome = Some(rejection.row().outcome);
    ctx.cache_status = None;
    let config = std::sync::Arc::clone(&ctx.policy.snapshot.config);
    let is_drained = body::drain(session, &config.limits).await;
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
