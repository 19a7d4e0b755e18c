//! One upstream call, written into a recording.
//!
//! Does for answers that are recorded what pingora's own path does for all others: hop-by-hop fields, 1xx answers,
//! bodies without length, timeouts, and the retries that cannot run a model twice (contract §4).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::Peer;
use pingora::{Error, ErrorType};

use crate::cache::admit::{Framing, kept_headers, storable_head};
use crate::cache::recording::writer::Writer;
use crate::cache::recording::{AnswerHead, Destiny, Failure};
use crate::llm::request::Api;
use crate::proxy::ctx::Report;
use crate::proxy::headers::{Cookies, end_to_end, to_server};
use crate::proxy::reading::{Kept, Reading, Storing};
use crate::proxy::shared::Shared;
use crate::proxy::upstreams::{Choice, LiveServer, LiveUpstream, MOST_ATTEMPTS, POOLED_IDLE, STALE_WITHIN};
use crate::routing::route::Route;
use crate::upstream::settings::Retry;

/// An upstream that stops reading may already have answered; its answer is waited for so long.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// A call that is about to be made.
pub(super) struct Fetch {
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Arc<LiveUpstream>,
    pub(super) route: Arc<Route>,
    pub(super) head: OutboundHead,
    pub(super) body: Bytes,
    pub(super) writer: Writer,
    /// Where and how the answer is stored; `None`: not at all.
    pub(super) storing: Option<Storing>,
    pub(super) api: Api,
    pub(super) report: Arc<Report>,
}

/// A request's head as it is sent on, but for what depends on the server.
pub(super) struct OutboundHead {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// The target's bytes where they are more than `uri` tells.
    pub(super) target: Option<Box<[u8]>>,
    pub(super) fields: HeaderMap,
}

impl OutboundHead {
    /// The head for `server`. A copy: a dead connection may want it a second time.
    fn for_server(&self, route: &Route, server: &LiveServer) -> pingora::Result<RequestHeader> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        parts.headers = self.fields.clone();
        parts.headers.insert(HOST, server.host.clone());
        let mut head = RequestHeader::from(parts);
        if let Some(target) = &self.target {
            head.set_raw_path(target)?;
        }
        to_server(&mut head, route, &server.url)?;
        Ok(head)
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It carried another request before.
    Pooled,
    /// It was made for this one.
    Fresh,
}

/// Why an attempt came to nothing.
enum Missed {
    /// The connection was dead before the request could be read: it may be sent again.
    Stale,
    Failed(Failure),
}

/// An answer whose head has come: `session` has it.
struct Exchange {
    session: HttpSession,
    afterwards: Afterwards,
}

/// What becomes of a connection once its answer has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    /// It may carry another request.
    Pool,
    /// The server is still owed a part of the request: what came next on it would be taken for that.
    Close,
}

impl Fetch {
    /// Makes the call and writes its answer, to the end or to its failure.
    pub(super) async fn run(self) {
        let answered = self.answered().await;
        match answered {
            Ok((choice, exchange)) => self.record(&choice, exchange).await,
            Err(failure) => self.writer.fail(failure),
        }
    }

    /// Tries servers until one has sent the head of an answer.
    async fn answered(&self) -> Result<(Choice, Exchange), Failure> {
        let mut tried = Vec::new();
        let mut failure = Failure::Connect;
        let mut wanted = Origin::Pooled;
        for _ in 0..MOST_ATTEMPTS {
            let now = self.shared.clock.monotonic();
            let Some(choice) = self.upstream.choose(&mut tried, now) else { break };
            let (session, origin) = match self.connect(&choice, wanted).await {
                Ok(connected) => connected,
                Err(why) => {
                    self.upstream.failed(choice.server, self.shared.clock.monotonic());
                    tried.push(choice.server);
                    failure = why;
                    continue;
                }
            };
            match self.exchange(session, &choice, origin).await {
                Ok(exchange) => {
                    self.upstream.succeeded(choice.server);
                    return Ok((choice, exchange));
                }
                Err(Missed::Stale) => wanted = Origin::Fresh,
                Err(Missed::Failed(why)) => {
                    self.upstream.failed(choice.server, self.shared.clock.monotonic());
                    return Err(why);
                }
            }
        }
        Err(failure)
    }

    /// A connection to the server chosen: a pooled one, if there is one and it is wanted, or a new one.
    async fn connect(&self, choice: &Choice, wanted: Origin) -> Result<(HttpSession, Origin), Failure> {
        let peer = choice.peer.as_ref();
        let pooled = match wanted {
            Origin::Pooled => self.shared.transport.reused_stream(peer).await,
            Origin::Fresh => None,
        };
        if let Some(stream) = pooled {
            return Ok((HttpSession::new_with_options(stream, peer), Origin::Pooled));
        }
        // Boxed: it is large and seldom needed, and would make every request's future as large.
        let stream =
            Box::pin(self.shared.transport.new_stream(peer)).await.map_err(|error| match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::ConnectTimeout,
                _ => Failure::Connect,
            })?;
        Ok((HttpSession::new_with_options(stream, peer), Origin::Fresh))
    }

    /// Sends the request and reads the answer's head.
    async fn exchange(
        &self,
        mut session: HttpSession,
        choice: &Choice,
        origin: Origin,
    ) -> Result<Exchange, Missed> {
        let settings = &self.upstream.settings;
        session.write_timeout = Some(settings.idle_timeout);
        session.read_timeout = Some(settings.first_byte_timeout);
        let may_send_again = origin == Origin::Pooled && settings.retry == Retry::Safe;
        let sent = self.send(&mut session, choice).await;
        if let Err(error) = &sent {
            let has_ended = *error.etype() != ErrorType::WriteTimedout;
            if may_send_again && has_ended {
                return Err(Missed::Stale);
            }
            session.read_timeout = Some(EARLY_ANSWER);
        }
        let written = self.shared.clock.monotonic();
        match read_head(&mut session).await {
            Ok(()) => {
                let waited = self.shared.clock.monotonic().saturating_since(written);
                self.upstream.first_byte.observe(waited.as_secs_f64());
                self.report.first_byte(waited);
                session.read_timeout = Some(settings.idle_timeout);
                let afterwards = if sent.is_ok() { Afterwards::Pool } else { Afterwards::Close };
                Ok(Exchange { session, afterwards })
            }
            Err(Failure::Reset) if may_send_again && self.is_within(written, STALE_WITHIN) => {
                Err(Missed::Stale)
            }
            Err(failure) => Err(Missed::Failed(failure)),
        }
    }

    fn is_within(&self, since: crate::clock::Monotonic, span: Duration) -> bool {
        self.shared.clock.monotonic().saturating_since(since) <= span
    }

    async fn send(&self, session: &mut HttpSession, choice: &Choice) -> pingora::Result<()> {
        let no_server = || Error::explain(ErrorType::InternalError, "a server that is not there was chosen");
        let server = self.upstream.server(choice.server).ok_or_else(no_server)?;
        session.write_request_header(Box::new(self.head.for_server(&self.route, server)?)).await?;
        self.report.sent(self.shared.clock.monotonic());
        session.write_body(&self.body).await?;
        session.finish_body().await?;
        Ok(())
    }

    /// Writes the answer into the recording, and stores it if it comes whole and clean.
    async fn record(mut self, choice: &Choice, exchange: Exchange) {
        let Exchange { mut session, afterwards } = exchange;
        let Some(head) = session.resp_header() else { return self.writer.fail(Failure::Invalid) };
        let length = length_of(head);
        let mut reading = Reading::of(head, self.stored_as(head, length), self.api);
        if !reading.is_kept() {
            self.writer.window();
        }
        self.writer.head(AnswerHead {
            status: head.status,
            fields: end_to_end(&head.headers, Cookies::of(&self.route, self.head.uri.path())),
            length,
            destiny: reading.destiny(),
        });
        let copied = self.copy(&mut session, &mut reading).await;
        if let Err(failure) = copied {
            if failure != Failure::Stopped {
                self.upstream.failed(choice.server, self.shared.clock.monotonic());
            }
            return self.writer.fail(failure);
        }
        if afterwards == Afterwards::Pool {
            self.give_back(session, choice).await;
        }
        let recording = self.writer.recording();
        if let Some(summary) = reading.summary(recording) {
            if let Some(usage) = summary.usage {
                self.report.usage(usage);
            }
            if let Some((slot, entry)) =
                reading.into_entry(recording, &summary, self.shared.clock.monotonic())
            {
                self.shared.entries.insert(slot, entry);
            }
        }
        self.writer.complete();
    }

    /// Puts a connection back into the pool, if the server keeps it open.
    async fn give_back(&self, mut session: HttpSession, choice: &Choice) {
        session.respect_keepalive();
        if let Some(stream) = session.reuse().await {
            self.shared.transport.release_stream(stream, choice.peer.reuse_hash(), Some(POOLED_IDLE));
        }
    }

    /// How the answer is stored; `None` if its head already forbids it.
    fn stored_as(&mut self, head: &ResponseHeader, length: Option<u64>) -> Option<Kept> {
        let storing = self.storing.take()?;
        if length.is_some_and(|length| length > storing.max_entry) {
            return None;
        }
        let framing = framing_of(head);
        storable_head(head.status, &head.headers, &self.head.fields, &storing.policy, framing).ok()?;
        let fields = kept_headers(&storing.policy, &head.headers);
        Some(Kept { storing, fields })
    }

    /// Copies the body, piece by piece; stops when nobody reads what will not be stored.
    async fn copy(&self, session: &mut HttpSession, reading: &mut Reading) -> Result<(), Failure> {
        loop {
            if reading.destiny() == Destiny::Forgotten {
                self.writer.room().await;
                if !self.writer.recording().is_read() {
                    return Err(Failure::Stopped);
                }
            }
            let piece = session.read_body_bytes().await.map_err(|error| body_failure(&error))?;
            let Some(piece) = piece else { return Ok(()) };
            reading.note(&piece);
            let counted = self.writer.push(piece);
            if reading.is_kept() && !(counted && reading.keeps(self.writer.recording().written())) {
                reading.let_go();
                self.writer.window();
            }
        }
    }
}

/// Reads heads until one is final; 1xx answers concern nobody behind a gateway that has sent the whole request.
async fn read_head(session: &mut HttpSession) -> Result<(), Failure> {
    loop {
        session.read_response().await.map_err(|error| match error.etype() {
            ErrorType::ReadTimedout => Failure::FirstByteTimeout,
            ErrorType::InvalidHTTPHeader => Failure::Invalid,
            _ => Failure::Reset,
        })?;
        let Some(head) = session.resp_header() else { return Err(Failure::Invalid) };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Invalid);
        }
        if !head.status.is_informational() {
            return Ok(());
        }
    }
}

fn body_failure(error: &Error) -> Failure {
    match error.etype() {
        ErrorType::ReadTimedout => Failure::IdleTimeout,
        ErrorType::Custom("InvalidChunk") => Failure::Invalid,
        _ => Failure::Reset,
    }
}

fn has_no_body(head: &ResponseHeader) -> bool {
    matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn framing_of(head: &ResponseHeader) -> Framing {
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    let has_length = head.headers.contains_key(CONTENT_LENGTH) || has_no_body(head);
    if has_length { Framing::Length } else { Framing::CloseDelimited }
}

fn length_of(head: &ResponseHeader) -> Option<u64> {
    if has_no_body(head) {
        return Some(0);
    }
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
