//! A test that runs itself again in a process of its own, with file systems that no other process sees.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::Ended;

/// Where a test that was run again works.
const FOLDER: &str = "SAFECACHE_TEST_FOLDER";

/// The folder, in the process of its own.
pub(crate) fn own_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// This binary with the one test `name`, to work in `folder`.
pub(crate) fn again(name: &str, folder: &Path) -> Vec<String> {
    let binary = std::env::current_exe().expect("this binary");
    let words = ["env", &format!("{FOLDER}={}", folder.display()), &binary.display().to_string()];
    words.into_iter().map(str::to_owned).chain([name, "--exact", "--nocapture"].map(str::to_owned)).collect()
}

/// `words`, run where `mount` has been done in `folder`; for nobody else, and without special rights.
pub(crate) fn mounted(mount: &str, folder: &Path, words: &[String]) -> Command {
    let mut command = Command::new("unshare");
    command.args([if rustix::process::geteuid().is_root() { "-m" } else { "-rm" }, "sh", "-c"]);
    command.arg(format!("mount {mount} && exec \"$@\"")).arg("sh").args(words).current_dir(folder);
    command
}

/// Mounts something more in `folder`, or unmounts it: in a test that was run again alone.
pub(crate) fn mount(command: &str, folder: &Path) {
    assert!(own_folder().is_some(), "the others would see it");
    let status = Command::new("sh").args(["-c", command]).current_dir(folder).status().expect("a shell");
    assert!(status.success(), "{command}");
}

/// Holds a test that was run again to its having passed.
#[track_caller]
pub(crate) fn passed(ended: &Ended) {
    assert!(ended.code == Some(0) && ended.stdout.contains("1 passed"), "{ended:?}");
}
