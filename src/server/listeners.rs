//! Listening sockets: bound at once or refused in one line, and their TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use axum::Router;
use pingora::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::config::{Listener, ListenerTls};
use crate::proxy::guard::Tls;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// A bound socket that does not accept yet.
pub(super) struct Bound {
    /// Where it is; the port is a real one.
    pub(super) address: SocketAddr,
    socket: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Binds `listener`.
///
/// # Errors
/// The address is taken or not ours, or the TLS files cannot be used: one line that names it.
pub(super) fn bind(listener: &Listener) -> anyhow::Result<Bound> {
    let wanted = listener.address;
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
    let tls = listener.tls.as_ref().map(server_config).transpose()?;
    Ok(Bound { address, socket, tls })
}

impl Bound {
    /// The socket as the runtime that is entered accepts from it.
    pub(super) fn into_parts(self) -> anyhow::Result<(TcpListener, Option<Tls>)> {
        let listener = TcpListener::from_std(self.socket).context("a listener could not be registered")?;
        Ok((listener, self.tls.map(|config| Arc::new(Acceptor::from_server_config(config)))))
    }

    /// Serves `router` in a task of the runtime that is entered, until `shutdown`.
    pub(super) fn serve(
        self,
        router: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let tls = self.tls.clone();
        let listener =
            TcpListener::from_std(self.socket).context("the admin listener could not be registered")?;
        match tls {
            None => {
                tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future());
            }
            Some(config) => {
                let listener = TlsListener { listener, acceptor: config.into() };
                tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future());
            }
        }
        Ok(())
    }
}

/// The admin listener over TLS. Handshakes take turns, which is enough for operators; one that dawdles is dropped.
struct TlsListener {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

/// The longest handshake on the admin listener.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(2);

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn server_config(tls: &ListenerTls) -> anyhow::Result<Arc<ServerConfig>> {
    let unreadable = |path: &std::path::Path| format!("{} cannot be used for TLS", path.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect)
        .with_context(|| unreadable(&tls.cert))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).with_context(|| unreadable(&tls.key))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| unreadable(&tls.cert))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
