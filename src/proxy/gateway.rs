//! A request from its head to its access line, and the requests of a connection one after another.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::server::HttpSession;
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
use crate::proxy::cut;
use crate::proxy::finish::finish;
use crate::proxy::forward::forward;
use crate::proxy::head_state::is_empty_lines;
use crate::proxy::http2::Terms;
use crate::proxy::reject::{self, reject};
use crate::proxy::respond;
use crate::proxy::send::{Sent, stream_write_timeout};
use crate::proxy::shared::{Held, Shared};
use crate::spread::Lending;

/// Longest wait for a client to take what is left of an answer that was cut short.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What serves requests.
pub struct Gateway {
    shared: Lending<Shared>,
}

impl Gateway {
    /// A gateway over `shared`.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared: Lending::new(shared) }
    }

    /// Serves the requests of a connection that speaks HTTP/1.1, one after another (RFC 9112 §9.3) and no more than
    /// `terms` has, until either side ends it. Once the shutdown is told, an idle one ends; a head that has begun is read
    /// within its time.
    pub(super) async fn serve_http1(&self, stream: Stream, shutdown: &ShutdownWatch, terms: Terms) {
        let mut stopped = pin!(cut::told(shutdown.clone()));
        let mut is_stopped = false;
        let mut next = Some(stream);
        for others in (0..terms.requests).rev() {
            let Some(stream) = next.take().filter(|_| !is_stopped) else { return };
            let Some(head) = client(&stream).map(|client| client.head_state().clone()) else { return };
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(Some(whole_seconds(terms.idle)));
            session.set_keepalive_reuses_remaining(Some(others));
            let read = {
                let mut reading = pin!(session.read_request());
                tokio::select! {
                    biased;
                    read = reading.as_mut() => read,
                    () = stopped.as_mut() => {
                        is_stopped = true;
                        if head.is_idle() { return } else { reading.await }
                    }
                }
            };
            match read {
                Ok(true) => next = self.request(session).await,
                Ok(false) => return,
                Err(error) => return self.refuse_head(session, &error).await,
            }
        }
    }

    /// Ends a connection whose head could not be read. One that is no HTTP gets a bare 400, one that is too large is
    /// told so; who is late, or gone, is told nothing.
    async fn refuse_head(&self, mut session: ServerSession, error: &Error) {
        let Some(state) = session.stream().and_then(client).map(|client| client.head_state().clone()) else {
            return;
        };
        // The client may be gone, and is given up anyway.
        let _ = if state.is_too_large() {
            reject::large_head(&mut session).await
        } else if *error.etype() == ErrorType::InvalidHTTPHeader {
            state.became_unreadable();
            session.respond_error(StatusCode::BAD_REQUEST.as_u16()).await
        } else {
            session.shutdown().await;
            return;
        };
        let ServerSession::H1(session) = session else { return };
        linger(session.into_inner(), &self.shared.lend().policy().snapshot.config.limits).await;
    }

    /// Answers the request whose head `session` has read. Gives back an HTTP/1.1 connection that may carry another: one
    /// that brought anything behind this request may not.
    pub(super) async fn request(&self, mut session: ServerSession) -> Option<Stream> {
        let shared = self.shared.lend();
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
async fn serve(shared: &Held, session: &mut ServerSession, ctx: &mut Ctx) -> Result<Sent> {
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
        session.set_keepalive(Some(whole_seconds(limits.keep_alive)));
    }
    session.set_read_timeout(Some(PIECE_TIMEOUT));
    // So that what comes behind a request is given back with the connection; it is not served.
    session.set_pipelining_enabled(true);
    if session.is_http2() {
        session.set_write_timeout(stream_write_timeout(limits));
    }
}

/// `span` as pingora counts it, rounded up.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
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
