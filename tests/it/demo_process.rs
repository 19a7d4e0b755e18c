//! `safecache demo` as a newcomer meets it: what it prints is run as it stands.

use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::process::Process;

/// The commands that `demo` printed, in their order.
fn printed_commands(stdout: &str) -> Vec<String> {
    let blocks = stdout.split("\n\n").filter(|block| block.contains("curl "));
    blocks
        .map(|block| block.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"))
        .collect()
}

/// What a shell makes of `command`.
fn shell(command: &str) -> String {
    let done = Command::new("sh").args(["-c", command]).output().expect("a shell");
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn what_the_demo_prints_works_as_it_stands() {
    let folder = TempDir::new().unwrap();
    let process = Process::demo(folder.path(), &["--pace", "0ms"]);
    process.stdout().wait_for("Tell me about caches.");
    let commands = printed_commands(&process.stdout().text());
    assert_eq!(commands.len(), 3, "{commands:?}");

    let miss = shell(&commands[0]);
    assert!(miss.starts_with("HTTP/1.1 200 OK\r\n"), "{miss}");
    assert!(
        miss.contains("x-cache: MISS\r\n") && miss.contains("cache-status: safecache; fwd=miss; stored\r\n")
    );
    let hit = shell(&commands[1]);
    assert!(hit.contains("x-cache: HIT\r\n") && hit.contains("cache-status: safecache; hit; ttl="), "{hit}");
    let body = |answer: &str| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    assert_eq!(body(&miss), body(&hit));
    let stream = shell(&commands[2]);
    assert!(stream.matches("data: {").count() > 5 && stream.ends_with("data: [DONE]\n\n"), "{stream}");

    assert!(std::fs::read_dir(folder.path()).unwrap().count() > 0, "it has a temporary folder");
    let ended = process.end(Signal::TERM);
    println!("idle TERM of the demo: {:?}", ended.took);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves no temporary folder");
}

#[test]
fn the_demo_leaves_nothing_when_it_is_told_to_end_at_its_first_word() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::new().unwrap();
        let mut command = crate::support::process::safecache(folder.path());
        command.env("TMPDIR", folder.path()).args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]);
        let process = Process::start(&mut command);
        process.stdout().wait_for("safecache demo");
        let ended = process.end(signal);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
