//! What the TLS listeners say in handshakes: made once for a certificate, and anew when a reload brings another.
//!
//! A listener looks it up for each connection, so that a new certificate is shown from the next handshake on while
//! connections that are open go on. Sessions live with it: one that began under the old certificate is not resumed
//! under the new one.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;

use crate::config::{Config, Listener};
use crate::pem::KeyPair;

/// The protocols of the data port, by preference (RFC 7301).
const DATA: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Those of the admin port.
const ADMIN: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// What all listeners say.
#[derive(Debug)]
pub struct Handshakes {
    /// In the configuration's order; `None`: no TLS.
    data: Box<[Option<Handshake>]>,
    admin: Option<Handshake>,
}

#[derive(Debug)]
struct Handshake {
    pair: KeyPair,
    server: Arc<ServerConfig>,
}

impl Handshakes {
    /// The handshakes of `config`; those of `previous` where the certificate is the same.
    pub(super) fn of(config: &Config, previous: Option<&Self>) -> Self {
        let before = |index: usize| previous.and_then(|previous| previous.data.get(index)?.as_ref());
        let data = config
            .listen
            .iter()
            .enumerate()
            .map(|(index, listener)| Handshake::of(listener, before(index), &DATA))
            .collect();
        let before = previous.and_then(|previous| previous.admin.as_ref());
        Self { data, admin: Handshake::of(&config.admin.listen, before, &ADMIN) }
    }

    /// That of a data listener, by its place in the configuration; `None`: it speaks no TLS.
    pub fn data(&self, listener: usize) -> Option<Arc<ServerConfig>> {
        self.data.get(listener)?.as_ref().map(|handshake| Arc::clone(&handshake.server))
    }

    /// That of the admin listener; `None`: it speaks no TLS.
    pub fn admin(&self) -> Option<Arc<ServerConfig>> {
        self.admin.as_ref().map(|handshake| Arc::clone(&handshake.server))
    }
}

impl Handshake {
    fn of(listener: &Listener, before: Option<&Self>, protocols: &[&[u8]]) -> Option<Self> {
        let pair = listener.tls.as_ref()?.pair.clone();
        if let Some(before) = before.filter(|before| before.pair == pair) {
            return Some(Self { pair, server: Arc::clone(&before.server) });
        }
        let shown = SingleCertAndKey::from(pair.certified());
        let mut server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(shown));
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Some(Self { pair, server: Arc::new(server) })
    }
}
