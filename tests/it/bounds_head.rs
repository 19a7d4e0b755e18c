//! Bounds on request heads: their size, their fields, their time.

use std::io::Read;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::stopwatch::Stopwatch;
use crate::support::upstream::Upstream;

const TIMEOUT: Duration = Duration::from_millis(300);
/// Between two bytes of a head that drips: many of these make one [`TIMEOUT`].
const DRIP: Duration = Duration::from_millis(20);

fn gateway(upstream: &Upstream, head: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm}}]\n\
         limits: {{head: {{{head}}}}}\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ))
}

/// A head of exactly `bytes` bytes and `fields` fields.
fn head(bytes: usize, fields: usize) -> String {
    let mut head =
        format!("GET /v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
    for number in 3..fields {
        head += &format!("X-{number}: y\r\n");
    }
    let padding = bytes - head.len() - "X-Padding: \r\n\r\n".len();
    head + "X-Padding: " + &"p".repeat(padding) + "\r\n\r\n"
}

#[test]
fn a_head_over_its_bytes_or_fields_is_refused_and_one_at_its_bounds_is_not() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "bytes: 8KiB, fields: 20");
    let mut client = gateway.connect();
    assert_eq!(client.send(head(8192, 20)).answer().status, 200);
    for (too_much, what) in
        [(head(8193, 20), "a byte"), (head(8192, 21), "a field"), (head(200_000, 20), "much")]
    {
        let mut client = gateway.connect();
        let answer = client.send(too_much).answer();
        assert_eq!((answer.status, answer.text().as_str()), (431, TOO_LARGE), "{what}");
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        assert!(client.is_closed());
    }
    assert_eq!(upstream.count(), 1);
}

/// What is told of a head that is too large.
const TOO_LARGE: &str =
    r#"{"error":"Request header fields too large","message":"The request head is too large","status":431}"#;

#[test]
fn a_head_that_no_engine_reads_is_refused() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "");
    for too_much in [head(8192, 257), head(2 * 1024 * 1024, 3)] {
        let mut client = gateway.connect();
        // It is read away, so that the answer can be read.
        let answer = client.send(too_much).answer();
        assert_eq!((answer.status, answer.text().as_str()), (431, TOO_LARGE));
        assert_eq!((answer.header("connection"), answer.header("x-request-id")), (Some("close"), None));
        assert!(client.is_closed());
    }
    assert_eq!(upstream.count(), 0);
    gateway.eventually("both are counted", |g| g.metric("safecache_heads_refused_total") == 2.0);
    assert_eq!(gateway.stop(), "", "neither has an access line");
}

#[test]
fn the_most_fields_that_can_be_allowed_pass() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "fields: 256");
    assert_eq!(gateway.connect().send(head(8192, 256)).answer().status, 200);
}

#[test]
fn a_head_is_read_no_further_than_its_bound() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "bytes: 8KiB, timeout: 60s");
    for kept in [false, true] {
        let mut client = gateway.connect();
        if kept {
            assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
        }
        let whole = head(8192, 3);
        let (most, end) = whole.split_at(8191);
        // All but the last byte, and then the last: no less will do, and no more is wanted.
        client.send(most);
        assert_eq!(client.pending(Duration::from_millis(50)), b"");
        assert_eq!(client.send(end).answer().status, 200);
        // The end has not come where it had to: the client is told before it says another word.
        let answer = client.send(&head(8193, 3).as_bytes()[..8192]).answer();
        assert_eq!((answer.status, answer.text().as_str()), (431, TOO_LARGE), "kept: {kept}");
        assert!(client.is_closed());
    }
    gateway.eventually("both are counted", |g| g.metric("safecache_heads_refused_total") == 2.0);
}

#[test]
fn a_body_that_comes_with_its_head_is_no_part_of_it() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "bytes: 1KiB");
    let body = vec![b'x'; 200_000];
    for path in ["/v1/files", "/v1/chat/completions"] {
        let answer = gateway.connect().request(&format!("POST {path}"), &secret("one"), "", &body).answer();
        assert_eq!(answer.status, 200, "{path}");
    }
    assert!(upstream.requests().iter().all(|request| request.body == body));
}

#[test]
fn what_the_engine_cannot_read_gets_a_bare_400_and_all_else_an_answer_of_ours() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "");
    let get = |rest: &str| format!("GET /v1/models HTTP/1.1\r\n{rest}\r\n");
    let bare = [
        "nonsense\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /v1/models HTTP/3.0\r\nHost: g\r\n\r\n".to_owned(),
        get("Host: g\r\nHost: h\r\n"),
        get("Host: g\r\nA : b\r\n"),
        get("Host: g\r\nA: b\r\n c\r\n"),
        get("Host: g\r\nA\0: b\r\n"),
        get("Host: g\r\nA: \0\r\n"),
        get("Host: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n"),
        get("Host: g\r\nContent-Length: +1\r\n"),
    ];
    for head in &bare {
        let answer = gateway.connect().send(head).answer();
        let (kind, id) = (answer.header("content-type"), answer.header("x-request-id"));
        assert_eq!(
            (answer.status, answer.body.len(), kind, id),
            (400, 0, None, None),
            "{head:?}: {answer:?}"
        );
    }
    let counted = bare.len() as f64;
    gateway.eventually("each is counted", |g| g.metric("safecache_heads_refused_total") == counted);
    let ours = [
        (get(""), 400),
        (get("Host: g h\r\n"), 400),
        (get("Host: g\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400),
        (get("Host: g\r\nTransfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", 501),
        (get("Host: g\r\nExpect: a-miracle\r\n"), 417),
        ("GET /v1/../x HTTP/1.1\r\nHost: g\r\n\r\n".to_owned(), 400),
        ("TRACE /v1/models HTTP/1.1\r\nHost: g\r\n\r\n".to_owned(), 405),
        (get("Host: g\r\n"), 401),
        (head(8192, 101), 431),
    ];
    for (head, status) in &ours {
        let answer = gateway.connect().send(head).answer();
        assert_eq!(answer.status, *status, "{head:?}: {answer:?}");
        assert_eq!(answer.json()["status"], *status, "{head:?}");
        assert!(answer.header("x-request-id").is_some(), "{head:?}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.metric("safecache_heads_refused_total"), counted, "those had heads");
    assert_eq!(gateway.stop().lines().count(), ours.len(), "and have their lines");
}

/// Sends `head` byte by byte until the other side closes, and tells how long after the start of `begun` it did.
fn drip(client: &mut Client, head: &[u8], begun: &Stopwatch) -> Duration {
    client.stream().set_read_timeout(Some(DRIP)).unwrap();
    for byte in head {
        client.try_send([*byte]);
        let closed = match client.stream().read(&mut [0; 512]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        if closed {
            break;
        }
    }
    begun.elapsed()
}

#[test]
fn a_head_that_drips_is_cut_at_the_timeout_on_a_fresh_connection() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "timeout: 300ms");
    // The timeout begins when the connection is there, which is before its client knows.
    let begun = Stopwatch::start();
    let took = drip(&mut gateway.connect(), head(8192, 3).as_bytes(), &begun);
    println!("cut after {took:?} of {TIMEOUT:?}");
    assert!(took >= TIMEOUT && took < TIMEOUT * 10, "{took:?}");
    gateway.eventually("it is counted", |g| g.metric("safecache_heads_refused_total") == 1.0);
    gateway.eventually("it is gone", |g| g.metric("safecache_connections") == 0.0);
}

#[test]
fn a_head_that_drips_is_cut_at_the_timeout_on_a_kept_connection() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "timeout: 300ms");
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    }
    let took = drip(&mut client, head(8192, 3).as_bytes(), &Stopwatch::start());
    println!("cut after {took:?} of {TIMEOUT:?}");
    assert!(took >= TIMEOUT && took < TIMEOUT * 10, "{took:?}");
    gateway.eventually("it is gone", |g| g.metric("safecache_connections") == 0.0);
}

#[test]
fn a_connection_that_says_nothing_is_cut_at_the_timeout() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "timeout: 300ms");
    assert!(gateway.connect().is_closed());
}

#[test]
fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "timeout: 100ms");
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
        // Silence is the promise: neither bytes nor an end for three times the timeout.
        assert_eq!(client.pending(Duration::from_millis(300)), b"");
    }
    assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    // Nor does the deadline of a head run while a request is served.
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_slow_answer_is_not_cut_by_the_heads_timeout() {
    let (wait, open) = crate::support::upstream::gate();
    let upstream = Upstream::start(move |_, exchange| {
        wait.wait();
        exchange.json("{}");
    });
    let gateway = gateway(&upstream, "timeout: 100ms");
    let mut client = gateway.connect();
    client.request("GET /v1/models", &secret("one"), "", b"");
    assert_eq!(client.pending(Duration::from_millis(300)), b"");
    open.open();
    assert_eq!(client.answer().status, 200);
}
