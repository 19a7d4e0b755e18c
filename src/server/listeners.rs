//! Listening sockets: bound at once or refused in one line; the admin listener's TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::console::Peer;
use crate::server::hand_over::message::{Port, SocketTold};
use crate::server::hand_over::take::Inherited;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// A bound socket that does not accept yet.
pub(super) struct Bound {
    /// Where it is; the port is a real one.
    pub(super) address: SocketAddr,
    told: SocketTold,
    socket: std::net::TcpListener,
}

/// Binds a socket to the address `wanted`, or takes over the one that was `inherited` for it.
///
/// # Errors
/// The address is taken or not ours: one line that names it.
pub(super) fn bind(
    port: Port,
    wanted: SocketAddr,
    inherited: Option<&mut Inherited>,
) -> anyhow::Result<Bound> {
    let bound = || -> std::io::Result<std::net::TcpListener> {
        let domain = socket2::Domain::for_address(wanted);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&wanted.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let socket = match inherited.and_then(|inherited| inherited.socket(port, wanted)) {
        Some(socket) => socket,
        None => bound().map_err(|error| anyhow!("cannot listen on {wanted}: {error}"))?,
    };
    let address = socket.local_addr().with_context(|| format!("cannot listen on {wanted}"))?;
    Ok(Bound { address, told: SocketTold { port, wanted }, socket })
}

impl Bound {
    /// A further handle of the same socket, for a process that takes over.
    pub(super) fn share(&self) -> anyhow::Result<(SocketTold, std::net::TcpListener)> {
        let copy = self.socket.try_clone();
        Ok((self.told, copy.with_context(|| format!("the listener on {} cannot be shared", self.address))?))
    }

    /// The socket as the runtime that is entered accepts from it.
    pub(super) fn into_listener(self) -> anyhow::Result<TcpListener> {
        TcpListener::from_std(self.socket)
            .with_context(|| format!("the listener on {} could not be registered", self.address))
    }

    /// Serves `router` in a task of the runtime that is entered, until `shutdown`; over TLS if there is a `handshake`,
    /// which is asked for each connection.
    pub(super) fn serve(
        self,
        router: Router,
        handshake: Option<Handshake>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let listener = self.into_listener()?;
        let router = router.into_make_service_with_connect_info::<Peer>();
        match handshake {
            None => {
                tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future());
            }
            Some(handshake) => {
                let listener = TlsListener { listener, handshake, begun: JoinSet::new() };
                tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future());
            }
        }
        Ok(())
    }
}

/// What the admin listener says in its next handshake; `None`: nothing, it takes none.
pub(super) type Handshake = Box<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// The admin listener over TLS. A handshake that dawdles is dropped, and holds up no other.
struct TlsListener {
    listener: TcpListener,
    handshake: Handshake,
    begun: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

/// The longest handshake on the admin listener.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// Handshakes on the admin listener at the same time; who comes then waits to be accepted.
const MOST_HANDSHAKES: usize = 64;

impl TlsListener {
    /// Begins a handshake on a task of its own.
    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(config) = (self.handshake)() else { return };
        let handshake = TlsAcceptor::from(config).accept(stream);
        self.begun.spawn(async move {
            let stream = tokio::time::timeout(HANDSHAKE, handshake).await.ok()?.ok()?;
            Some((stream, peer))
        });
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let has_room = self.begun.len() < MOST_HANDSHAKES;
            tokio::select! {
                Some(done) = self.begun.join_next() => {
                    if let Ok(Some(ready)) = done {
                        return ready;
                    }
                }
                (stream, peer) = axum::serve::Listener::accept(&mut self.listener), if has_room => {
                    self.begin(stream, peer);
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
