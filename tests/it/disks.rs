//! A data folder that fills up or can no longer be written while the gateway runs: requests, reloads and the admin port
//! go on, and who needs the folder says in one line what is wrong with it. Once it is well, all is.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::gateway::{key, secret};
use crate::support::mounted::{again, mount, mounted, own_folder, passed};
use crate::support::process::{Ended, Process, safecache, write_config};
use crate::support::upstream::Upstream;

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
const CHAT: &str = "/v1/chat/completions";

/// A gateway in `folder`, its data folder below it.
struct House<'a> {
    folder: &'a Path,
    _upstream: Upstream,
    config: String,
    process: Process,
    asked: usize,
    /// Those that a process before this one was asked.
    before: usize,
    reloads: usize,
}

impl<'a> House<'a> {
    fn open(folder: &'a Path) -> Self {
        let upstream = Upstream::json(ANSWER);
        let config = format!(
            "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
             routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
            upstream.url(),
            key("one", "")
        );
        let process = Process::serve(folder, &config);
        Self { folder, _upstream: upstream, config, process, asked: 0, before: 0, reloads: 0 }
    }

    /// Holds the gateway to serving as ever: clients, the operator, and a reload.
    #[track_caller]
    fn serves(&mut self) {
        let mut client = self.process.connect();
        self.asked += 1;
        let body = format!("{{\"messages\":[{}]}}", self.asked);
        for cached in ["MISS", "HIT"] {
            let answer = client.post(CHAT, &secret("one"), &body);
            assert_eq!((answer.status, answer.header("x-cache")), (200, Some(cached)), "{answer:?}");
        }
        assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
        assert_eq!(client.get("/v1/models", "nobody").status, 401);
        assert_eq!(self.process.ask_admin("/readyz").status, 200);
        assert_eq!(self.process.metric("safecache_cache_entries"), (self.asked - self.before) as f64);
        self.reloads += 1;
        let more: String = (0..self.reloads).map(|number| key(&format!("more-{number}"), "")).collect();
        write_config(self.folder, &(self.config.clone() + &more));
        self.process.signal(Signal::HUP);
        self.process.stderr().wait_for(&format!("{} keys (1 added", 1 + self.reloads));
        let newest = secret(&format!("more-{}", self.reloads - 1));
        assert_eq!(client.get("/v1/models", &newest).status, 200);
    }

    /// What it says of a hand-over that fails; it serves on.
    #[track_caller]
    fn keeps_its_place(&mut self, because: &str) {
        let line = self.process.stderr().wait_for("not handed over");
        assert!(line.contains(because), "{line}");
        self.serves();
    }

    /// Has another process take its place.
    fn hand_over(&mut self) {
        let next = self.next();
        next.stderr().wait_for("to be told QUIT");
        self.process.signal(Signal::QUIT);
        next.stderr().wait_for("admin: ");
        let old = std::mem::replace(&mut self.process, next).wait();
        assert_eq!(old.code, Some(0), "{old:?}");
        (self.before, self.reloads) = (self.asked, 0);
        write_config(self.folder, &self.config);
        self.process.signal(Signal::HUP);
        self.process.stderr().wait_for("1 keys");
    }

    /// A process that is to take its place.
    fn next(&self) -> Process {
        Process::start(safecache(self.folder).args(["serve", "--upgrade"]))
    }
}

/// Runs the test `name` again, where `data` in its folder is `mount`ed.
fn run_again(name: &str, mount: &str) {
    let folder = TempDir::new().expect("a temporary folder");
    fs::create_dir(folder.path().join("data")).expect("a folder");
    let words = again(&format!("disks::{name}"), folder.path());
    passed(&Process::start(&mut mounted(mount, folder.path(), &words)).wait());
}

/// Fills the disk under `path` to its last byte.
fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("a file");
    loop {
        if let Err(error) = ballast.write_all(&[1; 1024]) {
            return assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }
}

/// Holds what could not start to having said why: `line`, and nothing else behind `before`.
#[track_caller]
fn refused(ended: &Ended, before: &str, line: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = ended.stderr.lines().filter(|line| before.is_empty() || !line.contains(before));
    assert_eq!(said.collect::<Vec<_>>(), [line], "{ended:?}");
}

#[test]
fn a_disk_that_fills_holds_up_nobody() {
    let Some(folder) = own_folder() else {
        return run_again("a_disk_that_fills_holds_up_nobody", "-t tmpfs -o size=4m tmpfs data");
    };
    let mut house = House::open(&folder);
    house.serves();
    let ballast = folder.join("data/ballast");
    fill(&ballast);
    house.serves();
    house.hand_over();
    house.serves();
    let House { process, .. } = house;
    assert_eq!(process.end(Signal::KILL).signal, Some(9));
    // What has been opened before needs no more room to be opened again.
    let process = Process::start(safecache(&folder).arg("serve"));
    process.stderr().wait_for("admin: ");
    assert_eq!(process.end(Signal::TERM).code, Some(0));
    fs::remove_file(&ballast).expect("there is room");
    let process = Process::start(safecache(&folder).arg("serve"));
    process.stderr().wait_for("makes the first operator");
    assert_eq!(process.end(Signal::TERM).code, Some(0));
}

#[test]
fn a_first_start_on_a_full_disk_is_refused() {
    let Some(folder) = own_folder() else {
        return run_again("a_first_start_on_a_full_disk_is_refused", "-t tmpfs -o size=4m tmpfs data");
    };
    write_config(&folder, &format!("keys:\n{}", key("one", "")));
    fs::write(folder.join("data/lock"), "1\n").expect("a file");
    fill(&folder.join("data/ballast"));
    let full = "./data/accounts.sqlite: no space left on its disk; make room";
    refused(&Process::run(&folder, &["serve"], ""), "", full);
}

#[test]
fn a_data_folder_that_becomes_read_only_holds_up_nobody() {
    let Some(folder) = own_folder() else {
        let name = "a_data_folder_that_becomes_read_only_holds_up_nobody";
        return run_again(name, "-t tmpfs tmpfs data");
    };
    let mut house = House::open(&folder);
    mount("mount --bind data data && mount -o remount,ro,bind data", &folder);
    let written = File::create(folder.join("data/new")).expect_err("read-only");
    assert_eq!(written.kind(), ErrorKind::ReadOnlyFilesystem);
    house.serves();
    house.process.signal(Signal::QUIT);
    house.keeps_its_place("./data/hand-over: Read-only file system");
    refused(&house.next().wait(), "", "./data: cannot be written: it is read-only");
    mount("umount data", &folder);
    house.hand_over();
    house.serves();
    mount("mount --bind data data && mount -o remount,ro,bind data", &folder);
    let ended = house.process.end(Signal::TERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
