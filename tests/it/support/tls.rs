//! Certificates of a test's own authority, a TLS front before a scripted upstream, and a TLS client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use tokio::runtime::{Builder, Runtime};

use crate::support::client::DEADLINE;

/// The name in every certificate for the gateway.
pub(crate) const GATEWAY: &str = "gateway.test";

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of a test");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        Identity { certificate: params.signed_by(&key, &self.0).expect("a certificate"), key }
    }

    /// How a client that trusts it alone connects.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Arc<ClientConfig> {
        let roots = self.roots();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.0.der().to_vec())).expect("a root");
        roots
    }
}

impl Identity {
    /// Writes `cert.pem` and `key.pem`.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::write(folder.join("cert.pem"), self.certificate.pem()).expect("written");
        std::fs::write(folder.join("key.pem"), self.key.serialize_pem()).expect("written");
    }

    /// Its certificate in PEM form.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its certificate as it is shown in a handshake.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let chain = vec![CertificateDer::from(self.der())];
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => config.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider)
                    .build()
                    .expect("a verifier"),
            ),
        };
        Arc::new(config.with_single_cert(chain, key).expect("a certificate"))
    }
}

/// Takes TLS off what it hands on to a plain upstream.
pub(crate) struct TlsFront {
    address: SocketAddr,
    runtime: Option<Runtime>,
    clients: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl TlsFront {
    /// Listens on a free port.
    pub(crate) fn before(upstream: SocketAddr, identity: &Identity) -> Self {
        Self::listen(upstream, identity.server(None))
    }

    /// The same, for clients with a certificate of `clients` alone.
    pub(crate) fn for_clients_of(clients: &Authority, upstream: SocketAddr, identity: &Identity) -> Self {
        Self::listen(upstream, identity.server(Some(clients)))
    }

    /// The certificates that clients have shown, one for each connection.
    pub(crate) fn clients(&self) -> Vec<Vec<u8>> {
        self.clients.lock().expect("no connection panicked").clone()
    }

    fn listen(upstream: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        let clients: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let seen = Arc::clone(&clients);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else { return };
                    if let Some([leaf, ..]) = tls.get_ref().1.peer_certificates() {
                        seen.lock().expect("no connection panicked").push(leaf.to_vec());
                    }
                    let mut plain = tokio::net::TcpStream::connect(upstream).await.expect("it listens");
                    // Ends as either side wants it to.
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
                });
            }
        });
        Self { address, runtime: Some(runtime), clients }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A TLS server that answers every request head with the same records, all of which leave in one write.
pub(crate) struct TlsRecords {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl TlsRecords {
    /// Listens on a free port, for as long as the tests run.
    pub(crate) fn start(identity: &Identity, records: Vec<String>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let config = identity.server(None);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (config, records) = (Arc::clone(&config), records.clone());
                std::thread::spawn(move || answer_with(tcp, config, &records));
            }
        });
        Self { address, connections }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn answer_with(tcp: TcpStream, config: Arc<ServerConfig>, records: &[String]) {
    let mut tls = StreamOwned::new(ServerConnection::new(config).expect("a connection"), tcp);
    let mut head = Vec::new();
    let mut byte = [0];
    while tls.read_exact(&mut byte).is_ok() {
        head.extend(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            // Each write to the connection itself makes a record; the flush sends them all.
            records.iter().for_each(|text| tls.conn.writer().write_all(text.as_bytes()).expect("room"));
            if tls.flush().is_err() {
                return;
            }
        }
    }
}

/// A runtime with one worker, for the asynchronous parts of the harness.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A client over TLS that speaks bytes.
pub(crate) struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects and shakes hands.
    pub(crate) fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(DEADLINE))?;
        let name = ServerName::try_from(GATEWAY).expect("a name");
        let mut tls = ClientConnection::new(config, name).expect("a connection");
        tls.complete_io(&mut tcp)?;
        Ok(Self(StreamOwned::new(tls, tcp)))
    }

    /// The version that was agreed on.
    pub(crate) fn version(&self) -> Option<rustls::ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    /// The application protocol that was agreed on.
    pub(crate) fn alpn(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).expect("text"))
    }

    /// Whether a session was resumed.
    pub(crate) fn handshake(&self) -> Option<rustls::HandshakeKind> {
        self.0.conn.handshake_kind()
    }

    /// The certificate that was shown.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().expect("a certificate")[0].to_vec()
    }

    /// Reads until what came ends with `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {bytes:?}"));
            bytes.extend(byte);
        }
        String::from_utf8(bytes).expect("text")
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the gateway reads");
    }

    /// All that comes until the end; false if the end was no proper one (no `close_notify`, or a reset).
    pub(crate) fn rest(&mut self) -> (String, bool) {
        let mut bytes = Vec::new();
        let is_clean = self.0.read_to_end(&mut bytes).is_ok();
        (String::from_utf8(bytes).expect("text"), is_clean)
    }
}
