//! A rolling upgrade: processes of the real binary on one PostgreSQL and one Redis, replaced one after another while clients
//! ask; and what a newer version may have left in Redis.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::is_soak;
use crate::stored_keys::ask_at;
use crate::support::admin::TOKEN;
use crate::support::client::{Answer, Client, eventually};
use crate::support::gateway::{key, secret};
use crate::support::over::Over;
use crate::support::postgres::Database;
use crate::support::process::{Ended, Process, safecache};
use crate::support::redis::Redis;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;
use crate::support::upstream::Upstream;

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":4,"total_tokens":34}}"#;
const CHAT: &str = "/v1/chat/completions";

/// The events of a stream.
const EVENTS: [&str; 3] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
];

/// What the limited key may: so many a second, and so many at once.
const RATE: u32 = 10;
const BURST: u32 = 60;

/// An upstream that streams if it is asked to.
fn upstream() -> Upstream {
    Upstream::start(|request, exchange| {
        let asked = String::from_utf8_lossy(&request.body);
        if !asked.contains("\"stream\":true") {
            return exchange.json(ANSWER);
        }
        exchange.begin("text/event-stream");
        for event in EVENTS {
            exchange.chunk(event);
        }
        exchange.chunk("");
    })
}

fn config(upstream: &Upstream, engines: &str) -> String {
    format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nthreads: 1\nshutdown: {{delay: 500ms}}\n\
         plans: {{free: {{requests_per_minute: 60000000, burst: 60000000}}, \
         few: {{requests_per_minute: {}, burst: {BURST}}}}}\n\
         limits: {{max_requests_per_connection: 1000000}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         cluster: {{{engines}, replicas: 3}}\nkeys:\n{}{}",
        RATE * 60,
        upstream.url(),
        key("listed", "plan: free"),
        key("few", "plan: few"),
    )
}

/// Where each gateway is, as long as it may be asked.
type Places = [Mutex<Option<SocketAddr>>; 3];

/// What was asked, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    requests: u64,
    streams: u64,
    hits: u64,
    admitted: u64,
    limited: u64,
    alone: u64,
}

impl Tally {
    fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            streams: self.streams + other.streams,
            hits: self.hits + other.hits,
            admitted: self.admitted + other.admitted,
            limited: self.limited + other.limited,
            alone: self.alone + other.alone,
        }
    }
}

/// A client that goes from one gateway to the next, as a load balancer has it.
struct Asking<'a> {
    places: &'a Places,
    turn: &'a AtomicUsize,
    kept: HashMap<SocketAddr, Client>,
    stored: &'a str,
    tally: Tally,
}

impl Asking<'_> {
    /// A connection to the next gateway that may be asked and accepts.
    fn next(&mut self) -> (SocketAddr, Client) {
        loop {
            let number = self.turn.fetch_add(1, Ordering::SeqCst) % self.places.len();
            let Some(place) = *self.places[number].lock().unwrap() else { continue };
            if let Some(client) = self.kept.remove(&place) {
                return (place, client);
            }
            if let Some(client) = Client::try_connect(place) {
                return (place, client);
            }
        }
    }

    /// Whoever may not be asked any more is not.
    fn forget(&mut self) {
        let places: Vec<_> = self.places.iter().filter_map(|place| *place.lock().unwrap()).collect();
        self.kept.retain(|place, _| places.contains(place));
    }

    fn ask(&mut self, number: usize) {
        self.forget();
        let (place, mut client) = self.next();
        let id = if number.is_multiple_of(2) { secret("listed") } else { self.stored.to_owned() };
        let answer = match number % 8 {
            0 | 1 => client.post(CHAT, &id, r#"{"model":"m","messages":[]}"#),
            2 | 3 => client.post(CHAT, &id, &format!(r#"{{"model":"m","messages":[{number}]}}"#)),
            4 => client.get("/v1/models", &id),
            5 => client.post(CHAT, &id, &format!(r#"{{"model":"m","stream":true,"messages":[{number}]}}"#)),
            6 => client.post(CHAT, &id, r#"{"model":"m","stream":true,"messages":["again"]}"#),
            _ => client.get("/v1/models", &secret("few")),
        };
        self.count(number % 8, &answer);
        if answer.header("connection") != Some("close") {
            self.kept.insert(place, client);
        }
    }

    fn count(&mut self, kind: usize, answer: &Answer) {
        let tally = &mut self.tally;
        tally.requests += 1;
        let is_collapsed = answer.header("cache-status").is_some_and(|status| status.contains("collapsed"));
        tally.hits += u64::from(is_collapsed || answer.header("x-cache") == Some("HIT"));
        assert!(answer.is_whole, "{answer:?}");
        match (kind, answer.status) {
            (7, 200) => tally.admitted += 1,
            (7, 429) => tally.limited += 1,
            (5 | 6, 200) => {
                tally.streams += 1;
                assert!(answer.text().ends_with(EVENTS[2]), "{answer:?}");
            }
            (_, status) => assert_eq!(status, 200, "{kind}: {answer:?}"),
        }
        tally.alone += u64::from(answer.header("x-safecache-limits").is_some());
    }
}

/// The gateways, and their folders.
struct Fleet {
    processes: Vec<Process>,
    folders: Vec<TempDir>,
    yaml: String,
}

impl Fleet {
    fn start(yaml: String) -> Self {
        let folders: Vec<_> = (0..3).map(|_| TempDir::new().unwrap()).collect();
        let processes: Vec<_> = folders.iter().map(|folder| Process::serve(folder.path(), &yaml)).collect();
        processes.iter().for_each(until_ready);
        Self { processes, folders, yaml }
    }

    fn places(&self) -> Places {
        [0, 1, 2].map(|number| Mutex::new(Some(self.processes[number].gateway())))
    }

    /// Ends one in order, and starts it anew. Nobody is sent there meanwhile.
    fn replace(&mut self, number: usize, places: &Places) {
        let mut old = self.processes.remove(number);
        old.signal(Signal::TERM);
        eventually("it is not ready", || old.ask_admin("/readyz").status == 503);
        *places[number].lock().unwrap() = None;
        ended_well(&old.wait());
        let new = Process::serve(self.folders[number].path(), &self.yaml);
        until_ready(&new);
        *places[number].lock().unwrap() = Some(new.gateway());
        self.processes.insert(number, new);
    }

    /// Has another process take one's place.
    fn hand_over(&mut self, number: usize) {
        let next = Process::start(safecache(self.folders[number].path()).args(["serve", "--upgrade"]));
        next.stderr().wait_for("to be told QUIT");
        self.processes[number].signal(Signal::QUIT);
        next.stderr().wait_for("admin: ");
        ended_well(&std::mem::replace(&mut self.processes[number], next).wait());
        until_ready(&self.processes[number]);
    }
}

fn until_ready(process: &Process) {
    eventually("it is ready", || {
        let told = process.ask_admin("/readyz");
        let text = told.text();
        told.status == 200 && text.contains("redis: ok") && text.contains("postgres: ok")
    });
}

#[track_caller]
fn ended_well(ended: &Ended) {
    assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended:?}");
    assert!(!ended.stderr.contains("could be written"), "no usage is lost: {}", ended.stderr);
}

fn totals(process: &Process) -> Value {
    process.connect().get("/api/v1/usage", &secret("listed")).json()["totals"].clone()
}

#[test]
fn a_rolling_upgrade_under_load_loses_no_request_and_no_count() {
    const CLIENTS: usize = 4;
    let _turn = turn();
    let (upstream, redis, database) = (upstream(), Redis::start(), Database::fresh());
    let engines =
        format!("postgres: '{}', redis: 'redis://{}'", database.address().expose(), redis.address());
    let mut fleet = Fleet::start(config(&upstream, &engines));
    let new = json!({"account": "acme", "create_account": true});
    let made = ask_at(fleet.processes[0].admin(), "POST /admin/v1/keys", "", &new).json();
    let stored = made["secret"].as_str().unwrap();
    for process in &fleet.processes {
        eventually("the key is known", || process.connect().get("/v1/models", stored).status == 200);
    }
    let (places, is_over) = (&fleet.places(), &AtomicBool::new(false));
    let (asked, turn) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let begun = Stopwatch::start();
    let tally = std::thread::scope(|scope| {
        let _over = Over(is_over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(move || {
                    let mut asking =
                        Asking { places, turn, kept: HashMap::new(), stored, tally: Tally::default() };
                    while !is_over.load(Ordering::SeqCst) {
                        asking.ask(asked.fetch_add(1, Ordering::SeqCst));
                    }
                    asking.tally
                })
            })
            .collect();
        for _ in 0..if is_soak() { 10 } else { 1 } {
            (0..3).for_each(|number| fleet.replace(number, places));
            fleet.hand_over(1);
        }
        is_over.store(true, Ordering::SeqCst);
        clients.into_iter().fold(Tally::default(), |sum, client| sum.and(client.join().unwrap()))
    });
    let most = f64::from(BURST) + f64::from(RATE) * begun.elapsed().as_secs_f64();
    println!(
        "measured a rolling upgrade of 3 gateways: none lost of {tally:?}; {most:.1} were due to the limited key"
    );
    // Whoever asked for the first time, one at each, is counted as well.
    let due = [tally.requests + 3, tally.limited, tally.hits];
    let mut told = [0; 3];
    eventually("all are counted", || {
        let totals = totals(&fleet.processes[0]);
        told = [counted(&totals), sum(&totals, "rate_limited"), sum(&totals, "cache_hits")];
        told[0] >= due[0]
    });
    assert_eq!(told, due, "each request once: {tally:?}");
    // As for `limits`: a machine that has no time for Redis to answer is one without it.
    let more = if tally.alone == 0 { 0.0 } else { 4.0 };
    assert!(tally.admitted as f64 <= most + more, "{tally:?}: more than {most}");
    assert!(tally.admitted >= u64::from(BURST) && tally.limited > 0 && tally.streams > 0, "{tally:?}");
    fleet.processes.into_iter().for_each(|process| ended_well(&process.end(Signal::TERM)));
}

fn sum(totals: &Value, name: &str) -> u64 {
    totals[name].as_u64().unwrap()
}

/// The requests that a report counts, but for those who asked for one.
fn counted(totals: &Value) -> u64 {
    sum(totals, "requests") - sum(totals, "other")
}

#[test]
fn a_bucket_of_a_newer_version_is_told_of_once_and_limited_as_without_redis() {
    let (upstream, redis, folder) = (upstream(), Redis::start(), TempDir::new().unwrap());
    let bucket = "sc:1:{k:few}:b";
    assert_eq!(redis.ask(&["SET", bucket, "2 of another form"]), "+OK");
    let engines = format!("redis: 'redis://{}'", redis.address());
    let process = Process::serve(folder.path(), &config(&upstream, &engines));
    eventually("Redis is asked", || process.ask_admin("/readyz").text().contains("redis: ok"));
    let begun = Stopwatch::start();
    let mut client = process.connect();
    let mut answers = Vec::new();
    while begun.elapsed() < Duration::from_secs(2) {
        answers.push(client.get("/v1/models", &secret("few")));
    }
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    // A third of the rate, from nothing on: what the bucket had left the newer ones may have been granted.
    let due = begun.elapsed().as_secs_f64() * f64::from(RATE) / 3.0;
    println!("measured a bucket of a newer version: {passed} pass, {due:.1} are due to one of 3 gateways");
    assert!(passed as f64 >= 0.9 * due - 1.0 && passed as f64 <= due, "{passed} of {due}");
    let alone = |answer: &Answer| answer.header("x-safecache-limits") == Some("share");
    assert!(answers.iter().all(alone), "{answers:?}");
    assert_eq!(
        client.get("/v1/models", &secret("listed")).header("x-safecache-limits"),
        None,
        "others are asked"
    );
    assert!(redis.ask(&["GET", bucket]).starts_with('$'), "it is left as it is");
    let told = process.stderr().wait_for("a newer safecache keeps limits in Redis");
    assert_eq!(process.stderr().text().matches("a newer safecache").count(), 1, "{told}");
    assert!(!told.contains("few"), "{told}");
    // Once it is gone, it is one bucket again.
    assert_eq!(redis.ask(&["DEL", bucket]), ":1");
    eventually("it is asked again", || !alone(&client.get("/v1/models", &secret("few"))));
}
