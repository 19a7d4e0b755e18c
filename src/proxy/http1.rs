//! A request over HTTP/1.1 (RFC 9112) from its head on: its body as it comes, and its answer as it is written.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::clock::UnixTime;
use crate::proxy::chunks::Chunks;
use crate::proxy::connection::Connection;
use crate::proxy::date::http_date;
use crate::proxy::remainder::Remainder;
use crate::proxy::request_head::{Announced, RequestHead};
use crate::proxy::response_head::{Framing, ResponseHead};
use crate::proxy::upload::Fault;

/// What is read of a body at once, at most, in bytes.
const LARGEST_READ: usize = 64 * 1024;

/// A connection and the request that it carries now.
pub(super) struct Http1 {
    pub(super) connection: Connection,
    pub(super) head: RequestHead,
    body: Remainder,
    pub(super) body_read: u64,
    pub(super) status: Option<StatusCode>,
    answer: Framing,
    pub(super) body_sent: u64,
    /// The connection may carry another request.
    is_persistent: bool,
}

impl Http1 {
    /// A connection that carries no request yet.
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            head: RequestHead::none(),
            body: Remainder::Length(0),
            body_read: 0,
            status: None,
            answer: Framing::Nothing,
            body_sent: 0,
            is_persistent: false,
        }
    }

    /// Begins with the request whose head has been read.
    pub(super) fn take(&mut self, head: RequestHead) {
        self.body = match head.body {
            Announced::Length(length) => Remainder::Length(length),
            Announced::Chunks => Remainder::Chunked(Chunks::default()),
        };
        self.is_persistent = head.is_persistent;
        (self.body_read, self.body_sent) = (0, 0);
        (self.status, self.answer) = (None, Framing::Nothing);
        self.head = head;
    }

    /// True if the head announces a body.
    pub(super) fn has_body(&self) -> bool {
        self.head.body != Announced::Length(0)
    }

    /// True if the body has come to its end.
    pub(super) fn is_body_over(&self) -> bool {
        self.body.is_over()
    }

    /// The next piece of the body, never empty; `None` at its end. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// There will be no more.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, Fault> {
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    /// Bytes of the body that are still to come from the connection; `None` where nobody has said how many, or some have
    /// come already.
    pub(super) fn length_left(&self) -> Option<u64> {
        match self.body {
            Remainder::Length(left) if left > 0 && !self.connection.has_ahead() => Some(left),
            _ => None,
        }
    }

    /// Reads some of a body whose [length](Http1::length_left) is known to the end of `body`, no more than it has room
    /// for. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// There will be no more.
    pub(super) async fn read_to(&mut self, body: &mut Vec<u8>) -> Result<(), Fault> {
        let Remainder::Length(left) = &mut self.body else { return Err(Fault::Broken) };
        let room = (body.capacity() - body.len()).min(usize::try_from(*left).unwrap_or(usize::MAX));
        let read = self.connection.read_buf(&mut body.limit(room)).await.map_err(|_| Fault::Gone)? as u64;
        *left -= read;
        self.body_read += read;
        if read == 0 { Err(Fault::Gone) } else { Ok(()) }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if self.body.is_over() {
            return Poll::Ready(Ok(None));
        }
        if self.body.is_bad() {
            return Poll::Ready(Err(Fault::Broken));
        }
        let ahead = self.connection.take_ahead();
        if !ahead.is_empty()
            && let Some(piece) = self.take_kept(ahead)?
        {
            return Poll::Ready(Ok(Some(piece)));
        }
        let mut space = [const { MaybeUninit::uninit() }; LARGEST_READ];
        while !self.body.is_over() {
            let mut buf = ReadBuf::uninit(space.get_mut(..self.most()).unwrap_or_default());
            ready!(self.connection.poll_come(cx, &mut buf)).map_err(|_| Fault::Gone)?;
            if buf.filled().is_empty() {
                return Poll::Ready(Err(Fault::Gone));
            }
            if let Some(piece) = self.split(buf.filled_mut())? {
                return Poll::Ready(Ok(Some(piece)));
            }
        }
        Poll::Ready(Ok(None))
    }

    /// What `ahead`, which came before it was asked for, has of the body.
    fn take_kept(&mut self, mut ahead: Vec<u8>) -> Result<Option<Bytes>, Fault> {
        if let Remainder::Length(left) = &mut self.body
            && ahead.len() as u64 <= *left
        {
            *left -= ahead.len() as u64;
            self.body_read += ahead.len() as u64;
            return Ok(Some(Bytes::from(ahead)));
        }
        self.split(&mut ahead)
    }

    /// What `bytes` have of the body, if anything; the connection keeps what is behind it.
    fn split(&mut self, bytes: &mut [u8]) -> Result<Option<Bytes>, Fault> {
        let (carried, taken) = self.body.read(bytes);
        if self.body.is_bad() {
            return Err(Fault::Broken);
        }
        self.body_read += carried.len() as u64;
        if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            self.connection.keep_ahead(rest.to_vec());
        }
        Ok(bytes.get(carried).filter(|piece| !piece.is_empty()).map(Bytes::copy_from_slice))
    }

    /// How much of the body is read at once.
    fn most(&self) -> usize {
        match self.body {
            Remainder::Length(left) => {
                usize::try_from(left).map_or(LARGEST_READ, |left| left.min(LARGEST_READ))
            }
            Remainder::Chunked(_) => LARGEST_READ,
        }
    }

    /// The connection ends with this request.
    pub(super) fn close(&mut self) {
        self.is_persistent = false;
    }

    /// Writes the head of an answer; one that comes before the body has, ends the connection.
    ///
    /// # Errors
    /// The client is gone, or too slow.
    pub(super) async fn begin(&mut self, head: ResponseHead, now: UnixTime) -> io::Result<()> {
        let status = head.status();
        self.status = Some(status);
        self.answer = match head.framing() {
            _ if self.head.header.method == Method::HEAD => Framing::Nothing,
            framing => framing,
        };
        let ends = matches!(self.answer, Framing::UntilEnd | Framing::Switched);
        self.is_persistent &= !ends && self.body.is_over() && self.connection.is_quiet();
        let text = self.connection.gather();
        let persistence = if self.is_persistent { Persistence::Stays } else { Persistence::Closes };
        match self.answer {
            Framing::Switched => put_bare(text, &head),
            _ => put_head(text, &head, persistence, now),
        }
        match self.answer {
            Framing::Nothing | Framing::Length(0) | Framing::Switched => self.connection.flush().await,
            // It leaves with its body, or when that is waited for.
            Framing::Length(_) | Framing::Chunked | Framing::UntilEnd => Ok(()),
        }
    }

    /// Writes an answer before the answer (RFC 9110 §15.2).
    ///
    /// # Errors
    /// As [`Http1::begin`].
    pub(super) async fn interim(&mut self, head: &ResponseHead) -> io::Result<()> {
        put_bare(self.connection.gather(), head);
        self.connection.flush().await
    }

    /// Writes a piece of the answer's body; no more than was announced. Whoever then waits for the next one has an eye on
    /// the client, and so lets this one leave.
    ///
    /// # Errors
    /// As [`Http1::begin`], or the end has come before what was announced.
    pub(super) async fn write(&mut self, mut piece: Bytes, part: Part) -> io::Result<()> {
        match &mut self.answer {
            Framing::Nothing | Framing::Switched => piece.clear(),
            Framing::UntilEnd => self.connection.write(b"", &piece, b"").await?,
            Framing::Length(left) => {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
                let is_short = part == Part::Last && *left > 0;
                self.connection.write(b"", &piece, b"").await?;
                if is_short {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Framing::Chunked => {
                let close = if part == Part::Last { "\r\n0\r\n\r\n" } else { "\r\n" };
                if !piece.is_empty() {
                    let open = format!("{:x}\r\n", piece.len());
                    self.connection.write(open.as_bytes(), &piece, close.as_bytes()).await?;
                } else if part == Part::Last {
                    self.connection.write(b"0\r\n\r\n", &piece, b"").await?;
                }
            }
        }
        self.body_sent += piece.len() as u64;
        match part {
            // It leaves when the next one is waited for.
            Part::More => Ok(()),
            Part::Last => self.connection.flush().await,
        }
    }

    /// What becomes of the connection once the answer has been written; what was kept of the request is given up. One that
    /// brought anything behind this request, but for empty lines (RFC 9112 §2.2), carries no other.
    pub(super) fn end(&mut self) -> End {
        self.head = RequestHead::none();
        let is_quiet = self.connection.is_quiet();
        self.connection.take_ahead();
        match self.answer {
            Framing::Switched => End::Gone,
            _ if self.is_persistent && is_quiet => End::Next,
            _ => End::Closing,
        }
    }

    /// Gives up an answer before its end. Where that is the connection's, it must not look as if it had come: the
    /// connection is reset (RFC 9112 §8).
    pub(super) fn give_up(&self) {
        if self.answer == Framing::UntilEnd {
            self.connection.reset();
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It may carry another request.
    Next,
    /// It ends with this answer, which its client may still be reading.
    Closing,
    /// It has ended.
    Gone,
}

/// What an answer says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    Stays,
    Closes,
}

/// Writes a head as it is.
fn put_bare(text: &mut Vec<u8>, head: &ResponseHead) {
    head.put(text);
    text.extend_from_slice(b"\r\n");
}

/// Writes a head with what the connection adds to it.
pub(super) fn put_head(text: &mut Vec<u8>, head: &ResponseHead, persistence: Persistence, now: UnixTime) {
    head.put(text);
    text.extend_from_slice(b"date: ");
    text.extend_from_slice(&http_date(now));
    text.extend_from_slice(match persistence {
        Persistence::Stays => &b"\r\nconnection: keep-alive\r\n\r\n"[..],
        Persistence::Closes => b"\r\nconnection: close\r\n\r\n",
    });
}

/// Whether a piece is the last of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    More,
    Last,
}
