//! The cache API as clients meet it: over both protocols, behind admission, with the data port's bounds and headers. What
//! the calls themselves mean is in `api`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::disk::sql;
use crate::support::front::{CACHED, CHAT, House, JSON, Plans};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const CHECK: &str = "POST /api/v1/check";
const STORE: &str = "POST /api/v1/store";

fn house(more: &str) -> House {
    House::planned(&["http://127.0.0.1:9".into()], Plans { more, ..Plans::default() })
}

fn asking(text: &str) -> String {
    json!({"messages": [{"role": "user", "content": text}]}).to_string()
}

fn answering(text: &str, answer: &str) -> String {
    json!({"messages": [{"role": "user", "content": text}], "answer": answer}).to_string()
}

/// The code of a nested error, whose form is looked at.
#[track_caller]
fn code(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body["status"], json!(answer.status), "{body}");
    assert_eq!(body["timestamp"], "2027-01-15T08:00:00Z", "{body}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    body["error"]["code"].as_str().expect("a code").to_owned()
}

#[test]
fn what_one_protocol_stores_the_other_finds() {
    let house = house("");
    for mut front in house.fronts() {
        let name = front.name();
        let miss = front.ask(CHECK, JSON, asking(name).as_bytes());
        assert_eq!((miss.status, &miss.json()["cache_hit"]), (200, &json!(false)), "{name}");
        let stored = front.ask(STORE, JSON, answering(name, "an answer").as_bytes());
        assert_eq!((stored.status, &stored.json()["stored"]), (200, &json!(true)));
        assert_eq!(stored.json()["prompt_hash"], miss.json()["prompt_hash"]);
        for mut other in house.fronts() {
            let hit = other.ask(CHECK, JSON, asking(name).as_bytes());
            assert_eq!((hit.status, &hit.json()["answer"]), (200, &json!("an answer")), "{name}");
        }
    }
}

#[test]
fn every_answer_carries_what_the_gateway_says_on_all() {
    let house = house("cors: {origins: [https://app.example.com]}");
    for mut front in house.fronts() {
        let fields = &[("origin", "https://app.example.com"), ("x-request-id", "mine"), JSON[0]];
        for (line, body, status) in
            [(CHECK, asking("a"), 200), (CHECK, "{}".into(), 400), ("GET /api/v1/x", String::new(), 404)]
        {
            let answer = front.ask(line, fields, body.as_bytes());
            assert_eq!(answer.status, status, "{line}");
            assert_eq!(answer.header("x-request-id"), Some("mine"));
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
            for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit", "ratelimit-policy"] {
                assert!(answer.header(name).is_some(), "{name} of {line}");
            }
            assert_eq!(answer.header("cache-status"), None, "it is no cached path");
        }
    }
}

/// Flat bodies for 401, 403 and 429, as everywhere; nested ones for the rest.
#[test]
fn refusals_are_nested_but_for_those_that_are_flat_everywhere() {
    let more = key("bound", "allowed_models: [\"gpt-4o*\"]")
        + &key("far", "allowed_ips: [192.0.2.1]")
        + &key("slow", "plan: slow");
    let text = format!(
        "plans: {{slow: {{requests_per_minute: 1, burst: 1}}}}\nlimits: {{max_body: 1KiB}}\n\
         upstreams: {{llm: {{servers: [\"http://127.0.0.1:9\"]}}}}\n\
         routes: [{{path: /*, upstream: llm, errors: openai}}]\nkeys:\n{}{more}",
        key("one", "")
    );
    let gateway = Gateway::start(&text);
    let mut client = gateway.connect();
    let nested = [
        ("POST /api/v1/check", asking("a").replace("user", "nobody"), 400, "INVALID_INPUT"),
        ("POST /api/v1/nothing", "{}".into(), 404, "NOT_FOUND"),
        ("DELETE /api/v1/cache/xyz", String::new(), 400, "INVALID_INPUT"),
        ("PUT /api/v1/store", "{}".into(), 405, "METHOD_NOT_ALLOWED"),
        ("POST /api/v1/store", answering("a", &"x".repeat(1025)), 413, "PAYLOAD_TOO_LARGE"),
        ("POST /api/v1/openapi.json", "{}".into(), 405, "METHOD_NOT_ALLOWED"),
    ];
    for (line, body, status, expected) in nested {
        let answer = client
            .request(line, &secret("one"), "Content-Type: application/json\r\n", body.as_bytes())
            .answer();
        assert_eq!((answer.status, &*code(&answer)), (status, expected), "{line}");
        if status == 413 {
            // It closes: nobody reads what is too large.
            client = gateway.connect();
        }
    }
    let answer =
        client.request("POST /api/v1/check", &secret("one"), "Content-Type: text/plain\r\n", b"{}").answer();
    assert_eq!((answer.status, &*code(&answer)), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let coded = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let answer = client.request("POST /api/v1/check", &secret("one"), coded, b"{}").answer();
    assert_eq!((answer.status, &*code(&answer)), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let flat = |answer: &Answer| answer.json()["error"].as_str().map(str::to_owned);
    let answer = client.post("/api/v1/check", "nobody", &asking("a"));
    assert_eq!((answer.status, flat(&answer)), (401, Some("Invalid API key".into())));
    let answer = client.post("/api/v1/nothing", "nobody", "{}");
    assert_eq!(answer.status, 401, "what is not there is told to known keys alone");
    for (id, message) in [("far", "from your address"), ("bound", "the requested model")] {
        let answer = client.post("/api/v1/store", &secret(id), &answering("a", "b"));
        assert_eq!((answer.status, flat(&answer)), (403, Some("Access denied".into())), "{id}");
        assert!(answer.text().contains(message));
    }
    assert_eq!(client.post("/api/v1/check", &secret("slow"), &asking("a")).status, 200);
    let answer = client.post("/api/v1/check", &secret("slow"), &asking("a"));
    assert_eq!((answer.status, flat(&answer)), (429, Some("Rate limit exceeded".into())));
}

#[test]
fn allow_names_the_methods_of_each_path() {
    let house = house("");
    for (path, allowed) in [
        ("/api/v1/check", "POST"),
        ("/api/v1/store", "POST"),
        ("/api/v1/usage", "GET, HEAD"),
        ("/api/v1/cache", "GET, HEAD, DELETE"),
        ("/api/v1/cache/00", "DELETE"),
        ("/api/v1/openapi.json", "GET, HEAD"),
    ] {
        for mut front in house.fronts() {
            let answer = front.ask(&format!("PATCH {path}"), &[], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{path}");
        }
    }
}

#[test]
fn the_description_needs_no_key() {
    let house = house("");
    let mut client = house.gateway.connect();
    let answer = client.send("GET /api/v1/openapi.json HTTP/1.1\r\nHost: g\r\n\r\n").answer();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("x-ratelimit-limit"), None);
    answer.json();
    let head = client.send("HEAD /api/v1/openapi.json HTTP/1.1\r\nHost: g\r\n\r\n").head();
    assert_eq!(head.header("content-length"), answer.header("content-length"));
    assert_eq!(client.get("/healthz", &secret("one")).text(), "ok\n", "nothing came behind the head");
}

/// A connection goes on after whatever was said on it, unless something of a request is left unread.
#[test]
fn a_connection_carries_call_after_call() {
    let house = house("");
    let mut client = house.gateway.connect();
    for _ in 0..3 {
        assert_eq!(client.post("/api/v1/check", &secret("one"), &asking("a")).status, 200);
        assert_eq!(client.post("/api/v1/check", &secret("one"), "{").status, 400);
        assert_eq!(
            client.request("DELETE /api/v1/cache", &secret("one"), "", b"a body").answer().status,
            200
        );
        assert_eq!(client.get("/api/v1/usage", &secret("one")).status, 200);
        let chunked = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
        client.send(format!(
            "POST /api/v1/check HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n{chunked}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            secret("one"),
            asking("a").len(),
            asking("a")
        ));
        assert_eq!(client.answer().status, 200);
    }
    let expect = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let body = asking("a");
    client.send(format!(
        "POST /api/v1/check HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n{expect}Content-Length: {}\r\n\r\n",
        secret("one"),
        body.len()
    ));
    assert_eq!(client.head().status, 100);
    assert_eq!(client.send(body).answer().status, 200);
}

#[test]
fn calls_are_told_to_metrics_and_the_log() {
    let house = house("");
    let mut front = house.h1();
    front.ask(CHECK, JSON, asking("a").as_bytes());
    front.ask(STORE, JSON, answering("a", "four bytes and more").as_bytes());
    front.ask(CHECK, JSON, asking("a").as_bytes());
    front.ask(CHECK, JSON, b"{}");
    front.ask("GET /api/v1/nothing", &[], b"");
    front.ask("GET /api/v1/usage", &[], b"");
    let gateway = house.gateway;
    for (outcome, status, count) in [
        ("forwarded", 200, 2.0),
        ("stored", 200, 1.0),
        ("exact_hit", 200, 1.0),
        ("invalid", 400, 1.0),
        ("not_found", 404, 1.0),
    ] {
        let series =
            format!("safecache_requests_total{{outcome=\"{outcome}\",route=\"none\",status=\"{status}\"}}");
        // The last one is counted a moment after its answer has come.
        gateway.eventually(outcome, |gateway| gateway.metric(&series) == count);
    }
    assert_eq!(gateway.metric("safecache_tokens_saved_total"), 5.0, "19 bytes are 5 tokens");
    let log = gateway.stop();
    let outcomes: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["forwarded", "stored", "exact_hit", "invalid", "not_found", "forwarded"]);
    assert!(!log.contains("four bytes"), "no answer is logged");
}

#[test]
fn stored_answers_are_there_after_a_restart_and_end_by_the_clock() {
    let house = house("");
    let mut front = house.h1();
    let body = answering("a", "an answer").replacen('{', "{\"ttl\":100,", 1);
    assert_eq!(front.ask(STORE, JSON, body.as_bytes()).status, 200);
    drop(front);
    house.gateway.clock.advance(Duration::from_secs(99));
    let gateway = house.gateway.restarted();
    let check =
        |gateway: &Gateway| gateway.connect().post("/api/v1/check", &secret("one"), &asking("a")).json();
    assert_eq!(check(&gateway)["answer"], "an answer");
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(check(&gateway)["cache_hit"], false);
}

/// What the disk has made something else of is no answer; one to the same question that is as it was put still is.
#[test]
fn a_damaged_answer_is_deleted_counted_and_never_served() {
    let house = house("");
    let mut front = house.h1();
    assert_eq!(front.ask(STORE, JSON, answering("a", "of no model").as_bytes()).status, 200);
    house.gateway.clock.advance(Duration::from_secs(1));
    let named = answering("a", "of a model").replacen('{', "{\"model\":\"m\",", 1);
    assert_eq!(front.ask(STORE, JSON, named.as_bytes()).status, 200);
    let damage = |column: &str, of: &str| {
        let change = format!("UPDATE stored_answers SET {column} = '{{\"a\":1}}' WHERE {of}");
        sql(house.gateway.folder.path(), change);
    };
    let mut check = || front.ask(CHECK, JSON, asking("a").as_bytes()).json();
    assert_eq!(check()["answer"], "of a model");
    damage("answer", "model = 'm'");
    assert_eq!(check()["answer"], "of no model");
    damage("metadata", "model IS NULL");
    assert_eq!(check()["cache_hit"], false);
    assert_eq!(house.gateway.metric("safecache_stored_damaged_total"), 2.0);
    assert_eq!(front.ask("GET /api/v1/cache", &[], b"").json()["entries"], json!([]));
}

/// What was stored answers no question on a route, and what an upstream answered no check.
#[test]
fn stored_and_proxied_answers_never_serve_each_other() {
    let upstream = Upstream::json(
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"of the model"},"finish_reason":"stop"}]}"#,
    );
    let house = House::before(&[upstream.url()]);
    let mut front = house.h1();
    let asked: Value = serde_json::from_str(CHAT).unwrap();
    let messages = &asked["messages"];
    let stored = json!({"messages": messages, "model": "m", "answer": "of the store"}).to_string();
    assert_eq!(front.ask(STORE, JSON, stored.as_bytes()).status, 200);
    assert_eq!(front.chat(CACHED).header("x-cache"), Some("MISS"));
    assert!(front.chat(CACHED).text().contains("of the model"));
    let check = json!({"messages": messages, "model": "m"}).to_string();
    assert_eq!(front.ask(CHECK, JSON, check.as_bytes()).json()["answer"], "of the store");
    front.ask("DELETE /api/v1/cache", &[], b"");
    assert_eq!(front.ask(CHECK, JSON, check.as_bytes()).json()["cache_hit"], false);
    assert_eq!(front.chat(CACHED).header("x-cache"), Some("MISS"), "both kinds are deleted");
}

/// A slow or large body is bounded as on every route: by `max_body`, and by the key's memory.
#[test]
fn a_body_takes_no_more_memory_than_its_key_may_have() {
    let house = house("limits: {max_body: 1MiB, buffer_memory_per_key: 1MiB}");
    let mut client = house.gateway.connect();
    let large = answering("a", &"x".repeat(1 << 20));
    let answer = client.post("/api/v1/store", &secret("one"), &large);
    assert_eq!((answer.status, &*code(&answer)), (413, "PAYLOAD_TOO_LARGE"));
    let mut slow: Vec<_> = (0..2)
        .map(|_| {
            let mut client = house.gateway.connect();
            client.send(format!(
                "POST /api/v1/store HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{}",
                secret("one"),
                "x".repeat(400_000)
            ));
            client
        })
        .collect();
    house.gateway.eventually("they are held", |g| g.metric("safecache_buffer_bytes") > 700_000.0);
    let body = answering("a", &"x".repeat(300_000));
    let answer = house.gateway.connect().post("/api/v1/store", &secret("one"), &body);
    assert_eq!((answer.status, &*code(&answer)), (503, "UNAVAILABLE"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    slow.clear();
    house.gateway.eventually("it is given back", |g| g.metric("safecache_buffer_bytes") == 0.0);
}
