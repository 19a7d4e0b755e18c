//! An early answer reaches a client that is still sending. Contract §3.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const BAD: &str = "unknown-key-of-nobody";
const LARGE: usize = 5 * 1024 * 1024;

fn gateway(upstream: &Upstream, limits: &str) -> Gateway {
    Gateway::start(&format!(
        "limits: {{auth_failures: off, {limits}}}\nplans: {{tiny: {{requests_per_minute: 1, burst: 1}}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         keys:\n{}{}{}",
        upstream.url(),
        key("one", ""),
        key("tiny", "plan: tiny"),
        key("elsewhere", "allowed_ips: [192.0.2.1]"),
    ))
}

fn chunked(key: &str, size: usize) -> Vec<u8> {
    let head = format!(
        "POST /v1/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"
    );
    [head.as_bytes(), &vec![b'x'; size], b"\r\n0\r\n\r\n"].concat()
}

/// Each client sends everything before it reads anything, as most do.
#[test]
fn a_hundred_of_a_hundred_uploads_with_a_bad_key_read_the_401() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_body: 6MiB, buffer_memory_per_key: 6MiB");
    let address = gateway.address();
    let body = vec![b'x'; LARGE];
    let read = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..10)
            .map(|lane| {
                let body = &body;
                scope.spawn(move || {
                    let mut read = 0;
                    for turn in 0..10 {
                        let mut client = Client::connect(address);
                        let answer = if (lane + turn) % 2 == 0 {
                            client.request("POST /v1/chat/completions", BAD, "", body).answer()
                        } else {
                            client.send(chunked(BAD, LARGE)).answer()
                        };
                        read += usize::from(answer.status == 401 && answer.is_whole);
                        // It was read to its end, so the connection goes on.
                        assert_eq!(client.get("/v1/x", BAD).status, 401);
                    }
                    read
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum::<usize>()
    });
    assert_eq!(read, 100);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn every_refusal_is_read_by_who_is_still_sending() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_body: 1MiB");
    let body = vec![b'x'; LARGE];
    let chat = "POST /v1/chat/completions";
    assert_eq!(gateway.connect().get("/nowhere", &secret("tiny")).status, 404);
    for (line, id, status) in [
        (chat, "elsewhere", 403),
        ("POST /nowhere", "one", 404),
        (chat, "tiny", 429),
        (chat, "one", 413),
        ("POST /v1//x", "one", 400),
    ] {
        let answer = gateway.connect().request(line, &secret(id), "", &body).answer();
        assert_eq!((answer.status, answer.is_whole), (status, true), "{line} {id}");
    }
    let mut client = gateway.connect();
    let head =
        "POST /v1/embeddings HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer ";
    client.send(format!("{head}{}\r\n\r\n{LARGE:x}\r\n", secret("one")));
    client.send(&body).send("\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.is_whole), (413, true), "seen while it is read");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_small_body_keeps_the_connection_open() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_body: 1MiB");
    let mut client = gateway.connect();
    for _ in 0..3 {
        let answer = client.post("/v1/chat/completions", BAD, "{\"model\":\"m\"}");
        assert_eq!(answer.status, 401);
        assert_ne!(answer.header("connection"), Some("close"));
        assert_eq!(client.send(chunked(BAD, 100)).answer().status, 401);
    }
    assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn who_waits_to_be_told_to_continue_is_told_the_401_instead() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_body: 1MiB");
    let head = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = gateway.connect();
    let answer = client.send(head(BAD)).head();
    assert_eq!(answer.status, 401, "no 100 came before it");
    let mut client = gateway.connect();
    assert_eq!(client.send(head(&secret("one"))).head().status, 100);
    assert_eq!(client.send("{}").answer().status, 200);
    assert_eq!(upstream.requests().last().map(|request| request.body.clone()), Some(b"{}".to_vec()));
}

/// What comes behind it is no body, so there is nothing to be read away first.
#[test]
fn who_sends_a_bad_chunk_is_told_at_once() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "drain: {timeout: 1h}");
    for path in ["/v1/chat/completions", "/v1/files"] {
        let mut client = gateway.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            secret("one")
        ));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{path}");
    }
}

#[test]
fn a_body_beyond_the_drains_bounds_ends_the_connection() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_body: 1MiB, drain: {bytes: 1KiB, timeout: 100ms}");
    // It announces more than is drained and sends no more: the answer comes at once or when the time is up.
    let mut client = gateway.connect();
    let head = format!(
        "POST /v1/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {BAD}\r\nContent-Length: 100\r\n\r\n"
    );
    let answer = client.send(head).send("too little").answer();
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    assert!(client.is_closed());
    assert!(client.pending(Duration::from_millis(1)).is_empty());
}
