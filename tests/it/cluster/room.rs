//! What one Redis has room for: answers leave some of it to limits, and several installations keep apart in it.

use crate::support::admin::TOKEN;
use crate::support::fleet::{Fleet, completion, yaml};
use crate::support::gateway::{Gateway, key};
use crate::support::postgres::Database;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;

/// An upstream whose answers no compressor makes smaller than 16 KiB.
fn random() -> Upstream {
    Upstream::start(move |_, exchange| {
        let mut bytes = vec![0; 16 * 1024];
        fastrand::fill(&mut bytes);
        exchange.json(&completion(&data_encoding::HEXLOWER.encode(&bytes)));
    })
}

fn question(number: usize) -> String {
    format!(r#"{{"model":"m","messages":[{number}]}}"#)
}

#[test]
fn answers_leave_room_for_limits_whatever_redis_does_when_it_is_full() {
    for policy in ["noeviction", "volatile-ttl", "allkeys-random"] {
        let upstream = random();
        let mut fleet = Fleet::start(0, &yaml(&upstream, "", ""));
        let used = "return tonumber(redis.call('INFO', 'memory'):match('used_memory:(%d+)'))";
        let most = fleet.script(used) + 2_000_000;
        assert_eq!(fleet.redis.ask(&["CONFIG", "SET", "maxmemory-policy", policy]), "+OK");
        assert_eq!(fleet.redis.ask(&["CONFIG", "SET", "maxmemory", &most.to_string()]), "+OK");
        fleet.grow();
        fleet.grow();
        let written = |number: usize, result: &str| {
            let name = format!("safecache_shared_writes_total{{result=\"{result}\"}}");
            fleet.gateways[number].metric(&name)
        };
        let mut asked = 0;
        while written(0, "dropped") < 50.0 {
            assert_eq!(fleet.ask(0, ("one", &question(asked)), "").status, 200);
            asked += 1;
            assert!(asked < 2000, "it is never full");
        }
        assert!(written(0, "stored") > 20.0, "{}", written(0, "stored"));
        assert_eq!(written(0, "failed"), 0.0);
        let left = most - fleet.script(used);
        println!("measured room with {policy}: {left} bytes of {most} left of {asked} answers");
        assert!(left >= most / 20, "{left} of {most}");
        let evicted = "return tonumber(redis.call('INFO', 'stats'):match('evicted_keys:(%d+)'))";
        assert_eq!(fleet.script(evicted), 0);
        // What is there is as good as before.
        let hit = fleet.ask(1, ("one", &question(0)), "");
        assert_eq!(hit.header("x-cache"), Some("HIT"), "{hit:?}");
    }
}

/// A gateway of an installation of its own, whose only account is called as those of others are.
fn installation(upstream: &Upstream, redis: &Redis, database: &Database) -> Gateway {
    Gateway::start(&format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n\
         plans: {{few: {{requests_per_minute: 1, burst: 10}}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         cluster: {{postgres: '{}', redis: 'redis://{}', replicas: 1}}\nkeys:\n{}",
        upstream.url(),
        database.address().expose(),
        redis.address(),
        key("few", "plan: few, account: acme"),
    ))
}

#[test]
fn two_installations_on_one_redis_share_neither_answers_nor_limits_nor_purges() {
    let answering = |text: &'static str| Upstream::start(move |_, exchange| exchange.json(&completion(text)));
    let (ours, theirs) = (answering("ours"), answering("theirs"));
    let (redis, one, other) = (Redis::start(), Database::fresh(), Database::fresh());
    let first = installation(&ours, &redis, &one);
    let twin = installation(&ours, &redis, &one);
    let foreign = installation(&theirs, &redis, &other);
    for gateway in [&first, &twin, &foreign] {
        gateway.eventually("it shares", |gateway| gateway.metric("safecache_shared_up") == 1.0);
    }
    let ask = |gateway: &Gateway| crate::support::fleet::ask(gateway, "/v1", ("few", &question(0)), "");
    assert!(ask(&first).text().contains("ours"));
    first.eventually("it is shared", |gateway| {
        gateway.metric("safecache_shared_writes_total{result=\"stored\"}") == 1.0
    });
    let hit = ask(&twin);
    assert_eq!((hit.header("x-cache"), hit.text().contains("ours")), (Some("HIT"), true), "{hit:?}");
    let miss = ask(&foreign);
    assert_eq!((miss.header("x-cache"), miss.text().contains("theirs")), (Some("MISS"), true), "{miss:?}");
    // (The databases are copies of one, as those that were restored from a backup are.) Ten are due to each installation at once, and three were taken.
    let admitted = |gateway: &Gateway| (0..20).filter(|_| ask(gateway).status == 200).count();
    assert_eq!((admitted(&foreign), admitted(&first) + admitted(&twin)), (9, 8));
    first.eventually("it knows its twin", |gateway| gateway.metric("safecache_replicas") == 2.0);
    assert_eq!(foreign.metric("safecache_replicas"), 1.0);
}
