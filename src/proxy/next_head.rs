//! The wait for a client's next request over HTTP/1.1: until its head has been read, within its time and its size.
//!
//! A connection may be idle for `limits.keep_alive` between two requests; from a head's first byte (on a new connection:
//! from its opening) to its end it has `limits.head.timeout`. A timer is armed only if the head does not come at once.

use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;

use crate::proxy::bound::Bound;
use crate::proxy::connection::Connection;
use crate::proxy::request_head::{RequestHead, Unreadable};

/// What is read at once, at most, in bytes.
const LARGEST_READ: usize = 16 * 1024;

/// What a head is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadBounds {
    /// From its first byte to its end.
    pub(super) timeout: Duration,
    /// All of it. No more is read before its end has been.
    pub(super) bytes: usize,
}

/// Why no head was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHead {
    /// None began, and the connection is over.
    Idle,
    /// One began, or had to, and did not come to its end.
    Unfinished,
    /// It is longer than it may be.
    TooLarge,
    /// It is none that can be read.
    Unreadable,
}

/// The wait on one connection.
pub(super) struct NextHead<S> {
    bounds: HeadBounds,
    /// How long a connection may be without a request.
    idle: Duration,
    /// Told when connections without a request are to end; not asked again after that.
    stopped: Pin<Box<S>>,
    is_stopped: bool,
}

/// What has come of a head.
struct Begun {
    text: Vec<u8>,
    /// Its time runs: it has begun, or is the first of its connection.
    is_due: bool,
    bound: Bound,
}

impl<S: Future<Output = ()>> NextHead<S> {
    /// Each head within `bounds`; `stopped` is told when no more are waited for.
    pub(super) fn new(bounds: HeadBounds, idle: Duration, stopped: S) -> Self {
        Self { bounds, idle, stopped: Box::pin(stopped), is_stopped: false }
    }

    /// Waits for the next head; what comes behind it is kept by the connection.
    ///
    /// # Errors
    /// None comes any more.
    pub(super) async fn read(
        &mut self,
        connection: &mut Connection,
        place: Place,
    ) -> Result<RequestHead, NoHead> {
        let mut begun = Begun { text: Vec::new(), is_due: place == Place::First, bound: Bound::default() };
        poll_fn(|cx| self.poll(cx, connection, &mut begun)).await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        begun: &mut Begun,
    ) -> Poll<Result<RequestHead, NoHead>> {
        let mut space = [const { MaybeUninit::uninit() }; LARGEST_READ];
        loop {
            let most = (self.bounds.bytes - begun.text.len()).min(LARGEST_READ);
            let mut buf = ReadBuf::uninit(space.get_mut(..most).unwrap_or_default());
            let Poll::Ready(read) = connection.poll_come(cx, &mut buf) else {
                return self.poll_wait(cx, begun).map(Err);
            };
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Err(begun.broken_off()));
            }
            if let Some(head) = begun.take(buf.filled(), connection)? {
                return Poll::Ready(Ok(head));
            }
            if begun.text.len() >= self.bounds.bytes {
                return Poll::Ready(Err(NoHead::TooLarge));
            }
        }
    }

    /// Nothing more has come for now: ready when that has lasted for too long.
    fn poll_wait(&mut self, cx: &mut Context<'_>, begun: &mut Begun) -> Poll<NoHead> {
        let longest = if begun.is_due { self.bounds.timeout } else { self.idle };
        if begun.text.is_empty() && !self.is_stopped {
            self.is_stopped = self.stopped.as_mut().poll(cx).is_ready();
        }
        if begun.text.is_empty() && self.is_stopped {
            return Poll::Ready(NoHead::Idle);
        }
        let late = if begun.is_due { NoHead::Unfinished } else { NoHead::Idle };
        begun.bound.poll(cx, longest).map(|()| late)
    }
}

/// Which head of its connection is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first, which is due at once.
    First,
    /// One behind another.
    Later,
}

impl Begun {
    /// Takes what has come. The head, if it has come to its end; what is behind it is for `connection` to keep.
    fn take(&mut self, came: &[u8], connection: &mut Connection) -> Result<Option<RequestHead>, NoHead> {
        // Empty lines before a request are skipped (RFC 9112 §2.2); its head has not begun.
        let is_first = self.text.is_empty();
        let came = if is_first { without_empty_lines(came) } else { came };
        if came.is_empty() {
            return Ok(None);
        }
        if !self.is_due {
            self.is_due = true;
            self.bound.lift();
        }
        let before = self.text.len();
        if !is_first {
            self.text.extend_from_slice(came);
            // One that drips is not read anew with each drop.
            if !has_empty_line(&self.text, before) {
                return Ok(None);
            }
        }
        let text = if is_first { came } else { &self.text };
        let head = RequestHead::parse(text).map_err(|why| match why {
            Unreadable::Doubtful => NoHead::Unreadable,
            Unreadable::TooManyFields => NoHead::TooLarge,
        })?;
        match &head {
            Some(head) => connection.keep_ahead(text.get(head.size()..).unwrap_or_default().to_vec()),
            None if is_first => self.text = came.to_vec(),
            None => {}
        }
        Ok(head)
    }

    /// Nothing will come any more.
    fn broken_off(&self) -> NoHead {
        if self.text.is_empty() { NoHead::Idle } else { NoHead::Unfinished }
    }
}

/// A CR alone is no line.
fn without_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}

/// True if a line without anything in it ends behind the first `before` bytes.
fn has_empty_line(text: &[u8], before: usize) -> bool {
    let from = before.saturating_sub(2);
    let behind = |at: usize| text.get(from + at + 1..).unwrap_or_default();
    let tail = text.get(from..).unwrap_or_default();
    memchr::memchr_iter(b'\n', tail)
        .any(|at| behind(at).starts_with(b"\n") || behind(at).starts_with(b"\r\n"))
}
