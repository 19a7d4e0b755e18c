//! Several gateways on one PostgreSQL: what is changed, stored or counted through one is so for all.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Dice, is_soak};
use crate::stored_keys::{ask, done, make, status};
use crate::support::admin::TOKEN;
use crate::support::client::Answer;
use crate::support::closed_port::ClosedPort;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::postgres::{Database, PASSWORD, Server};
use crate::support::process::{Process, safecache, write_config};
use crate::support::redis::Redis;
use crate::support::stalls::Stalls;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;
use crate::support::upstream::Upstream;
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";
pub(super) const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":4,"total_tokens":34}}"#;

/// What one of several gateways before `upstream` with these engines is configured with, and `more` lines.
pub(super) fn yaml(upstream: &Upstream, engines: &str, more: &str) -> String {
    format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}, sign_up: open}}\nthreads: 1\n\
         plans: {{free: {{requests_per_minute: 600000, burst: 1000000, max_keys: 100000}}, \
         few: {{requests_per_minute: 1, burst: 30}}}}\n\
         limits: {{auth_failures: off, max_requests_per_connection: 1000000}}\n{more}\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         cluster: {{{engines}, replicas: 3}}\nkeys:\n{}{}",
        upstream.url(),
        key("listed", "plan: free"),
        key("few", "plan: few"),
    )
}

/// One of several gateways.
pub(super) fn member(upstream: &Upstream, engines: &str) -> Gateway {
    Gateway::start(&yaml(upstream, engines, ""))
}

/// Three gateways.
pub(super) fn members(upstream: &Upstream, database: &Database) -> Vec<Gateway> {
    let engines = format!("postgres: '{}'", database.address().expose());
    (0..3).map(|_| member(upstream, &engines)).collect()
}

/// How long it takes until all of them say so of the key.
pub(super) fn until(members: &[Gateway], key: &str, expected: u16) -> Duration {
    let begun = Stopwatch::start();
    for member in members {
        member.eventually("all have followed", |member| status(member, key) == expected);
    }
    begun.elapsed()
}

#[test]
fn a_change_of_a_key_is_in_force_at_all_gateways_soon() {
    let _turn = turn();
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let mut known: Vec<(String, String)> = Vec::new();
    let mut took = Vec::new();
    let (mut dice, stalls) = (Dice::new(), Stalls::watch());
    let changes = if is_soak() { 10_000 } else { 1000 };
    for _ in 0..changes {
        let at = &members[dice.below(members.len())];
        let chosen = dice.below(known.len().max(1));
        match dice.below(3) {
            1 if !known.is_empty() => {
                let (id, key) = known.swap_remove(chosen);
                done(at, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
                took.push(until(&members, &key, 401));
            }
            2 if !known.is_empty() => {
                let (id, key) = known[chosen].clone();
                let target = format!("POST /admin/v1/keys/{id}/rotate");
                let rotated = done(at, &target, &json!({"overlap": "0s"}));
                let next = rotated["secret"].as_str().unwrap().to_owned();
                took.push(until(&members, &next, 200).max(until(&members, &key, 401)));
                known[chosen].1 = next;
            }
            _ => {
                known.push(make(at, &json!({})));
                took.push(until(&members, &known.last().unwrap().1, 200));
            }
        }
    }
    took.sort_unstable();
    let [median, late, longest] = [changes / 2, changes * 99 / 100, changes - 1].map(|rank| took[rank]);
    println!(
        "measured {changes} changes of keys: one is in force at all of 3 gateways in {median:?} (median), {late:?} (99 %), {longest:?} (longest)"
    );
    assert!(longest < Duration::from_secs(2) + stalls.longest(), "{longest:?}");
    // None was lost.
    for (_, key) in &known {
        members.iter().for_each(|member| assert_eq!(status(member, key), 200));
    }
}

#[test]
fn what_one_counts_and_stores_is_there_for_all() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let listed = secret("listed");
    for round in 0..20 {
        for member in &members {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{round}"}}]}}"#);
            assert_eq!(member.connect().post(CHAT, &listed, &body).status, 200);
        }
    }
    let store = r#"{"messages":[{"role":"user","content":"x"}],"answer":"forty two"}"#;
    assert_eq!(members[0].connect().post("/api/v1/store", &listed, store).status, 200);
    let check = r#"{"messages":[{"role":"user","content":"x"}]}"#;
    let found = members[1].connect().post("/api/v1/check", &listed, check).json();
    assert_eq!((&found["cache_hit"], &found["answer"]), (&json!(true), &json!("forty two")));
    // Each has counted when somebody asks it; the sums are those of all. The calls of the cache API count as well.
    let totals = |member: &Gateway| -> Value {
        member.connect().get("/api/v1/usage", &listed).json()["totals"].clone()
    };
    members.iter().for_each(|member| drop(totals(member)));
    let told = totals(&members[2]);
    let sum = |name: &str| told[name].as_u64().unwrap();
    assert_eq!(sum("cache_misses") + sum("cache_hits"), 61, "60 requests and a check: {told}");
    assert_eq!(sum("prompt_tokens"), 30 * sum("cache_misses"), "{told}");
}

#[test]
fn with_postgresql_alone_each_has_its_part_of_a_limit_and_a_purge_holds_for_all() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    for member in &members {
        let mut client = member.connect();
        let passed = (0..40).filter(|_| client.get("/v1/models", &secret("few")).status == 200).count();
        assert_eq!(passed, 10, "a third of 30");
    }
    let body = r#"{"model":"m","messages":[{"role":"user","content":"again"}]}"#;
    let ask_all = |expected: &str| {
        for member in &members {
            member.eventually(expected, |member| {
                let answer = member.connect().post(CHAT, &secret("listed"), body);
                answer.header("x-cache") == Some(expected)
            });
        }
    };
    assert_eq!(members[0].connect().post(CHAT, &secret("listed"), body).header("x-cache"), Some("MISS"));
    ask_all("HIT");
    done(&members[1], "DELETE /admin/v1/cache", &Value::Null);
    let only = "Content-Type: application/json\r\nCache-Control: only-if-cached\r\n";
    for member in &members {
        member.eventually("the purge is known", |member| {
            let mut client = member.connect();
            client.request(&format!("POST {CHAT}"), &secret("listed"), only, body.as_bytes()).answer().status
                == 504
        });
    }
}

fn ready(gateway: &Gateway) -> Answer {
    gateway.admin("/readyz")
}

#[test]
fn requests_go_on_without_postgresql_and_changes_catch_up() {
    let (upstream, server) = (Upstream::json(ANSWER), Server::start());
    let address = server.address("postgres");
    let engines = format!("postgres: '{}'", address.expose());
    let members = [member(&upstream, &engines), member(&upstream, &engines)];
    let (_, known) = make(&members[0], &json!({}));
    until(&members, &known, 200);
    server.stop();
    for member in &members {
        member
            .eventually("it is missed", |member| ready(member).text().contains("postgres: cannot be asked"));
        assert_eq!(ready(member).status, 200);
        assert!(member.metric("safecache_postgres_up") == 0.0);
        let mut client = member.connect();
        for number in 0..5 {
            let body = format!(r#"{{"model":"m","messages":[{number}]}}"#);
            assert_eq!(client.post(CHAT, &known, &body).status, 200);
        }
        let begun = Stopwatch::start();
        let refused = ask(member, "POST /admin/v1/keys", &json!({"account": "acme"}));
        assert!(begun.elapsed() < Duration::from_secs(3), "it is known to be away: {:?}", begun.elapsed());
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(!refused.text().contains(PASSWORD), "{}", refused.text());
    }
    server.again();
    for member in &members {
        member.eventually("it is found again", |member| ready(member).text().contains("postgres: ok"));
    }
    let (_, new) = make(&members[1], &json!({}));
    until(&members, &new, 200);
    members.iter().for_each(|member| {
        member.eventually("usage is written", |member| {
            member.connect().get("/api/v1/usage", &known).status == 200
        });
    });
    let told = members[0].connect().get("/api/v1/usage", &known).json();
    assert_eq!(told["totals"]["prompt_tokens"], json!(300), "none is lost, and none counted twice: {told}");
}

#[test]
fn a_gateway_does_not_start_without_its_postgresql_and_names_no_secret() {
    let folder = TempDir::new().unwrap();
    let closed = ClosedPort::any();
    let nobody = closed.address();
    let url = format!("postgres://somebody:{PASSWORD}@{nobody}/safecache");
    write_config(folder.path(), &format!("cluster: {{postgres: '{url}', replicas: 2}}\n"));
    let ended = Process::start(safecache(folder.path()).arg("serve")).wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&format!("PostgreSQL at {nobody}/safecache")), "{ended:?}");
    assert!(!ended.stderr.contains(PASSWORD) && !ended.stderr.contains("somebody"), "{ended:?}");
}

#[test]
fn with_redis_alone_keys_are_those_of_the_list() {
    let (upstream, redis) = (Upstream::json(ANSWER), Redis::start());
    let member = member(&upstream, &format!("redis: 'redis://{}'", redis.address()));
    member.eventually("Redis is there", |member| ready(member).text().contains("redis: ok"));
    assert_eq!(status(&member, &secret("listed")), 200);
    for (line, body) in [
        ("POST /admin/v1/keys", json!({"account": "acme", "create_account": true})),
        ("POST /admin/v1/accounts", json!({"id": "new"})),
    ] {
        let refused = ask(&member, line, &body);
        assert_eq!(refused.status, 409, "{line}: {}", refused.text());
        assert!(refused.text().contains("keys come from the list"), "{line}: {}", refused.text());
    }
}
