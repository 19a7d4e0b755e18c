//! The door: accepts connections within their bound and hands them on.
//!
//! pingora's own listeners have no bound on connections, cannot be asked for their port, and outlive a failed bind;
//! here a listener is an ordinary socket, bound before anything is started.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as TcpConnection;
use pingora::protocols::{ALPN, GetSocketDigest, SocketDigest, Ssl, Stream};
use pingora::server::ShutdownWatch;
use std::os::fd::AsRawFd;
use tokio::net::{TcpListener, TcpStream};

use crate::config::Limits;
use crate::proxy::connection::Connection;
use crate::proxy::crew::Crew;
use crate::proxy::frames::{Begun, Frames};
use crate::proxy::gateway::{Ended, Gateway};
use crate::proxy::http2;
use crate::proxy::http2_stream::Http2Stream;
use crate::proxy::line::Line;
use crate::proxy::next_head::HeadBounds;
use crate::proxy::patience::{Patience, Rate};
use crate::proxy::send::SEND_SPAN;
use crate::proxy::shared::{Shared, are_files_out};

/// Waited after an accept that failed, so that exhausted file handles do not make a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What accepts the connections of one listener.
#[derive(Clone)]
pub struct Guard {
    gateway: Arc<Gateway>,
    shared: Arc<Shared>,
    closing: Closing,
    listener: usize,
    crew: Arc<Crew>,
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
    pub fn new(
        gateway: Arc<Gateway>,
        shared: Arc<Shared>,
        closing: Closing,
        listener: usize,
        crew: Arc<Crew>,
    ) -> Self {
        Self { gateway, shared, closing, listener, crew }
    }

    /// Accepts connections until the listener is told to close. Connections accepted before go on.
    pub async fn accept(self, listener: TcpListener) {
        let mut closing = self.closing.listener.clone();
        let mut telling = Telling::Untold;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closing.wait_for(|told| *told) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    telling = Telling::Untold;
                    self.open(stream, peer);
                }
                Err(error) => self.not_accepted(&error, &mut telling).await,
            }
        }
    }

    /// Waits a moment after an accept that failed by our fault; told in the log once until one succeeds.
    async fn not_accepted(&self, error: &io::Error, telling: &mut Telling) {
        let is_the_clients = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if is_the_clients {
            return;
        }
        if std::mem::replace(telling, Telling::Told) == Telling::Untold {
            tracing::warn!(%error, "no connection can be accepted for now");
        }
        if are_files_out(error) {
            self.shared.end_idle();
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Has a connection served by a worker, in a task of its own, if the table has a place for it.
    fn open(&self, stream: TcpStream, peer: SocketAddr) {
        let policy = self.shared.policy();
        let config = &policy.snapshot.config;
        let entered = self.shared.table.enter(peer.ip(), &config.limits, &config.trusted_proxies);
        let Some(place) = entered else { return };
        let terms = Terms::of(&config.limits);
        let tls = policy.derived.handshakes().data(self.listener).map(Acceptor::from_server_config);
        let guard = self.clone();
        let Ok(handed) = self.crew.hand(stream) else { return };
        handed.spawn(async move |stream| {
            match guard.prepare(stream, peer, tls, terms).await {
                Some(opened) => {
                    let refused = guard.serve(opened, &terms).await;
                    guard.shared.metrics.heads_refused.inc_by(refused);
                }
                None => guard.shared.metrics.heads_refused.inc(),
            }
            drop(place);
        });
    }

    /// Serves a connection until it ends, or is to end with all its requests; how many heads were given up.
    async fn serve(&self, opened: Opened, terms: &Terms) -> u64 {
        let cut = &self.shared.cut;
        match opened {
            Opened::Http1(connection) => {
                let serving =
                    self.gateway.serve_http1(connection, &self.closing.idle, terms.head, terms.requests);
                u64::from(cut.waking(serving).await == Ended::InHead)
            }
            Opened::Http2(stream, begun) => {
                let gateway = Arc::clone(&self.gateway);
                // Boxed: it is large, and most connections are HTTP/1.1.
                let serving = Box::pin(http2::serve(gateway, stream, &self.closing.listener, terms.requests));
                let served = cut.unless_told(pin!(cut.waking(serving))).await;
                served.map_or(0, |served| begun.count().saturating_sub(served).into())
            }
        }
    }

    /// The connection as pingora takes it, its handshake done; `None` if that failed.
    async fn prepare(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Acceptor>,
        terms: Terms,
    ) -> Option<Opened> {
        // Only latency would suffer.
        let _ = stream.set_nodelay(true);
        let clock = &self.shared.clock;
        let patience = Patience::new(terms.send_rate, clock.clone());
        let address = peer.ip().to_canonical();
        let Some(tls) = tls else {
            return Some(Opened::Http1(Connection::new(Line::Plain(stream), address, patience)));
        };
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // A fresh cell is empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let mut tcp = TcpConnection::from(stream);
        tcp.set_socket_digest(digest);
        // Boxed: it is large, and over before the first request.
        let handshake = Box::pin(tls.tls_handshake(tcp));
        let handshake = tokio::time::timeout(terms.head.timeout, handshake).await;
        let Ok(Ok(tls)) = handshake else { return None };
        if !matches!(tls.selected_alpn_proto(), Some(ALPN::H2)) {
            return Some(Opened::Http1(Connection::new(Line::Tls(Box::new(tls)), address, patience)));
        }
        let begun = Begun::default();
        let frames = Frames::new(clock.clone(), self.shared.metrics.floods.clone(), begun.clone());
        let deadline = tokio::time::sleep(terms.head.timeout);
        Some(Opened::Http2(Box::new(Http2Stream::new(tls, deadline, patience, frames)), begun))
    }
}

/// A connection whose requests can be served.
enum Opened {
    Http1(Connection),
    Http2(Stream, Begun),
}

/// Whether the log has been told that no connection can be accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    Untold,
    Told,
}

/// What a connection is held to, as configured when it was opened.
#[derive(Clone, Copy)]
struct Terms {
    head: HeadBounds,
    send_rate: Rate,
    requests: http2::Terms,
}

impl Terms {
    fn of(limits: &Limits) -> Self {
        let bytes = limits.min_send_rate.as_u64().saturating_mul(SEND_SPAN.as_secs());
        let head = HeadBounds { timeout: limits.head_timeout, bytes: limits.head_bytes.as_usize() };
        let requests = http2::Terms::of(limits);
        Self { head, send_rate: Rate { bytes, span: SEND_SPAN }, requests }
    }
}
