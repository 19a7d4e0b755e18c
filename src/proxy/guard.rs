//! The door: accepts connections within their bound and hands them to pingora.
//!
//! pingora's own listeners have no bound on connections, cannot be asked for their port, and outlive a failed bind;
//! here a listener is an ordinary socket, bound before anything is started.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as TcpConnection;
use pingora::protocols::{ALPN, GetSocketDigest, SocketDigest, Ssl, Stream};
use pingora::server::ShutdownWatch;
use prometheus::IntGauge;
use std::os::fd::AsRawFd;
use tokio::net::{TcpListener, TcpStream};

use crate::config::Limits;
use crate::proxy::connection::Connection;
use crate::proxy::gateway::Gateway;
use crate::proxy::head_state::{HeadBounds, HeadState};
use crate::proxy::patience::{Patience, Rate};
use crate::proxy::send::SEND_SPAN;
use crate::proxy::shared::Shared;

/// pingora's buffer for a head, at first.
const FIRST_BUFFER: usize = 4096;

/// So much of a head is read whatever its bound, so that most that are too large are parsed, and refused in our words.
const LEAST_READ: usize = 256 * 1024;

/// Waited after an accept that failed, so that exhausted file handles do not make a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What accepts the connections of one listener.
#[derive(Clone)]
pub struct Guard {
    gateway: Arc<Gateway>,
    shared: Arc<Shared>,
    closing: Closing,
    listener: usize,
}

/// When a listener and its connections close. Each is told once.
#[derive(Clone, Debug)]
pub struct Closing {
    /// No connection is accepted from then on, and one over HTTP/2 takes no more requests (RFC 9113 §6.8: GOAWAY).
    pub listener: ShutdownWatch,
    /// Connections over HTTP/1.1 that wait for a request end.
    pub idle: ShutdownWatch,
}

impl Guard {
    /// A guard before `gateway`, at the listener with this place in the configuration.
    pub fn new(gateway: Arc<Gateway>, shared: Arc<Shared>, closing: Closing, listener: usize) -> Self {
        Self { gateway, shared, closing, listener }
    }

    /// Accepts connections until the listener is told to close. Connections accepted before go on.
    pub async fn accept(self, listener: TcpListener) {
        let mut closing = self.closing.listener.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closing.wait_for(|told| *told) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.open(stream, peer),
                Err(error) => self.not_accepted(&error).await,
            }
        }
    }

    async fn not_accepted(&self, error: &io::Error) {
        let is_the_clients = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if !is_the_clients {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Serves a connection in a task of its own, if the table has a place for it.
    fn open(&self, stream: TcpStream, peer: SocketAddr) {
        let policy = self.shared.policy();
        let metrics = &self.shared.metrics;
        let limits = &policy.snapshot.config.limits;
        let place = Place::take(&metrics.connections);
        if metrics.connections.get() > i64::from(limits.max_connections.get()) {
            metrics.connections_refused.inc();
            return;
        }
        let terms = Terms::of(limits);
        let tls = policy.derived.handshakes().data(self.listener).map(Acceptor::from_server_config);
        let guard = self.clone();
        tokio::spawn(async move {
            match guard.prepare(stream, peer, tls, terms).await {
                Some((stream, head)) => {
                    guard.serve(stream).await;
                    if head.is_unfinished() {
                        guard.shared.metrics.heads_refused.inc();
                    }
                }
                None => guard.shared.metrics.heads_refused.inc(),
            }
            drop(place);
        });
    }

    /// Serves a connection until it ends, or is to end with all its requests.
    async fn serve(&self, stream: Stream) {
        let cut = &self.shared.cut;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            let serving = pin!(cut.waking(self.gateway.process_new(stream, &self.closing.listener)));
            cut.unless_told(serving).await;
        } else {
            cut.waking(self.gateway.serve_http1(stream, &self.closing.idle)).await;
        }
    }

    /// The connection as pingora takes it, its handshake done; `None` if that failed.
    async fn prepare(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Acceptor>,
        terms: Terms,
    ) -> Option<(Stream, HeadState)> {
        // Only latency would suffer.
        let _ = stream.set_nodelay(true);
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // A fresh cell is empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let mut tcp = TcpConnection::from(stream);
        tcp.set_socket_digest(digest);
        let head = HeadState::opened();
        let patience = Patience::new(terms.send_rate, self.shared.clock.clone());
        let Some(tls) = tls else {
            let connection = Connection::new(tcp, head.clone(), terms.head, patience);
            return Some((Box::new(connection), head));
        };
        // Boxed: it is large, and over before the first request.
        let handshake = Box::pin(tls.tls_handshake(tcp));
        let handshake = tokio::time::timeout(terms.head.timeout, handshake).await;
        let Ok(Ok(tls)) = handshake else { return None };
        let is_http2 = matches!(tls.selected_alpn_proto(), Some(ALPN::H2));
        let connection = Connection::new(tls, head.clone(), terms.head, patience);
        let connection = if is_http2 { connection.over_http2() } else { connection };
        Some((Box::new(connection), head))
    }
}

/// What a connection is held to, as configured when it was opened.
#[derive(Clone, Copy)]
struct Terms {
    head: HeadBounds,
    send_rate: Rate,
}

impl Terms {
    fn of(limits: &Limits) -> Self {
        let bytes = limits.min_send_rate.as_u64().saturating_mul(SEND_SPAN.as_secs());
        // pingora's buffer for a head doubles as it fills, and the read that ends the head fills it.
        let head_bytes = limits.head_bytes.as_usize().saturating_mul(2).saturating_add(FIRST_BUFFER);
        let head_bytes = head_bytes.max(LEAST_READ);
        let head = HeadBounds { timeout: limits.head_timeout, bytes: head_bytes };
        Self { head, send_rate: Rate { bytes, span: SEND_SPAN } }
    }
}

/// One of the connections in the table; counted until dropped.
struct Place(IntGauge);

impl Place {
    fn take(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.dec();
    }
}
