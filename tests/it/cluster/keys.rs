//! Keys follow at gateways that are told nothing, are cut off or stand still, and what a revoked key has under way ends
//! wherever that is.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::engines::{ANSWER, members, yaml};
use crate::cluster::{Dice, is_soak, pass};
use crate::stored_keys::{done, make};
use crate::support::client::{Client, DEADLINE};
use crate::support::gateway::Gateway;
use crate::support::postgres::Database;
use crate::support::process::Process;
use crate::support::stalls::Stalls;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;
use crate::support::upstream::{Upstream, gate};

/// Within what a change is in force everywhere.
const BOUND: Duration = Duration::from_secs(2);

/// Kinds of changes: made, revoked, rotated.
const ALL_KINDS: usize = 3;

/// Those that hold at once by any clock. A rotated key ends by that of the gateway through which it was rotated, and those in
/// this process have one that stands, in another year.
const TIMELESS: usize = 2;

/// What each key that there ever was is good for, of which changes of so many kinds are made.
struct Known {
    kinds: usize,
    live: Vec<(String, String)>,
    dead: Vec<String>,
}

impl Known {
    fn new(kinds: usize) -> Self {
        Self { kinds, live: Vec::new(), dead: Vec::new() }
    }

    /// Makes, rotates and revokes so many at random, through any of these gateways.
    fn change(&mut self, members: &[Gateway], count: usize, dice: &mut Dice) {
        for _ in 0..count {
            let at = &members[dice.below(members.len())];
            let chosen = dice.below(self.live.len().max(1));
            match dice.below(self.kinds) {
                1 if !self.live.is_empty() => {
                    let (id, key) = self.live.swap_remove(chosen);
                    done(at, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
                    self.dead.push(key);
                }
                2 if !self.live.is_empty() => {
                    let target = format!("POST /admin/v1/keys/{}/rotate", self.live[chosen].0);
                    let rotated = done(at, &target, &json!({"overlap": "0s"}));
                    let next = rotated["secret"].as_str().unwrap().to_owned();
                    self.dead.push(std::mem::replace(&mut self.live[chosen].1, next));
                }
                _ => self.live.push(make(at, &json!({}))),
            }
        }
    }

    /// Waits until whoever `client` asks says so of all of them.
    fn followed(&self, client: &mut Client) {
        let live = self.live.iter().map(|(_, key)| (key, 200));
        let begun = Stopwatch::start();
        for (key, status) in live.chain(self.dead.iter().map(|key| (key, 401))) {
            while client.get("/v1/models", key).status != status {
                assert!(begun.elapsed() < DEADLINE, "one is lost: not {status}");
            }
        }
    }
}

/// So many times many changes; how long it took each time, from the first of them on.
#[test]
fn one_that_is_told_nothing_has_all_changes_by_asking() {
    let stalls = Stalls::watch();
    let _turn = turn();
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let line = database.line();
    line.swallow("safecache_keys");
    let engines = format!("postgres: '{}'", database.over(&line).expose());
    let deaf = Gateway::start(&yaml(&upstream, &engines, ""));
    let (mut known, mut dice) = (Known::new(ALL_KINDS), Dice::new());
    let (rounds, changes) = if is_soak() { (200, 50) } else { (5, 30) };
    let mut client = deaf.connect();
    let mut took: Vec<Duration> = (0..rounds)
        .map(|_| {
            let begun = Stopwatch::start();
            known.change(&members, changes, &mut dice);
            let changed = begun.elapsed();
            known.followed(&mut client);
            begun.elapsed().saturating_sub(changed)
        })
        .collect();
    took.sort_unstable();
    println!(
        "measured keys at a gateway that is told nothing: {changes} changes are in force {:?} after the last (median), \
         {:?} (longest of {rounds}); {} notifications dropped",
        took[rounds / 2],
        took[rounds - 1],
        line.lost()
    );
    assert!(line.lost() > 0, "nothing was dropped");
    assert!(took[rounds - 1] < BOUND + stalls.longest(), "{took:?}");
}

#[test]
fn one_that_was_cut_off_has_all_changes_soon_after_it_is_back() {
    let stalls = Stalls::watch();
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let line = database.line();
    let engines = format!("postgres: '{}'", database.over(&line).expose());
    let away = Gateway::start(&yaml(&upstream, &engines, ""));
    let (mut known, mut dice) = (Known::new(ALL_KINDS), Dice::new());
    known.change(&members, 20, &mut dice);
    let mut client = away.connect();
    known.followed(&mut client);
    line.cut();
    away.eventually("it is missed", |away| away.metric("safecache_postgres_up") == 0.0);
    known.change(&members, 50, &mut dice);
    line.pass();
    let begun = Stopwatch::start();
    known.followed(&mut client);
    let took = begun.elapsed();
    println!(
        "measured keys at a gateway that was cut off: 50 changes are in force {took:?} after it is back"
    );
    assert!(took < BOUND + stalls.longest(), "{took:?}");
    // The server ends every connection, that over which it tells as well.
    for _ in 0..3 {
        database.cut();
        known.change(&members, 10, &mut dice);
        let begun = Stopwatch::start();
        members.iter().chain([&away]).for_each(|member| known.followed(&mut member.connect()));
        let took = begun.elapsed();
        println!("measured keys when all connections were ended: 10 changes are in force after {took:?}");
        assert!(took < BOUND + stalls.longest(), "{took:?}");
    }
}

#[test]
fn one_that_stands_still_for_ten_seconds_has_all_changes_soon_after_it_goes_on() {
    let stalls = Stalls::watch();
    let _turn = turn();
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let folder = TempDir::new().unwrap();
    let engines = format!("postgres: '{}'", database.address().expose());
    let mut paused = Process::serve(folder.path(), &yaml(&upstream, &engines, ""));
    let (mut known, mut dice) = (Known::new(TIMELESS), Dice::new());
    known.change(&members, 50, &mut dice);
    let mut client = paused.connect();
    known.followed(&mut client);
    paused.signal(Signal::STOP);
    let begun = Stopwatch::start();
    known.change(&members, 100, &mut dice);
    pass(Duration::from_secs(10).saturating_sub(begun.elapsed()));
    paused.signal(Signal::CONT);
    let begun = Stopwatch::start();
    known.followed(&mut client);
    let took = begun.elapsed();
    println!("measured keys at a gateway that stood still for 10 s: 100 changes are in force after {took:?}");
    assert!(took < BOUND + stalls.longest(), "{took:?}");
}

#[test]
fn what_a_revoked_key_has_under_way_is_cut_at_the_other_gateways() {
    let stalls = Stalls::watch();
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if !request.line.contains("chat") {
            return exchange.json("{}");
        }
        exchange.begin("text/event-stream");
        exchange.chunk("data: {\"choices\":[]}\n\n");
        gate.wait();
        exchange.chunk("data: [DONE]\n\n");
        exchange.chunk("");
    });
    let database = Database::fresh();
    let engines = format!("postgres: '{}'", database.address().expose());
    let cutting = yaml(&upstream, &engines, "revoke: {cut_streams: true}\n");
    let members: Vec<Gateway> = (0..3).map(|_| Gateway::start(&cutting)).collect();
    let (id, key) = make(&members[0], &json!({}));
    let mut streams: Vec<Client> = members
        .iter()
        .enumerate()
        .map(|(number, member)| {
            member.eventually("it is known", |member| member.connect().get("/v1/models", &key).status == 200);
            let body = format!(r#"{{"stream":true,"messages":[{number}]}}"#);
            let mut client = member.connect();
            let json = "Content-Type: application/json\r\n";
            client.request("POST /v1/chat/completions", &key, json, body.as_bytes());
            assert_eq!(client.head().status, 200);
            assert_eq!(client.chunk().as_deref(), Some(&b"data: {\"choices\":[]}\n\n"[..]));
            client
        })
        .collect();
    let begun = Stopwatch::start();
    done(&members[0], &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
    for stream in &mut streams {
        let rest = String::from_utf8(stream.rest()).unwrap();
        assert!(!rest.contains("[DONE]"), "{rest}");
    }
    let took = begun.elapsed();
    println!("measured streams of a revoked key: cut at 3 gateways after {took:?}");
    assert!(took < BOUND + stalls.longest(), "{took:?}");
    drop(opener);
}
