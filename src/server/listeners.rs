//! Listening sockets: bound at once or refused in one line; the admin listener's TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use axum::Router;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// A bound socket that does not accept yet.
pub(super) struct Bound {
    /// Where it is; the port is a real one.
    pub(super) address: SocketAddr,
    socket: std::net::TcpListener,
}

/// Binds a socket to the address `wanted`.
///
/// # Errors
/// The address is taken or not ours: one line that names it.
pub(super) fn bind(wanted: SocketAddr) -> anyhow::Result<Bound> {
    let bound = || -> std::io::Result<std::net::TcpListener> {
        let domain = socket2::Domain::for_address(wanted);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&wanted.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let socket = bound().map_err(|error| anyhow!("cannot listen on {wanted}: {error}"))?;
    let address = socket.local_addr().with_context(|| format!("cannot listen on {wanted}"))?;
    Ok(Bound { address, socket })
}

impl Bound {
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
        match handshake {
            None => {
                tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future());
            }
            Some(handshake) => {
                let listener = TlsListener { listener, handshake };
                tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future());
            }
        }
        Ok(())
    }
}

/// What the admin listener says in its next handshake; `None`: nothing, it takes none.
pub(super) type Handshake = Box<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// The admin listener over TLS. Handshakes take turns, which is enough for operators; one that dawdles is dropped.
struct TlsListener {
    listener: TcpListener,
    handshake: Handshake,
}

/// The longest handshake on the admin listener.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(2);

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
            let Some(config) = (self.handshake)() else { continue };
            let acceptor = TlsAcceptor::from(config);
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
