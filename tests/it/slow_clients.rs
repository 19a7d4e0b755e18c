//! Two thousand clients that are slow on purpose, each of slowhttptest's four modes, against the real binary: others
//! are served meanwhile, memory stays within a bound, and each connection ends when its time is over.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::MutexGuard;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use safecache::clock::Clock;
use tempfile::{NamedTempFile, TempDir};

use crate::support::client::eventually;
use crate::support::gateway::{key, secret};
use crate::support::next_hop::program;
use crate::support::process::Process;
use crate::support::turn::turn;
use crate::support::upstream::Upstream;

/// Slow clients at once.
const CLIENTS: usize = 2000;
/// Files that a process may open for that many, with as many towards the upstream.
const FILES: u64 = 8192;
const KIB: usize = 1024;
/// What a connection takes beside its head, at most.
const BESIDE: usize = 32 * KIB;
/// What another client's request may take, on a machine that is busy with two thousand.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a slow reader is sent, so many times over.
const PIECE: [u8; 16 * KIB] = [b'x'; 16 * KIB];
const PIECES: usize = 64;

/// A gateway under attack.
struct Siege {
    _turn: MutexGuard<'static, ()>,
    process: Process,
    _upstreams: [Upstream; 2],
    folder: TempDir,
    idle: usize,
}

/// How the others fared.
#[derive(Debug, Default)]
struct Others {
    served: usize,
    slowest: Duration,
}

impl Siege {
    fn of(limits: &str) -> Self {
        let turn = turn();
        let upstream = Upstream::start(|_, exchange| exchange.answer("200 OK", "text/plain", "{}"));
        // A server of its own: thousands of its threads have much to send, and others must not wait for them.
        let large = Upstream::start(|_, exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECES * PIECE.len()));
            if !(0..PIECES).all(|_| exchange.send(PIECE)) {
                exchange.close();
            }
        });
        let folder = TempDir::new().expect("a temporary folder");
        allow_files();
        let process = Process::serve(
            folder.path(),
            &format!(
                "threads: 2\nplans: {{ample: {{requests_per_minute: 6000000, burst: 1000000}}}}\n\
                 limits: {{{limits}}}\nupstreams: {{llm: {{servers: [\"{}\"]}}, large: {{servers: [\"{}\"]}}}}\n\
                 routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}, {{path: /large/*, upstream: large}}]\n\
                 keys:\n{}{}",
                upstream.url(),
                large.url(),
                key("one", "plan: ample"),
                key("attacker", "plan: ample"),
            ),
        );
        assert_eq!(process.connect().get("/v1/x", &secret("one")).status, 200);
        let idle = process.account("VmRSS");
        Self { _turn: turn, process, _upstreams: [upstream, large], folder, idle }
    }

    /// Starts slowhttptest with these arguments for a share of all clients; they come with a key.
    fn attack(&self, path: &str, clients: usize, arguments: &[&str]) -> Attack {
        let cookie = format!("a=b\r\nAuthorization: Bearer {}", secret("attacker"));
        let count = clients.to_string();
        let url = format!("http://{}{path}", self.process.gateway());
        let said = tempfile::NamedTempFile::new_in(self.folder.path()).expect("a file");
        let output = said.reopen().expect("a file");
        let child = program("slowhttptest")
            .args(["-c", &count, "-r", &count, "-p", "5", "-u", &url, "-j", &cookie])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn();
        Attack { child: child.expect("it can be run"), said }
    }

    /// Serves others until `is_over`, each within [`PATIENCE`].
    fn serves_others_until(&self, mut is_over: impl FnMut(&Self) -> bool) -> Others {
        let clock = Clock::system();
        let mut others = Others::default();
        let mut kept = self.process.connect();
        while !is_over(self) {
            let mut fresh = self.process.connect();
            for client in [&mut fresh, &mut kept] {
                let begun = clock.monotonic();
                let body = format!("{{\"number\":{}}}", others.served);
                let answer = client.post("/v1/chat/completions", &secret("one"), &body);
                assert_eq!(answer.status, 200, "{answer:?} after {others:?}");
                let took = clock.monotonic().saturating_since(begun);
                others.slowest = others.slowest.max(took);
                others.served += 1;
            }
            assert!(others.slowest < PATIENCE, "{others:?}");
        }
        others
    }

    /// Holds memory at its highest to `most` bytes for each of the slow `clients`, and waits until nothing is left of them.
    fn recovers(self, what: &str, (clients, most): (usize, usize), others: &Others) {
        let risen = self.process.account("VmHWM") - self.idle;
        let each = risen / clients;
        println!("measured {what}: {clients} clients, {each} bytes each at most; {others:?} meanwhile");
        assert!(each <= most, "{risen} bytes over {} for {clients} clients", self.idle);
        assert!(others.served > 10, "{others:?}");
        eventually("every connection has ended", || self.process.metric("safecache_connections") == 0.0);
        eventually("nothing is held", || self.process.metric("safecache_buffer_bytes") == 0.0);
        assert_eq!(self.process.metric("safecache_in_flight_requests"), 0.0);
        assert_eq!(self.process.connect().get("/v1/x", &secret("one")).status, 200);
    }
}

/// A running slowhttptest; killed when dropped.
struct Attack {
    child: Child,
    said: NamedTempFile,
}

impl Attack {
    fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// True if its connections were ended before its own time was over.
    fn was_ended(&self) -> bool {
        let said = fs::read_to_string(self.said.path()).expect("a file");
        let ended = said.contains("No open connections left");
        assert!(ended || said.contains("Hit test time limit"), "{said}");
        ended
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this process, and those that it starts, open as many files as the attack needs.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(FILES);
    assert!(most >= FILES, "the attack needs {FILES} open files, not {most}: raise the hard limit");
    if limit.current.is_some_and(|current| current < FILES) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: limit.maximum })
            .expect("within bounds");
    }
}

/// For how many seconds clients go on whose bound is half a minute: only in a soak until they reach it.
fn duration() -> &'static str {
    if is_soak() { "120" } else { "8" }
}

fn is_soak() -> bool {
    std::env::var_os("SAFECACHE_SOAK").is_some()
}

#[test]
fn heads_that_never_end_are_cut_in_their_time() {
    let siege = Siege::of("head: {timeout: 2s}");
    let mut attack = siege.attack("/v1/x", CLIENTS, &["-H", "-i", "1", "-l", "15"]);
    let others = siege.serves_others_until(|_| attack.is_over());
    assert!(attack.was_ended());
    assert!(siege.process.metric("safecache_heads_refused_total") >= CLIENTS as f64);
    siege.recovers("slow heads", (CLIENTS, 32 * KIB), &others);
}

#[test]
fn bodies_that_drip_hold_up_nobody() {
    let siege = Siege::of("drain: {timeout: 1s}");
    let drip = ["-B", "-i", "1", "-x", "8", "-l", duration()];
    let mut read = siege.attack("/v1/chat/completions", CLIENTS / 2, &drip);
    let mut passed = siege.attack("/v1/files", CLIENTS / 2, &drip);
    let others = siege.serves_others_until(|_| read.is_over() && passed.is_over());
    assert!(read.was_ended() && passed.was_ended() || !is_soak());
    siege.recovers("slow bodies", (CLIENTS, 64 * KIB), &others);
}

#[test]
fn ranges_without_end_hold_up_nobody() {
    let siege = Siege::of("");
    let mut attack = siege.attack("/v1/x", CLIENTS, &["-R", "-l", "6"]);
    let others = siege.serves_others_until(|_| attack.is_over());
    siege.recovers("ranges", (CLIENTS, 32 * KIB), &others);
}

#[test]
fn answers_that_are_read_slowly_hold_up_nobody() {
    let siege = Siege::of("");
    let slowly = ["-X", "-r", "500", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-l", duration()];
    // The system holds a megabyte for each; with all of them it has none left for the other tests.
    let clients = if is_soak() { CLIENTS } else { CLIENTS / 4 };
    let mut attack = siege.attack("/large/x", clients, &slowly);
    // What the system holds for a slow reader hides from it that it was cut: the gateway is asked.
    let (mut have_come, mut are_cut) = (false, false);
    let others = siege.serves_others_until(|siege| {
        let connections = siege.process.metric("safecache_connections");
        have_come |= connections > clients as f64 * 0.5;
        are_cut = have_come && connections < 5.0;
        are_cut || attack.is_over()
    });
    assert!(have_come && (are_cut || !is_soak()));
    siege.recovers("slow readers", (clients, 160 * KIB), &others);
}

/// Nobody who has not shown a key yet is counted in `buffer_memory`: a head has a bound of its own, and all of them
/// take no more than `max_connections` times that, and [`BESIDE`] for each.
#[test]
fn heads_that_stay_large_and_unfinished_take_a_bounded_memory() {
    const BOUND: usize = 32 * KIB;
    let siege = Siege::of("head: {timeout: 10m, bytes: 32KiB}");
    let lines = format!("X: {}\r\n", "x".repeat(KIB - 5)).repeat(30);
    let key = secret("attacker");
    let head = format!("GET /v1/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\n{lines}");
    let (clock, mut held, mut looks) = (Clock::system(), 0, 0);
    let begun = clock.monotonic();
    let (mut clients, others) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let connect = |_| {
                let mut client = siege.process.connect();
                client.send(&head);
                client
            };
            (0..CLIENTS).map(connect).collect::<Vec<_>>()
        });
        let others = siege.serves_others_until(|siege| {
            held = siege.process.account("VmRSS").saturating_sub(siege.idle);
            // Whatever has been read is there.
            looks += usize::from(flood.is_finished() && held >= CLIENTS * head.len());
            looks > 100 || clock.monotonic().saturating_since(begun) > PATIENCE * 6
        });
        (flood.join().expect("all are connected"), others)
    });
    assert!(held >= CLIENTS * head.len(), "only {held} bytes were held");
    assert_eq!(siege.process.metric("safecache_heads_refused_total"), 0.0);
    // They had not ended, and were no mistake.
    for client in clients.iter_mut().step_by(10) {
        assert_eq!(client.send("\r\n").answer().status, 200);
    }
    drop(clients);
    siege.recovers("large heads", (CLIENTS, BOUND + BESIDE), &others);
}
