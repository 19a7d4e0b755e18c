//! Bounds on request heads: their size, their fields, their time.

use std::io::Read;
use std::time::Duration;

use safecache::clock::Clock;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
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
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (
                431,
                r#"{"error":"Request header fields too large","message":"The request head is too large","status":431}"#
            ),
            "{what}"
        );
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        assert!(client.is_closed());
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_head_that_no_engine_reads_is_refused() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "");
    for (too_much, status) in [(head(8192, 300), 400), (head(2 * 1024 * 1024, 3), 431)] {
        let mut client = gateway.connect();
        // It may be refused before all of it is sent.
        client.try_send(too_much);
        let mut answer = Vec::new();
        let _ = client.stream().read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(upstream.count(), 0);
    gateway.eventually("both are counted", |g| g.metric("safecache_heads_refused_total") == 2.0);
}

/// Sends `head` byte by byte until the other side closes, and tells after how long it did.
fn drip(client: &mut Client, head: &[u8]) -> Duration {
    let clock = Clock::system();
    let begun = clock.monotonic();
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
    clock.monotonic().saturating_since(begun)
}

#[test]
fn a_head_that_drips_is_cut_at_the_timeout_on_a_fresh_connection() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "timeout: 300ms");
    let took = drip(&mut gateway.connect(), head(8192, 3).as_bytes());
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
    let took = drip(&mut client, head(8192, 3).as_bytes());
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
