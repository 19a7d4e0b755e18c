//! One request and its answer on one connection to a server, each wait with the bound that is its own.
//!
//! The request is handed over piece by piece, and the answer is heard at any time: a server may answer before it has
//! the whole request. What waits for the server is bounded by what is waited for: that it takes what was handed over,
//! its answer's first byte once it has the whole request, and the next piece of its answer. While the request is still
//! to come from the client, the server owes nothing.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::{Error, ErrorType};

use crate::cache::recording::Failure;
use crate::clock::Monotonic;
use crate::proxy::answer_framing;
use crate::proxy::bound::Bound;
use crate::proxy::link::{LARGEST_PIECE, Link, Portion};
use crate::upstream::settings::UpstreamSettings;

/// A server that stops reading may already have answered; its answer is waited for so long.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// A request and its answer. Large, and moved from step to step: to be kept in a box.
pub(super) struct Exchange {
    session: HttpSession,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
    request: Request,
    /// What is left of the piece that was handed over.
    rest: Bytes,
    answer: Answer,
    /// Something was handed over since the last [`Event::Sent`].
    is_sending: bool,
    bound: Bound,
    /// What was asked; decides how the answer ends.
    method: Method,
    /// The protocol that the server was asked to change to.
    upgrade: Option<HeaderValue>,
}

/// How much of the request has been handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// There may be more.
    Begun,
    /// All of it; its end is still to be written.
    Whole,
    /// All of it has been written.
    Written,
}

/// What of the answer comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Head,
    Body,
    Nothing,
}

/// What happens in an exchange.
#[derive(Debug)]
pub(super) enum Event {
    /// The socket has taken all that was handed over, or takes no more.
    Sent,
    /// An interim answer (1xx) has come; its head is [`Exchange::head`].
    Interim,
    /// The answer's head has come.
    Head,
    /// The server has changed to the protocol that it was asked to change to.
    Switched,
    /// The next bytes of the answer's body, never empty.
    Piece(Bytes),
    /// The answer has come to its end.
    End,
}

impl Exchange {
    /// An exchange that is about to begin on `session`.
    pub(super) fn new(session: HttpSession, settings: &UpstreamSettings) -> Box<Self> {
        Box::new(Self {
            session,
            first_byte_timeout: settings.first_byte_timeout,
            idle_timeout: settings.idle_timeout,
            request: Request::Begun,
            rest: Bytes::new(),
            answer: Answer::Head,
            is_sending: false,
            bound: Bound::default(),
            method: Method::GET,
            upgrade: None,
        })
    }

    /// Hands over the request's head.
    ///
    /// # Errors
    /// It cannot be written as one, or the server does not take one that is larger than what a link keeps. That the
    /// connection has ended shows in the answer.
    pub(super) async fn begin(&mut self, head: RequestHeader) -> Result<(), Failure> {
        self.is_sending = true;
        self.method = head.method.clone();
        self.upgrade = head.headers.get(UPGRADE).cloned();
        let writing = self.session.write_request_header(Box::new(head));
        match pingora::time::timeout(self.idle_timeout, writing).await {
            Ok(Err(error)) if *error.etype() == ErrorType::InvalidHTTPHeader => Err(Failure::Invalid),
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::FirstByteTimeout),
        }
    }

    /// Hands over a piece of the request's body. To be called while there is [room](Exchange::has_room), or right after
    /// the head. That the connection has ended shows in the answer.
    pub(super) async fn send(&mut self, piece: Bytes) {
        self.rest = piece;
        self.write_next().await;
    }

    /// Hands over the end of the request's body.
    pub(super) async fn end(&mut self) {
        self.request = Request::Whole;
        if self.rest.is_empty() {
            self.write_next().await;
        }
    }

    /// True if another piece may be handed over now.
    pub(super) fn has_room(&self) -> bool {
        self.rest.is_empty() && Link::of(&self.session).is_none_or(Link::has_room)
    }

    /// How much of the answer is taken at once from now on; all that has come, unless said otherwise.
    pub(super) fn read(&self, portion: Portion) {
        if let Some(link) = Link::of(&self.session) {
            link.read(portion);
        }
    }

    /// True if the socket has taken the whole request.
    pub(super) fn is_sent(&self) -> bool {
        let is_taken = Link::of(&self.session).is_some_and(|link| link.is_drained() && !link.is_broken());
        self.request == Request::Written && is_taken
    }

    /// Writes what a link takes at once. So nothing here waits, and nothing is lost when the caller's wait is given up.
    async fn write_next(&mut self) {
        self.is_sending = true;
        self.bound.lift();
        if !self.rest.is_empty() && !Link::of(&self.session).is_none_or(Link::has_room) {
            // The head is still on its way.
            return;
        }
        let piece = self.rest.split_to(LARGEST_PIECE.min(self.rest.len()));
        if !piece.is_empty() {
            let _ = self.session.write_body(&piece).await;
        }
        if self.rest.is_empty() && self.request == Request::Whole {
            let _ = self.session.finish_body().await;
            self.request = Request::Written;
        }
    }

    /// True while no byte of the answer has come.
    pub(super) fn is_unanswered(&self) -> bool {
        Link::of(&self.session).is_none_or(|link| link.heard() == 0)
    }

    /// When the socket last took something of the request; `None` if it never did.
    pub(super) fn written(&self) -> Option<Monotonic> {
        Link::of(&self.session).and_then(Link::written)
    }

    /// The answer's head, once it has come.
    pub(super) fn head(&self) -> Option<&ResponseHeader> {
        self.session.resp_header()
    }

    /// Waits for what happens next. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// The answer will not come, or not to its end.
    pub(super) async fn event(&mut self) -> Result<Event, Failure> {
        loop {
            match poll_fn(|cx| self.poll_event(cx)).await? {
                Event::Sent if !self.rest.is_empty() && self.takes_more() => self.write_next().await,
                event => return Ok(event),
            }
        }
    }

    fn takes_more(&self) -> bool {
        !Link::of(&self.session).is_some_and(Link::is_broken)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Failure>> {
        // Reading comes first: it sends what is left to be sent.
        if let Poll::Ready(event) = self.poll_answer(cx) {
            if !matches!(event, Ok(Event::Interim)) {
                self.bound.lift();
            }
            return Poll::Ready(event);
        }
        if self.is_sending && Link::of(&self.session).is_none_or(Link::is_drained) {
            self.is_sending = false;
            self.bound.lift();
            return Poll::Ready(Ok(Event::Sent));
        }
        let Some((longest, failure)) = self.longest_wait() else { return Poll::Pending };
        self.bound.poll(cx, longest).map(|()| Err(failure))
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Failure>> {
        match self.answer {
            Answer::Head => {
                let read = ready!(pin!(self.session.read_response()).poll(cx));
                Poll::Ready(read.map_err(|error| failure_of(&error)).and_then(|_| self.note_head()))
            }
            Answer::Body => {
                let read = ready!(pin!(self.session.read_body_bytes()).poll(cx));
                Poll::Ready(match read {
                    Ok(Some(piece)) => Ok(Event::Piece(piece)),
                    Ok(None) => {
                        self.answer = Answer::Nothing;
                        Ok(Event::End)
                    }
                    Err(error) => Err(failure_of(&error)),
                })
            }
            Answer::Nothing => Poll::Ready(Ok(Event::End)),
        }
    }

    fn note_head(&mut self) -> Result<Event, Failure> {
        let status = self.session.get_status().ok_or(Failure::Invalid)?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let is_asked = self.session.was_upgraded() && self.names_what_was_asked();
            return if is_asked { Ok(Event::Switched) } else { Err(Failure::Invalid) };
        }
        if status.is_informational() {
            return Ok(Event::Interim);
        }
        if !self.head().is_some_and(|head| answer_framing::is_readable(&head.headers)) {
            return Err(Failure::Invalid);
        }
        self.answer = Answer::Body;
        Ok(Event::Head)
    }

    /// True if the answer names the protocol that was asked for, and no other.
    fn names_what_was_asked(&self) -> bool {
        let Some((head, asked)) = self.head().zip(self.upgrade.as_ref()) else { return false };
        let mut named = head.headers.get_all(UPGRADE).iter();
        let is_same = |named: &HeaderValue| named.as_bytes().eq_ignore_ascii_case(asked.as_bytes());
        named.next().is_some_and(is_same) && named.next().is_none()
    }

    /// How long the server may be waited for, and what has happened when it did not come; `None`: for ever.
    fn longest_wait(&self) -> Option<(Duration, Failure)> {
        if self.request == Request::Begun && !self.is_sending && self.takes_more() {
            // The client is waited for, by who reads its body.
            return None;
        }
        Some(match self.answer {
            Answer::Body | Answer::Nothing => (self.idle_timeout, Failure::IdleTimeout),
            Answer::Head if !self.takes_more() => (EARLY_ANSWER, Failure::Reset),
            Answer::Head if self.is_sending => (self.idle_timeout, Failure::FirstByteTimeout),
            Answer::Head => (self.first_byte_timeout, Failure::FirstByteTimeout),
        })
    }

    /// The connection, if it may carry another request: both sides have said all, and the server keeps it open.
    pub(super) async fn reuse(mut self: Box<Self>) -> Option<Box<Link>> {
        if self.answer != Answer::Nothing || !self.is_sent() || self.is_doubtful() {
            return None;
        }
        self.session.respect_keepalive();
        self.session.reuse().await?.into_any().downcast().ok()
    }

    /// True if the server may close the connection, or may still send a body that the answer cannot have (RFC 9110 §6.4.1): servers are known to
    /// send one to HEAD, or behind a 204 or 304 whose head speaks of one.
    fn is_doubtful(&self) -> bool {
        let Some(head) = self.head() else { return true };
        if has_announced_its_end(head) {
            return true;
        }
        let is_bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let tells_of_body = || {
            head.headers.contains_key(TRANSFER_ENCODING)
                || answer_framing::length(&head.headers).is_some_and(|length| length > 0)
        };
        self.method == Method::HEAD || is_bodiless && tells_of_body()
    }

    /// The connection of a server that has switched, and what it has said in the new protocol already. `None` if it
    /// switched before it had the whole request.
    pub(super) fn switch(mut self: Box<Self>) -> Option<(Bytes, Stream)> {
        let said = self.session.read_body_bytes().now_or_never();
        let said = said.and_then(Result::ok).flatten().unwrap_or_default();
        let link = self.session.into_inner().into_any().downcast::<Link>().ok()?;
        Some((said, link.into_inner()?))
    }
}

/// True if the server will close the connection: said in any of its Connection fields (RFC 9110 §5.3).
fn has_announced_its_end(head: &ResponseHeader) -> bool {
    let says_so = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    head.headers.get_all(CONNECTION).iter().any(says_so)
}

fn failure_of(error: &Error) -> Failure {
    match error.etype() {
        ErrorType::InvalidHTTPHeader | ErrorType::Custom("InvalidChunk") => Failure::Invalid,
        _ => Failure::Reset,
    }
}
