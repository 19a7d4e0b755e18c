//! What a server says unasked: nobody is given it for an answer.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use safecache::spread::cores;

use crate::support::front::{House, PASSED, Plans, unstored};
use crate::support::gateway::secret;
use crate::support::h2::{H2, HasBody};
use crate::support::tls::{Authority, TlsRecords};
use crate::support::upstream::{Upstream, gate};

/// An answer to nobody.
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nPOISON";

/// The answer that is asked for, up to a field that gives it its size.
const ANSWER_PADDED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nX-Padding: ";

/// A request that is passed on.
const LINE: &str = "GET /v1/plain";

/// Much shorter than an idle connection is kept.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_connection_that_may_end_or_still_bring_a_body_is_not_used_again() {
    for (method, head) in [
        ("HEAD", "200 OK\r\nContent-Length: 72"),
        ("HEAD", "200 OK"),
        ("GET", "204 No Content\r\nContent-Length: 72"),
        ("GET", "204 No Content\r\nTransfer-Encoding: chunked"),
        ("GET", "304 Not Modified\r\nContent-Length: 72"),
        ("GET", "200 OK\r\nContent-Length: 0\r\nConnection: x-hop\r\nConnection: Close"),
    ] {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let upstream = Upstream::start(move |_, exchange| {
            exchange.send(format!("HTTP/1.1 {head}\r\n\r\n"));
            let has_closed = exchange.closes_within(SOON);
            exchange.close();
            tell.lock().expect("no script panicked").send(has_closed).expect("the test waits");
        });
        let house = House::before(&[upstream.url()]);
        let mut client = house.h1();
        client.send(&format!("{method} {PASSED}"), &[], b"");
        client.head();
        assert!(told.recv().expect("the script tells"), "{method} {head}");
    }
}

#[test]
fn an_answer_that_ends_with_its_head_leaves_its_connection_to_the_next() {
    for head in ["204 No Content", "304 Not Modified", "304 Not Modified\r\nContent-Length: 0"] {
        let upstream = Upstream::start(move |_, exchange| {
            exchange.send(format!("HTTP/1.1 {head}\r\n\r\n"));
        });
        let house = House::before(&[upstream.url()]);
        let mut client = house.h1();
        // A connection comes into the pool a moment after its answer.
        house.gateway.eventually("a connection is used again", |_| {
            client.ask(&format!("GET {PASSED}"), &[], b"");
            upstream.connections() < upstream.count()
        });
    }
}

#[test]
fn what_comes_on_a_pooled_connection_reaches_nobody() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |request, exchange| {
        exchange.answer("200 OK", "text/plain", "{}");
        if request.line.contains("stray") {
            exchange.send(STRAY);
            tell.lock().expect("no script panicked").send(()).expect("the test waits");
        }
    });
    let house = House::before(&[upstream.url()]);
    for mut client in house.fronts() {
        for _ in 0..100 {
            assert_eq!(client.ask(&format!("GET {PASSED}?stray"), &[], b"").text(), "{}");
            told.recv().expect("the script tells");
            assert_eq!(client.ask(&format!("GET {PASSED}"), &[], b"").text(), "{}", "{}", client.name());
        }
    }
}

/// The socket is empty then: TLS has taken both records off it, and keeps of the second what the reader of a head, who
/// takes 4 KiB, has no room for.
#[test]
fn what_tls_has_read_beyond_an_answer_reaches_nobody() {
    let answer =
        |size: usize| format!("{ANSWER_PADDED}{}\r\n\r\n{{}}", "x".repeat(size - ANSWER_PADDED.len() - 6));
    for (records, brings_more) in [
        (vec![answer(4096)], false),
        (vec![answer(2048), STRAY.to_owned()], true),
        (vec![answer(4096), STRAY.to_owned()], true),
    ] {
        let authority = Authority::new();
        let server = TlsRecords::start(&authority.identity("model.test"), records);
        let plans = Plans { upstream: ", tls: {ca: ca.pem, server_name: model.test}", ..Plans::default() };
        let house = House::build(&[server.url()], plans, authority);
        let mut client = house.h1();
        let mut ask = || assert_eq!(client.ask(&format!("GET {PASSED}"), &[], b"").text(), "{}");
        (0..20).for_each(|_| ask());
        // A connection waits for its next request from a moment after its answer.
        assert_eq!(server.connections() == 20, brings_more, "{}", server.connections());
    }
}

#[test]
fn a_connection_that_brought_nothing_more_is_used_again() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let mut client = house.h1();
    house.gateway.eventually("a connection is used again", |_| {
        client.ask(&format!("GET {PASSED}"), &[], b"");
        upstream.connections() < upstream.count()
    });
}

#[test]
fn no_more_connections_wait_than_a_bound() {
    const BEYOND: usize = 8;
    let most = 256.max(64 * cores().get());
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.answer("200 OK", "text/plain", "{}");
    });
    let house = House::before(&[upstream.url()]);
    let mut clients: [_; 3] = std::array::from_fn(|_| house.http2());
    for round in 1..=2 {
        let open =
            |number: usize| clients[number % 3].open(H2::request(LINE, &secret("one"), &[]), HasBody::No);
        let mut streams: Vec<_> = (0..most + BEYOND).map(open).collect();
        upstream.wait_for(round * streams.len());
        assert_eq!(upstream.connections(), most + round * BEYOND, "those that waited are used again");
        streams.iter().for_each(|_| opener.open());
        for (number, stream) in streams.iter_mut().enumerate() {
            assert_eq!(clients[number % 3].head(stream).expect("a head").status, 200);
        }
        house.gateway.eventually("all are over", |g| g.metric("safecache_in_flight_requests") == 0.0);
    }
}
