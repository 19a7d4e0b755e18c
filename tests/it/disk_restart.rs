//! What the cache keeps on the disk is found there by the next gateway on the folder, as old as it is.

use std::time::Duration;

use crate::support::client::Answer;
use crate::support::front::{CACHED, CHAT, House, JSON, Plans};
use crate::support::gateway::START;
use crate::support::upstream::Upstream;

use safecache::clock::UnixTime;

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;

/// An upstream whose answers say which one they are.
fn upstream() -> Upstream {
    Upstream::start(|request, exchange| {
        let is_stream = String::from_utf8_lossy(&request.body).contains("\"stream\":true");
        if !is_stream {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nopenai-version: 7\r\nx-other: 1\r\n\
                 Content-Length: {}\r\n\r\n",
                ANSWER.len()
            );
            exchange.send([head.as_bytes(), ANSWER.as_bytes()].concat());
            return;
        }
        exchange.begin("text/event-stream");
        exchange.chunk(STREAM);
        exchange.chunk("");
    })
}

const STREAM: &str = concat!(
    r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#,
    "\n\ndata: [DONE]\n\n"
);

fn house(upstream: &Upstream) -> House {
    House::before(&[upstream.url()])
}

fn next(house: House, upstream: &Upstream) -> House {
    house.followed_by(&[upstream.url()], Plans::default())
}

fn streamed() -> String {
    CHAT.replace("{\"model\"", "{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\"")
}

fn ask(house: &House, body: &str) -> Answer {
    house.h1().ask(&format!("POST {CACHED}"), JSON, body.as_bytes())
}

#[track_caller]
fn check(answer: &Answer, x_cache: &str, body: &str) {
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some(x_cache)), "{answer:?}");
    assert_eq!(answer.text(), body);
}

#[test]
fn an_answer_is_found_after_a_restart_as_it_was_and_as_old_as_it_is() {
    let upstream = upstream();
    let first = house(&upstream);
    check(&ask(&first, CHAT), "MISS", ANSWER);
    let warm = ask(&first, CHAT);
    let second = next(first, &upstream);
    let restarted = ask(&second, CHAT);
    check(&restarted, "HIT", ANSWER);
    for name in ["content-type", "content-length", "openai-version", "x-other", "cache-status", "age"] {
        assert_eq!(restarted.header(name), warm.header(name), "{name}");
    }
    assert_eq!(restarted.header("age"), Some("0"));
    second.gateway.clock.advance(Duration::from_secs(100));
    assert_eq!(ask(&second, CHAT).header("age"), Some("100"));
    let told = |series: &str| second.gateway.metric(series);
    assert_eq!(told("safecache_disk_reads_total{result=\"hit\"}"), 1.0, "once it is in memory");
    assert_eq!(told("safecache_cache_lookups_total{kind=\"exact\",result=\"hit\"}"), 2.0);
    assert_eq!(told("safecache_cache_lookups_total{kind=\"exact\",result=\"miss\"}"), 0.0);
    assert_eq!(told("safecache_tokens_saved_total"), 8.0);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_time_to_live_runs_on_over_a_restart() {
    let upstream = upstream();
    let first = house(&upstream);
    first.gateway.clock.advance(Duration::from_secs(50));
    check(&ask(&first, CHAT), "MISS", ANSWER);
    let second = next(first, &upstream);
    second.gateway.clock.advance(Duration::from_secs(50 + 600));
    let young = &[("content-type", "application/json"), ("cache-control", "max-age=599, only-if-cached")];
    assert_eq!(second.h1().ask(&format!("POST {CACHED}"), young, CHAT.as_bytes()).status, 504, "too old");
    let found = ask(&second, CHAT);
    check(&found, "HIT", ANSWER);
    assert_eq!(found.header("age"), Some("600"));
    assert_eq!(found.header("cache-status"), Some("safecache; hit; ttl=3000"));
    second.gateway.clock.advance(Duration::from_secs(2999));
    assert_eq!(ask(&second, CHAT).header("cache-status"), Some("safecache; hit; ttl=1"));
    second.gateway.clock.advance(Duration::from_secs(1));
    let third = next(second, &upstream);
    third.gateway.clock.advance(Duration::from_secs(50 + 3600));
    check(&ask(&third, CHAT), "MISS", ANSWER);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn what_came_in_the_future_is_new() {
    let upstream = upstream();
    let first = house(&upstream);
    check(&ask(&first, CHAT), "MISS", ANSWER);
    let second = next(first, &upstream);
    second.gateway.clock.set_unix(UnixTime::from_secs(START.as_secs() - 7200));
    let found = ask(&second, CHAT);
    check(&found, "HIT", ANSWER);
    assert_eq!(
        (found.header("age"), found.header("cache-status")),
        (Some("0"), Some("safecache; hit; ttl=3600"))
    );
    let third = next(second, &upstream);
    third.gateway.clock.set_unix(UnixTime::from_secs(START.as_secs() + 3600));
    check(&ask(&third, CHAT), "MISS", ANSWER);
}

#[test]
fn an_answer_in_one_form_serves_the_other_after_a_restart() {
    for (asked, then) in [(CHAT.to_owned(), streamed()), (streamed(), CHAT.to_owned())] {
        let upstream = upstream();
        let first = house(&upstream);
        assert_eq!(ask(&first, &asked).header("x-cache"), Some("MISS"));
        let translated = ask(&first, &then);
        assert_eq!(translated.header("x-cache"), Some("HIT"));
        let second = next(first, &upstream);
        second.gateway.clock.advance(Duration::from_secs(5));
        let found = ask(&second, &then);
        check(&found, "HIT", &translated.text());
        assert_eq!(found.header("age"), Some("5"));
        assert_eq!(found.header("content-type"), translated.header("content-type"));
        assert_eq!(ask(&second, &asked).header("x-cache"), Some("HIT"));
        assert_eq!(upstream.count(), 1);
        second.gateway.eventually("the one form is there alone", |gateway| {
            gateway.metric("safecache_disk_entries") == 1.0
        });
    }
}

#[test]
fn the_newest_answer_is_the_one_on_the_disk_in_every_form() {
    let upstream = upstream();
    let first = house(&upstream);
    assert_eq!(ask(&first, CHAT).header("x-cache"), Some("MISS"));
    let written = |house: &House, count: f64| {
        house.gateway.eventually("it is written", |gateway| {
            gateway.metric("safecache_disk_writes_total{result=\"stored\"}") == count
        });
    };
    written(&first, 1.0);
    first.gateway.clock.advance(Duration::from_secs(60));
    let anew = &[("content-type", "application/json"), ("cache-control", "no-cache")];
    let answer = first.h1().ask(&format!("POST {CACHED}"), anew, streamed().as_bytes());
    assert_eq!(answer.status, 200);
    written(&first, 2.0);
    assert_eq!(first.gateway.metric("safecache_disk_entries"), 1.0, "the older form is gone");
    let second = next(first, &upstream);
    second.gateway.clock.advance(Duration::from_secs(61));
    let found = ask(&second, CHAT);
    assert_eq!((found.header("x-cache"), found.header("age")), (Some("HIT"), Some("1")));
}

#[test]
fn who_asks_at_the_same_time_reads_the_disk_once() {
    let upstream = upstream();
    let first = house(&upstream);
    check(&ask(&first, CHAT), "MISS", ANSWER);
    let second = next(first, &upstream);
    let mut clients: Vec<_> = (0..20).map(|_| second.h1()).collect();
    for client in &mut clients {
        client.send(&format!("POST {CACHED}"), JSON, CHAT.as_bytes());
    }
    for client in &mut clients {
        let answer = client.head_and_body();
        check(&answer, "HIT", ANSWER);
    }
    assert_eq!(upstream.count(), 1);
    let reads = second.gateway.metric("safecache_disk_reads_total{result=\"hit\"}");
    assert!((1.0..=4.0).contains(&reads), "{reads}");
}

#[test]
fn another_account_finds_nothing() {
    let upstream = upstream();
    let more = format!(
        "  - {{id: two, account: globex, plan: enterprise, sha256: {}}}\n",
        crate::support::gateway::sha256(&crate::support::gateway::secret("two"))
    );
    let first = house(&upstream);
    check(&ask(&first, CHAT), "MISS", ANSWER);
    let folder = first.gateway.into_folder();
    let yaml = format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}{more}",
        upstream.url(),
        crate::support::gateway::key("one", "")
    );
    let second = crate::support::gateway::Gateway::start_in(folder, &yaml);
    let ask = |id: &str| {
        let mut client = second.connect();
        client.post(CACHED, &crate::support::gateway::secret(id), CHAT)
    };
    assert_eq!(ask("two").header("x-cache"), Some("MISS"));
    assert_eq!(ask("one").header("x-cache"), Some("HIT"));
}
