//! A client's connection over HTTP/1.1, as bytes: those out are gathered, those that come too early are kept.
//!
//! An answer's head and its body, gathered until the flush or until the writer waits for the client, leave in one call.
//! The buffer exists only while something waits in it, so that an idle connection costs little. Every byte out passes
//! here: so here a client that reads too slowly is noticed. So is one that leaves while it waits for its answer: for that,
//! what it sends meanwhile is read ahead.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::SocketDigest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::proxy::line::Line;
use crate::proxy::patience::Patience;

/// More than so much is not gathered, in bytes.
const GATHER: usize = 16 * 1024;

/// Room for what is gathered, at first: a head and a small body.
const FIRST_GATHER: usize = 2 * 1024;

/// So much is read ahead of a client that waits for its answer.
const AHEAD: usize = 4 * 1024;

/// How often the system is asked about a client that has sent so much that its end is not read.
const LOOK: Duration = Duration::from_millis(50);

/// A TCP connection whose other side has not ended it, as Linux's `tcp_info` has it.
const ESTABLISHED: u8 = 1;

/// A client's connection.
pub struct Connection {
    line: Line,
    peer: IpAddr,
    patience: Patience,
    /// What has come and was not asked for yet.
    ahead: Vec<u8>,
    /// What was gathered, and how much of it was sent.
    waiting: Vec<u8>,
    sent: usize,
    /// Something was written since the last flush.
    is_unflushed: bool,
}

impl Connection {
    /// A connection to `peer` that has just been opened.
    pub fn new(line: Line, peer: IpAddr, patience: Patience) -> Self {
        Self { line, peer, patience, ahead: Vec::new(), waiting: Vec::new(), sent: 0, is_unflushed: false }
    }

    /// The other end, IPv4-mapped addresses as IPv4.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// How requests come over it: `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        match self.line {
            Line::Plain(_) => "http",
            Line::Tls(_) => "https",
        }
    }

    /// What has come and was not asked for yet; it is taken out.
    pub(super) fn take_ahead(&mut self) -> Vec<u8> {
        mem::take(&mut self.ahead)
    }

    /// True if something has come too early.
    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// True if nothing has come too early but empty lines, which may stand before a request (RFC 9112 §2.2).
    pub(super) fn is_quiet(&self) -> bool {
        self.ahead.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// The connection will end with a reset instead of an end that the client could take for the answer's. Over TLS that is
    /// told by what is missing, a `close_notify` (RFC 9112 §9.8): its socket is out of reach.
    pub(super) fn reset(&self) {
        if let Line::Plain(stream) = &self.line {
            // It fails on a socket alone that is gone.
            let _ = stream.set_zero_linger();
        }
    }

    /// Puts back what has come too early, in place of anything kept before.
    pub(super) fn keep_ahead(&mut self, bytes: Vec<u8>) {
        self.ahead = bytes;
    }

    /// Reads what comes behind all that is kept. Before it waits, what was gathered leaves; a client that cannot be written
    /// to, or takes it too slowly, is gone.
    pub(super) fn poll_come(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.line).poll_read(cx, buf);
        if read.is_pending() {
            self.send_owed(cx)?;
        }
        read
    }

    /// Sends what was gathered, as far as the client takes it.
    fn send_owed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.is_unflushed.then(|| self.poll_send(cx)) {
            Some(Poll::Ready(sent)) => sent,
            _ => Ok(()),
        }
    }

    /// Waits until the client ends its side, or takes too slowly what was gathered; to be awaited while nothing is read of
    /// it. Reads ahead for that as far as there is room; of a client that has sent more, the system is asked from time to
    /// time.
    pub(super) async fn left(&mut self) {
        let mut look: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            if self.poll_ahead(cx).is_ready() {
                return Poll::Ready(());
            }
            while self.ahead.len() >= AHEAD {
                if self.has_ended() {
                    return Poll::Ready(());
                }
                let timer = look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
                ready!(timer.as_mut().poll(cx));
                look = None;
            }
            Poll::Pending
        })
        .await;
    }

    /// Reads ahead as far as there is room; ready at the end of what the client sends.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ahead.len() < AHEAD {
            let mut bytes = [0; 512];
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(self.poll_come(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
            self.ahead.extend_from_slice(buf.filled());
        }
        if self.send_owed(cx).is_err() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// True if the client has ended its side of the connection, or the connection is gone, whatever is unread of it.
    fn has_ended(&self) -> bool {
        let socket = SocketDigest::from_raw_fd(self.line.socket());
        socket.tcp_info().is_some_and(|info| info.tcpi_state != ESTABLISHED)
    }

    /// Room to write a head into, which is gathered.
    pub(super) fn gather(&mut self) -> &mut Vec<u8> {
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(FIRST_GATHER);
        }
        self.is_unflushed = true;
        &mut self.waiting
    }

    /// Writes `piece` between what opens and what closes it. Gathers them if there is room, and else copies nothing of
    /// the piece: all leaves in one call if the client takes it.
    ///
    /// # Errors
    /// The client is gone, or too slow.
    pub(super) async fn write(&mut self, open: &[u8], piece: &Bytes, close: &[u8]) -> io::Result<()> {
        let waiting = self.gather();
        waiting.extend_from_slice(open);
        if waiting.len() + piece.len() + close.len() <= GATHER {
            waiting.extend_from_slice(piece);
            waiting.extend_from_slice(close);
            return Ok(());
        }
        let (mut piece, mut close) = (piece.as_ref(), close);
        poll_fn(|cx| self.poll_write_out(cx, &mut piece, &mut close)).await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx, &mut &b""[..], &mut &b""[..]))?;
        if matches!(self.line, Line::Tls(_)) {
            // TLS has taken what the client may not take.
            let flushed = Pin::new(&mut self.line).poll_flush(cx);
            self.patience.note_flush(cx, &flushed)?;
            ready!(flushed)?;
        }
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Writes out what was gathered, then `piece`, then `close`, as far as the client and our patience go.
    fn poll_write_out<'a>(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut &'a [u8],
        close: &mut &'a [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            let gathered = self.waiting.get(self.sent..).unwrap_or_default();
            let written = if piece.is_empty() && close.is_empty() {
                if gathered.is_empty() {
                    break;
                }
                Pin::new(&mut self.line).poll_write(cx, gathered)
            } else {
                let parts = [IoSlice::new(gathered), IoSlice::new(piece), IoSlice::new(close)];
                Pin::new(&mut self.line).poll_write_vectored(cx, &parts)
            };
            self.patience.note(cx, &written)?;
            let mut taken = ready!(written)?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_gathered = taken.min(gathered.len());
            self.sent += of_gathered;
            taken -= of_gathered;
            for part in [&mut *piece, &mut *close] {
                let of_part = taken.min(part.len());
                *part = part.get(of_part..).unwrap_or_default();
                taken -= of_part;
            }
        }
        (self.waiting, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

/// For who reads it away, or speaks another protocol on it.
impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_come(cx, buf)
    }
}

/// A flush sends all that was gathered, and so does the end (RFC 9112 §9.6). A client that is gone or too slow fails them.
impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.waiting.len() + buf.len() > GATHER {
            ready!(this.poll_write_out(cx, &mut &b""[..], &mut &b""[..]))?;
        }
        if buf.len() > GATHER {
            let written = Pin::new(&mut this.line).poll_write(cx, buf);
            this.patience.note(cx, &written)?;
            return written;
        }
        this.gather().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.line).poll_shutdown(cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}
