//! What a reload cannot change.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::{Config, Listener};

/// The keys whose change needs a restart and which differ between `old` and `new`, as operators write them.
/// Empty: the reload may go on.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("listen", !old.listen.iter().map(written).eq(new.listen.iter().map(written))),
        ("admin.listen", written(&old.admin.listen) != written(&new.admin.listen)),
        ("data_dir", old.data_dir != new.data_dir),
        ("threads", old.threads != new.threads),
        ("cache.memory", old.cache.memory != new.cache.memory),
        ("cluster", old.cluster != new.cluster),
    ];
    changed.into_iter().filter_map(|(key, is_changed)| is_changed.then_some(key)).collect()
}

/// A listener as it was written: with the names of its TLS files, whose content may change.
fn written(listener: &Listener) -> (SocketAddr, Option<(&Path, &Path)>) {
    (listener.address, listener.tls.as_ref().map(|tls| (tls.cert.as_path(), tls.key.as_path())))
}
