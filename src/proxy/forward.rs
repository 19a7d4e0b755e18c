//! Requests that are passed on as they come: nothing of them is held, nothing of their answers is stored, and what an
//! answer cost is read on its way.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::Result as PingoraResult;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::cache::control::CacheStatus;
use crate::cache::recording::Failure;
use crate::llm::request::Api;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::answer_framing;
use crate::proxy::attempts::{Attempt, Attempts};
use crate::proxy::body;
use crate::proxy::ctx::Ctx;
use crate::proxy::derived::LiveRoute;
use crate::proxy::exchange::{Event, Exchange};
use crate::proxy::headers::{self, Cookies, Outbound};
use crate::proxy::http1::Part;
use crate::proxy::incoming::Spelling;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::patience::Patience;
use crate::proxy::reading::Bill;
use crate::proxy::respond;
use crate::proxy::response_head::ResponseHead;
use crate::proxy::send::{Sent, is_readable_stream, rejection_of, tell_in_stream};
use crate::proxy::session::{Carrier, Session};
use crate::proxy::shared::Shared;
use crate::proxy::tail::Tail;
use crate::proxy::tunnel::{Carried, Early, join};
use crate::proxy::upload::{Fault, Upload};
use crate::proxy::upstreams::LiveServer;
use crate::routing::route::{self, Route};

/// Passes the request on and its answer back.
///
/// # Errors
/// The client is still to be told.
pub(super) async fn forward(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut Ctx,
) -> Result<Sent, Rejection> {
    let Some(live) = ctx.route.clone() else { return Err(Rejection::Internal) };
    if live.route.cache.is_some() {
        ctx.cache_status = Some(CacheStatus::Bypass);
    }
    let asks = Asks::of(session, &live.route);
    let rate = body::upload_rate(&ctx.policy.snapshot.config.limits);
    let upload = Upload::of(session, Patience::new(rate, ctx.clock.clone()), shared.permit(ctx))?;
    if session.say_continue().await.is_err() {
        return Ok(Sent::ClientGone);
    }
    let sent = Forward { shared, live: &live, asks, upload }.run(session, ctx).await?;
    ctx.outcome = Some(sent.outcome(Outcome::Forwarded));
    Ok(sent)
}

/// What a request asks of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Nothing, or nothing that its route lets through.
    Nothing,
    /// To become a WebSocket (RFC 6455 §4.1).
    WebSocket,
}

impl Asks {
    fn of(session: &mut Session, route: &Route) -> Self {
        let is_handshake = route.upgrade == route::Upgrade::WebSocket
            && session.asks_upgrade()
            && session.head().method == Method::GET
            && session.field(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && !session.has_body();
        if is_handshake { Self::WebSocket } else { Self::Nothing }
    }
}

/// A request that is being passed on.
struct Forward<'a> {
    shared: &'a Shared,
    live: &'a LiveRoute,
    asks: Asks,
    upload: Upload,
}

/// Why an exchange ended early.
enum Stop {
    Server(Failure),
    Client(Fault),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Server(failure)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Client(fault)
    }
}

/// What the server does about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    /// It answers.
    WithHead,
    /// It changes the protocol.
    BySwitching,
}

impl Forward<'_> {
    async fn run(mut self, session: &mut Session, ctx: &mut Ctx) -> Result<Sent, Rejection> {
        let place = match self.upload.until(session, self.live.upstream.place()).await {
            Ok(place) => place?,
            Err(fault) => return fault.rejection().map_or(Ok(Sent::ClientGone), Err),
        };
        if let Some(room) = &mut ctx.room {
            room.upstream = Some(place);
        }
        let (attempt, answered) = match self.answered(session, ctx).await {
            Ok(answered) => answered,
            Err(Stop::Server(failure)) => return Err(rejection_of(failure)),
            Err(Stop::Client(fault)) => return fault.rejection().map_or(Ok(Sent::ClientGone), Err),
        };
        self.upload.let_go();
        if attempt.exchange.is_sent() {
            self.upload.release();
        }
        match answered {
            Answered::WithHead => Ok(self.pass_back(session, ctx, attempt).await),
            Answered::BySwitching => self.tunnel(session, ctx, attempt).await,
        }
    }

    /// Tries servers until one has begun to answer.
    async fn answered(&mut self, session: &mut Session, ctx: &Ctx) -> Result<(Attempt, Answered), Stop> {
        let mut attempts = Attempts::new(self.shared, &self.live.upstream, &ctx.report, Spelling::Kept);
        loop {
            let mut attempt = self.upload.until(session, attempts.connect()).await??;
            let server = attempts.server(&attempt).ok_or(Failure::Connect)?;
            let head = self.head(session, ctx, server).ok_or(Failure::Invalid)?;
            match self.ask(session, head, &attempts, &mut attempt).await {
                Ok(answered) => {
                    attempts.answered(&attempt);
                    return Ok((attempt, answered));
                }
                Err(Stop::Server(failure)) => {
                    attempts.failed(&attempt, failure, self.upload.rewind())?;
                }
                Err(gone) => return Err(gone),
            }
        }
    }

    /// The head as `server` gets it; `None` cannot come up.
    fn head(&self, session: &mut Session, ctx: &Ctx, server: &LiveServer) -> Option<RequestHeader> {
        let has_body = session.has_body();
        let came = session.head();
        let outbound = Outbound {
            route: &self.live.route,
            upstream: &self.live.settings,
            address: ctx.address.as_ref()?,
            request_id: ctx.request_id.as_ref()?,
            path: came.uri.path(),
            host: headers::host_of(came),
            scheme: session.scheme(),
        };
        let mut head = session.spelt_head()?;
        head.set_version(Version::HTTP_11);
        // It has been answered.
        head.remove_header(&EXPECT);
        headers::strip_hops(&mut head);
        headers::strip_credentials(&mut head);
        headers::to_upstream(&mut head, &outbound).ok()?;
        if has_body && !head.headers.contains_key(CONTENT_LENGTH) {
            head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked")).ok()?;
        }
        if self.asks == Asks::WebSocket {
            head.insert_header(CONNECTION, HeaderValue::from_static("Upgrade")).ok()?;
            head.insert_header(UPGRADE, HeaderValue::from_static("websocket")).ok()?;
        }
        head.insert_header(HOST, server.host.clone()).ok()?;
        let target = headers::server_target(head.raw_path(), &head.uri, &self.live.route, &server.url);
        if let Cow::Owned(target) = target {
            head.set_raw_path(&target).ok()?;
        }
        Some(head)
    }

    /// Sends the request on until the answer's head comes.
    async fn ask(
        &mut self,
        session: &mut Session,
        head: RequestHeader,
        attempts: &Attempts<'_>,
        attempt: &mut Attempt,
    ) -> Result<Answered, Stop> {
        attempt.exchange.begin(Outgoing::of(&head)?);
        attempts.begun(attempt);
        // What has come with the head leaves with it.
        while !self.upload.is_over() && attempt.exchange.has_room() {
            let Some(piece) = self.upload.next(session).now_or_never() else { break };
            self.hand_over(&mut attempt.exchange, piece?);
        }
        loop {
            match self.event(session, &mut attempt.exchange).await? {
                Event::Sent => attempts.sent(attempt),
                Event::Interim => pass_interim(session, &attempt.exchange, &self.live.route).await?,
                Event::Head => return Ok(Answered::WithHead),
                Event::Switched => return Ok(Answered::BySwitching),
                Event::Piece(_) | Event::End => return Err(Failure::Invalid.into()),
            }
        }
    }

    fn hand_over(&mut self, exchange: &mut Exchange, piece: Option<Bytes>) {
        if let Some(piece) = piece {
            exchange.send(piece);
        }
        if self.upload.ends() {
            exchange.end();
        }
    }

    /// What happens next on the server's side; meanwhile the request's body is sent on.
    async fn event(&mut self, session: &mut Session, exchange: &mut Exchange) -> Result<Event, Stop> {
        loop {
            let may_read = self.upload.is_over() || exchange.has_room();
            let from_client = async {
                if may_read {
                    return self.upload.next(session).await;
                }
                session.left().await;
                Err(Fault::Gone)
            };
            let piece = tokio::select! {
                biased;
                event = exchange.event() => {
                    self.upload.pause();
                    return Ok(event?);
                }
                piece = from_client => piece?,
            };
            self.hand_over(exchange, piece);
        }
    }

    /// Sends the answer, whose head has come, to the client.
    async fn pass_back(&mut self, session: &mut Session, ctx: &mut Ctx, mut attempt: Attempt) -> Sent {
        let Some(head) = self.answer_head(session, ctx, &attempt.exchange) else {
            return Sent::CutShort(Failure::Invalid);
        };
        let can_tell = !head.headers.contains_key(CONTENT_LENGTH) && is_readable_stream(head.headers.iter());
        let mut bill = Bill::of(&head, session.head(), self.shared.permit(ctx));
        if respond::begin(session, ctx, ResponseHead::Spelt(Box::new(head))).await.is_err() {
            return Sent::ClientGone;
        }
        let (mut tail, mut last) = (Tail::default(), Bytes::new());
        let stopped = loop {
            match self.event(session, &mut attempt.exchange).await {
                Ok(Event::Piece(piece)) => {
                    tail.note(&piece);
                    bill.note(&piece);
                    if attempt.exchange.is_over() {
                        last = piece;
                        break None;
                    }
                    if session.write_body(piece, Part::More).await.is_err() {
                        break Some(Stop::Client(Fault::Gone));
                    }
                }
                Ok(Event::End) => break None,
                Ok(_) => {}
                Err(stop) => break Some(stop),
            }
        };
        let (tokens, model) = bill.told(session.body_read());
        ctx.report.tokens(tokens);
        // The request's own body was read by nobody here.
        ctx.model = ctx.model.take().or(model);
        match stopped {
            None => self.finish(session, ctx, attempt, last).await,
            Some(Stop::Client(_)) => Sent::ClientGone,
            Some(Stop::Server(failure)) => {
                attempt.broke_off(self.shared, &self.live.upstream);
                let api = Api::of(session.head().uri.path());
                if can_tell {
                    tell_in_stream(session, &tail, api, failure).await
                } else {
                    Sent::CutShort(failure)
                }
            }
        }
    }

    /// The answer has come to its end, and `last` is to be sent of it. Its connection is given back before, so that who
    /// has the whole answer and asks again finds it.
    async fn finish(&self, session: &mut Session, ctx: &Ctx, attempt: Attempt, last: Bytes) -> Sent {
        attempt.give_back(ctx.clock.monotonic());
        if session.write_body(last, Part::Last).await.is_err() {
            return Sent::ClientGone;
        }
        if !self.upload.is_over() {
            // A client that is still sending may read its answer only then.
            body::drain(session, &ctx.policy.snapshot.config.limits).await;
        }
        Sent::Whole
    }

    /// Joins the client and the server, which speak another protocol from here on.
    async fn tunnel(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        attempt: Attempt,
    ) -> Result<Sent, Rejection> {
        let head = self.answer_head(session, ctx, &attempt.exchange).ok_or(Rejection::Internal)?;
        let (server_said, mut server) = attempt.exchange.switch().ok_or(Rejection::UpstreamFailed)?;
        let Carrier::Http1(http1) = &mut session.carrier else { return Err(Rejection::Internal) };
        let head = ResponseHead::Spelt(Box::new(head));
        if http1.begin(head, ctx.clock.unix()).await.is_err() {
            return Ok(Sent::ClientGone);
        }
        let client = &mut http1.connection;
        let early = Early { client: Bytes::from(client.take_ahead()), server: server_said };
        let longest_silence = self.live.upstream.settings.idle_timeout;
        let carried = ctx.carried.insert(Carried::default());
        let joined = join(client, &mut server, early, longest_silence, carried);
        session.revocation.unless_said(joined).await;
        Ok(Sent::Whole)
    }

    /// The answer's head as the client gets it; `None` cannot come up.
    fn answer_head(&self, session: &Session, ctx: &mut Ctx, exchange: &Exchange) -> Option<ResponseHeader> {
        let mut head = exchange.head()?.clone();
        let path = session.head().uri.path();
        headers::from_upstream(&mut head, Cookies::of(&self.live.route, path)).ok()?;
        frame(&mut head, session.head()).ok()?;
        ctx.answered = Some(ctx.clock.monotonic());
        respond::decorate(&mut head, session, ctx).ok()?;
        Some(head)
    }
}

/// Passes on an answer that comes before the answer, to a client that may know such (RFC 9110 §15.2), with no more of
/// its fields than the answer's own would pass.
async fn pass_interim(session: &mut Session, exchange: &Exchange, route: &Route) -> Result<(), Fault> {
    let Some(head) = exchange.head().filter(|_| session.head().version == Version::HTTP_11) else {
        return Ok(());
    };
    let mut head = head.clone();
    let cookies = Cookies::of(route, session.head().uri.path());
    if headers::from_upstream(&mut head, cookies).is_err() {
        return Ok(());
    }
    // It has no body.
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.remove_header(&name);
    }
    session.write_interim(ResponseHead::Spelt(Box::new(head))).await.map_err(|_| Fault::Gone)
}

/// Gives an answer without length the framing of the client's protocol.
fn frame(head: &mut ResponseHeader, request: &RequestHeader) -> PingoraResult<()> {
    head.set_version(Version::HTTP_11);
    if head.status == StatusCode::NO_CONTENT || head.status.is_informational() {
        // They have neither (RFC 9110 §8.6, RFC 9112 §6.1).
        head.remove_header(&CONTENT_LENGTH);
        head.remove_header(&TRANSFER_ENCODING);
        return Ok(());
    }
    if let Some(length) = answer_framing::collapsed(&head.headers) {
        head.insert_header(CONTENT_LENGTH, length)?;
    }
    let is_bare = head.status == StatusCode::NOT_MODIFIED || request.method == Method::HEAD;
    if is_bare || head.headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    if request.version != Version::HTTP_11 {
        head.remove_header(&TRANSFER_ENCODING);
        return Ok(());
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
}
