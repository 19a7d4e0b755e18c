//! One upstream call, written into a recording.
//!
//! Does for answers that are recorded what `forward` does for all others: hop-by-hop fields, 1xx answers,
//! bodies without length, timeouts, and the retries that cannot run a model twice (contract §4).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use pingora::http::ResponseHeader;

use crate::cache::admit::{Framing, is_for_others, kept_headers, storable_head};
use crate::cache::policy::{RoutePolicy, Scope};
use crate::cache::recording::writer::Writer;
use crate::cache::recording::{AnswerHead, CONNECTION, Destiny, Failure};
use crate::llm::request::Api;
use crate::llm::usage::Tokens;
use crate::memory::Permit;
use crate::proxy::answer_framing;
use crate::proxy::attempts::{Attempt, Attempts, Repeat};
use crate::proxy::ctx::Report;
use crate::proxy::derived::LiveRoute;
use crate::proxy::exchange::{Event, Exchange};
use crate::proxy::fields::FieldList;
use crate::proxy::headers::{Cookies, end_to_end, server_target};
use crate::proxy::incoming::{Portion, Spelling};
use crate::proxy::link::COPIED;
use crate::proxy::outgoing::{Lines, Outgoing};
use crate::proxy::reading::{Kept, Reading, Storing};
use crate::proxy::shared::Held;
use crate::proxy::upstreams::LiveServer;
use crate::routing::route::Route;
use crate::shelf::NewAnswer;
use crate::shelf::flight::Hold;

/// A call that is about to be made.
pub(super) struct Fetch {
    pub(super) shared: Held,
    pub(super) live: Arc<LiveRoute>,
    pub(super) head: OutboundHead,
    pub(super) body: Bytes,
    /// Counts the body.
    pub(super) memory: Permit,
    pub(super) writer: Writer,
    /// Where and how the answer is stored; `None`: not at all.
    pub(super) storing: Option<Storing>,
    /// What keeps other gateways waiting for the answer.
    pub(super) hold: Option<Hold>,
    pub(super) api: Api,
    pub(super) report: Arc<Report>,
}

/// A request's head as it is sent on, but for what depends on the server.
pub(super) struct OutboundHead {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// The target's bytes where they are more than `uri` tells.
    pub(super) target: Option<Box<[u8]>>,
    pub(super) fields: FieldList,
}

impl OutboundHead {
    /// The head for `server` of a request with a body of `length` bytes: made anew, as a dead connection may want it a
    /// second time.
    fn for_server(&self, route: &Route, server: &LiveServer, length: usize) -> Result<Outgoing, Failure> {
        let told = || self.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
        let raw = self.target.as_deref().unwrap_or_else(told);
        let target = server_target(raw, &self.uri, route, &server.url);
        let lines = Lines {
            method: &self.method,
            target: &target,
            host: &server.host,
            fields: &self.fields,
            length: length as u64,
        };
        Outgoing::from_lines(&lines, length.min(COPIED))
    }
}

impl Fetch {
    /// Makes the call and writes its answer, to the end or to its failure.
    pub(super) async fn run(mut self) {
        let Ok(_place) = self.live.upstream.place().await else { return self.writer.fail(Failure::Busy) };
        let answered = self.answered().await;
        let question = self.body.len() as u64;
        match answered {
            Ok(attempt) => {
                // Of no use any more, and the answer may take long.
                if attempt.exchange.is_sent() {
                    self.body = Bytes::new();
                    self.memory.shrink_to(0);
                }
                self.record(attempt, question).await
            }
            Err(failure) => self.writer.fail(failure),
        }
    }

    /// Tries servers until one has sent the head of an answer.
    async fn answered(&self) -> Result<Attempt, Failure> {
        let mut attempts = Attempts::new(&self.shared, &self.live.upstream, &self.report, Spelling::Lost);
        loop {
            let mut attempt = attempts.connect().await?;
            match self.ask(&attempts, &mut attempt).await {
                Ok(()) => return Ok(attempt),
                Err(failure) => attempts.failed(&attempt, failure, Repeat::Possible)?,
            }
        }
    }

    /// Sends the request and waits for the answer's head, which may come first.
    async fn ask(&self, attempts: &Attempts<'_>, attempt: &mut Attempt) -> Result<(), Failure> {
        let server = attempts.server(attempt).ok_or(Failure::Connect)?;
        let head = self.head.for_server(&self.live.route, server, self.body.len())?;
        attempt.exchange.begin(head);
        attempt.exchange.read(Portion::Little);
        attempts.begun(attempt);
        attempt.exchange.send(self.body.clone());
        attempt.exchange.end();
        loop {
            match attempt.exchange.event().await? {
                Event::Sent => attempts.sent(attempt),
                // It concerns nobody behind a gateway that has the whole request.
                Event::Interim => {}
                Event::Head => break,
                Event::Switched | Event::Piece(_) | Event::End => return Err(Failure::Invalid),
            }
        }
        attempts.answered(attempt);
        Ok(())
    }

    /// Writes the answer to a request of `question` bytes into the recording, and stores it if it comes whole and clean.
    async fn record(mut self, mut attempt: Attempt, question: u64) {
        let Some(head) = attempt.exchange.head() else { return self.writer.fail(Failure::Invalid) };
        let length = length_of(head);
        let shared = self.shared_under(head);
        if shared.is_none() {
            self.writer.unshare();
        }
        let fields = self.sent_fields(head, shared);
        let kept = self.stored_as(head, length);
        if kept.is_none() {
            self.hold.take().into_iter().for_each(Hold::apart);
        }
        let mut reading = Reading::of(head, kept, self.api);
        if !reading.is_kept() {
            self.writer.window();
        }
        self.writer.head(AnswerHead { status: head.status, fields, length, destiny: reading.destiny() });
        let copied = self.copy(&mut attempt.exchange, &mut reading, length);
        let copied = self.report.unless_stopped(copied).await;
        if let Err(failure) = copied {
            self.report.tokens(reading.tokens(question));
            if failure != Failure::Stopped {
                attempt.broke_off(&self.shared, &self.live.upstream);
            }
            return self.writer.fail(failure);
        }
        let now = self.shared.clock.monotonic();
        attempt.give_back(now);
        let body = if reading.is_kept() { self.writer.recording().body() } else { None };
        if let Some(summary) = reading.summary(body.as_ref()) {
            let told = summary.usage.map(Tokens::Told);
            self.report.tokens(told.or_else(|| reading.tokens(question)));
            let entry = body.and_then(|body| reading.into_entry(body, &summary, now));
            if let Some((storing, entry)) = entry {
                let Storing { slot, apart, begun, .. } = storing;
                let hold = self.hold.take();
                self.shared.shelf.put(NewAnswer { slot, entry, begun, apart: &apart, hold });
            }
        }
        self.hold.take().into_iter().for_each(Hold::apart);
        self.writer.complete(self.report.tokens_known().and_then(Tokens::told));
    }

    /// The policy under which those who joined may read the answer; `None`: they may not.
    fn shared_under(&self, head: &ResponseHeader) -> Option<&RoutePolicy> {
        let policy = self.storing.as_ref().map(|storing| storing.policy.as_ref());
        policy.filter(|policy| is_for_others(head.status, &head.headers, policy))
    }

    /// The fields that the client is sent for whom the call is made. Where all accounts share, those of an entry: more
    /// would tell that nobody else had asked.
    fn sent_fields(
        &self,
        head: &ResponseHeader,
        shared: Option<&RoutePolicy>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        match shared.filter(|policy| policy.scope == Scope::Global) {
            Some(policy) => kept_headers(policy, &head.headers),
            None => end_to_end(head, Cookies::of(&self.live.route, self.head.uri.path())),
        }
    }

    /// How the answer is stored; `None` if its head already forbids it.
    fn stored_as(&mut self, head: &ResponseHeader, length: Option<u64>) -> Option<Kept> {
        let storing = self.storing.take()?;
        if length.is_some_and(|length| length > storing.max_entry) {
            return None;
        }
        let framing = framing_of(head, length);
        let form = storable_head(head.status, &head.headers, &storing.policy, framing).ok()?;
        let fields = kept_headers(&storing.policy, &head.headers);
        Some(Kept { storing, fields, form, length })
    }

    /// Copies the body, piece by piece; stops when nobody reads what will not be stored.
    async fn copy(
        &self,
        exchange: &mut Exchange,
        reading: &mut Reading,
        length: Option<u64>,
    ) -> Result<(), Failure> {
        loop {
            if reading.destiny() == Destiny::Forgotten {
                // Behind the last byte there is nothing to have room for: who has it need not wait for others.
                if length.is_none_or(|length| self.writer.recording().written() < length) {
                    self.writer.room().await;
                }
                if self.writer.recording().close_if_deserted() {
                    return Err(Failure::Stopped);
                }
            }
            let piece = match exchange.event().await? {
                Event::Piece(piece) => piece,
                Event::End => return Ok(()),
                _ => continue,
            };
            reading.note(&piece);
            let counted = self.writer.push(piece);
            let written = self.writer.recording().written();
            let has_room = counted && written > CONNECTION;
            exchange.read(if has_room { Portion::Whole } else { Portion::Little });
            if reading.is_kept() && !(counted && reading.keeps(written)) {
                reading.let_go();
                self.writer.window();
            }
        }
    }
}

fn has_no_body(head: &ResponseHeader) -> bool {
    matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn framing_of(head: &ResponseHeader, length: Option<u64>) -> Framing {
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    let has_length = length.is_some() || head.headers.contains_key(CONTENT_LENGTH);
    if has_length { Framing::Length } else { Framing::CloseDelimited }
}

fn length_of(head: &ResponseHeader) -> Option<u64> {
    if has_no_body(head) {
        return Some(0);
    }
    answer_framing::length(&head.headers)
}
