//! A client that leaves: its upstream call ends with it, unless the route says that it is finished.

use std::sync::mpsc::channel;

use super::{Ask, CHAT, JSON, assert_hit, gateway, stream, whole};
use crate::support::client::DEADLINE;
use crate::support::gateway::secret;
use crate::support::upstream::{Upstream, gate};

const FINISH: &str = "finish_on_disconnect: true";

/// Asks for a stream, reads its head and first event, and leaves.
fn leave(gateway: &crate::support::gateway::Gateway, body: &[u8]) {
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), JSON, body);
    client.head();
    client.chunk().expect("the first event");
}

#[test]
fn an_answer_is_finished_and_stored_if_the_route_says_so() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(": beginning\n\n");
        gate.wait();
        exchange.chunk(stream(1));
        exchange.chunk("");
    });
    let gateway = gateway(&upstream, FINISH, "");
    leave(&gateway, br#"{"stream":true}"#);
    gateway.eventually("the client's leaving is seen", |gateway| {
        gateway.metrics().contains("outcome=\"client_closed\",route=\"/v1/*\",status=\"200\"")
    });
    assert_eq!(gateway.metric("safecache_cache_entries"), 0.0);
    assert_eq!(gateway.metric("safecache_in_flight_requests"), 1.0, "its call still takes a place");
    opener.open();
    gateway.eventually("it is stored", |gateway| gateway.metric("safecache_cache_entries") == 1.0);
    let hit = Ask::body(r#"{"stream":true}"#).send(&gateway);
    assert_hit(&hit, "finished without its client");
    assert_eq!(hit.text(), format!(": beginning\n\n{}", stream(1)));
    gateway.eventually("its place is free", |gateway| {
        gateway.metric("safecache_in_flight_requests") == 0.0
            && gateway.metric("safecache_buffer_bytes") == 0.0
    });
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_answer_not_yet_begun_is_finished_too() {
    let (gate, opener) = gate();
    let (asked, was_asked) = channel();
    let upstream = Upstream::start(move |_, exchange| {
        let _ = asked.send(());
        gate.wait();
        exchange.json(&whole(1));
    });
    let gateway = gateway(&upstream, FINISH, "");
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), JSON, b"{}");
    was_asked.recv_timeout(DEADLINE).expect("the upstream is asked");
    drop(client);
    gateway.eventually("the client's leaving is seen", |gateway| {
        gateway.metrics().contains("outcome=\"client_closed\"")
    });
    opener.open();
    gateway.eventually("it is stored", |gateway| gateway.metric("safecache_cache_entries") == 1.0);
    assert_hit(&Ask::body("{}").send(&gateway), "finished without its client");
}

#[test]
fn otherwise_the_upstream_is_stopped() {
    let (stopped, was_stopped) = channel();
    let upstream = Upstream::start(move |request, exchange| {
        if request.body.starts_with(b"{\"stream\"") {
            exchange.begin("text/event-stream");
            exchange.chunk(": beginning\n\n");
        }
        exchange.wait_for_close();
        let _ = stopped.send(());
    });
    let gateway = gateway(&upstream, "", "");
    leave(&gateway, br#"{"stream":true}"#);
    was_stopped.recv_timeout(DEADLINE).expect("the upstream sees it, within a stream");
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), JSON, b"{}");
    crate::support::client::eventually("the upstream is asked", || upstream.count() == 2);
    drop(client);
    was_stopped.recv_timeout(DEADLINE).expect("the upstream sees it, before any answer");
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
    assert_eq!(gateway.metric("safecache_cache_entries"), 0.0);
}

#[test]
fn one_that_leaves_within_its_body_is_told_as_gone() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", "");
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
    for body in ["Content-Length: 9\r\n\r\n{\"a", "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"a"] {
        gateway.connect().send(format!("{head}{body}"));
    }
    let series = "safecache_requests_total{outcome=\"client_closed\",route=\"/v1/*\",status=\"0\"}";
    gateway.eventually("both are told", |gateway| gateway.metric(series) == 2.0);
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.stop().matches("\"client_closed\"").count(), 2);
}

/// To finish what will not be stored would be of no use to anybody.
#[test]
fn what_will_not_be_stored_is_stopped_in_any_case() {
    let (stopped, was_stopped) = channel();
    let upstream = Upstream::start(move |request, exchange| {
        match request.body.as_slice() {
            br#"{"by":"status"}"# => {
                exchange.send("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n");
            }
            _ => drop(exchange.begin("text/event-stream")),
        }
        exchange.chunk(": beginning\n\n");
        while exchange.chunk("x".repeat(1000)) {}
        let _ = stopped.send(());
    });
    let gateway = gateway(&upstream, FINISH, "cache: {memory: 1MiB, max_entry: 64KiB}\n");
    for body in [&br#"{"by":"status"}"#[..], br#"{"by":"size"}"#, br#"{"store":true}"#] {
        leave(&gateway, body);
        was_stopped.recv_timeout(DEADLINE).expect("the upstream sees it");
    }
    gateway.eventually("nothing is held", |gateway| {
        gateway.metric("safecache_buffer_bytes") == 0.0
            && gateway.metric("safecache_in_flight_requests") == 0.0
    });
    let metrics = gateway.metrics();
    let up: Vec<_> = metrics.lines().filter(|line| line.starts_with("safecache_upstream_up{")).collect();
    assert!(up.len() == 1 && up[0].ends_with(" 1"), "the server is not to blame: {up:?}");
}
