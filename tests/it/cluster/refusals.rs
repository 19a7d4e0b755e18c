//! A Redis that is there and refuses, or answers late: it is as good as none where it serves nobody, it is said why, and what
//! it grants late is not lost.

use std::time::Duration;

use tempfile::TempDir;

use crate::cluster::pass;
use crate::support::client::{Client, eventually};
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{key, secret};
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;

const UP: &str = "redis: ok";
const DOWN: &str = "redis: cannot be asked";

/// What the limited key may: so many at once, and so many a second.
const BURST: f64 = 40.0;
const RATE: f64 = 20.0;

/// One of two gateways. No route: whoever is admitted gets a 404, which takes a token.
fn gateway(folder: &TempDir, url: &str) -> Process {
    let yaml = format!(
        "threads: 1\nlimits: {{max_requests_per_connection: 100000000}}\n\
         plans: {{few: {{requests_per_minute: {}, burst: {BURST}}}}}\n\
         cluster: {{redis: '{url}', replicas: 2}}\nkeys:\n{}",
        RATE * 60.0,
        key("few", "plan: few"),
    );
    Process::serve(folder.path(), &yaml)
}

fn until_told(process: &Process, says: &str) {
    eventually(says, || process.ask_admin("/readyz").text().contains(says));
}

fn is_admitted(client: &mut Client) -> bool {
    let answer = client.get("/x", &secret("few"));
    assert!(matches!(answer.status, 404 | 429), "{answer:?}");
    answer.status == 404
}

/// Asks for so long, as fast as it is answered; how many were admitted, and in which time.
fn drive(process: &Process, time: Duration) -> (f64, f64) {
    let mut client = process.connect();
    let begun = Stopwatch::start();
    let mut admitted = 0.0;
    while begun.elapsed() < time {
        admitted += f64::from(u8::from(is_admitted(&mut client)));
    }
    (admitted, begun.elapsed().as_secs_f64())
}

fn told_times(process: &Process, what: &str) -> usize {
    process.stderr().text().matches(what).count()
}

#[test]
fn a_redis_that_can_write_nothing_is_as_good_as_none_and_says_why() {
    let _turn = turn();
    let (redis, folder) = (Redis::start(), TempDir::new().unwrap());
    let process = gateway(&folder, &format!("redis://{}", redis.address()));
    until_told(&process, UP);
    assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]), "+OK");
    let mut client = process.connect();
    eventually("it is found out", || {
        is_admitted(&mut client);
        process.ask_admin("/readyz").text().contains(DOWN)
    });
    let told = process.stderr().wait_for("cannot be asked");
    assert!(told.contains("OOM"), "{told}");
    let (admitted, seconds) = drive(&process, Duration::from_secs(3));
    let most = (RATE * seconds + BURST) / 2.0;
    println!(
        "measured a Redis that is full: {admitted} admitted in {seconds:.1} s, a share is {:.1}",
        RATE * seconds / 2.0
    );
    assert!(0.9 * RATE * seconds / 2.0 <= admitted && admitted <= most, "{admitted} in {seconds} s");
    assert_eq!(told_times(&process, "cannot be asked"), 1, "{}", process.stderr().text());
    assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
    until_told(&process, UP);
}

#[test]
fn a_redis_that_lets_do_only_some_of_it_is_not_used_and_says_what_it_lacks() {
    let (redis, folder) = (Redis::start(), TempDir::new().unwrap());
    let user = ["ACL", "SETUSER", "gateway", "on", ">hunter2", "~sc:*", "+@all", "-@dangerous", "+info"];
    assert_eq!(redis.ask(&user), "+OK");
    assert_eq!(redis.ask(&["ACL", "SETUSER", "gateway", "-unlink"]), "+OK");
    let process = gateway(&folder, &format!("redis://gateway:hunter2@{}", redis.address()));
    let told = process.stderr().wait_for("cannot be asked");
    assert!(told.contains("UNLINK: ") && !told.contains("hunter2"), "{told}");
    until_told(&process, DOWN);
    assert_eq!(redis.ask(&["ACL", "SETUSER", "gateway", "+unlink"]), "+OK");
    until_told(&process, UP);
}

#[test]
fn a_copy_of_another_redis_is_not_used_and_told_of_once() {
    let (leader, copy, folder) = (Redis::start(), Redis::start(), TempDir::new().unwrap());
    copy.ask(&["REPLICAOF", "127.0.0.1", &leader.address().port().to_string()]);
    let process = gateway(&folder, &format!("redis://{}", copy.address()));
    let told = process.stderr().wait_for("cannot be asked");
    assert!(told.contains("READONLY"), "{told}");
    // As often as it is tried meanwhile.
    pass(Duration::from_secs(3));
    assert_eq!(told_times(&process, "Redis at"), 1, "{}", process.stderr().text());
    copy.ask(&["REPLICAOF", "NO", "ONE"]);
    until_told(&process, UP);
}

#[test]
fn a_connection_that_is_lost_again_and_again_is_told_of_once() {
    let (redis, folder) = (Redis::start(), TempDir::new().unwrap());
    let line = FaultProxy::before(redis.address());
    let process = gateway(&folder, &format!("redis://{}", line.address()));
    for _ in 0..5 {
        until_told(&process, UP);
        line.cut();
        until_told(&process, DOWN);
        line.pass();
    }
    until_told(&process, UP);
    assert_eq!(told_times(&process, "cannot be asked"), 1, "{}", process.stderr().text());
    assert_eq!(told_times(&process, "no more, until it is well"), 1, "{}", process.stderr().text());
}

/// A request waits no longer than 50 ms, and what was granted to it after 70 ms is the next one's.
#[test]
fn what_is_granted_late_is_not_lost() {
    let _turn = turn();
    let (redis, folder) = (Redis::start(), TempDir::new().unwrap());
    let line = FaultProxy::before(redis.address());
    let process = gateway(&folder, &format!("redis://{}", line.address()));
    until_told(&process, UP);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (admitted, seconds) = std::thread::scope(|scope| {
        let troubling = scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                line.slow(Duration::from_millis(35));
                pass(Duration::from_millis(70));
                line.pass();
                pass(Duration::from_millis(130));
            }
        });
        let driven = drive(&process, Duration::from_secs(5));
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        troubling.join().unwrap();
        driven
    });
    let most = BURST + RATE * seconds;
    println!("measured a Redis that is late a third of the time: {admitted} of {most:.1} due");
    assert!(admitted <= most + 1.0 && admitted >= 0.95 * most, "{admitted} of {most}");
}

#[test]
fn what_is_no_bucket_is_written_over() {
    let (redis, folder) = (Redis::start(), TempDir::new().unwrap());
    assert_eq!(redis.ask(&["RPUSH", "sc:1:{k:few}:b", "what"]), ":1");
    let process = gateway(&folder, &format!("redis://{}", redis.address()));
    until_told(&process, UP);
    let answer = process.connect().get("/x", &secret("few"));
    assert_eq!((answer.status, answer.header("x-safecache-limits")), (404, None), "{answer:?}");
    assert!(redis.ask(&["GET", "sc:1:{k:few}:b"]).starts_with('$'));
}
