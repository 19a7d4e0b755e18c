//! What a server says unasked: nobody is given it for an answer.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::front::{House, PASSED, unstored};
use crate::support::upstream::Upstream;

/// An answer to nobody.
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nPOISON";

/// Much shorter than an idle connection is kept.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_connection_that_may_still_bring_a_body_is_not_used_again() {
    for (method, head) in [
        ("HEAD", "200 OK\r\nContent-Length: 72"),
        ("HEAD", "200 OK"),
        ("GET", "204 No Content\r\nContent-Length: 72"),
        ("GET", "204 No Content\r\nTransfer-Encoding: chunked"),
        ("GET", "304 Not Modified\r\nContent-Length: 72"),
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
