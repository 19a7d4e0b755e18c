//! How connections end: an answer reaches who goes on sending, and a drain waits for nobody who has been answered.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::client::DEADLINE;
use crate::support::front::{CHAT, House, PATHS, Plans};
use crate::support::gateway::secret;
use crate::support::process::Process;
use crate::support::upstream::{Upstream, gate};
use rustix::process::Signal;
use tempfile::TempDir;

/// Idle, a gateway ends within this.
const IDLE: Duration = Duration::from_secs(1);

#[test]
fn an_answer_reaches_a_client_that_goes_on_sending() {
    let body = format!("{{\"choices\":[\"{}\"]}}", "x".repeat(1024 * 1024));
    let length = body.len();
    let upstream = Upstream::start(move |_, exchange| exchange.answer("200 OK", "application/json", &body));
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        // Once forwarded, once from the cache where there is one.
        for round in 0..2 {
            let mut client = house.gateway.connect();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{CHAT}",
                secret("one"),
                CHAT.len()
            );
            client.send(head + &"z".repeat(20_000));
            house.gateway.pass_some_time();
            let answer = client.answer();
            assert_eq!((answer.status, answer.body.len()), (200, length), "{path} {round}");
            assert!(client.is_closed(), "{path} {round}: what came behind the request is not served");
        }
    }
}

#[test]
fn who_is_answered_while_draining_is_told_that_the_connection_ends() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json("{}");
    });
    let folder = TempDir::new().expect("a temporary folder");
    let mut process = Process::serve(
        folder.path(),
        &format!(
            "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
             keys:\n{}",
            upstream.url(),
            crate::support::gateway::key("one", "")
        ),
    );
    let mut clients = PATHS.map(|path| {
        let mut client = process.connect();
        client.request(&format!("POST {path}"), &secret("one"), "", CHAT.as_bytes());
        client
    });
    upstream.wait_for(2);
    process.signal(Signal::TERM);
    process.stderr().wait_for("draining");
    while process.ask_admin("/readyz").status != 503 {}
    (0..2).for_each(|_| opener.open());
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    assert_eq!(process.wait().code, Some(0));
}

#[test]
fn a_drain_waits_for_no_connection_that_carries_nothing() {
    let upstream = Upstream::json("{}");
    let house = House::planned(
        &[upstream.url()],
        Plans { more: "limits: {head: {timeout: 60s}}\n", ..Plans::default() },
    );
    let silent = TcpStream::connect(house.tls_address()).expect("a connection");
    let mut half = house.gateway.connect();
    half.send("GET /v1/models HT");
    let idle = house.http2();
    house.gateway.eventually("all are open", |gateway| gateway.metric("safecache_connections") == 3.0);
    let began = now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(house.gateway.running().drain(std::future::pending()));
    assert!(began.elapsed() < IDLE * 10, "{:?}", began.elapsed());
    println!("a drain with connections that carry nothing: {:?}", began.elapsed());
    drop((silent, half, idle));
}

#[test]
fn a_head_without_end_takes_no_more_memory_than_its_bound() {
    let upstream = Upstream::json("{}");
    let house = House::before(&[upstream.url()]);
    let mut client = house.gateway.connect();
    client.send("GET /v1/models HTTP/1.1\r\nHost: g\r\nX-Long: ");
    client.stream().set_write_timeout(Some(DEADLINE)).expect("a timeout");
    let mut sent = 0;
    let piece = [b'x'; 1024];
    let mut stream = client.stream();
    // What is on its way when the gateway stops to read is not counted by it.
    while sent < 64 * 1024 * 1024 && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 64 * 1024 * 1024, "the gateway stops to read");
    house
        .gateway
        .eventually("it is counted", |gateway| gateway.metric("safecache_heads_refused_total") == 1.0);
}

#[expect(clippy::disallowed_methods, reason = "a measured value to print")]
fn now() -> Instant {
    Instant::now()
}
