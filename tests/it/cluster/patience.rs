//! How long a request waits for Redis, with all that it asks there taken together.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::client::eventually;
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{key, secret};
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;
use crate::support::upstream::Upstream;

/// How long each piece is on its way, each way: one question takes twice that, and three more than a request may wait.
const SLOW: Duration = Duration::from_millis(15);

/// What a request may wait for, and what it takes besides on a machine with other work.
const MOST: Duration = Duration::from_millis(50 + 25);

const REQUESTS: usize = 21;

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;

fn names(of: &'static str) -> impl Iterator<Item = String> {
    (0..REQUESTS).map(move |number| format!("{of}-{number}"))
}

#[test]
fn all_that_a_request_asks_of_redis_has_one_bound() {
    let _turn = turn();
    let (redis, upstream) = (Redis::start(), Upstream::json(ANSWER));
    let line = FaultProxy::before(redis.address());
    let keys: String = names("quick").chain(names("slow")).map(|name| key(&name, "")).collect();
    let folder = TempDir::new().unwrap();
    let yaml = format!(
        "threads: 1\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         cluster: {{redis: 'redis://{}', replicas: 1, without_redis: open}}\nkeys:\n{keys}",
        upstream.url(),
        line.address(),
    );
    let process = Process::serve(folder.path(), &yaml);
    eventually("it shares", || process.metric("safecache_shared_up") == 1.0);
    let mut client = process.connect();
    // The first request of a key asks for tokens, then for the answer, then whether another brings it.
    let mut ask = |name: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{name}"}}]}}"#);
        let begun = Stopwatch::start();
        let answer = client.post("/v1/chat/completions", &secret(name), &body);
        assert_eq!((answer.status, answer.header("x-cache")), (200, Some("MISS")), "{answer:?}");
        begun.elapsed()
    };
    for name in names("quick") {
        ask(&name);
    }
    let led = "safecache_shared_flights_total{result=\"led\"}";
    assert!(process.metric(led) >= REQUESTS as f64 / 2.0, "they ask all three, as a rule");
    line.slow(SLOW);
    let mut took: Vec<_> = names("slow").map(|name| ask(&name)).collect();
    took.sort_unstable();
    let median = took[REQUESTS / 2];
    println!("a request waits {median:?} (median), {:?} (longest)", took[REQUESTS - 1]);
    assert!(SLOW * 2 < median && median < MOST, "{took:?}");
}
