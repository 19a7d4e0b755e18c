//! A server whose name has several addresses, not all of which can be reached, and one whose name is gone.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::eventually;
use crate::support::front::{CHAT, PATHS, unstored};
use crate::support::gateway::{key, secret};
use crate::support::process::{Process, write_config};

/// A command in a mount namespace of its own, whose `/etc/hosts` is `folder/hosts`, and which no DNS server answers.
fn with_hosts(folder: &Path, command: &str) -> Command {
    std::fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
        .expect("written");
    let mounts = "mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf";
    let script = format!("{mounts} && exec {command}");
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

/// Requests go where the name was last seen, and a name that was never there costs the others nothing.
#[test]
fn a_name_that_is_gone_costs_no_request() {
    let folder = TempDir::new().expect("a temporary folder");
    let hosts = |text: &str| std::fs::write(folder.path().join("hosts"), text).expect("written");
    hosts("127.0.0.1 moves.test\n");
    if !with_hosts(folder.path(), "true").status().is_ok_and(|status| status.success()) {
        return;
    }
    let upstream = unstored();
    let port = upstream.address().port();
    write_config(
        folder.path(),
        &format!(
            "upstreams: {{llm: {{servers: [\"http://moves.test:{port}\"]}}, late: {{servers: [\"http://late.test:{port}\"]}}}}\n\
             routes: [{{path: /late/*, upstream: late}}, {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
            key("one", "")
        ),
    );
    let binary = env!("CARGO_BIN_EXE_safecache");
    let mut process = Process::start(&mut with_hosts(folder.path(), &format!("{binary} serve")));
    process.stderr().wait_for("admin: ");
    let ask = |process: &Process, path: &str| process.connect().post(path, &secret("one"), CHAT).status;
    for path in PATHS {
        assert_eq!(ask(&process, path), 200, "{path}");
    }
    assert_eq!(ask(&process, "/late/x"), 502, "it is not there yet");
    hosts("");
    process.stderr().wait_for("could not be resolved name=moves.test");
    for path in PATHS {
        assert_eq!((0..5).map(|_| ask(&process, path)).collect::<Vec<_>>(), [200; 5], "{path}");
    }
    process.signal(Signal::HUP);
    process.stderr().wait_for("generation 2");
    for path in PATHS {
        assert_eq!(ask(&process, path), 200, "{path}: nor does a reload forget it");
    }
    hosts("127.0.0.1 late.test moves.test\n");
    eventually("it is found when it comes", || ask(&process, "/late/x") == 200);
    let up = format!("safecache_upstream_up{{server=\"http://moves.test:{port}\",upstream=\"llm\"}} 1");
    assert!(process.ask_admin("/metrics").text().contains(&up), "the server is well");
    assert_eq!(process.metric("safecache_in_flight_requests"), 0.0);
}
