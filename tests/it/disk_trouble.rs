//! A disk that is slow, full or wrong costs hits, and nothing else; and what two processes write, both find.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::{Answer, eventually};
use crate::support::disk::{file, keys, sql};
use crate::support::front::{CACHED, CHAT, House, JSON, Plans};
use crate::support::gateway::{key, secret};
use crate::support::mounted::{again, mounted, own_folder, passed};
use crate::support::process::{Process, safecache};
use crate::support::upstream::{Upstream, gate};

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;

fn chat(house: &House) -> Answer {
    house.h1().ask(&format!("POST {CACHED}"), JSON, CHAT.as_bytes())
}

#[track_caller]
fn is_missed_and_counted(change: &str, result: &str) -> House {
    let upstream = Upstream::json(ANSWER);
    let house = House::before(&[upstream.url()]);
    assert_eq!(chat(&house).header("x-cache"), Some("MISS"));
    let House { gateway, authority } = house;
    let folder = gateway.into_folder();
    assert_eq!(keys(folder.path()).len(), 1);
    sql(folder.path(), change.to_owned());
    let house = House::build_in(folder, &[upstream.url()], Plans::default(), authority);
    house
        .gateway
        .eventually("the slots are known", |gateway| gateway.metric("safecache_disk_entries") == 1.0);
    let answer = chat(&house);
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some("MISS")));
    assert_eq!(answer.text(), ANSWER);
    for one in ["hit", "miss", "timeout", "damaged", "failed"] {
        let told = house.gateway.metric(&format!("safecache_disk_reads_total{{result=\"{one}\"}}"));
        assert_eq!(told, f64::from(u8::from(one == result)), "{one}");
    }
    house
}

/// Puts `payload` into every row, as if it had been written.
fn of_payload(payload: &[u8]) -> String {
    let (hex, sum) = (data_encoding::HEXLOWER.encode(payload), crc32fast::hash(payload));
    format!("UPDATE proxied_answers SET payload = x'{hex}', checksum = {sum}")
}

#[test]
fn a_row_that_is_not_what_was_written_is_dropped_and_never_served() {
    is_missed_and_counted("UPDATE proxied_answers SET payload = x'00' || payload", "damaged");
    is_missed_and_counted(&of_payload(b""), "damaged");
    is_missed_and_counted(&of_payload(&[1, 0, 0, 0, 0]), "damaged");
    is_missed_and_counted(&of_payload(&[1, 9, 0, 0, 0, 1, 2, 3]), "damaged");
    is_missed_and_counted(&of_payload(&[0, 9, 0, 0, 0, 1, 2, 3]), "damaged");
}

#[test]
fn a_row_of_a_newer_version_is_as_good_as_not_there() {
    let house = is_missed_and_counted(&of_payload(&[2, 9, 0, 0, 0, 1, 2, 3]), "miss");
    assert_eq!(chat(&house).header("x-cache"), Some("HIT"));
}

#[test]
fn a_row_that_would_unpack_to_more_than_an_entry_may_have_is_not_unpacked() {
    is_missed_and_counted(&of_payload(&[1, 0, 0, 0, 255, 1, 2, 3]), "miss");
}

#[test]
fn what_cannot_be_unpacked_is_deleted_if_nothing_takes_its_place() {
    let upstream = Upstream::json(ANSWER);
    let house = House::before(&[upstream.url()]);
    assert_eq!(chat(&house).header("x-cache"), Some("MISS"));
    let House { gateway, authority } = house;
    let folder = gateway.into_folder();
    sql(folder.path(), of_payload(&[1, 9, 0, 0, 0, 1, 2, 3]));
    let house = House::build_in(folder, &[upstream.url()], Plans::default(), authority);
    let only = &[("content-type", "application/json"), ("cache-control", "only-if-cached")];
    assert_eq!(house.h1().ask(&format!("POST {CACHED}"), only, CHAT.as_bytes()).status, 504);
    house.gateway.eventually("it is deleted", |gateway| keys(gateway.folder.path()).is_empty());
}

/// A gateway in a process of its own, before `upstream`.
fn config(upstream: &Upstream) -> String {
    format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    )
}

fn post(process: &Process, body: &str) -> Answer {
    process.connect().post(CACHED, &secret("one"), body)
}

fn writes(process: &Process, result: &str) -> f64 {
    process.metric(&format!("safecache_disk_writes_total{{result=\"{result}\"}}"))
}

/// Takes, or gives back, what who reads from the database needs.
fn lock_readers(memory: &File, kind: i32) {
    // WAL_READ_LOCK(0) to (4) of https://www.sqlite.org/walformat.html#wal_locks
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 123,
        l_len: 5,
        l_pid: 0,
    };
    fcntl(memory, FcntlArg::F_SETLKW(&lock)).expect("the lock");
}

#[test]
fn a_slow_disk_is_not_waited_for() {
    let upstream = Upstream::json(ANSWER);
    let folder = TempDir::new().expect("a temporary folder");
    let process = Process::serve(folder.path(), &config(&upstream));
    assert_eq!(post(&process, CHAT).header("x-cache"), Some("MISS"));
    assert_eq!(process.end(Signal::TERM).code, Some(0));
    let process = Process::serve(folder.path(), &config(&upstream));
    eventually("the slots are known", || process.metric("safecache_disk_entries") == 1.0);
    let memory = file(folder.path()).with_file_name("answers.sqlite-shm");
    let memory = File::options().read(true).write(true).open(memory).expect("the database is open");
    lock_readers(&memory, libc::F_WRLCK);
    let answer = post(&process, CHAT);
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some("MISS")));
    assert_eq!(process.metric("safecache_disk_reads_total{result=\"timeout\"}"), 1.0);
    assert_eq!(post(&process, CHAT).header("x-cache"), Some("HIT"), "memory is as fast as ever");
    lock_readers(&memory, libc::F_UNLCK);
    assert_eq!(upstream.count(), 2);
    assert_eq!(process.end(Signal::TERM).code, Some(0));
}

/// Answers that no compressor makes less of, and different ones to different questions.
fn noisy() -> Upstream {
    Upstream::start(|request, exchange| {
        let mut state = request.body.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        let numbers: Vec<String> = (0..2000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 32).to_string()
            })
            .collect();
        let text = numbers.join(" ");
        exchange
            .json(&format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#));
    })
}

fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("a file");
    loop {
        if let Err(error) = ballast.write_all(&[1; 1024]) {
            return assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }
}

#[test]
fn a_full_disk_is_told_once_and_heals() {
    let Some(folder) = own_folder() else {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir(folder.path().join("data")).expect("a folder");
        let words = again("disk_trouble::a_full_disk_is_told_once_and_heals", folder.path());
        let mount = "-t tmpfs -o size=4m tmpfs data";
        return passed(&Process::start(&mut mounted(mount, folder.path(), &words)).wait());
    };
    let upstream = noisy();
    let process = Process::serve(&folder, &config(&upstream));
    let mut asked = 0;
    let mut ask = || {
        asked += 1;
        let body = format!("{{\"messages\":[],\"seed\":{asked}}}");
        for cached in ["MISS", "HIT"] {
            let answer = post(&process, &body);
            assert_eq!((answer.status, answer.header("x-cache")), (200, Some(cached)));
        }
    };
    ask();
    eventually("it is written", || writes(&process, "stored") == 1.0);
    fill(&folder.join("data/ballast"));
    eventually("there is no room", || {
        ask();
        writes(&process, "failed") >= 3.0
    });
    let said = |words: &str| process.stderr().text().matches(words).count();
    assert_eq!(said("cached answers are written to the disk no more"), 1, "{}", process.stderr().text());
    assert!(process.stderr().text().contains("no space left on its disk"));
    fs::remove_file(folder.join("data/ballast")).expect("there is room");
    let before = writes(&process, "stored");
    eventually("it is written", || {
        ask();
        writes(&process, "stored") > before
    });
    process.stderr().wait_for("cached answers are written to the disk again");
    assert_eq!(process.end(Signal::TERM).code, Some(0));
}

#[test]
fn what_the_old_process_of_a_hand_over_writes_the_new_one_finds() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(ANSWER);
    });
    let folder = TempDir::new().expect("a temporary folder");
    let mut old = Process::serve(folder.path(), &config(&upstream));
    let mut client = old.connect();
    client.request(
        &format!("POST {CACHED}"),
        &secret("one"),
        "Content-Type: application/json\r\n",
        CHAT.as_bytes(),
    );
    upstream.wait_for(1);
    let new = Process::start(safecache(folder.path()).args(["serve", "--upgrade"]));
    new.stderr().wait_for("to be told QUIT");
    old.signal(Signal::QUIT);
    new.stderr().wait_for("admin: ");
    opener.open();
    assert_eq!(client.answer().header("x-cache"), Some("MISS"));
    assert_eq!(old.wait().code, Some(0));
    eventually("it is found", || {
        let more = "Content-Type: application/json\r\nCache-Control: only-if-cached\r\n";
        let mut client = new.connect();
        client.request(&format!("POST {CACHED}"), &secret("one"), more, CHAT.as_bytes()).answer().status
            == 200
    });
    assert_eq!(upstream.count(), 1);
    assert_eq!(new.end(Signal::TERM).code, Some(0));
}

/// The old process does not see the purge, and brings its answer behind it.
#[test]
fn what_was_purged_in_the_new_process_of_a_hand_over_does_not_come_back() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(ANSWER);
    });
    let folder = TempDir::new().expect("a temporary folder");
    let mut old = Process::serve(folder.path(), &config(&upstream));
    let json = "Content-Type: application/json\r\n";
    let mut client = old.connect();
    client.request(&format!("POST {CACHED}"), &secret("one"), json, CHAT.as_bytes());
    upstream.wait_for(1);
    let new = Process::start(safecache(folder.path()).args(["serve", "--upgrade"]));
    new.stderr().wait_for("to be told QUIT");
    old.signal(Signal::QUIT);
    new.stderr().wait_for("admin: ");
    let purged = new.connect().request("DELETE /api/v1/cache", &secret("one"), "", b"").answer();
    assert_eq!(purged.status, 200);
    opener.open();
    assert_eq!(client.answer().header("x-cache"), Some("MISS"));
    assert_eq!(old.wait().code, Some(0));
    opener.open();
    let again =
        new.connect().request(&format!("POST {CACHED}"), &secret("one"), json, CHAT.as_bytes()).answer();
    assert_eq!((again.status, again.header("x-cache")), (200, Some("MISS")));
    assert_eq!(upstream.count(), 2);
    assert_eq!(new.end(Signal::TERM).code, Some(0));
}
