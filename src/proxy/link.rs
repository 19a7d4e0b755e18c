//! A connection to a server as pingora's client session writes and reads it: writing never waits for the server.
//!
//! pingora writes a request to its end before it reads a byte of the answer. A server that answers early and reads no
//! further would be heard only when the write has failed. Here what the socket does not take at once is kept, and
//! leaves while the answer is awaited: who reads, writes first. For the same reason a flush is left to the next read;
//! so a head and a small body leave in one call.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Monotonic};

/// The largest piece of a body that is to be written at once.
pub(super) const LARGEST_PIECE: usize = 64 * 1024;

/// What is kept of what the socket does not take, at most, in bytes: a piece with its framing, after a head.
const BACKLOG: usize = 2 * LARGEST_PIECE;

/// What is read at once of an answer that little memory is reserved for, at most, in bytes.
const LITTLE: u64 = 16 * 1024;

/// How much is read of a socket at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    /// As much as there is a buffer for.
    Whole,
    /// No more than an answer's first reservation has room for.
    Little,
}

/// A connection to a server. It stays one while it waits for its next request.
pub(super) struct Link {
    inner: Stream,
    backlog: Vec<u8>,
    sent: usize,
    is_unflushed: bool,
    is_broken: bool,
    heard: u64,
    reads_little: AtomicBool,
    clock: Clock,
    /// When the socket last took something of this request.
    written: Option<Monotonic>,
}

impl Link {
    /// The link over a new connection.
    pub(super) fn new(inner: Stream, clock: Clock) -> Self {
        Self {
            inner,
            backlog: Vec::new(),
            sent: 0,
            is_unflushed: false,
            is_broken: false,
            heard: 0,
            reads_little: AtomicBool::new(false),
            clock,
            written: None,
        }
    }

    /// The link that `session` is spoken over.
    pub(super) fn of(session: &HttpSession) -> Option<&Self> {
        session.stream().as_ref().as_any().downcast_ref()
    }

    /// True if a piece of at most [`LARGEST_PIECE`] bytes can be written without waiting.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.is_empty() && !self.is_broken
    }

    /// True if the socket has taken all that was written.
    pub(super) fn is_drained(&self) -> bool {
        self.backlog.is_empty() && !self.is_unflushed
    }

    /// True if the server takes no more: what was not sent yet is given up.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Bytes of answers to this request.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// How much is read at once from now on.
    pub(super) fn read(&self, portion: Portion) {
        self.reads_little.store(portion == Portion::Little, Ordering::Relaxed);
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
        if recv(self.inner.id(), &mut byte, look) != Err(Errno::EAGAIN) {
            return None;
        }
        if self.inner.get_ssl_digest().is_some() && self.has_more() {
            return None;
        }
        self.heard = 0;
        self.reads_little = AtomicBool::new(false);
        self.written = None;
        Some(self)
    }

    /// True if a read would bring something now, if only the end. Takes what it brings: for a connection that is given
    /// up then.
    fn has_more(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.inner).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// Keeps what the socket does not take now, as far as there is room; how many bytes.
    fn keep(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let before = self.backlog.len();
        for buf in bufs {
            let room = BACKLOG.saturating_sub(self.backlog.len()).min(buf.len());
            self.backlog.extend_from_slice(buf.get(..room).unwrap_or_default());
        }
        self.backlog.len() - before
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self.reads_little.get_mut() {
            true => Pin::new(&mut (&mut self.inner).take(LITTLE)).poll_read(cx, buf),
            false => Pin::new(&mut self.inner).poll_read(cx, buf),
        }
    }

    /// The connection alone; `None` if something of what was written has not been sent.
    pub(super) fn into_inner(self) -> Option<Stream> {
        (self.is_drained() && !self.is_broken).then_some(self.inner)
    }

    /// Sends what waits, as far as the socket takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = ready!(self.poll_write_out(cx));
        if sent.is_err() {
            self.is_broken = true;
            self.is_unflushed = false;
        }
        self.backlog = Vec::new();
        self.sent = 0;
        Poll::Ready(sent)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.backlog.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let now = self.clock.monotonic();
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.written = Some(now);
        }
        if self.is_unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_drained() {
            // A server that takes no more may have answered all the same.
            let _ = this.poll_send(cx);
        }
        let before = buf.filled().len();
        let read = this.poll_inner(cx, buf);
        this.heard += (buf.filled().len() - before) as u64;
        read
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.is_unflushed = true;
        // Before the write: the server may have it, and begin, before the system has told us so.
        let now = this.clock.monotonic();
        loop {
            if this.backlog.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs)
            {
                this.is_broken = written.is_err();
                if !this.is_broken {
                    this.written = Some(now);
                }
                return Poll::Ready(written);
            }
            let kept = this.keep(bufs);
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
            ready!(this.poll_send(cx))?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Link {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Link {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Link {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Link {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Link {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Link {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Link {}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("inner", &self.inner).finish_non_exhaustive()
    }
}
