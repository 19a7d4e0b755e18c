//! Clients that read slowly, not at all, or leave: what they cost, and that nothing of it stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const PIECE: usize = 64 * 1024;
/// More than all socket buffers on the way take.
const PIECES: usize = 1024;

/// An upstream that sends [`PIECES`] pieces that no entry may be made of, and how many of them it got rid of.
fn torrent() -> (Upstream, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("application/octet-stream");
        for _ in 0..PIECES {
            if !exchange.chunk([b'x'; PIECE]) {
                return exchange.close();
            }
            counting.fetch_add(1, Ordering::SeqCst);
        }
        exchange.chunk("");
    });
    (upstream, sent)
}

fn gateway(upstream: &Upstream, limits: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nlimits: {{{limits}}}\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ))
}

/// Waits until `sent` stands still: over a hundred looks at the metrics.
fn held_up(gateway: &Gateway, sent: &AtomicUsize) -> usize {
    let (mut before, mut looks) = (0, 0);
    gateway.eventually("the upstream is held up", |gateway| {
        gateway.metrics();
        let now = sent.load(Ordering::SeqCst);
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
        looks == 100
    });
    before
}

#[test]
fn a_client_that_does_not_read_holds_up_the_upstream_and_no_memory() {
    for line in [format!("POST {CHAT}"), "POST /v1/files".to_owned()] {
        let (upstream, sent) = torrent();
        let gateway = gateway(&upstream, "");
        let mut client = gateway.connect();
        client.request(&line, &secret("one"), "", b"{}");
        gateway.eventually("it begins", |_| sent.load(Ordering::SeqCst) > 0);
        let stopped_at = held_up(&gateway, &sent);
        assert!(stopped_at < PIECES * 3 / 4, "{line}: {stopped_at} of {PIECES} pieces went somewhere");
        let held = gateway.metric("safecache_buffer_bytes");
        assert!(held <= 320.0 * 1024.0, "{line}: {held} bytes held");
        let answer = client.answer();
        assert!(
            answer.is_whole && answer.body.len() == PIECE * PIECES,
            "{line}: read later, it is all there"
        );
        gateway.eventually("all is given back", |g| g.metric("safecache_buffer_bytes") == 0.0);
    }
}

#[test]
fn nothing_stays_of_clients_that_leave() {
    let upstream = Upstream::start(|request, exchange| {
        // A stream that goes on for as long as anybody wants it.
        let is_stream = request.line.contains("chat");
        exchange.begin(if is_stream { "text/event-stream" } else { "application/octet-stream" });
        while exchange.chunk(b"data: {}\n\n") {}
        exchange.close();
    });
    let gateway = gateway(&upstream, "");
    let json = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    std::thread::scope(|scope| {
        for number in 0..120 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.connect();
                let body = format!("{{\"stream\":true,\"n\":{number}}}");
                match number % 6 {
                    0 => drop(client.send("POST /v1/chat/completions HT")),
                    1 => drop(client.request(&format!("POST {CHAT}"), "nobody", json, b"")),
                    // Within its body.
                    2 => {
                        let head = format!(
                            "POST {CHAT} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n{json}\r\n5\r\n{{\"a",
                            secret("one")
                        );
                        client.send(head);
                    }
                    // Without reading anything.
                    3 => drop(client.request(&format!("POST {CHAT}"), &secret("one"), "", body.as_bytes())),
                    4 => {
                        client.request(&format!("POST {CHAT}"), &secret("one"), "", body.as_bytes());
                        assert_eq!(client.head().status, 200);
                        client.chunk();
                    }
                    _ => {
                        client.request("GET /v1/files", &secret("one"), "", b"");
                        assert_eq!(client.head().status, 200);
                        client.chunk();
                    }
                }
            });
        }
    });
    for gauge in ["safecache_connections", "safecache_in_flight_requests", "safecache_buffer_bytes"] {
        gateway.eventually(gauge, |gateway| gateway.metric(gauge) == 0.0);
    }
    assert_eq!(gateway.metric("safecache_cache_entries"), 0.0, "none of them came to its end");
}
