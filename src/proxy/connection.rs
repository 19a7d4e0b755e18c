//! A client's connection as pingora reads and writes it: bytes out are gathered, and a request head has a deadline.
//!
//! pingora writes an answer's head and its body apart; gathered until the flush, or until the writer waits for the
//! client, they leave in one call. The buffer exists only while something waits in it, so that an idle connection
//! costs little. pingora bounds each read of a head, never the whole: here the time from a head's first byte (on a new
//! connection: from its opening) to its end is bounded, with a timer that is armed only if the head does not come at
//! once. And every byte passes here, whoever wrote it: so here a client that reads too slowly is noticed. So is one that
//! leaves while it waits for its answer: for that, what it sends meanwhile is read ahead.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::proxy::client::Client;
use crate::proxy::frames::{Flood, Frames};
use crate::proxy::head_state::{HeadBounds, HeadState, is_empty_lines};
use crate::proxy::patience::Patience;
use crate::proxy::tunnel::End;

/// Writes of this size or more are not gathered, only what waited before them.
const GATHER: usize = 16 * 1024;

/// Room for what is gathered, at first: a head and a small body.
const FIRST_GATHER: usize = 2 * 1024;

/// So much is read ahead of a client that waits for its answer.
const AHEAD: usize = 4 * 1024;

/// A client's connection over `S`, a TCP stream or TLS upon one.
pub struct Connection<S> {
    id: UniqueIDType,
    head: HeadState,
    /// `None` once it was taken over. A lock, as pingora lends out a connection only to be looked at; who reads and
    /// writes has it alone and needs not take it.
    line: Mutex<Option<Line<S>>>,
}

/// What is read and written.
struct Line<S> {
    inner: S,
    head: HeadState,
    bounds: HeadBounds,
    /// What of the head's bytes may still come.
    head_left: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    patience: Patience,
    waiting: Vec<u8>,
    sent: usize,
    /// What was read ahead.
    ahead: Vec<u8>,
    /// Something was written since the last flush.
    is_unflushed: bool,
    /// Over HTTP/2 alone.
    frames: Option<Box<Frames>>,
}

impl<S: IO> Connection<S> {
    /// A connection just opened.
    pub fn new(inner: S, head: HeadState, bounds: HeadBounds, patience: Patience) -> Self {
        let id = inner.id();
        let line = Line {
            inner,
            head: head.clone(),
            bounds,
            head_left: bounds.bytes,
            deadline: None,
            patience,
            waiting: Vec::new(),
            sent: 0,
            ahead: Vec::new(),
            is_unflushed: false,
            frames: None,
        };
        Self { id, head, line: Mutex::new(Some(line)) }
    }

    /// The same over HTTP/2: its preface and the head of its first frame (RFC 9113 §3.4) come in the time of a head.
    /// After that pingora bounds the idle connection and each stream's list of fields, and `frames` what comes beside.
    #[must_use]
    pub fn over_http2(mut self, frames: Frames) -> Self {
        if let Some(line) = self.line() {
            line.frames = Some(Box::new(frames));
        }
        self
    }

    fn line(&mut self) -> Option<&mut Line<S>> {
        self.line.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    fn shared(&self) -> MutexGuard<'_, Option<Line<S>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` sees of the connection, unless it was taken over.
    fn seen<T>(&self, look: impl FnOnce(&S) -> Option<T>) -> Option<T> {
        look(&self.shared().as_ref()?.inner)
    }
}

impl<S: IO + 'static> Client for Connection<S> {
    fn head_state(&self) -> &HeadState {
        &self.head
    }

    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared().as_mut().map_or(Poll::Ready(()), |line| line.poll_ahead(cx))
    }

    fn is_full(&self) -> bool {
        self.shared().as_ref().is_some_and(|line| line.ahead.len() >= AHEAD)
    }

    fn is_quiet(&self) -> bool {
        self.shared().as_mut().is_some_and(|line| is_empty_lines(&std::mem::take(&mut line.ahead)))
    }

    fn take(&self) -> Option<Box<dyn End>> {
        Some(Box::new(self.shared().take()?))
    }
}

impl<S: IO> Line<S> {
    fn note_read(&mut self, came: &[u8]) -> io::Result<()> {
        if came.is_empty() {
            return Ok(());
        }
        if self.head.is_between() {
            self.head_left = self.bounds.bytes;
            self.deadline = None;
        }
        self.head.bytes_came();
        self.head_left = self.head_left.saturating_sub(came.len());
        if let Some(frames) = &mut self.frames {
            frames.came(came).map_err(|Flood| io::ErrorKind::QuotaExceeded)?;
            if frames.has_begun() {
                self.head.head_read();
            }
        }
        Ok(())
    }

    /// Reads no further than a head may go before its end has been seen.
    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = if self.head.is_between() { self.bounds.bytes } else { self.head_left };
        let most = if self.head.is_before_end() { left as u64 } else { u64::MAX };
        Pin::new(&mut (&mut self.inner).take(most)).poll_read(cx, buf)
    }

    /// Reads ahead as far as there is room; ready at the end of what the client sends.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ahead.len() < AHEAD {
            let mut bytes = [0; 512];
            let mut read = ReadBuf::new(&mut bytes);
            let is_at_end = match Pin::new(&mut self.inner).poll_read(cx, &mut read) {
                Poll::Pending => {
                    self.flush_if_owed(cx);
                    return Poll::Pending;
                }
                Poll::Ready(read_to) => read_to.is_err() || read.filled().is_empty(),
            };
            if is_at_end {
                return Poll::Ready(());
            }
            self.ahead.extend_from_slice(read.filled());
        }
        self.flush_if_owed(cx);
        Poll::Pending
    }

    /// Gives out what was read ahead, if there is any.
    fn read_from_ahead(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.ahead.is_empty() {
            return false;
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..n).unwrap_or_default());
        self.ahead.drain(..n);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
        true
    }

    /// Who waits has said all for now: pingora flushes a body with a length only at its end.
    fn flush_if_owed(&mut self, cx: &mut Context<'_>) {
        if self.is_unflushed {
            // What cannot be written is the next write's to report.
            let _ = self.poll_send(cx);
        }
    }

    /// Lets `bytes` wait, in one piece of memory with a small answer's head and body.
    fn gather(&mut self, bytes: &[u8]) {
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(FIRST_GATHER.max(bytes.len()));
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// Writes out what was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let n = ready!(write(&mut self.inner, &mut self.patience, cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.waiting = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Writes out what was gathered, and what lies below.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }
}

/// Writes as far as the client and our patience go.
fn write<S: IO>(
    inner: &mut S,
    patience: &mut Patience,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let written = Pin::new(inner).poll_write(cx, bytes);
    match patience.note(cx, &written) {
        Ok(()) => written,
        Err(too_slow) => Poll::Ready(Err(too_slow)),
    }
}

impl<S: IO> AsyncRead for Line<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head.is_timed() && this.head_left == 0 {
            this.head.became_too_large();
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buf.filled().len();
        let read = if this.read_from_ahead(buf) { Poll::Ready(Ok(())) } else { this.poll_inner(cx, buf) };
        if read.is_pending() {
            this.flush_if_owed(cx);
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        if this.head.is_between() && !came.is_empty() && is_empty_lines(came) {
            // Empty lines before a request are skipped (RFC 9112 §2.2); its head has not begun.
            buf.set_filled(before);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.note_read(came)?;
        if !this.head.is_timed() {
            this.deadline = None;
            return read;
        }
        let timeout = this.bounds.timeout;
        if read.is_pending() || this.deadline.is_some() {
            let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            if deadline.as_mut().poll(cx).is_ready() {
                this.head.timed_out();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<S: IO> AsyncWrite for Line<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_unflushed = true;
        if this.waiting.len() + buf.len() <= GATHER {
            this.gather(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_drain(cx))?;
        if buf.len() < GATHER {
            this.gather(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        write(&mut this.inner, &mut this.patience, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// One that was taken over has ended for who is left with it.
impl<S: IO> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().line() {
            Some(line) => Pin::new(line).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: IO> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut().line() {
            Some(line) => {
                let taken = Pin::new(&mut *line).poll_write(cx, buf);
                line.frames.iter_mut().for_each(|frames| frames.sent(&taken));
                taken
            }
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().line().map_or(Poll::Ready(Ok(())), |line| line.poll_send(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().line() {
            Some(line) => Pin::new(line).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[async_trait]
impl<S: IO> Shutdown for Connection<S> {
    async fn shutdown(&mut self) {
        if let Some(line) = self.line() {
            // What was gathered is an answer that the client is still owed; a dead client is no news here.
            let _ = std::future::poll_fn(|cx| line.poll_drain(cx)).await;
            line.inner.shutdown().await;
        }
    }
}

impl<S: IO> UniqueID for Connection<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S: IO> Ssl for Connection<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.seen(|inner| inner.get_ssl_digest())
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.seen(|inner| inner.selected_alpn_proto())
    }
}

impl<S: IO> GetTimingDigest for Connection<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Asked for with every request, and read by nobody.
        Vec::new()
    }
}

impl<S: IO> GetProxyDigest for Connection<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.seen(|inner| inner.get_proxy_digest())
    }
}

impl<S: IO> GetSocketDigest for Connection<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.seen(|inner| inner.get_socket_digest())
    }
}

impl<S: IO> Peek for Connection<S> {}

impl<S: IO> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).finish_non_exhaustive()
    }
}
