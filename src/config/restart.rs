//! What a reload cannot change.

use crate::config::Config;

/// The keys whose change needs a restart and which differ between `old` and `new`, as operators write them.
/// Empty: the reload may go on.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("admin.listen", old.admin.listen != new.admin.listen),
        ("data_dir", old.data_dir != new.data_dir),
        ("threads", old.threads != new.threads),
        ("cache.memory", old.cache.memory != new.cache.memory),
    ];
    changed.into_iter().filter_map(|(key, is_changed)| is_changed.then_some(key)).collect()
}
