//! A client's connection as pingora reads and writes it: bytes out are gathered, and a request head has a deadline.
//!
//! pingora writes an answer's head and its body apart; gathered until the flush, or until the writer waits for the
//! client, they leave in one call. The buffer exists only while something waits in it, so that an idle connection
//! costs little. pingora bounds each read of a
//! head, never the whole: here the time from a head's first byte (on a new connection: from its opening) to its end
//! is bounded, with a timer that is armed only if the head does not come at once. And every byte passes here, whoever
//! wrote it: so here a client that reads too slowly is noticed.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as TcpConnection;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsStream};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora::proxy::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::proxy::patience::Patience;
use crate::proxy::tunnel::End;

/// Writes of this size or more are not gathered, only what waited before them.
const GATHER: usize = 16 * 1024;

/// The preface of an HTTP/2 connection and the head of the SETTINGS frame after it.
const HTTP2_PREFACE: usize = 24 + 9;

/// Where a connection is between two requests.
#[derive(Clone, Debug)]
pub struct HeadState(Arc<AtomicU8>);

/// Waiting for the first byte of the next head; pingora's keep-alive timeout bounds it.
const BETWEEN: u8 = 0;
/// In a head: the deadline runs.
const IN_HEAD: u8 = 1;
/// A request is being served.
const SERVING: u8 = 2;
/// Nothing has come yet: the deadline of the first head runs.
const OPENED: u8 = 3;

impl HeadState {
    /// The state of a connection that has just been opened: its first head is awaited at once.
    pub fn opened() -> Self {
        Self(Arc::new(AtomicU8::new(OPENED)))
    }

    /// The head has been read.
    pub fn head_read(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// The request is over; the next byte begins a head.
    pub fn request_over(&self) {
        self.0.store(BETWEEN, Ordering::Relaxed);
    }

    /// True while a head has begun that has not been read to its end, or whose time ran out.
    pub fn is_unfinished(&self) -> bool {
        self.0.load(Ordering::Relaxed) == IN_HEAD
    }

    fn is_timed(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), IN_HEAD | OPENED)
    }

    fn bytes_came(&self) {
        // While a request is served, bytes are its body.
        if matches!(self.0.load(Ordering::Relaxed), BETWEEN | OPENED) {
            self.0.store(IN_HEAD, Ordering::Relaxed);
        }
    }

    fn timed_out(&self) {
        self.0.store(IN_HEAD, Ordering::Relaxed);
    }
}

/// The head state of the connection that a request came on; `None` on HTTP/2, where there is none.
pub(super) fn head_state(session: &Session) -> Option<&HeadState> {
    let connection = session.stream()?.as_ref().as_any();
    let plain = connection.downcast_ref::<Connection<TcpConnection>>().map(Connection::head_state);
    plain.or_else(|| {
        connection.downcast_ref::<Connection<TlsStream<TcpConnection>>>().map(Connection::head_state)
    })
}

/// Takes over the connection that a request came on: for its session it has ended. `None` on HTTP/2.
pub(super) fn take_over(session: &Session) -> Option<Box<dyn End>> {
    let connection = session.stream()?.as_ref().as_any();
    if let Some(plain) = connection.downcast_ref::<Connection<TcpConnection>>() {
        return plain.take();
    }
    connection.downcast_ref::<Connection<TlsStream<TcpConnection>>>()?.take()
}

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
    head_timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    patience: Patience,
    waiting: Vec<u8>,
    sent: usize,
    /// Something was written since the last flush.
    is_unflushed: bool,
    /// Bytes of an HTTP/2 preface that are still to come; its deadline is a head's.
    preface: usize,
}

impl<S: IO> Connection<S> {
    /// A connection just opened.
    pub fn new(inner: S, head: HeadState, head_timeout: Duration, patience: Patience) -> Self {
        let id = inner.id();
        let line = Line {
            inner,
            head: head.clone(),
            head_timeout,
            deadline: None,
            patience,
            waiting: Vec::new(),
            sent: 0,
            is_unflushed: false,
            preface: 0,
        };
        Self { id, head, line: Mutex::new(Some(line)) }
    }

    /// The same over HTTP/2: its preface and the head of its first frame (RFC 9113 §3.4) come in the time of a head.
    /// After that pingora bounds the idle connection, and each stream's list of fields.
    #[must_use]
    pub fn over_http2(mut self) -> Self {
        if let Some(line) = self.line() {
            line.preface = HTTP2_PREFACE;
        }
        self
    }

    /// Where the connection is; shared with it.
    pub fn head_state(&self) -> &HeadState {
        &self.head
    }

    fn line(&mut self) -> Option<&mut Line<S>> {
        self.line.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    /// What `look` sees of the connection, unless it was taken over.
    fn seen<T>(&self, look: impl FnOnce(&S) -> Option<T>) -> Option<T> {
        look(&self.line.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.inner)
    }

    fn take(&self) -> Option<Box<dyn End>>
    where
        S: 'static,
    {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Box::new(line))
    }
}

impl<S: IO> Line<S> {
    fn note_read(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.head.bytes_came();
        if self.preface > 0 {
            self.preface = self.preface.saturating_sub(bytes);
            if self.preface == 0 {
                self.head.head_read();
            }
        }
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
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        if read.is_pending() && this.is_unflushed {
            // Who waits has said all for now: pingora flushes a body with a length only at its end. What cannot be
            // written is the next write's to report.
            let _ = this.poll_send(cx);
        }
        this.note_read(buf.filled().len() - before);
        if !this.head.is_timed() {
            this.deadline = None;
            return read;
        }
        let timeout = this.head_timeout;
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
            this.waiting.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_drain(cx))?;
        if buf.len() < GATHER {
            this.waiting.extend_from_slice(buf);
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
            Some(line) => Pin::new(line).poll_write(cx, buf),
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
        self.seen(|inner| Some(inner.get_timing_digest())).unwrap_or_default()
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
