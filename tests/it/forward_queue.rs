//! Places upstream: who waits for one, for how long, and when it is free again.

use crate::support::front::{CACHED, CHAT, Front, House, JSON, PASSED, PATHS, Piece, Plans};
use crate::support::upstream::{Upstream, gate};

#[test]
fn beyond_its_places_and_its_queue_an_upstream_is_busy() {
    for path in [CACHED, PASSED] {
        let (gate, opener) = gate();
        let upstream = Upstream::start(move |_, exchange| {
            gate.wait();
            exchange.answer("200 OK", "text/plain", "{}");
        });
        let plans = Plans {
            upstream: ", max_concurrent: 1, queue: {length: 1, wait: 60s}",
            route: ", errors: openai",
            more: "",
        };
        let house = House::planned(&[upstream.url()], plans);
        let send = |number: usize| {
            let mut client = house.h1();
            client.send(&format!("POST {path}?{number}"), JSON, CHAT.as_bytes());
            client
        };
        let mut first = send(0);
        house.gateway.eventually("the first is under way", |_| upstream.count() == 1);
        let mut second = send(1);
        house
            .gateway
            .eventually("the second waits", |gateway| gateway.metric("safecache_in_flight_requests") == 2.0);
        let mut third = send(2);
        let busy = third.head_and_body();
        assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")), "{path}");
        assert_eq!(busy.json()["error"]["code"], "upstream_busy", "{path}");
        assert_eq!(upstream.count(), 1, "{path}");
        opener.open();
        opener.open();
        assert_eq!(first.head_and_body().status, 200, "{path}");
        assert_eq!(second.head_and_body().status, 200, "{path}");
        assert_eq!(upstream.count(), 2, "{path}");
    }
}

#[test]
fn a_wait_in_the_queue_ends() {
    for path in PATHS {
        let upstream = Upstream::start(|_, exchange| exchange.wait_for_close());
        let plans =
            Plans { upstream: ", max_concurrent: 1, queue: {length: 1, wait: 100ms}", ..Plans::default() };
        let house = House::planned(&[upstream.url()], plans);
        let mut first = house.h1();
        first.send(&format!("POST {path}"), JSON, CHAT.as_bytes());
        house.gateway.eventually("the first is under way", |_| upstream.count() == 1);
        assert_eq!(house.h1().alone(path).status, 503, "{path}");
    }
}

#[test]
fn a_place_is_free_again_when_its_client_leaves() {
    for path in PATHS {
        let upstream = Upstream::start(|_, exchange| {
            exchange.begin("text/event-stream");
            exchange.chunk("data: 1\n\n");
            exchange.wait_for_close();
            exchange.close();
        });
        let plans =
            Plans { upstream: ", max_concurrent: 1, queue: {length: 1, wait: 60s}", ..Plans::default() };
        let house = House::planned(&[upstream.url()], plans);
        for _ in 0..3 {
            let mut client: Front = house.h1();
            client.send(&format!("POST {path}"), JSON, CHAT.as_bytes());
            assert_eq!(client.head().status, 200, "{path}");
            assert!(matches!(client.piece(), Piece::Bytes(_)), "{path}");
        }
    }
}

#[test]
fn a_client_that_leaves_the_queue_makes_room_in_it() {
    for path in PATHS {
        for protocol in 0..2 {
            let (gate, opener) = gate();
            let upstream = Upstream::start(move |_, exchange| {
                gate.wait();
                exchange.answer("200 OK", "text/plain", "{}");
            });
            let plans = Plans {
                upstream: ", max_concurrent: 1, queue: {length: 1, wait: 60s}",
                more: "limits: {max_requests: 2}",
                ..Plans::default()
            };
            let house = House::planned(&[upstream.url()], plans);
            let client = || if protocol == 0 { house.h1() } else { house.h2() };
            let in_flight = |count: f64| {
                house.gateway.eventually("so many are in flight", |gateway| {
                    gateway.metric("safecache_in_flight_requests") == count
                });
            };
            let mut first = house.h1();
            first.send(&format!("POST {path}?first"), JSON, CHAT.as_bytes());
            upstream.wait_for(1);
            for number in 0..3 {
                let mut waiting = client();
                waiting.send(&format!("POST {path}?{number}"), JSON, CHAT.as_bytes());
                in_flight(2.0);
                drop(waiting);
                in_flight(1.0);
            }
            let mut last = client();
            last.send(&format!("POST {path}?last"), JSON, CHAT.as_bytes());
            in_flight(2.0);
            opener.open();
            opener.open();
            assert_eq!(first.head_and_body().status, 200, "{path}");
            assert_eq!(last.head_and_body().status, 200, "{} {path}", last.name());
            assert_eq!(upstream.count(), 2, "{} {path}: nobody else came that far", last.name());
            house.gateway.eventually("they are counted", |gateway| {
                let series =
                    "safecache_requests_total{outcome=\"client_closed\",route=\"/v1/*\",status=\"0\"}";
                gateway.metric(series) == 3.0
            });
        }
    }
}

/// What it has sent so far is read a little ahead; that it leaves shows behind that.
#[test]
fn a_client_that_leaves_the_queue_within_its_upload_makes_room_in_it() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        gate.wait();
        exchange.answer("200 OK", "text/plain", &request.body);
    });
    let plans = Plans { upstream: ", max_concurrent: 1, queue: {length: 1, wait: 60s}", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let mut first = house.h1();
    first.send(&format!("POST {PASSED}?first"), JSON, CHAT.as_bytes());
    upstream.wait_for(1);
    let in_flight = |count: f64| {
        house.gateway.eventually("so many are in flight", |gateway| {
            gateway.metric("safecache_in_flight_requests") == count
        });
    };
    let head = |more: &str| {
        format!(
            "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            crate::support::gateway::secret("one")
        )
    };
    for begun in ["", "a few bytes"] {
        let mut waiting = house.gateway.connect();
        waiting.send(format!("{}{begun}", head("Content-Length: 100000\r\n")));
        in_flight(2.0);
        drop(waiting);
        in_flight(1.0);
    }
    // Over HTTP/2 a client that leaves is seen however much it has sent.
    let mut waiting = house.h2();
    waiting.send(&format!("POST {PASSED}"), &[], &[b'x'; 100_000]);
    in_flight(2.0);
    drop(waiting);
    in_flight(1.0);
    // What was read ahead is sent on.
    let mut last = house.gateway.connect();
    let body = "x".repeat(200_000);
    last.send(format!("{}{body}", head("Content-Length: 200000\r\n")));
    in_flight(2.0);
    opener.open();
    opener.open();
    assert_eq!(first.head_and_body().status, 200);
    assert!(last.answer().text() == body);
}
