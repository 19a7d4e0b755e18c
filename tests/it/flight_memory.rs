//! Who pays for the memory that a shared call holds.

use crate::support::client::Client;
use crate::support::front::CACHED;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Opener, Upstream, gate};

/// Pieces of 64 KiB in an answer.
const PIECES: usize = 96;

fn piece() -> String {
    format!("data: {{\"choices\":[],\"pad\":\"{}\"}}\n\n", "x".repeat(64 * 1024))
}

/// An upstream that streams one piece, and the others when it is let go on; and a gateway with two keys before it, for
/// each of which 8 MiB may be held.
fn house(more: &str) -> (Upstream, Opener, Gateway) {
    let (gate, opener) = gate();
    let piece = piece();
    let upstream = Upstream::start(move |request, exchange| {
        if !String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            return exchange.json("{}");
        }
        exchange.begin("text/event-stream");
        exchange.chunk(&piece);
        gate.wait();
        for _ in 1..PIECES {
            exchange.chunk(&piece);
        }
        exchange.chunk("");
    });
    let gateway = Gateway::start(&format!(
        "listen: 127.0.0.1:0\nlimits: {{buffer_memory: 64MiB, buffer_memory_per_key: 8MiB}}\n{more}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}{}",
        upstream.url(),
        key("one", ""),
        key("two", "")
    ));
    (upstream, opener, gateway)
}

fn ask(gateway: &Gateway, who: &str, body: &str) -> Client {
    let mut client = gateway.connect();
    let line = format!("POST {CACHED}");
    client.request(&line, &secret(who), "Content-Type: application/json\r\n", body.as_bytes());
    client
}

fn streamed(seed: usize) -> String {
    format!(r#"{{"model":"m","messages":[],"seed":{seed},"stream":true}}"#)
}

fn held(gateway: &Gateway) -> f64 {
    gateway.metric("safecache_buffer_bytes")
}

#[test]
fn who_reads_slowly_pays_when_the_first_has_gone() {
    let (_upstream, opener, gateway) = house("");
    let mut slow = Vec::new();
    for (seed, expected) in [200, 200, 503].into_iter().enumerate() {
        let mut quick = ask(&gateway, "one", &streamed(seed));
        assert_eq!(quick.head().status, 200, "who reads pays for nothing that is over");
        let mut other = ask(&gateway, "two", &streamed(seed));
        assert_eq!(other.head().status, expected, "the slow one holds {seed} answers");
        opener.open();
        while quick.chunk().is_some_and(|chunk| !chunk.is_empty()) {}
        slow.push(other);
        gateway.eventually("the first is over", |gateway| {
            gateway.metric("safecache_in_flight_requests") == (slow.len().min(2)) as f64
        });
    }
    assert_eq!(ask(&gateway, "two", r#"{"model":"m"}"#).answer().status, 503);
    let question = format!("{{\"model\":\"m\",\"pad\":\"{}\"}}", "x".repeat(4 << 20));
    assert_eq!(ask(&gateway, "one", &question).answer().status, 200);
    drop(slow);
    gateway.eventually("all is given back", |gateway| held(gateway) == 0.0);
    assert_eq!(ask(&gateway, "two", &question).answer().status, 200);
}

#[test]
fn what_is_on_its_way_to_who_joined_is_counted() {
    let (_upstream, _opener, gateway) = house("");
    let mut first = ask(&gateway, "one", &streamed(0));
    first.head();
    let mut left = piece().len();
    while left > 0 {
        left -= first.chunk().expect("the first piece").len();
    }
    let alone = held(&gateway);
    let others: Vec<_> = (0..10)
        .map(|_| {
            let mut other = ask(&gateway, "two", &streamed(0));
            assert_eq!(other.head().header("cache-status"), Some("safecache; fwd=miss; collapsed"));
            other
        })
        .collect();
    assert_eq!(held(&gateway) - alone, 10.0 * 64.0 * 1024.0);
    drop((first, others));
    gateway.eventually("all is given back", |gateway| held(gateway) == 0.0);
}

#[test]
fn a_question_is_held_until_its_answer_begins() {
    let (_upstream, _opener, gateway) = house("cache: {max_entry: 1MiB}");
    let question =
        format!("{{\"model\":\"m\",\"messages\":[],\"pad\":\"{}\",\"stream\":true}}", "y".repeat(4 << 20));
    let mut client = ask(&gateway, "one", &question);
    assert_eq!(client.head().status, 200);
    assert!(held(&gateway) < 1024.0 * 1024.0, "{}", held(&gateway));
}
