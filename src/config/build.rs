//! Raw configuration to checked: all defaults, all problems.
//!
//! A part that is wrong is recorded and stands as its default, so that the other parts are still examined; a
//! configuration with any problem is never handed out (`config::parse`).
//!
//! - `listeners`: addresses, certificates, the operator's token.
//! - `plans`: the built-in plans and those written over them.
//! - `upstreams` and `headers`: servers, credentials, what is set and removed.
//! - `routes`: patterns, names, cache policies.
//! - `bounds`: cache, limits, origins, shutdown.
//! - `usage`: what is counted, and what models cost.
//! - `cluster`: the engines that several gateways share.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::config::node::{Kind, Node, Place, Scene};
use crate::config::raw::{RawConfig, RawRevoke};
use crate::config::scalar::{Count, Flag, Size, Slot, Span, Text};
use crate::config::{Config, key_list};
use crate::pem::{self, Identity, KeyPair, PemFault};
use crate::units::ByteSize;

pub mod bounds;
pub mod cluster;
pub mod headers;
pub mod listeners;
pub mod plans;
pub mod routes;
pub mod upstreams;
pub mod usage;

/// Most upstreams and most routes.
const MOST_NAMED: usize = 256;

/// What building needs beside the text.
#[derive(Clone, Copy)]
pub struct Builder<'a> {
    /// The document and its problems.
    pub scene: Scene<'a>,
    /// Where relative paths begin: the folder of the configuration file.
    pub base_dir: &'a Path,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Builder<'_> {
    /// Builds all of it. Whether it may be used says the scene's sink.
    pub fn build(&self, raw: RawConfig) -> Config {
        let (listen, admin) = self.listeners(raw.listen, raw.admin);
        let plans = self.plans(raw.plans);
        let upstreams = self.upstreams(raw.upstreams);
        let (cache, scope) = self.cache(raw.cache);
        let routes = self.routes(raw.routes, &upstreams, scope);
        let keys = match raw.keys {
            Slot::Given(_) => key_list::read_inline(&self.scene, &plans),
            Slot::Absent | Slot::Bad => Vec::new(),
        };
        Config {
            listen,
            admin,
            data_dir: self.path_at("data_dir", raw.data_dir).unwrap_or_else(|| self.base_dir.join("data")),
            threads: self.threads(&raw.threads),
            trusted_proxies: raw
                .trusted_proxies
                .or(Vec::new())
                .into_iter()
                .filter_map(|network| network.given().map(|n| n.0))
                .collect(),
            plans,
            keys_file: self.path_at("keys_file", raw.keys_file),
            keys,
            upstreams: upstreams.built(),
            routes,
            cache,
            limits: self.limits(raw.limits),
            usage: self.usage(raw.usage),
            prices: self.prices(raw.prices),
            cors_origins: self.cors_origins(raw.cors),
            cuts_revoked: raw.revoke.or(RawRevoke::default()).cut_streams.or(Flag(false)).0,
            shutdown: self.shutdown(&raw.shutdown),
            cluster: self.cluster(raw.cluster),
        }
    }

    fn threads(&self, slot: &Slot<Count>) -> usize {
        const MOST_THREADS: usize = 1024;
        let threads = slot.get().map_or(0, |count| usize::try_from(count.0).unwrap_or(usize::MAX));
        if threads > MOST_THREADS {
            self.scene.refuse(
                &Place::Root.key("threads"),
                format!("at most {MOST_THREADS}"),
                "0 takes one a core",
            );
        }
        threads
    }

    /// A path at the top of the document.
    fn path_at(&self, key: &str, slot: Slot<Text>) -> Option<PathBuf> {
        let text = slot.given()?.0;
        if text.is_empty() {
            self.scene.refuse(&Place::Root.key(key), "the path is empty", "remove the key for the default");
            return None;
        }
        Some(self.base_dir.join(text))
    }

    /// A number that must not be 0.
    fn positive(&self, slot: Slot<Count>, place: &Place<'_>, default: NonZeroU32) -> NonZeroU32 {
        let Some(count) = slot.given() else { return default };
        NonZeroU32::new(count.0).unwrap_or_else(|| {
            self.scene.refuse(place, "must not be 0", "remove the key for the default");
            default
        })
    }

    /// A number that must not be 0, if it is written.
    fn positive_if_given(&self, slot: Slot<Count>, place: &Place<'_>) -> Option<NonZeroU32> {
        let count = slot.given()?;
        Some(self.positive(Slot::Given(count), place, NonZeroU32::MIN))
    }

    /// A time that must not be 0.
    fn positive_span(&self, slot: Slot<Span>, place: &Place<'_>, default: Duration) -> Duration {
        let Some(span) = slot.given() else { return default };
        if span.0.is_zero() {
            self.scene.refuse(place, "must not be 0", "remove the key for the default");
            return default;
        }
        span.0
    }

    /// A size that must not be 0.
    fn positive_size(&self, slot: Slot<Size>, place: &Place<'_>, default: ByteSize) -> ByteSize {
        let Some(size) = slot.given() else { return default };
        if size.0 == ByteSize::default() {
            self.scene.refuse(place, "must not be 0", "remove the key for the default");
            return default;
        }
        size.0
    }

    /// A value that must be written, such as `example`.
    fn required<T>(&self, slot: Slot<T>, place: &Place<'_>, example: &str) -> Option<T> {
        if matches!(slot, Slot::Absent) {
            self.scene.refuse(place, "is missing", format!("such as {example}"));
        }
        slot.given()
    }

    /// Reads the file that is named at `place`.
    fn read_file(&self, slot: Slot<Text>, place: &Place<'_>) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.base_dir.join(self.required(slot, place, "tls/server.pem, a PEM file")?.0);
        let content = (self.read)(&path).map_err(PemFault::from);
        self.unfaulted(content, place).map(|content| (path, content))
    }

    /// The certificates in the file that is named at `place`; at least one.
    fn certificates(
        &self,
        slot: Slot<Text>,
        place: &Place<'_>,
    ) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
        let (path, content) = self.read_file(slot, place)?;
        self.unfaulted(pem::certificates(&content), place).map(|chain| (path, chain))
    }

    /// Certificate and private key, which must belong together.
    fn identity(&self, cert: Slot<Text>, key: Slot<Text>, place: &Place<'_>) -> Option<Identity> {
        let cert = self.certificates(cert, &place.key("cert"));
        let place = place.key("key");
        let key = self.read_file(key, &place).and_then(|(path, content)| {
            self.unfaulted(pem::private_key(&content), &place).map(|key| (path, key))
        });
        let ((cert, chain), (key, private)) = (cert?, key?);
        let pair = self.unfaulted(KeyPair::join(chain, private), &place)?;
        Some(Identity { cert, key, pair })
    }

    /// What was made of the file that is named at `place`; records why it could not be.
    fn unfaulted<T>(&self, made: Result<T, PemFault>, place: &Place<'_>) -> Option<T> {
        let fault = match made {
            Ok(made) => return Some(made),
            Err(fault) => fault,
        };
        let file = match place.find(self.scene.root) {
            Some(Node { kind: Kind::Str(name), interpolated: false, .. }) => format!("`{name}`"),
            _ => self.scene.quote(place),
        };
        self.scene.refuse(place, format!("{file} {fault}"), fault.hint());
        None
    }
}
