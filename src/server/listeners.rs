//! Listening sockets: bound at once or refused in one line; the admin listener's TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

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
        tokio::spawn(admin(listener, router, handshake, shutdown));
        Ok(())
    }
}

/// What the admin listener says in its next handshake; `None`: nothing, it takes none.
pub(super) type Handshake = Box<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// Connections to the admin listener; who comes beyond them is closed at once.
const MOST_CONNECTIONS: usize = 1024;

/// The longest handshake on the admin listener.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// The longest that a head may take to come, and that a connection may wait for the next one.
const HEAD: Duration = Duration::from_secs(30);

/// The longest that what is sent may wait to be taken.
const UNREAD: Duration = Duration::from_secs(60);

/// After a failure to accept, such as for want of file handles.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts, within bounds, until `shutdown`; then lets the answers that are under way come to their end.
async fn admin(
    listener: TcpListener,
    router: Router,
    handshake: Option<Handshake>,
    shutdown: impl Future<Output = ()>,
) {
    let (places, ending) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), GracefulShutdown::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let tls = match &handshake {
            None => None,
            Some(handshake) => match handshake() {
                Some(config) => Some(TlsAcceptor::from(config)),
                None => continue,
            },
        };
        // Where that is not to be had, a reader who takes nothing holds a place for as long as they like.
        drop(SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD)));
        let router = router.clone().layer(Extension(ConnectInfo(Peer(peer))));
        let watcher = ending.watcher();
        tokio::spawn(async move {
            match tls {
                None => serve(stream, router, watcher).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                        serve(stream, router, watcher).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    ending.shutdown().await;
}

/// Serves a connection to its end, or until its answers are given and `watcher` has been told.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    watcher: Watcher,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How it ends is its client's affair.
    let _ = watcher.watch(connection).await;
}
