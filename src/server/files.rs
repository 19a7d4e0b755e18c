//! How many files the process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one, which is what a process is meant to do that does not use
/// `select`; returns how many may be open from then on.
pub(super) fn raise_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let held = match setrlimit(Resource::Nofile, hard) {
        Ok(()) => limit.maximum,
        // A hard limit that the system does not grant in full; then there is what was before.
        Err(_) => limit.current,
    };
    held.unwrap_or(u64::MAX)
}
