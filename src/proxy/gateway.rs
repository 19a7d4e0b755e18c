//! A request from its head to its access line, and the requests of a connection one after another.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::config::Limits;
use crate::outcome::finished::Outcome;
use crate::proxy::admit::{self, Next};
use crate::proxy::answer::answer;
use crate::proxy::body::PIECE_TIMEOUT;
use crate::proxy::client::client;
use crate::proxy::ctx::Ctx;
use crate::proxy::finish::finish;
use crate::proxy::forward::forward;
use crate::proxy::head_state::is_empty_lines;
use crate::proxy::reject::reject;
use crate::proxy::respond;
use crate::proxy::send::{Sent, stream_write_timeout};
use crate::proxy::shared::Shared;

/// An idle connection is kept this long, in seconds: longer than common load balancers keep theirs.
const KEEP_ALIVE: u64 = 75;

/// Requests that one connection may carry.
const REQUESTS_PER_CONNECTION: u32 = 100_000;

/// An HTTP/2 connection without a stream is closed after this.
const H2_IDLE: Duration = Duration::from_secs(75);

/// Longest wait for a client to take what is left of an answer that was cut short.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What serves requests.
pub struct Gateway {
    shared: Arc<Shared>,
    options: HttpServerOptions,
}

impl Gateway {
    /// A gateway over `shared`.
    pub fn new(shared: Arc<Shared>) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(H2_IDLE);
        Self { shared, options }
    }

    /// Serves the requests of a connection that speaks HTTP/1.1, one after another (RFC 9112 §9.3), until either side
    /// ends it. Once the shutdown is told, an idle one ends.
    pub(super) async fn serve_http1(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let mut shutdown = shutdown.clone();
        let mut stopped = pin!(shutdown.wait_for(|told| *told));
        let mut next = Some(stream);
        for others in (0..REQUESTS_PER_CONNECTION).rev() {
            let Some(stream) = next.take() else { return };
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(Some(KEEP_ALIVE));
            session.set_keepalive_reuses_remaining(Some(others));
            let has_head = tokio::select! {
                biased;
                has_head = read_head(&mut session) => has_head,
                _ = stopped.as_mut() => false,
            };
            if !has_head {
                return;
            }
            next = self.request(session).await;
        }
    }

    /// Answers the request whose head `session` has read. Gives back an HTTP/1.1 connection that may carry another: one
    /// that brought anything behind this request may not.
    async fn request(&self, mut session: ServerSession) -> Option<Stream> {
        let shared = &self.shared;
        if let Some(client) = session.stream().and_then(client) {
            client.head_state().head_read();
        }
        let mut ctx = Ctx::new(&shared.clock, shared.live.load(), shared.cut.open());
        set_up(&mut session, &ctx.policy.snapshot.config.limits);
        ctx.request_id = Some(admit::request_id(&session, ctx.started.unix));
        let served = shared.cut.unless_told(pin!(serve(shared, &mut session, &mut ctx))).await;
        let is_whole = match served {
            Some(Ok(sent)) => matches!(sent, Sent::Whole | Sent::ToldInStream(_)),
            Some(Err(_)) => false,
            None => {
                ctx.outcome = Some(Outcome::InternalError);
                false
            }
        };
        // An answer that did not reach its end must not look as if it had: its connection ends with it.
        if !is_whole && *ctx.outcome.get_or_insert(Outcome::ClientClosed) == Outcome::UpstreamError {
            shared.cut.unless_told(pin!(send_gathered(&mut session))).await;
        }
        finish(shared, &session, &mut ctx);
        match session {
            _ if !is_whole => None,
            ServerSession::H1(session) => next_of(session, &ctx.policy.snapshot.config.limits).await,
            session => {
                // A client that is gone is no news here.
                let _ = session.finish().await;
                None
            }
        }
    }
}

/// What one HTTP/2 stream may have queued for its connection, at most, in bytes: it is counted no more.
const MOST_QUEUED: usize = 64 * 1024;

/// HTTP/2, where pingora reads the heads and each request is a task of its own.
#[async_trait]
impl HttpServerApp for Gateway {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.request(session).await;
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_send_buffer_size(MOST_QUEUED);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Reads the head of the connection's next request; false if there is none. One that cannot be parsed gets a bare 400,
/// one that grows too large before its end a bare 431.
async fn read_head(session: &mut ServerSession) -> bool {
    match session.read_request().await {
        Ok(has_head) => has_head,
        Err(error) => {
            let is_too_large =
                || session.stream().and_then(client).is_some_and(|to| to.head_state().is_too_large());
            let status = match error.etype() {
                ErrorType::InvalidHTTPHeader => Some(StatusCode::BAD_REQUEST),
                _ if is_too_large() => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
                _ => None,
            };
            if let Some(status) = status {
                // The client may be gone, and is given up anyway.
                let _ = session.respond_error(status.as_u16()).await;
            }
            session.shutdown().await;
            false
        }
    }
}

/// The connection of a request that was answered, if it may carry another.
async fn next_of(mut session: HttpSession, limits: &Limits) -> Option<Stream> {
    session.finish_body().await.ok()?;
    if !session.will_keepalive() {
        linger(session.into_inner(), limits).await;
        return None;
    }
    let (stream, overread) = session.reuse().await.ok()??.into_parts();
    let is_quiet = overread.is_none_or(|bytes| is_empty_lines(&bytes));
    if is_quiet && client(&stream)?.is_quiet() {
        client(&stream)?.head_state().request_over();
        return Some(stream);
    }
    linger(stream, limits).await;
    None
}

/// Ends a connection so that its client can read the answer to its end: what still comes is read away first, within
/// `limits.drain`, as the system would drop what is on its way where something is left unread (RFC 9112 §9.6).
async fn linger(mut stream: Stream, limits: &Limits) {
    let reading_away = async {
        poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await?;
        let mut piece = [0; 1024];
        let mut left = limits.drain_bytes.as_usize();
        while left > 0 {
            let read = stream.read(&mut piece).await?;
            left = if read == 0 { 0 } else { left.saturating_sub(read) };
        }
        Ok::<(), io::Error>(())
    };
    // It ends however that went.
    let _ = pingora::time::timeout(limits.drain_timeout, reading_away).await;
}

/// Answers a request, whatever it is.
async fn serve(shared: &Arc<Shared>, session: &mut ServerSession, ctx: &mut Ctx) -> Result<Sent> {
    if let Some(head) = respond::preflight(session, ctx)? {
        ctx.outcome = Some(Outcome::Forwarded);
        respond::begin(session, ctx, head).await?;
        return Ok(Sent::Whole);
    }
    let refused = match admit::admit(shared, session, ctx).await {
        Ok(Next::Health) => return healthy(session, ctx).await,
        Ok(Next::PassOn) => match Box::pin(forward(shared, session, ctx)).await {
            Ok(sent) => return Ok(sent),
            Err(rejection) => rejection,
        },
        Ok(Next::ReadBody) => match answer(shared, session, ctx).await {
            Ok(sent) => return Ok(sent),
            Err(rejection) => rejection,
        },
        Err(rejection) => rejection,
    };
    reject(session, ctx, refused).await.map(|()| Sent::Whole)
}

/// What pingora would leave unbounded on a connection. Keep-alive is set only where pingora has not turned it off.
fn set_up(session: &mut ServerSession, limits: &Limits) {
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(KEEP_ALIVE));
    }
    session.set_read_timeout(Some(PIECE_TIMEOUT));
    // So that what comes behind a request is given back with the connection; it is not served.
    session.set_pipelining_enabled(true);
    if session.is_http2() {
        session.set_write_timeout(stream_write_timeout(limits));
    }
}

async fn healthy(session: &mut ServerSession, ctx: &mut Ctx) -> Result<Sent> {
    ctx.outcome = Some(Outcome::Forwarded);
    let mut fields = HeaderMap::with_capacity(8);
    fields.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("3"));
    respond::decorate(&mut fields, session, ctx)?;
    respond::begin(session, ctx, respond::head(StatusCode::OK, fields)).await?;
    session.write_response_body(Bytes::from_static(b"ok\n"), true).await?;
    Ok(Sent::Whole)
}

/// Sends what is still gathered of an answer that was cut short. A connection that ended without a byte would look to
/// the client like one that had been idle for too long, and HTTP clients send such a request again by themselves.
async fn send_gathered(session: &mut ServerSession) {
    if session.is_http2() {
        return;
    }
    let cut = Error::explain(ErrorType::ConnectionClosed, "the answer was cut short");
    // pingora flushes before a failure that comes in company, and then gives back that failure.
    let tasks = vec![HttpTask::Trailer(None), HttpTask::Failed(cut)];
    let _ = tokio::time::timeout(LAST_WORDS, session.response_duplex_vec(tasks)).await;
}
