//! A client's connection over HTTP/2 as pingora reads and writes it: watched, and otherwise left alone.
//!
//! Its preface and the head of its first frame (RFC 9113 §3.4) come in the time of a head. After that pingora bounds the
//! idle connection and each stream's list of fields, and `frames` what comes beside. Every byte passes here, whoever wrote
//! it: so here a client that reads too slowly is noticed.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::proxy::frames::{Flood, Frames};
use crate::proxy::patience::Patience;

/// A connection over `S`.
pub(super) struct Http2Stream<S> {
    inner: S,
    /// Runs until the first frame.
    deadline: Pin<Box<Sleep>>,
    patience: Patience,
    frames: Frames,
}

impl<S: IO> Http2Stream<S> {
    /// A connection just opened, whose first frame is to begin before the `deadline`.
    pub(super) fn new(inner: S, deadline: Sleep, patience: Patience, frames: Frames) -> Self {
        Self { inner, deadline: Box::pin(deadline), patience, frames }
    }
}

impl<S: IO> AsyncRead for Http2Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        let came = buf.filled().get(before..).unwrap_or_default();
        this.frames.came(came).map_err(|Flood| io::ErrorKind::QuotaExceeded)?;
        if !this.frames.has_begun() && this.deadline.as_mut().poll(cx).is_ready() {
            this.frames.timed_out();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: IO> AsyncWrite for Http2Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.frames.sent(&written);
        match this.patience.note(cx, &written) {
            Ok(()) => written,
            Err(too_slow) => Poll::Ready(Err(too_slow)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        // TLS has taken what the client may not take.
        this.patience.note_flush(cx, &flushed)?;
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl<S: IO> Shutdown for Http2Stream<S> {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl<S: IO> UniqueID for Http2Stream<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: IO> Ssl for Http2Stream<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: IO> GetTimingDigest for Http2Stream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Asked for with every connection, and read by nobody.
        Vec::new()
    }
}

impl<S: IO> GetProxyDigest for Http2Stream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl<S: IO> GetSocketDigest for Http2Stream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl<S: IO> Peek for Http2Stream<S> {}

impl<S: IO> fmt::Debug for Http2Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Stream").field("id", &self.id()).finish_non_exhaustive()
    }
}
