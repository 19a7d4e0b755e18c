//! What becomes of the sums when a gateway ends: in order they are all there, and a sudden end takes two seconds at most.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ANSWER, CHAT, PLAIN, chat, counts, gateway, report, yaml};
use crate::support::client::Client;
use crate::support::gateway::{key, secret};
use crate::support::mounted::{again, mounted, own_folder, passed};
use crate::support::process::Process;
use crate::support::upstream::Upstream;

#[test]
fn a_restart_keeps_every_sum() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    for question in ["a", "b", "a"] {
        client.post(CHAT, &secret("one"), &chat("m", question));
    }
    drop(client);
    let gateway = gateway.restarted();
    gateway.clock.advance(Duration::from_secs(60));
    let told = report(&mut gateway.connect(), "");
    let expected = json!({"requests": 3, "cache_hits": 1, "exact_hits": 1, "cache_misses": 2, "hit_rate": 1.0 / 3.0,
        "prompt_tokens": 60, "completion_tokens": 8, "tokens_saved": 34});
    assert_eq!(counts(&told["totals"]), expected);
    assert_eq!(told["keys"]["items"][0]["last_used_at"], "2027-01-15T08:00:00Z");
}

#[test]
fn what_is_older_than_it_is_kept_is_forgotten() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "usage: {keep: 2d}", "");
    gateway.connect().post(CHAT, &secret("one"), &chat("m", "a"));
    // Days are kept and forgotten as a whole.
    gateway.clock.advance(Duration::from_secs(73 * 3600));
    let gateway = gateway.restarted();
    let mut told = Value::Null;
    gateway.eventually("it is forgotten", |g| {
        told = report(&mut g.connect(), "");
        told["totals"]["cache_misses"] == 0
    });
    let models: Vec<_> = told["models"].as_array().unwrap().iter().map(|model| &model["model"]).collect();
    assert!(!models.contains(&&json!("m")), "{models:?}");
}

/// What one client has counted of its answers, by the names that reports have for them.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn add(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    /// One of several kinds of requests, by its number, and what its answer is counted as.
    fn ask(&mut self, client: &mut Client, id: &str, number: u32) {
        self.add("requests", 1);
        let body = chat(["m", "n"][number as usize % 2], &format!("question {}", number % 37));
        let key = secret(id);
        let answer = match number % 7 {
            0 => client.post(PLAIN, &key, &body),
            1 => client.get("/v1/models", &key),
            2 => client.post(CHAT, &key, "{\"a\":1,\"a\":2}"),
            3 => client.get("/api/v1/nothing", &key),
            _ => client.post(CHAT, &key, &body),
        };
        match (answer.status, answer.header("x-cache")) {
            (429, _) => self.add("rate_limited", 1),
            (400.., _) => self.add("errors", 1),
            _ if answer.header("cache-status").is_some_and(|status| status.contains("collapsed")) => {
                self.hit()
            }
            (_, Some("HIT")) => {
                self.add("exact_hits", 1);
                self.hit();
            }
            (_, cached) => {
                let is_miss = cached == Some("MISS");
                self.add(if is_miss { "cache_misses" } else { "uncached" }, 1);
                if number % 7 != 1 {
                    self.add("prompt_tokens", 30);
                    self.add("completion_tokens", 4);
                }
            }
        }
    }

    fn hit(&mut self) {
        self.add("cache_hits", 1);
        self.add("tokens_saved", 34);
    }
}

/// A key whose bucket refuses some of what it asks.
fn limited() -> String {
    key("limited", "plan: few")
}

const PLANS: &str = "plans: {few: {requests_per_minute: 1, burst: 1000}, many: {requests_per_minute: 60000000, burst: 1000000}}";

/// So many requests of each of four clients at once, two of them with a key that is limited.
fn ask_all(gateway: &Process, first: u32, each: u32) -> Tally {
    let clients: Vec<_> = ["many", "limited", "many", "limited"]
        .into_iter()
        .map(|id| {
            let mut client = gateway.connect();
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                (first..first + each).for_each(|number| tally.ask(&mut client, id, number));
                tally
            })
        })
        .collect();
    let mut all = Tally::default();
    for client in clients {
        let tally = client.join().expect("no panic");
        tally.0.into_iter().for_each(|(name, count)| all.add(name, count));
    }
    all
}

/// Ten thousand requests of two keys over four connections, half of them before a restart.
#[test]
fn sums_are_what_clients_have_counted_to_the_last_request() {
    let upstream = Upstream::json(ANSWER);
    let folder = TempDir::new().expect("a folder");
    let text = yaml(&upstream, PLANS, &(limited() + &key("many", "plan: many")));
    let gateway = Process::serve(folder.path(), &text);
    let mut tally = ask_all(&gateway, 0, 1250);
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    let gateway = Process::serve(folder.path(), &text);
    let after = ask_all(&gateway, 1250, 1250);
    after.0.into_iter().for_each(|(name, count)| tally.add(name, count));
    assert_eq!(tally.0["requests"], 10_000);
    for class in ["cache_hits", "cache_misses", "uncached", "rate_limited", "errors"] {
        assert!(tally.0[class] > 50, "{class}: {:?}", tally.0);
    }
    // The last requests are counted a moment after their answers have come.
    let mut told = Value::Null;
    crate::support::client::eventually("all is counted", || {
        told = counts(&report(&mut gateway.connect(), "")["totals"]);
        let others = told["other"].as_u64().unwrap_or(0);
        told["requests"].as_u64().unwrap() - others == 10_000
    });
    for (name, count) in tally.0.iter().filter(|(name, _)| **name != "requests") {
        assert_eq!(told[*name], json!(count), "{name} of {told}");
    }
}

#[expect(clippy::disallowed_methods, reason = "two seconds of the machine are what is promised")]
fn now() -> Instant {
    Instant::now()
}

/// Whoever asked more than two seconds before a sudden end is counted.
#[test]
fn a_sudden_end_takes_no_more_than_two_seconds() {
    const LOST: Duration = Duration::from_secs(2);
    let upstream = Upstream::json(ANSWER);
    let folder = TempDir::new().expect("a folder");
    let more = format!("{PLANS}\nlimits: {{max_requests_per_connection: 100000000}}");
    let text = yaml(&upstream, &more, &key("many", "plan: many"));
    let gateway = Process::serve(folder.path(), &text);
    let mut client = gateway.connect();
    let mut answered = Vec::new();
    let begun = now();
    while begun.elapsed() < LOST * 2 {
        assert_eq!(client.post(CHAT, &secret("many"), &chat("m", "a")).status, 200);
        answered.push(now());
    }
    let killed = now();
    gateway.end(Signal::KILL);
    let gateway = Process::serve(folder.path(), &text);
    let told = report(&mut gateway.connect(), "");
    let counted = told["totals"]["requests"].as_u64().unwrap();
    let due = answered.iter().filter(|at| killed.duration_since(**at) > LOST).count() as u64;
    assert!((due..=answered.len() as u64).contains(&counted), "{counted} of {}, {due} due", answered.len());
    assert!(due > 100, "{due}");
}

/// Usage that cannot be written waits, and is written once there is room: also that of before.
#[test]
fn a_full_disk_loses_nothing() {
    let Some(folder) = own_folder() else {
        let folder = TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        let words = again("usage::lasting::a_full_disk_loses_nothing", folder.path());
        return passed(
            &Process::start(&mut mounted("-t tmpfs -o size=4m tmpfs data", folder.path(), &words)).wait(),
        );
    };
    let upstream = Upstream::json(ANSWER);
    let gateway = Process::serve(&folder, &yaml(&upstream, PLANS, &key("many", "plan: many")));
    let mut client = gateway.connect();
    let ask = |client: &mut Client, count: u32| {
        for number in 0..count {
            let body = chat(&format!("model-{number}"), "a");
            assert_eq!(client.post(CHAT, &secret("many"), &body).status, 200);
        }
    };
    ask(&mut client, 10);
    assert_eq!(report(&mut client, "")["totals"]["requests"], 10);
    let ballast = folder.join("data/ballast");
    let mut file = std::fs::File::create(&ballast).expect("a file");
    while file.write_all(&[1; 512]).is_ok() {}
    drop(file);
    // More than fits into what the store has reserved.
    ask(&mut client, 90);
    let mut refused = super::ask(&mut client, "");
    for round in 0..50 {
        if refused.status != 200 {
            break;
        }
        ask(&mut client, 90 + round);
        refused = super::ask(&mut client, "");
    }
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (500, &json!("INTERNAL_ERROR")));
    gateway.stderr().wait_for("usage cannot be written");
    let counted = gateway
        .metric("safecache_requests_total{outcome=\"forwarded\",route=\"/v1/*\",status=\"200\"}")
        + gateway.metric("safecache_requests_total{outcome=\"exact_hit\",route=\"/v1/*\",status=\"200\"}");
    std::fs::remove_file(&ballast).expect("there is room");
    let totals = report(&mut client, "")["totals"].clone();
    assert_eq!(
        totals["cache_hits"].as_f64().unwrap() + totals["cache_misses"].as_f64().unwrap(),
        counted,
        "{totals}"
    );
    gateway.stderr().wait_for("usage is written again");
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
}
