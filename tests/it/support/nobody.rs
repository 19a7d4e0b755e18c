//! Servers of other makers run without privileges: as nobody, if the tests run as root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

/// Debian's `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// Gives `path` to whom servers run as.
pub(crate) fn give(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("it is ours");
    }
}

/// Has `command` run in `folder`, which becomes its own.
pub(crate) fn run_in(command: &mut Command, folder: &Path) {
    give(folder);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(folder);
}
