//! Bounds of contract §2 `limits` on bodies, connections, requests and memory: each passed, and what happens then.

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Opener, Upstream, gate};

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"choices":[{"finish_reason":"stop"}]}"#;
const MIB: usize = 1024 * 1024;

/// A gateway whose only route is cached, with `limits` and the keys one, two and three.
fn gateway(upstream: &Upstream, limits: &str) -> Gateway {
    let keys = [key("one", ""), key("two", ""), key("three", "")].concat();
    Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nlimits: {{{limits}}}\nkeys:\n{keys}",
        upstream.url(),
    ))
}

/// An upstream that answers each request when the gate opens.
fn waiting() -> (Upstream, Opener) {
    let (wait, open) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        wait.wait();
        exchange.json(ANSWER);
    });
    (upstream, open)
}

fn chunked(bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..bytes / 4096 {
        body.extend_from_slice(b"1000\r\n");
        body.extend_from_slice(&[b'x'; 4096]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

#[track_caller]
fn overloaded(answer: &Answer) {
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(
        answer.text(),
        r#"{"error":"Service unavailable","message":"The gateway is at its limits. Please try again later.","status":503}"#
    );
}

/// A body takes what has come of it and some room, however much is to come and however slowly.
#[test]
fn uploads_that_stall_leave_room_for_others() {
    const CAME: usize = 11 * MIB / 2;
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "buffer_memory: 64MiB, buffer_memory_per_key: 10MiB, max_body: 10MiB");
    let mut begun = chunked(CAME);
    begun.truncate(begun.len() - "0\r\n\r\n".len());
    let framings = [("Content-Length: 10485760", vec![b'x'; CAME]), ("Transfer-Encoding: chunked", begun)];
    for (framing, begun) in framings {
        let mut stalled = gateway.connect();
        let head = format!("POST {CHAT} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
        stalled.send(format!("{head}{framing}\r\n\r\n")).send(begun);
        let held = || gateway.metric("safecache_buffer_bytes") as usize;
        gateway.eventually("all that was sent has come", |_| held() >= CAME);
        assert!(held() <= CAME * 3 / 2 + 64 * 1024, "{framing}: {}", held());
        assert_eq!(gateway.connect().post(CHAT, &secret("one"), "{}").status, 200, "{framing}");
        drop(stalled);
        gateway.eventually("all is given back", |_| held() == 0);
    }
}

#[test]
fn an_announced_body_over_its_bound_is_read_away_and_refused() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "max_body: 1MiB");
    let mut client = gateway.connect();
    let answer = client.request(&format!("POST {CHAT}"), &secret("one"), "", &vec![b'x'; 5 * MIB]).answer();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (413, r#"{"error":"Payload too large","message":"The request body is too large","status":413}"#)
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_chunked_body_over_its_bound_is_counted_read_away_and_refused() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "max_body: 1MiB");
    let mut client = gateway.connect();
    let chunks = chunked(5 * MIB);
    client.request(&format!("PUT {CHAT}"), "nobody", "Transfer-Encoding: chunked\r\n", b"");
    assert_eq!(client.send(&chunks).answer().status, 401, "an unknown key hears nothing of bounds");
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        secret("one")
    );
    let answer = client.send(head).send(&chunks).answer();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert_eq!(upstream.count(), 0);
    gateway.eventually("the memory is given back", |g| g.metric("safecache_buffer_bytes") == 0.0);
}

#[test]
fn a_body_of_exactly_the_bound_passes() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "max_body: 1MiB");
    let mut client = gateway.connect();
    let body = vec![b'x'; MIB];
    assert_eq!(client.request(&format!("POST {CHAT}"), &secret("one"), "", &body).answer().status, 200);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        secret("one")
    );
    assert_eq!(client.send(head).send(chunked(MIB)).answer().status, 200);
    let arrived: Vec<_> = upstream.requests().iter().map(|request| request.body == body).collect();
    assert_eq!(arrived, [true, true]);
}

#[test]
fn an_unread_body_is_read_away_no_further_than_the_bound() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "drain: {bytes: 64KiB, timeout: 60s}");
    let mut client = gateway.connect();
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: g\r\nContent-Length: {MIB}\r\n\r\n");
    // The rest never comes: the answer comes all the same.
    let answer = client.send(head).send(vec![b'x'; 64 * 1024 + 1]).answer();
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn an_unread_body_is_not_waited_for_longer_than_the_bound() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "drain: {timeout: 50ms}");
    let mut client = gateway.connect();
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: g\r\nContent-Length: {MIB}\r\n\r\n");
    let answer = client.send(head).send(b"the beginning").answer();
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn requests_beyond_their_bound_are_told_to_come_back() {
    let (upstream, open) = waiting();
    let gateway = gateway(&upstream, "max_requests: 2");
    let mut busy: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    // One on each way: read and passed on.
    busy[0].request(&format!("POST {CHAT}"), &secret("one"), "", b"{}");
    busy[1].request("GET /v1/models", &secret("one"), "", b"");
    gateway.eventually("both are under way", |_| upstream.count() == 2);
    assert_eq!(gateway.metric("safecache_in_flight_requests"), 2.0);
    let mut third = gateway.connect();
    for path in [CHAT, "/v1/embeddings", "/v1/files"] {
        let answer = third.post(path, &secret("two"), "{}");
        overloaded(&answer);
        assert!(answer.header("x-ratelimit-remaining").is_some());
    }
    assert_eq!(third.get("/healthz", "").status, 200, "health has no bound");
    assert_eq!(third.get("/v1/models", "nobody").status, 401);
    open.open();
    open.open();
    for client in &mut busy {
        assert_eq!(client.answer().status, 200);
    }
    gateway.eventually("both are over", |g| g.metric("safecache_in_flight_requests") == 0.0);
    open.open();
    assert_eq!(third.get("/v1/models", &secret("two")).status, 200);
    let refused = r#"safecache_requests_total{outcome="overloaded",route="/v1/*",status="503"}"#;
    assert_eq!(gateway.metric(refused), 3.0);
}

#[test]
fn memory_beyond_a_keys_share_is_refused_to_that_key_alone() {
    let (upstream, open) = waiting();
    let gateway = gateway(&upstream, "buffer_memory: 8MiB, buffer_memory_per_key: 1MiB, max_body: 1MiB");
    let line = format!("POST {CHAT}");
    let body = vec![b'x'; 700 * 1024];
    let mut first = gateway.connect();
    first.request(&line, &secret("one"), "", &body);
    gateway.eventually("it is held", |_| upstream.count() == 1);
    let held = gateway.metric("safecache_buffer_bytes");
    assert!((700.0 * 1024.0..=1_048_576.0).contains(&held), "{held}");
    overloaded(&gateway.connect().request(&line, &secret("one"), "", &body).answer());
    let mut second = gateway.connect();
    second.request(&line, &secret("two"), "", &body);
    gateway.eventually("another key has its own share", |_| upstream.count() == 2);
    open.open();
    open.open();
    assert_eq!((first.answer().status, second.answer().status), (200, 200));
    gateway.eventually("all is given back", |g| g.metric("safecache_buffer_bytes") == 0.0);
    open.open();
    assert_eq!(gateway.connect().request(&line, &secret("one"), "", &body).answer().status, 200);
}

#[test]
fn memory_beyond_the_total_is_refused_to_all() {
    let (upstream, open) = waiting();
    let gateway = gateway(&upstream, "buffer_memory: 2MiB, buffer_memory_per_key: 1MiB, max_body: 1MiB");
    let line = format!("POST {CHAT}");
    let body = vec![b'x'; 900 * 1024];
    let mut busy: Vec<Client> = Vec::new();
    for name in ["one", "two"] {
        let mut client = gateway.connect();
        client.request(&line, &secret(name), "", &body);
        busy.push(client);
    }
    gateway.eventually("both are held", |_| upstream.count() == 2);
    overloaded(&gateway.connect().request(&line, &secret("three"), "", &body).answer());
    // A chunked body is counted as it comes.
    let head = format!(
        "{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        secret("three")
    );
    overloaded(&gateway.connect().send(head).send(chunked(900 * 1024)).answer());
    open.open();
    open.open();
    for client in &mut busy {
        assert_eq!(client.answer().status, 200);
    }
    gateway.eventually("all is given back", |g| g.metric("safecache_buffer_bytes") == 0.0);
}
