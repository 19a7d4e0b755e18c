//! The TLS files of a configuration: which they are, and what they hold now.
//!
//! Their content changes while the configuration stays as it is: certificates are renewed under the same names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::problem::Report;
use crate::config::{Config, Listener, file};
use crate::pem::{self, Authorities, Identity, KeyPair, PemFault};
use crate::upstream::settings::UpstreamSettings;

/// Every file of certificates or keys that `config` names.
pub fn paths(config: &Config) -> Vec<PathBuf> {
    let clients = config.upstreams.iter().filter_map(|upstream| upstream.tls.client.as_ref());
    let identities = listeners(config).filter_map(|listener| listener.tls.as_ref()).chain(clients);
    let authorities = config.upstreams.iter().filter_map(|upstream| upstream.tls.ca.as_ref());
    identities
        .flat_map(|identity| [&identity.cert, &identity.key])
        .chain(authorities.map(|ca| &ca.path))
        .cloned()
        .collect()
}

fn listeners(config: &Config) -> impl Iterator<Item = &Listener> {
    config.listen.iter().chain([&config.admin.listen])
}

/// `config` with what its TLS files hold now; `None` if that is what it has already. Blocks on the files.
///
/// # Errors
/// Every file that cannot be used, and why.
pub fn read_anew(config: &Config) -> Result<Option<Config>, Report> {
    let mut reading = Reading::default();
    let mut next = config.clone();
    for listener in next.listen.iter_mut().chain([&mut next.admin.listen]) {
        reading.listener(listener);
    }
    for upstream in &mut next.upstreams {
        reading.upstream(upstream);
    }
    if !reading.problems.is_empty() {
        return Err(reading.problems);
    }
    Ok(reading.has_changed.then_some(next))
}

/// How many listeners and upstreams have another certificate, key or authority in `new` than in `old`.
pub fn count_changed(old: &Config, new: &Config) -> usize {
    let pairs = listeners(old).zip(listeners(new));
    let listeners = pairs.filter(|(old, new)| old.tls != new.tls).count();
    let is_changed = |upstream: &&Arc<UpstreamSettings>| {
        let before = old.upstreams.iter().find(|before| before.name == upstream.name);
        before.is_some_and(|before| {
            (&before.tls.ca, &before.tls.client) != (&upstream.tls.ca, &upstream.tls.client)
        })
    };
    listeners + new.upstreams.iter().filter(is_changed).count()
}

#[derive(Default)]
struct Reading {
    problems: Report,
    has_changed: bool,
}

impl Reading {
    fn listener(&mut self, listener: &mut Listener) {
        if let Some(identity) = &mut listener.tls {
            self.identity(identity);
        }
    }

    fn upstream(&mut self, upstream: &mut Arc<UpstreamSettings>) {
        let mut tls = upstream.tls.clone();
        if let Some(identity) = &mut tls.client {
            self.identity(identity);
        }
        if let Some(ca) = &mut tls.ca {
            self.authorities(ca);
        }
        if tls != upstream.tls {
            *upstream = Arc::new(UpstreamSettings { tls, ..UpstreamSettings::clone(upstream) });
        }
    }

    fn identity(&mut self, identity: &mut Identity) {
        let chain = self.file(&identity.cert, pem::certificates);
        let key = self.file(&identity.key, pem::private_key);
        let (Some(chain), Some(key)) = (chain, key) else { return };
        match KeyPair::join(chain, key) {
            Ok(pair) => self.take(&mut identity.pair, pair),
            Err(fault) => self.problem(&identity.key, &fault),
        }
    }

    fn authorities(&mut self, ca: &mut Authorities) {
        let path = ca.path.clone();
        let read = self.file(&ca.path, |content| pem::authorities(path, content));
        if let Some(read) = read {
            self.take(ca, read);
        }
    }

    fn file<T>(&mut self, path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, PemFault>) -> Option<T> {
        let read = file::read(path).map_err(PemFault::from).and_then(|content| parse(&content));
        read.map_err(|fault| self.problem(path, &fault)).ok()
    }

    fn problem(&mut self, path: &Path, fault: &PemFault) {
        self.problems.append(Report::of_file(&path.display().to_string(), fault.to_string(), fault.hint()));
    }

    fn take<T: PartialEq>(&mut self, place: &mut T, read: T) {
        if *place != read {
            *place = read;
            self.has_changed = true;
        }
    }
}
