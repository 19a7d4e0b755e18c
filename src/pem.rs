//! Certificates and private keys out of PEM files: parsed and checked once, compared by content, never printed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

pub mod pinned;

/// What is wrong with a PEM file, as the end of a sentence that begins with the file.
#[derive(Debug, thiserror::Error)]
pub enum PemFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// No certificate in it.
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    /// A certificate in it, counted from 1, that is none.
    #[error("holds a certificate that cannot be used: number {0}")]
    BadCertificate(usize),
    /// No private key in it.
    #[error("holds no private key in PEM form")]
    NoKey,
    /// A private key that TLS has no use for.
    #[error("holds a private key that cannot be used")]
    BadKey,
    /// The key is another certificate's.
    #[error("does not belong to the certificate")]
    Foreign,
}

impl PemFault {
    /// What would be right.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "paths are relative to the folder of the configuration file",
            Self::NoCertificate => "it must begin with -----BEGIN CERTIFICATE-----",
            Self::BadCertificate(_) => "each block must be a whole certificate: export it anew",
            Self::NoKey => "it must begin with -----BEGIN PRIVATE KEY----- or the like",
            Self::BadKey => "keys of RSA, ECDSA (P-256, P-384) and Ed25519 can be used",
            Self::Foreign => "it must be the key of the first certificate in the file of the chain",
        }
    }
}

/// A certificate chain, leaf first, with its private key. Equal: the same content. Clones share it.
#[derive(Clone)]
pub struct KeyPair(Arc<Joined>);

struct Joined {
    certified: Arc<CertifiedKey>,
    key: PrivateKeyDer<'static>,
}

/// The PEM files of a certificate and its key, and what they hold. Equal: the same files with the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file of the chain, leaf first.
    pub cert: PathBuf,
    /// The file of the private key.
    pub key: PathBuf,
    /// What they hold.
    pub pair: KeyPair,
}

/// A PEM file of certificate authorities, and what it holds. Equal: the same file with the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// The certificates in `content`; at least one.
///
/// # Errors
/// There is none, or one that is not well formed.
pub fn certificates(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let found: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(content).collect();
    let found = found.ok().filter(|found| !found.is_empty()).ok_or(PemFault::NoCertificate)?;
    let is_bad = |certificate: &CertificateDer<'_>| X509Certificate::from_der(certificate).is_err();
    match found.iter().position(is_bad) {
        Some(index) => Err(PemFault::BadCertificate(index + 1)),
        None => Ok(found),
    }
}

/// The authorities in `content`, which was read from `path`; at least one.
///
/// # Errors
/// There is none, or one that cannot be trusted in.
pub fn authorities(path: PathBuf, content: &[u8]) -> Result<Authorities, PemFault> {
    let found = certificates(content)?;
    let mut store = RootCertStore::empty();
    match found.iter().position(|certificate| store.add(certificate.clone()).is_err()) {
        Some(index) => Err(PemFault::BadCertificate(index + 1)),
        None => Ok(Authorities { path, certificates: found.into() }),
    }
}

/// The private key in `content`.
///
/// # Errors
/// There is none.
pub fn private_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, PemFault> {
    PrivateKeyDer::from_pem_slice(content).map_err(|_| PemFault::NoKey)
}

impl KeyPair {
    /// Joins a chain with its key.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn join(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, PemFault> {
        let certified = CertifiedKey::from_der(chain, key.clone_key(), &ring::default_provider());
        match certified {
            Ok(certified) => Ok(Self(Arc::new(Joined { certified: Arc::new(certified), key }))),
            Err(Error::InconsistentKeys(_)) => Err(PemFault::Foreign),
            Err(_) => Err(PemFault::BadKey),
        }
    }

    /// The pair as a handshake uses it.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.certified)
    }

    /// The chain, leaf first; never empty.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.certified.cert
    }

    /// The key itself, for the one place that must hand it on.
    pub fn expose_key(&self) -> &[u8] {
        self.0.key.secret_der()
    }
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        let is_same_content = || self.chain() == other.chain() && self.expose_key() == other.expose_key();
        Arc::ptr_eq(&self.0, &other.0) || is_same_content()
    }
}

impl Eq for KeyPair {}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(…)")
    }
}
