//! A server whose name has several addresses, not all of which can be reached.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::front::{CHAT, PATHS, unstored};
use crate::support::gateway::{key, secret};
use crate::support::process::{Process, write_config};

/// A command in a mount namespace of its own, whose `/etc/hosts` is `folder/hosts`.
fn with_hosts(folder: &Path, command: &str) -> Command {
    let script = format!("mount --bind hosts /etc/hosts && exec {command}");
    let mut shell = Command::new("unshare");
    shell.current_dir(folder).args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    shell
}

/// Only as root, or where users may have namespaces, can a test give a name addresses; elsewhere it shows nothing.
#[test]
fn an_address_that_refuses_costs_no_request() {
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::write(
        folder.path().join("hosts"),
        "127.0.0.1 two.test\n127.0.0.3 two.test\n127.0.0.2 two.test\n",
    )
    .expect("written");
    if !with_hosts(folder.path(), "true").status().is_ok_and(|status| status.success()) {
        return;
    }
    let upstream = unstored();
    let port = upstream.address().port();
    write_config(
        folder.path(),
        &format!(
            "upstreams: {{llm: {{servers: [\"http://two.test:{port}\"]}}}}\n\
             routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
            key("one", "")
        ),
    );
    let binary = env!("CARGO_BIN_EXE_safecache");
    let process = Process::start(&mut with_hosts(folder.path(), &format!("{binary} serve")));
    process.stderr().wait_for("admin: ");
    for path in PATHS {
        for attempt in 0..6 {
            let answer = process.connect().post(path, &secret("one"), CHAT);
            assert_eq!(answer.status, 200, "{path} {attempt}");
        }
    }
    assert_eq!(upstream.count(), 12, "each ran once");
    let up = format!("safecache_upstream_up{{server=\"http://two.test:{port}\",upstream=\"llm\"}} 1");
    assert!(process.ask_admin("/metrics").text().contains(&up), "the server is well");
}
