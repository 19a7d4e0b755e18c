//! One request and its answer on one connection to a server, each wait with the bound that is its own.
//!
//! The request is handed over piece by piece, and the answer is heard at any time: a server may answer before it has
//! the whole request. What waits for the server is bounded by what is waited for: that it takes what was handed over,
//! its answer's first byte once it has the whole request, and the next piece of its answer. While the request is still
//! to come from the client, the server owes nothing.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::http::ResponseHeader;

use crate::cache::recording::Failure;
use crate::clock::Monotonic;
use crate::proxy::answer_framing;
use crate::proxy::bound::Bound;
use crate::proxy::incoming::{Incoming, Portion, Spelling, is_persistent};
use crate::proxy::line::Line;
use crate::proxy::link::{LARGEST_PIECE, Link};
use crate::proxy::outgoing::{Framing, Outgoing};
use crate::upstream::settings::UpstreamSettings;

/// A server that stops reading may already have answered; its answer is waited for so long.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// A request and its answer. Large, and moved from step to step: to be kept in a box.
pub(super) struct Exchange {
    link: Box<Link>,
    incoming: Incoming,
    head: Option<ResponseHeader>,
    framing: Framing,
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
    /// An exchange that is about to begin on `link`.
    pub(super) fn new(link: Box<Link>, settings: &UpstreamSettings, spelling: Spelling) -> Box<Self> {
        Box::new(Self {
            link,
            incoming: Incoming::new(spelling),
            head: None,
            framing: Framing::Length(0),
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

    /// Hands over the request's head. That the connection has ended shows in the answer.
    pub(super) fn begin(&mut self, head: Outgoing) {
        self.is_sending = true;
        self.method = head.method;
        self.upgrade = head.upgrade;
        self.framing = head.framing;
        self.link.open(head.text);
    }

    /// Hands over a piece of the request's body. To be called while there is [room](Exchange::has_room), or right after
    /// the head. That the connection has ended shows in the answer.
    pub(super) fn send(&mut self, piece: Bytes) {
        self.rest = piece;
        self.hand_over();
    }

    /// Hands over the end of the request's body.
    pub(super) fn end(&mut self) {
        self.request = Request::Whole;
        if self.rest.is_empty() {
            self.hand_over();
        }
    }

    /// True if another piece may be handed over now.
    pub(super) fn has_room(&self) -> bool {
        self.rest.is_empty() && self.link.has_room()
    }

    /// How much of the answer is taken at once from now on; all that has come, unless said otherwise.
    pub(super) fn read(&mut self, portion: Portion) {
        self.incoming.portion = portion;
    }

    /// True if the socket has taken the whole request.
    pub(super) fn is_sent(&self) -> bool {
        self.request == Request::Written && self.link.is_drained() && !self.link.is_broken()
    }

    /// Hands what is left to the link, one piece after another.
    fn hand_over(&mut self) {
        self.is_sending = true;
        self.bound.lift();
        let piece = self.rest.split_to(LARGEST_PIECE.min(self.rest.len()));
        if !piece.is_empty() {
            self.framing.send(&mut self.link, piece);
        }
        if self.rest.is_empty() && self.request == Request::Whole {
            self.framing.end(&mut self.link);
            self.request = Request::Written;
        }
    }

    /// True while no byte of the answer has come.
    pub(super) fn is_unanswered(&self) -> bool {
        self.link.heard() == 0
    }

    /// When the socket last took something of the request; `None` if it never did.
    pub(super) fn written(&self) -> Option<Monotonic> {
        self.link.written()
    }

    /// The answer's head, once it has come.
    pub(super) fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_ref()
    }

    /// Waits for what happens next. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// The answer will not come, or not to its end.
    pub(super) async fn event(&mut self) -> Result<Event, Failure> {
        loop {
            match poll_fn(|cx| self.poll_event(cx)).await? {
                Event::Sent if !self.rest.is_empty() && self.takes_more() => self.hand_over(),
                event => return Ok(event),
            }
        }
    }

    fn takes_more(&self) -> bool {
        !self.link.is_broken()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Failure>> {
        // Reading comes first: it sends what is left to be sent.
        if let Poll::Ready(event) = self.poll_answer(cx) {
            if !matches!(event, Ok(Event::Interim)) {
                self.bound.lift();
            }
            return Poll::Ready(event);
        }
        if self.is_sending && self.link.is_drained() {
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
                let head = ready!(self.incoming.poll_head(cx, &mut self.link))?;
                Poll::Ready(self.note_head(head))
            }
            Answer::Body => Poll::Ready(match ready!(self.incoming.poll_piece(cx, &mut self.link))? {
                Some(piece) => Ok(Event::Piece(piece)),
                None => {
                    self.answer = Answer::Nothing;
                    Ok(Event::End)
                }
            }),
            Answer::Nothing => Poll::Ready(Ok(Event::End)),
        }
    }

    fn note_head(&mut self, head: ResponseHeader) -> Result<Event, Failure> {
        let head = self.head.insert(head);
        let status = head.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let is_asked = head.version == Version::HTTP_11 && self.names_what_was_asked();
            return if is_asked { Ok(Event::Switched) } else { Err(Failure::Invalid) };
        }
        if status.is_informational() {
            return Ok(Event::Interim);
        }
        self.incoming.expect_body(head, &self.method)?;
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

    /// True if the answer has come to its end, told or not.
    pub(super) fn is_over(&self) -> bool {
        self.answer != Answer::Head && self.incoming.is_over()
    }

    /// The connection, if it may carry another request: both sides have said all, and the server keeps it open.
    pub(super) fn reuse(self: Box<Self>) -> Option<Box<Link>> {
        let is_over = self.is_over() && self.is_sent();
        let is_whole = self.framing.is_whole() && self.incoming.is_clean();
        (is_over && is_whole && !self.is_doubtful()).then_some(self.link)
    }

    /// True if the server may close the connection, or may still send a body that the answer cannot have (RFC 9110 §6.4.1): servers are known to
    /// send one to HEAD, or behind a 204 or 304 whose head speaks of one.
    fn is_doubtful(&self) -> bool {
        let Some(head) = self.head() else { return true };
        if !is_persistent(head) || has_announced_its_end(head) {
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
    pub(super) fn switch(self: Box<Self>) -> Option<(Bytes, Line)> {
        let line = self.link.into_line()?;
        Some((self.incoming.into_rest(), line))
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
