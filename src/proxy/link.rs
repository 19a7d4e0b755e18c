//! A connection to a server: writing to it never waits for the server.
//!
//! A server may answer before it has the whole request, and read no further. So what is to be sent is handed over and
//! leaves while the answer is awaited: who reads, writes first. A head and a small body leave in one call.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::{Clock, Monotonic};
use crate::proxy::line::Line;

/// The largest piece of a body that is handed over at once.
pub(super) const LARGEST_PIECE: usize = 64 * 1024;

/// A piece up to this size is put behind what frames it, so that one buffer is sent; larger ones are never copied.
pub(super) const COPIED: usize = 16 * 1024;

/// A connection to a server. It stays one while it waits for its next request.
pub(super) struct Link {
    line: Line,
    outbox: Outbox,
    is_unflushed: bool,
    is_broken: bool,
    heard: u64,
    clock: Clock,
    /// When the socket last took something of this request.
    written: Option<Monotonic>,
}

/// What is to be sent and was not yet.
#[derive(Default)]
struct Outbox {
    /// A head, what opens a chunk, small pieces.
    text: Vec<u8>,
    /// How much of it was sent.
    sent: usize,
    /// A large piece.
    piece: Bytes,
    /// What is sent behind the piece.
    tail: Vec<u8>,
}

impl Link {
    /// The link over a new connection.
    pub(super) fn new(line: Line, clock: Clock) -> Self {
        let outbox = Outbox::default();
        Self { line, outbox, is_unflushed: false, is_broken: false, heard: 0, clock, written: None }
    }

    /// Hands over a request's head, which is the first that is handed over.
    pub(super) fn open(&mut self, head: Vec<u8>) {
        self.outbox.text = head;
    }

    /// Hands over a piece between what opens and what closes it; to be called while there is [room](Link::has_room),
    /// or right after the head. A server that takes no more gets none.
    pub(super) fn send(&mut self, open: &[u8], piece: Bytes, close: &[u8]) {
        if self.is_broken {
            return;
        }
        self.outbox.text.extend_from_slice(open);
        if piece.len() <= COPIED {
            self.outbox.text.extend_from_slice(&piece);
        } else {
            self.outbox.piece = piece;
        }
        self.close(close);
    }

    /// Hands over a few bytes that end a body, at any time.
    pub(super) fn close(&mut self, bytes: &[u8]) {
        if self.is_broken {
            return;
        }
        let Outbox { text, piece, tail, .. } = &mut self.outbox;
        let last = if piece.is_empty() && tail.is_empty() { text } else { tail };
        last.extend_from_slice(bytes);
    }

    /// True if another piece may be handed over: little waits before it.
    pub(super) fn has_room(&self) -> bool {
        let Outbox { text, piece, tail, .. } = &self.outbox;
        text.len() < COPIED && piece.is_empty() && tail.is_empty() && !self.is_broken
    }

    /// True if the socket has taken all that was handed over, or takes no more.
    pub(super) fn is_drained(&self) -> bool {
        self.outbox.is_empty() && !self.is_unflushed
    }

    /// True if the server takes no more: what was not sent yet is given up.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Bytes of answers to this request.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// When the socket last took something of this request; `None` if it never did.
    pub(super) fn written(&self) -> Option<Monotonic> {
        self.written
    }

    /// The link for another request; `None` if anything has come since the last one, if only its end: what a server
    /// says unasked would be taken for the next answer. Looks at the socket itself, in one system call: the runtime may
    /// not know yet what the system does. TLS may have taken more off the socket than was read, and is asked too.
    pub(super) fn again(mut self: Box<Self>) -> Option<Box<Self>> {
        let mut byte = [0];
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        if recv(self.line.socket(), &mut byte, look) != Err(Errno::EAGAIN) {
            return None;
        }
        if matches!(self.line, Line::Tls(_)) && self.has_more() {
            return None;
        }
        self.heard = 0;
        self.written = None;
        Some(self)
    }

    /// The link as the calling worker drives it; `None` if it cannot be. One over TLS stays where it is: the worker that
    /// opened it wakes this one when something comes.
    pub(super) fn moved(mut self: Box<Self>) -> Option<Box<Self>> {
        self.line = match self.line {
            Line::Plain(stream) => Line::Plain(TcpStream::from_std(stream.into_std().ok()?).ok()?),
            tls @ Line::Tls(_) => tls,
        };
        Some(self)
    }

    /// True if a read would bring something now, if only the end. Takes what it brings: for a connection that is given
    /// up then.
    fn has_more(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.line).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// The connection alone; `None` if something of what was handed over has not been sent.
    pub(super) fn into_line(self) -> Option<Line> {
        (self.is_drained() && !self.is_broken).then_some(self.line)
    }

    /// Reads what has come, after having sent what waits, as far as the socket takes it.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_drained() {
            // A server that takes no more may have answered all the same.
            let _ = self.poll_send(cx);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.line).poll_read(cx, buf);
        self.heard += (buf.filled().len() - before) as u64;
        read
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = ready!(self.poll_write_out(cx));
        if sent.is_err() {
            self.is_broken = true;
            self.is_unflushed = false;
            self.outbox = Outbox::default();
        }
        Poll::Ready(sent)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            // Before the write: the server may have it, and begin, before the system has told us so.
            let now = self.clock.monotonic();
            let sent = ready!(self.outbox.poll_write(cx, &mut self.line))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(sent);
            self.is_unflushed = matches!(self.line, Line::Tls(_));
            self.written = Some(now);
        }
        if self.is_unflushed {
            ready!(Pin::new(&mut self.line).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    fn poll_write(&self, cx: &mut Context<'_>, line: &mut Line) -> Poll<io::Result<usize>> {
        let text = self.text.get(self.sent..).unwrap_or_default();
        if self.piece.is_empty() && self.tail.is_empty() {
            return Pin::new(line).poll_write(cx, text);
        }
        let parts = [IoSlice::new(text), IoSlice::new(&self.piece), IoSlice::new(&self.tail)];
        Pin::new(line).poll_write_vectored(cx, &parts)
    }

    /// So many bytes were sent.
    fn advance(&mut self, sent: usize) {
        let of_text = sent.min(self.text.len() - self.sent);
        let of_piece = (sent - of_text).min(self.piece.len());
        self.sent += of_text;
        if self.sent == self.text.len() {
            (self.text, self.sent) = (Vec::new(), 0);
        }
        self.piece.advance(of_piece);
        if self.piece.is_empty() {
            // It would keep alive what it was a part of.
            self.piece = Bytes::new();
        }
        let of_tail = sent - of_text - of_piece;
        self.tail.drain(..of_tail.min(self.tail.len()));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
