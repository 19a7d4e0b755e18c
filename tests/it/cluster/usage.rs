//! What is used of several gateways is summed in one PostgreSQL to the last request, whatever becomes of the way there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use safecache::usage::ledger::MOST_SUMS;
use serde_json::{Value, json};

use crate::cluster::{Dice, is_soak, pass};
use crate::support::client::{Client, DEADLINE, eventually};
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::over::Over;
use crate::support::postgres::Database;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/plain/chat/completions";
const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":4,"total_tokens":34}}"#;

/// A key of each account.
const KEYS: [&str; 2] = ["acme", "globex"];

/// A gateway whose line to PostgreSQL the test troubles.
struct Member {
    gateway: Gateway,
    line: FaultProxy,
}

impl Member {
    fn start(upstream: &Upstream, database: &Database) -> Self {
        let line = database.line();
        let keys = KEYS.map(|account| key(account, &format!("account: {account}, plan: free"))).concat();
        let gateway = Gateway::start(&format!(
            "threads: 1\nplans: {{free: {{requests_per_minute: 60000000, burst: 60000000}}}}\n\
             limits: {{max_requests_per_connection: 100000000}}\ncache: {{disk: 0}}\n\
             upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
             routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n  - {{path: /*, upstream: llm}}\n\
             cluster: {{postgres: '{}', replicas: 3}}\nkeys:\n{keys}",
            upstream.url(),
            database.over(&line).expose(),
        ));
        Self { gateway, line }
    }

    /// What it answers to who asks for the usage of an account, which has all of its own written first.
    fn ask(&self, account: &str) -> (u16, Value) {
        let answer = self.gateway.connect().get("/api/v1/usage", &secret(account));
        (answer.status, answer.json()["totals"].clone())
    }

    /// Waits until it tells this of an account.
    fn tells(&self, account: &str, expected: &Tally) {
        let mut told = None;
        let begun = Stopwatch::start();
        while told != Some(*expected) {
            assert!(begun.elapsed() < DEADLINE, "{account}: {told:?} is told, {expected:?} was");
            let (status, totals) = self.ask(account);
            told = (status == 200).then(|| Tally::of(&totals));
        }
    }
}

/// What was asked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    requests: u64,
    hits: u64,
    prompt: u64,
    completion: u64,
    saved: u64,
}

impl Tally {
    /// As a report tells it, but for those who asked for reports, and were told one or not.
    fn of(totals: &Value) -> Self {
        let sum = |name: &str| totals[name].as_u64().expect("a number");
        Self {
            requests: sum("cache_hits") + sum("cache_misses") + sum("uncached"),
            hits: sum("cache_hits"),
            prompt: sum("prompt_tokens"),
            completion: sum("completion_tokens"),
            saved: sum("tokens_saved"),
        }
    }

    /// Asks something that is new, or that may have been asked before.
    fn ask(&mut self, client: &mut Client, account: &str, what: &str) {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": what}]}).to_string();
        let answer = client.post(CHAT, &secret(account), &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.requests += 1;
        if answer.header("x-cache") == Some("HIT") {
            self.hits += 1;
            self.saved += 34;
        } else {
            self.prompt += 30;
            self.completion += 4;
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            hits: self.hits + other.hits,
            prompt: self.prompt + other.prompt,
            completion: self.completion + other.completion,
            saved: self.saved + other.saved,
        }
    }
}

/// Asks a member for an account until all is over.
fn asking(member: &Member, (number, account): (usize, &str), is_over: &AtomicBool) -> Tally {
    let mut client = member.gateway.connect();
    let mut tally = Tally::default();
    while !is_over.load(Ordering::SeqCst) {
        let which = tally.requests;
        let what = if which.is_multiple_of(3) { "again".into() } else { format!("{number} {which}") };
        tally.ask(&mut client, account, &what);
    }
    tally
}

/// Does something to one of the lines while usage is written over it, and heals it.
fn trouble(members: &[Member], dice: &mut Dice) {
    let Member { gateway, line } = &members[dice.below(members.len())];
    let written = || gateway.connect().get("/api/v1/usage", &secret(KEYS[0])).status;
    let wait = |dice: &mut Dice| pass(Duration::from_millis(20 + dice.below(200) as u64));
    match dice.below(4) {
        0 => {
            line.cut();
            assert_eq!(written(), 503);
        }
        1 => {
            line.slow(Duration::from_millis(5 + dice.below(30) as u64));
            assert_eq!(written(), 200);
        }
        2 => {
            line.lose_answers_to("COMMIT");
            assert_eq!(written(), 503);
        }
        _ => {
            // In the middle of it, wherever that is.
            line.slow(Duration::from_millis(1 + dice.below(8) as u64));
            std::thread::scope(|scope| {
                let writing = scope.spawn(written);
                wait(dice);
                line.cut();
                assert!(matches!(writing.join().unwrap(), 200 | 503));
            });
        }
    }
    line.pass();
    wait(dice);
}

#[test]
fn sums_are_exact_at_all_gateways_however_often_their_lines_are_cut_delayed_and_lose_what_was_said() {
    let _turn = turn();
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members: Vec<Member> = (0..3).map(|_| Member::start(&upstream, &database)).collect();
    let rounds = if is_soak() { 1000 } else { 40 };
    let is_over = &AtomicBool::new(false);
    let mut dice = Dice::new();
    let sums = std::thread::scope(|scope| {
        let _over = Over(is_over);
        let asking: Vec<_> = members
            .iter()
            .enumerate()
            .flat_map(|(number, member)| KEYS.map(|account| (member, (number, account))))
            .map(|(member, whose)| (whose.1, scope.spawn(move || asking(member, whose, is_over))))
            .collect();
        (0..rounds).for_each(|_| trouble(&members, &mut dice));
        is_over.store(true, Ordering::SeqCst);
        let asked: Vec<_> =
            asking.into_iter().map(|(account, asked)| (account, asked.join().unwrap())).collect();
        KEYS.map(|account| {
            let of = asked.iter().filter(|(whose, _)| *whose == account);
            of.fold(Tally::default(), |sum, (_, tally)| sum.and(*tally))
        })
    });
    for member in &members {
        for (account, sum) in KEYS.iter().zip(&sums) {
            member.tells(account, sum);
        }
    }
    let lost: usize = members.iter().map(|member| member.line.lost()).sum();
    let batches = database.number("SELECT count(*) FROM usage_batches");
    println!(
        "measured usage of 3 gateways: exact after {rounds} troubles ({lost} commits unheard of), {batches} batches, {sums:?}"
    );
    assert!(lost > 0 && sums.iter().all(|sum| sum.requests > 0 && sum.hits > 0), "{lost}: {sums:?}");
    let unwritten: f64 =
        members.iter().map(|member| member.gateway.metric("safecache_usage_lost_total")).sum();
    assert!(unwritten == 0.0, "{unwritten}");
}

#[test]
fn a_batch_of_whose_commit_nothing_was_heard_is_sent_until_it_is_and_counts_once() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let member = Member::start(&upstream, &database);
    let mut tally = Tally::default();
    let mut client = member.gateway.connect();
    member.line.lose_answers_to("COMMIT");
    (0..5).for_each(|number| tally.ask(&mut client, "acme", &number.to_string()));
    let batches = || database.number("SELECT count(*) FROM usage_batches");
    for _ in 0..3 {
        assert_eq!(member.ask("acme").0, 503);
        assert_eq!(batches(), 1, "it is written, and sent again as it was");
    }
    (5..8).for_each(|number| tally.ask(&mut client, "acme", &number.to_string()));
    assert_eq!((member.ask("acme").0, batches()), (503, 1), "what came since waits behind it");
    member.line.pass();
    member.tells("acme", &tally);
    assert_eq!((tally.requests, tally.prompt), (8, 240));
}

/// In a soak there is more than there is room for: as many sums as wait at most, and some more.
#[test]
fn usage_waits_within_its_bound_while_postgresql_is_away_and_what_is_beyond_is_told() {
    const CLIENTS: usize = 4;
    let _turn = turn();
    let requests = if is_soak() { MOST_SUMS + 1000 } else { 2000 };
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let member = Member::start(&upstream, &database);
    member.line.cut();
    eventually("it is missed", || member.gateway.metric("safecache_postgres_up") == 0.0);
    std::thread::scope(|scope| {
        for first in 0..CLIENTS {
            let (member, upstream) = (&member, &upstream);
            scope.spawn(move || {
                let mut client = member.gateway.connect();
                for number in (first..requests).step_by(CLIENTS) {
                    // Each model has a sum of its own.
                    let body = format!(r#"{{"model":"m{number}","messages":[]}}"#);
                    assert_eq!(client.post(PLAIN, &secret("acme"), &body).status, 200);
                    drop(upstream.take());
                }
            });
        }
    });
    let lost = requests.saturating_sub(MOST_SUMS);
    let told = || member.gateway.metric("safecache_usage_lost_total");
    eventually("what there is no room for is told", || told() == lost as f64);
    member.line.pass();
    let mut counted = 0;
    eventually("all that waited is written", || {
        let (status, totals) = member.ask("acme");
        counted = if status == 200 { Tally::of(&totals).requests } else { 0 };
        counted >= (requests - lost) as u64
    });
    println!("measured usage that waits: {requests} sums, of which {lost} had no room, {counted} written");
    assert_eq!((counted, told()), ((requests - lost) as u64, lost as f64));
}
