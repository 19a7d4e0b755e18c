//! pingora's phases, each one call into the files beside this one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::protocols::http::HttpTask;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::cache::recording::Failure;
use crate::config::Limits;
use crate::outcome::finished::Outcome;
use crate::proxy::admit::{self, Next};
use crate::proxy::answer::answer;
use crate::proxy::body::PIECE_TIMEOUT;
use crate::proxy::connection::head_state;
use crate::proxy::ctx::Ctx;
use crate::proxy::finish::finish;
use crate::proxy::forward::forward;
use crate::proxy::reject::reject;
use crate::proxy::respond;
use crate::proxy::send::{Sent, stream_write_timeout};
use crate::proxy::shared::Shared;

/// An idle connection is kept this long, in seconds: longer than common load balancers keep theirs.
const KEEP_ALIVE: u64 = 75;

/// Longest wait for a client to take what is left of an answer that was cut short.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The gateway as pingora sees it.
#[derive(Clone)]
pub struct Gateway(pub Arc<Shared>);

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new(&self.0.clock, self.0.live.load(), self.0.cut.open())
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        if let Some(head) = head_state(session) {
            head.head_read();
        }
        set_up(&self.0, session, &ctx.policy.snapshot.config.limits);
        ctx.request_id = Some(admit::request_id(session, ctx.started.unix));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let served = self.0.cut.unless_told(pin!(serve(&self.0, session, ctx))).await;
        served.unwrap_or_else(|| {
            ctx.outcome = Some(Outcome::InternalError);
            ended(Sent::CutShort(Failure::Stopped))
        })
    }

    /// Every request is answered before pingora would ask for this.
    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        Err(Error::explain(ErrorType::InternalError, "the gateway calls upstreams itself"))
    }

    async fn fail_to_proxy(&self, session: &mut Session, _error: &Error, ctx: &mut Ctx) -> FailToProxy {
        let outcome = *ctx.outcome.get_or_insert(Outcome::ClientClosed);
        if outcome == Outcome::UpstreamError {
            self.0.cut.unless_told(pin!(send_gathered(session))).await;
        }
        FailToProxy {
            error_code: session.response_written().map_or(0, |head| head.status.as_u16()),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Ctx) {
        finish(&self.0, session, ctx);
        if let Some(head) = head_state(session) {
            head.request_over();
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        // The access line tells of it, with its outcome.
        true
    }
}

/// Answers a request, whatever it is.
async fn serve(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    if let Some(head) = respond::preflight(session, ctx)? {
        ctx.outcome = Some(Outcome::Forwarded);
        session.write_response_header(Box::new(head), true).await?;
        return Ok(true);
    }
    let refused = match admit::admit(shared, session, ctx) {
        Ok(Next::Health) => return healthy(session, ctx).await,
        Ok(Next::PassOn) => match Box::pin(forward(shared, session, ctx)).await {
            Ok(sent) => return ended(sent),
            Err(rejection) => rejection,
        },
        Ok(Next::ReadBody) => match answer(shared, session, ctx).await {
            Ok(sent) => return ended(sent),
            Err(rejection) => rejection,
        },
        Err(rejection) => rejection,
    };
    reject(session, ctx, refused).await.map(|()| true)
}

/// What pingora would leave unbounded on a connection. Keep-alive is set only where pingora has not turned it off.
fn set_up(shared: &Shared, session: &mut Session, limits: &Limits) {
    if session.get_keepalive().is_some() {
        let keep_alive = if shared.draining.load(Ordering::Relaxed) { None } else { Some(KEEP_ALIVE) };
        session.set_keepalive(keep_alive);
    }
    session.set_read_timeout(Some(PIECE_TIMEOUT));
    if session.is_http2() {
        session.set_write_timeout(stream_write_timeout(limits));
    }
}

async fn healthy(session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    ctx.outcome = Some(Outcome::Forwarded);
    let mut fields = HeaderMap::with_capacity(8);
    fields.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("3"));
    respond::decorate(&mut fields, session, ctx)?;
    session.write_response_header(Box::new(respond::head(StatusCode::OK, fields)), false).await?;
    session.write_response_body(Some(Bytes::from_static(b"ok\n")), true).await?;
    Ok(true)
}

/// Sends what is still gathered of an answer that was cut short. A connection that ended without a byte would look to
/// the client like one that had been idle for too long, and HTTP clients send such a request again by themselves.
async fn send_gathered(session: &mut Session) {
    if session.is_http2() {
        return;
    }
    let cut = Error::explain(ErrorType::ConnectionClosed, "the answer was cut short");
    // pingora flushes before a failure that comes in company, and then gives back that failure.
    let tasks = vec![HttpTask::Trailer(None), HttpTask::Failed(cut)];
    let _ = tokio::time::timeout(LAST_WORDS, session.downstream_session.response_duplex_vec(tasks)).await;
}

/// An answer that did not reach its end must not look as if it had: its connection ends with an error.
fn ended(sent: Sent) -> Result<bool> {
    match sent {
        Sent::Whole | Sent::ToldInStream(_) => Ok(true),
        _ => Err(Error::explain(ErrorType::ConnectionClosed, "the answer was cut short").into_down()),
    }
}
