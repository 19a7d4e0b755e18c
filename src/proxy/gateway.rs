//! A request from its head to its access line, and the requests of a connection one after another.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use pingora::Result;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Limits;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::admit::{self, Next};
use crate::proxy::answer::answer;
use crate::proxy::body::PIECE_TIMEOUT;
use crate::proxy::cache_api;
use crate::proxy::connection::Connection;
use crate::proxy::ctx::Ctx;
use crate::proxy::cut;
use crate::proxy::fields::FieldList;
use crate::proxy::finish::finish;
use crate::proxy::forward::forward;
use crate::proxy::http1::{End, Http1, Part};
use crate::proxy::http2::Terms;
use crate::proxy::next_head::{HeadBounds, NextHead, NoHead, Place};
use crate::proxy::reject::{self, reject};
use crate::proxy::respond;
use crate::proxy::response_head::ResponseHead;
use crate::proxy::send::{Sent, stream_write_timeout};
use crate::proxy::session::{Carrier, Session};
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
    pub(super) async fn serve_http1(
        &self,
        connection: Connection,
        shutdown: &ShutdownWatch,
        bounds: HeadBounds,
        terms: Terms,
    ) -> Ended {
        let mut next = NextHead::new(bounds, terms.idle, cut::told(shutdown.clone()));
        let mut place = Place::First;
        let mut session = Session::new(Carrier::Http1(Http1::new(connection)));
        for others in (0..terms.requests).rev() {
            let Carrier::Http1(http1) = &mut session.carrier else { break };
            match next.read(&mut http1.connection, place).await {
                Ok(head) => session.take(head),
                Err(NoHead::Idle) => break,
                Err(why) => {
                    self.refuse_head(&mut http1.connection, why).await;
                    return Ended::InHead;
                }
            }
            if others == 0 {
                session.close();
            }
            if !self.request(&mut session).await || !self.goes_on(&mut session).await {
                break;
            }
            place = Place::Later;
        }
        Ended::BetweenHeads
    }

    /// Ends what is left of a request that was answered. True if its connection may carry another.
    async fn goes_on(&self, session: &mut Session) -> bool {
        let Carrier::Http1(http1) = &mut session.carrier else { return false };
        let end = http1.end();
        if end == End::Closing {
            linger(&mut http1.connection, &self.shared.lend().policy().snapshot.config.limits).await;
        }
        end == End::Next
    }

    /// Ends a connection whose head could not be read. One that is no HTTP gets a bare 400, one that is too large is
    /// told so; who is late, or gone, is told nothing.
    async fn refuse_head(&self, connection: &mut Connection, why: NoHead) {
        let told = match why {
            NoHead::Idle | NoHead::Unfinished => return,
            NoHead::TooLarge => reject::large_head(connection, self.shared.lend().clock.now().unix).await,
            NoHead::Unreadable => {
                reject::unreadable_head(connection, self.shared.lend().clock.now().unix).await
            }
        };
        if told.is_ok() {
            linger(connection, &self.shared.lend().policy().snapshot.config.limits).await;
        }
    }

    /// Answers a request over HTTP/2.
    pub(super) async fn serve_http2(&self, mut session: ServerSession) {
        let limits = &self.shared.lend().policy().snapshot.config.limits;
        session.set_read_timeout(Some(PIECE_TIMEOUT));
        session.set_write_timeout(stream_write_timeout(limits));
        let mut session = Session::new(Carrier::Http2(Box::new(session)));
        if self.request(&mut session).await
            && let Carrier::Http2(session) = session.carrier
        {
            // A client that is gone is no news here.
            let _ = session.finish().await;
        }
    }

    /// Answers the request whose head `session` has read; true if all of the answer was written.
    async fn request(&self, session: &mut Session) -> bool {
        let shared = self.shared.lend();
        let mut ctx = Ctx::new(&shared.clock, shared.live.load(), shared.cut.open());
        ctx.request_id = Some(admit::request_id(session, ctx.started.unix));
        let served = shared.cut.unless_told(pin!(serve(shared, session, &mut ctx))).await;
        let is_whole = match served {
            Some(Ok(sent)) => matches!(sent, Sent::Whole | Sent::ToldInStream(_)),
            Some(Err(_)) => false,
            None => {
                ctx.outcome = Some(Outcome::InternalError);
                false
            }
        };
        let is_whole =
            if session.revocation.is_heard() { refuse_revoked(session, &mut ctx).await } else { is_whole };
        // An answer that did not reach its end must not look as if it had: its connection ends with it.
        if !is_whole && *ctx.outcome.get_or_insert(Outcome::ClientClosed) == Outcome::UpstreamError {
            shared.cut.unless_told(pin!(send_gathered(session))).await;
        }
        if !is_whole && let Carrier::Http1(http1) = &session.carrier {
            http1.give_up();
        }
        finish(shared, session, &mut ctx);
        is_whole
    }
}

/// Ends the request of a key that was revoked meanwhile: as any other of it, if nothing was answered yet. True if the
/// client was told so.
async fn refuse_revoked(session: &mut Session, ctx: &mut Ctx) -> bool {
    ctx.outcome = Some(Outcome::Unauthorized);
    session.status().is_none() && reject(session, ctx, Rejection::InvalidKey).await.is_ok()
}

/// Where a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It had no head under way.
    BetweenHeads,
    /// A head was given up.
    InHead,
}

/// Ends a connection so that its client can read the answer to its end: what still comes is read away first, within
/// `limits.drain`, as the system would drop what is on its way where something is left unread (RFC 9112 §9.6).
async fn linger(connection: &mut Connection, limits: &Limits) {
    let reading_away = async {
        connection.shutdown().await?;
        let mut piece = [0; 1024];
        let mut left = limits.drain_bytes.as_usize();
        while left > 0 {
            let read = connection.read(&mut piece).await?;
            left = if read == 0 { 0 } else { left.saturating_sub(read) };
        }
        Ok::<(), io::Error>(())
    };
    // It ends however that went.
    let _ = pingora::time::timeout(limits.drain_timeout, reading_away).await;
}

/// Answers a request, whatever it is.
async fn serve(shared: &Held, session: &mut Session, ctx: &mut Ctx) -> Result<Sent> {
    if let Some(head) = respond::preflight(session, ctx)? {
        ctx.outcome = Some(Outcome::Forwarded);
        respond::begin(session, ctx, head).await?;
        return Ok(Sent::Whole);
    }
    let admitted = admit::admit(shared, session, ctx).await;
    if let Some(key) = ctx.key.as_ref().filter(|_| ctx.policy.snapshot.config.cuts_revoked) {
        session.revocation.listen(key.cancellation().cancelled());
    }
    let refused = match admitted {
        Ok(Next::Health) => return healthy(session, ctx).await,
        Ok(Next::Description) => return cache_api::describe(shared, session, ctx).await,
        Ok(Next::Call(call)) => return Box::pin(cache_api::answer(shared, session, ctx, call)).await,
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

async fn healthy(session: &mut Session, ctx: &mut Ctx) -> Result<Sent> {
    ctx.outcome = Some(Outcome::Forwarded);
    let mut fields = FieldList::with_capacity(8);
    fields.push(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields.push(CONTENT_LENGTH, HeaderValue::from_static("3"));
    respond::decorate(&mut fields, session, ctx)?;
    respond::begin(session, ctx, ResponseHead::Plain(StatusCode::OK, fields)).await?;
    session.write_body(Bytes::from_static(b"ok\n"), Part::Last).await?;
    Ok(Sent::Whole)
}

/// Sends what is still gathered of an answer that was cut short, as far as the system can before the connection ends. A connection that ended without a byte would look to
/// the client like one that had been idle for too long, and HTTP clients send such a request again by themselves.
async fn send_gathered(session: &mut Session) {
    if let Carrier::Http1(http1) = &mut session.carrier {
        let _ = tokio::time::timeout(LAST_WORDS, http1.connection.flush()).await;
    }
}
