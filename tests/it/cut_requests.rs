//! Requests that the end of the process cuts are told in the access log, wherever they were. Contract §7.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::front::{ALONE, CACHED, CHAT, Front, House, PASSED, PATHS, Piece, Plans};
use crate::support::gateway::secret;
use crate::support::h2::{H2, HasBody};
use crate::support::upstream::{Exchange, Request, Upstream};

/// More than all socket buffers on the way take.
const SIZE: usize = 24 * 1024 * 1024;

/// Begins a stream if it is asked for one, and says no more.
fn never_done(request: &Request, exchange: &mut Exchange) {
    if request.line.contains("begun") {
        exchange.begin("text/event-stream");
        exchange.chunk("data: one\n\n");
    }
    exchange.wait_for_close();
    exchange.close();
}

/// Ends the gateway; its access lines as (outcome, status), sorted.
fn end(house: House) -> Vec<(String, u64)> {
    let log = house.gateway.stop();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut told: Vec<_> = lines
        .map(|line| {
            let outcome = line["outcome"].as_str().expect("text").to_owned();
            (outcome, line["status"].as_u64().expect("a number"))
        })
        .collect();
    told.sort();
    told
}

fn cut(statuses: &[u64]) -> Vec<(String, u64)> {
    statuses.iter().map(|status| ("internal_error".to_owned(), *status)).collect()
}

fn begin(mut client: Front, path: &str) -> Front {
    client.send(&format!("POST {path}"), ALONE, CHAT.as_bytes());
    client
}

#[test]
fn answers_that_have_begun_and_answers_that_have_not_are_told() {
    let upstream = Upstream::start(never_done);
    let house = House::before(&[upstream.url()]);
    let mut clients = Vec::new();
    for path in PATHS {
        for client in house.fronts() {
            let mut client = begin(client, &format!("{path}?begun"));
            assert_eq!(client.head().status, 200, "{} {path}", client.name());
            assert_eq!(client.piece(), Piece::Bytes(b"data: one\n\n".to_vec()));
            clients.push(client);
        }
        clients.extend(house.fronts().map(|client| begin(client, path)));
    }
    house.gateway.eventually("all are under way", |_| upstream.count() == 8);
    assert_eq!(end(house), cut(&[0, 0, 0, 0, 200, 200, 200, 200]));
    for client in clients.iter_mut().step_by(4) {
        assert_eq!(client.piece(), Piece::Broken, "{}: it does not look whole", client.name());
    }
}

#[test]
fn those_who_wait_for_a_place_upstream_are_told() {
    for path in PATHS {
        let upstream = Upstream::start(never_done);
        let plans =
            Plans { upstream: ", max_concurrent: 1, queue: {length: 2, wait: 1h}", ..Plans::default() };
        let house = House::planned(&[upstream.url()], plans);
        let _first = begin(house.h1(), CACHED);
        house.gateway.eventually("one is under way", |_| upstream.count() == 1);
        let _waiting = house.fronts().map(|client| begin(client, path));
        house.gateway.eventually("two wait", |gateway| gateway.metric("safecache_in_flight_requests") == 3.0);
        assert_eq!(end(house), cut(&[0, 0, 0]), "{path}");
        assert_eq!(upstream.count(), 1, "{path}");
    }
}

#[test]
fn a_client_that_had_sent_more_than_its_request_is_told() {
    let upstream = Upstream::start(never_done);
    let house = House::before(&[upstream.url()]);
    let Front::H1(mut client) = begin(house.h1(), CACHED) else { unreachable!("HTTP/1.1") };
    house.gateway.eventually("it is under way", |_| upstream.count() == 1);
    client.request(&format!("GET {PASSED}"), &secret("one"), "", b"");
    let mut other = house.h1();
    assert_eq!(other.ask("GET /healthz", &[], b"").status, 200, "time for the gateway to see it");
    assert_eq!(end(house), [vec![("forwarded".to_owned(), 200)], cut(&[0])].concat());
}

#[test]
fn a_body_that_was_still_coming_is_told() {
    let house = House::before(&[Upstream::start(never_done).url()]);
    let Front::H1(mut client) = house.h1() else { unreachable!("HTTP/1.1") };
    client.send(format!(
        "POST {CACHED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Length: 100\r\n\r\n",
        secret("one")
    ));
    assert_eq!(client.head().status, 100);
    client.send("{\"half\":");
    house.gateway.pass_some_time();
    assert_eq!(end(house), cut(&[0]));
}

#[test]
fn uploads_that_their_server_does_not_take_are_told() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let house = House::before(&[format!("http://{}", deaf.local_addr().expect("its address"))]);
    let _clients = PATHS.map(|path| {
        let mut h2 = house.http2();
        let stream = h2.open(H2::request(&format!("POST {path}"), &secret("one"), &[]), HasBody::Yes);
        h2.send_meanwhile(stream, vec![b'x'; SIZE]);
        h2
    });
    house
        .gateway
        .eventually("both are under way", |gateway| gateway.metric("safecache_in_flight_requests") == 2.0);
    house.gateway.pass_some_time();
    assert_eq!(end(house), cut(&[0, 0]));
}

#[test]
fn answers_that_their_client_does_not_read_are_told() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.answer("200 OK", "application/octet-stream", vec![b'x'; SIZE]);
    });
    let house = House::before(&[upstream.url()]);
    let mut clients = Vec::new();
    for path in PATHS {
        for client in house.fronts() {
            let mut client = begin(client, path);
            assert_eq!(client.head().status, 200, "{} {path}", client.name());
            clients.push(client);
        }
    }
    house.gateway.pass_some_time();
    assert_eq!(end(house), cut(&[200, 200, 200, 200]));
}

#[test]
fn what_a_tunnel_has_carried_is_told() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nto the client",
        );
        exchange.wait_for_close();
    });
    let plans = Plans { route: ", upgrade: websocket", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let mut client = house.gateway.connect();
    client.send(format!(
        "GET {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n",
        secret("one")
    ));
    assert_eq!(client.head().status, 101);
    assert_eq!(client.take(13), b"to the client");
    let line: Value = serde_json::from_str(&house.gateway.stop()).expect("one line of JSON");
    assert_eq!((&line["outcome"], &line["status"]), (&"internal_error".into(), &101.into()));
    assert_eq!((&line["bytes_sent"], &line["bytes_received"]), (&13.into(), &0.into()));
    assert!(client.is_closed());
}

#[test]
fn idle_connections_are_no_requests() {
    let upstream = Upstream::json("{}");
    let house = House::before(&[upstream.url()]);
    let mut clients = house.fronts();
    for client in &mut clients {
        assert_eq!(client.ask(&format!("GET {PASSED}"), &[], b"").status, 200);
    }
    let _silent = house.gateway.connect();
    let forwarded = ("forwarded".to_owned(), 200);
    assert_eq!(end(house), [forwarded.clone(), forwarded]);
}
