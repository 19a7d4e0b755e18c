//! What outlives a reload that changes an upstream: the health of its servers, the places that are taken, the round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use safecache::runtime::reload::Shrinking;

use crate::support::front::{ALONE, CHAT, Front, House, PATHS, Piece, Plans, unstored};
use crate::support::upstream::{Opener, Upstream, gate};

/// Changes the text of the configuration and reloads it.
#[track_caller]
fn change(house: &House, from: &str, to: &str) {
    let path = house.gateway.folder.path().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(&path, text.replace(from, to)).expect("written");
    house.gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
}

fn series(server: &str) -> String {
    format!("safecache_upstream_up{{server=\"{server}\",upstream=\"llm\"}}")
}

/// Sends a request that will be answered later.
fn begin(house: &House, path: &str) -> Front {
    let mut client = house.h1();
    client.send(&format!("POST {path}"), ALONE, CHAT.as_bytes());
    client
}

/// Waits until no request is under way: a place comes back a moment after its answer.
fn all_over(house: &House) {
    house
        .gateway
        .eventually("all requests are over", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
}

fn upstream_of(members: &str) -> Plans<'_> {
    Plans { upstream: members, ..Plans::default() }
}

/// An upstream whose answers each wait for one opening.
fn gated() -> (Upstream, Opener) {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.answer("200 OK", "text/plain", "{}");
    });
    (upstream, opener)
}

#[test]
fn an_ejected_server_stays_ejected() {
    for path in PATHS {
        let (bad, good) = (Upstream::start(|_, exchange| exchange.close()), unstored());
        let house = House::planned(&[bad.url(), good.url()], upstream_of(", idle_timeout: 200s"));
        for _ in 0..6 {
            house.h1().alone(path);
        }
        assert_eq!((bad.count(), house.gateway.metric(&series(&bad.url()))), (3, 0.0), "{path}");
        change(&house, "idle_timeout: 200s", "idle_timeout: 201s");
        assert_eq!(house.gateway.metric(&series(&bad.url())), 0.0, "{path}");
        let servers = format!("\"{}\", \"{}\"", bad.url(), good.url());
        let turned = format!("\"{}\", {{url: \"{}\", weight: 2}}", good.url(), bad.url());
        change(&house, &servers, &turned);
        for _ in 0..6 {
            assert_eq!(
                house.h1().alone(path).status,
                200,
                "{path}: another place in the list, the same server"
            );
        }
        assert_eq!(bad.count(), 3, "{path}");
        house.gateway.clock.advance(Duration::from_secs(1));
        assert_eq!(house.gateway.metric(&series(&bad.url())), 1.0, "{path}");
        for _ in 0..6 {
            house.h1().alone(path);
        }
        assert_eq!(bad.count(), 4, "{path}: one more failure, and it is left alone again");
    }
}

#[test]
fn another_server_begins_well() {
    for path in PATHS {
        let (bad, good) = (Upstream::start(|_, exchange| exchange.close()), unstored());
        let at = |base: &str| format!("{}{base}", bad.url());
        let house = House::before(&[at("/one"), good.url()]);
        for _ in 0..6 {
            house.h1().alone(path);
        }
        assert_eq!(bad.count(), 3, "{path}");
        change(&house, "/one", "/two");
        assert_eq!(house.gateway.metric(&series(&at("/two"))), 1.0, "{path}");
        for _ in 0..6 {
            house.h1().alone(path);
        }
        assert_eq!(bad.count(), 6, "{path}: it had failed under another path");
    }
}

#[test]
fn what_a_request_sees_that_began_before_counts_after() {
    for path in PATHS {
        let (gate, opener) = gate();
        let is_slow = Arc::new(AtomicBool::new(false));
        let slow = Arc::clone(&is_slow);
        let bad = Upstream::start(move |_, exchange| {
            if slow.load(Ordering::SeqCst) {
                gate.wait();
            }
            exchange.close();
        });
        let house = House::planned(&[bad.url()], upstream_of(", idle_timeout: 200s"));
        for _ in 0..2 {
            assert_eq!(house.h1().alone(path).status, 502, "{path}");
        }
        is_slow.store(true, Ordering::SeqCst);
        let mut third = begin(&house, path);
        house.gateway.eventually("it is under way", |_| bad.count() == 3);
        change(&house, "idle_timeout: 200s", "idle_timeout: 201s");
        assert_eq!(house.gateway.metric(&series(&bad.url())), 1.0, "{path}");
        opener.open();
        assert_eq!(third.head_and_body().status, 502, "{path}");
        assert_eq!(house.gateway.metric(&series(&bad.url())), 0.0, "{path}");
    }
}

#[test]
fn places_that_are_taken_stay_taken() {
    for path in PATHS {
        let (upstream, opener) = gated();
        let house = House::planned(&[upstream.url()], upstream_of(", idle_timeout: 200s, max_concurrent: 2"));
        let mut running = [begin(&house, path), begin(&house, path)];
        house.gateway.eventually("both are under way", |_| upstream.count() == 2);
        change(&house, "idle_timeout: 200s", "idle_timeout: 201s");
        assert_eq!(house.h1().alone(path).status, 503, "{path}");
        assert_eq!(upstream.count(), 2, "{path}");
        opener.open();
        opener.open();
        for client in &mut running {
            assert_eq!(client.head_and_body().status, 200, "{path}");
        }
        all_over(&house);
        opener.open();
        assert_eq!(house.h1().alone(path).status, 200, "{path}: they have come back");
    }
}

#[test]
fn a_lower_bound_holds_as_places_come_back() {
    for path in PATHS {
        for before in ["max_concurrent: 3", "max_concurrent: 0"] {
            let (upstream, opener) = gated();
            let house = House::planned(&[upstream.url()], upstream_of(&format!(", {before}")));
            let mut running = [begin(&house, path), begin(&house, path)];
            house.gateway.eventually("both are under way", |_| upstream.count() == 2);
            change(&house, before, "max_concurrent: 1");
            assert_eq!(house.h1().alone(path).status, 503, "{path}");
            opener.open();
            house.gateway.eventually("one has come back", |gateway| {
                gateway.metric("safecache_in_flight_requests") == 1.0
            });
            assert_eq!(house.h1().alone(path).status, 503, "{path}: one more than the bound had been out");
            opener.open();
            for client in &mut running {
                assert_eq!(client.head_and_body().status, 200, "{path}");
            }
            all_over(&house);
            let mut next = begin(&house, path);
            house.gateway.eventually("it is under way", |_| upstream.count() == 3);
            assert_eq!(house.h1().alone(path).status, 503, "{path}: the bound is one");
            opener.open();
            assert_eq!(next.head_and_body().status, 200, "{path}");
        }
    }
}

#[test]
fn a_higher_bound_lets_those_who_wait_go_at_once() {
    for path in PATHS {
        for after in ["max_concurrent: 3", "max_concurrent: 0"] {
            let (upstream, opener) = gated();
            let members = ", max_concurrent: 1, queue: {length: 2, wait: 60s}";
            let house = House::planned(&[upstream.url()], upstream_of(members));
            let mut clients = [begin(&house, path), begin(&house, path), begin(&house, path)];
            house.gateway.eventually("one is under way, two wait", |gateway| {
                gateway.metric("safecache_in_flight_requests") == 3.0 && upstream.count() == 1
            });
            assert_eq!(house.h1().alone(path).status, 503, "{path}: the queue is full");
            let queue = if after.ends_with('0') { ", queue: {length: 2, wait: 60s}" } else { "" };
            change(&house, &format!("max_concurrent: 1{queue}"), after);
            house.gateway.eventually("all are under way", |_| upstream.count() == 3);
            (0..3).for_each(|_| opener.open());
            for client in &mut clients {
                assert_eq!(client.head_and_body().status, 200, "{path}");
            }
        }
    }
}

#[test]
fn those_who_wait_come_in_their_order() {
    for path in PATHS {
        let (upstream, opener) = gated();
        let members = ", max_concurrent: 1, queue: {length: 3, wait: 60s}";
        let house = House::planned(&[upstream.url()], upstream_of(members));
        let mut clients = Vec::new();
        for number in 0..4_u8 {
            clients.push(begin(&house, &format!("{path}?{number}")));
            house.gateway.eventually("it waits", |gateway| {
                gateway.metric("safecache_in_flight_requests") == f64::from(number + 1)
            });
            house.gateway.eventually("the first is under way", |_| upstream.count() == 1);
        }
        for client in &mut clients {
            opener.open();
            assert_eq!(client.head_and_body().status, 200, "{path}");
        }
        let order: Vec<_> = upstream.requests().iter().map(|request| request.line.clone()).collect();
        let expected: Vec<_> = (0..4).map(|number| format!("POST {path}?{number} HTTP/1.1")).collect();
        assert_eq!(order, expected);
    }
}

#[test]
fn no_place_is_lost_while_the_bound_changes() {
    const CLIENTS: usize = 8;
    const EACH: usize = 40;
    let upstream = unstored();
    let members = ", max_concurrent: 1, queue: {length: 8, wait: 60s}";
    let house = House::planned(&[upstream.url()], upstream_of(members));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut client = house.h1();
                scope
                    .spawn(move || (0..EACH).all(|_| client.alone(PATHS[number % PATHS.len()]).status == 200))
            })
            .collect();
        scope.spawn(|| {
            for bound in (1..4).cycle().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                let next = bound % 3 + 1;
                change(&house, &format!("max_concurrent: {bound}"), &format!("max_concurrent: {next}"));
            }
        });
        let answered = asking.into_iter().all(|client| client.join().expect("each is answered in time"));
        is_over.store(true, Ordering::SeqCst);
        assert!(answered);
    });
    assert_eq!(upstream.count(), CLIENTS * EACH);
    all_over(&house);
}

/// As long as a request still uses an upstream that has changed, its other connections are looked after.
#[test]
fn connections_of_an_upstream_that_has_changed_do_not_wait_for_longer() {
    let (gate, opener) = gate();
    let (ended, told) = channel();
    let ended = Mutex::new(ended);
    let upstream = Upstream::start(move |request, exchange| {
        if request.body.starts_with(b"long") {
            exchange.begin("text/plain");
            exchange.chunk("a");
            gate.wait();
            exchange.chunk("");
            return;
        }
        exchange.answer("200 OK", "text/plain", "{}");
        exchange.wait_for_close();
        ended.lock().expect("no script panicked").send(()).expect("the test waits");
    });
    let house = House::planned(&[upstream.url()], upstream_of(", idle_timeout: 200s"));
    let mut long = house.h1();
    long.send("POST /v1/plain", &[], b"long");
    assert_eq!(long.head().status, 200);
    assert_eq!(house.h1().alone("/v1/plain").status, 200);
    change(&house, "idle_timeout: 200s", "idle_timeout: 201s");
    house.gateway.eventually("its connection ends", |gateway| {
        gateway.clock.advance(Duration::from_secs(4));
        told.try_recv().is_ok()
    });
    opener.open();
    assert_eq!((long.piece(), long.piece()), (Piece::Bytes(b"a".to_vec()), Piece::End));
}

#[test]
fn the_round_goes_on() {
    for path in PATHS {
        let servers = [unstored(), unstored()];
        let house =
            House::planned(&servers.each_ref().map(Upstream::url), upstream_of(", idle_timeout: 200s"));
        assert_eq!(house.h1().alone(path).status, 200);
        change(&house, "idle_timeout: 200s", "idle_timeout: 201s");
        assert_eq!(house.h1().alone(path).status, 200);
        assert_eq!(servers.each_ref().map(Upstream::count), [1, 1], "{path}");
    }
}

#[test]
fn what_is_gone_leaves_the_metrics() {
    let (upstream, opener) = gated();
    let (stays, comes) = (unstored(), unstored());
    let house = House::before(&[upstream.url(), stays.url()]);
    let shows = |series: &str| house.gateway.metrics().lines().any(|line| line.starts_with(series));
    let servers = || [&upstream, &stays, &comes].map(|server| shows(&series(&server.url())));
    assert_eq!(servers(), [true, true, false]);
    let mut running = begin(&house, PATHS[1]);
    house.gateway.eventually("it is under way", |_| upstream.count() == 1);
    change(&house, &upstream.url(), &comes.url());
    assert_eq!(servers(), [false, true, true]);
    // The one that began there ends there, and brings nothing back.
    change(&house, "llm", "other");
    opener.open();
    assert_eq!(running.head_and_body().status, 200);
    house.gateway.eventually("it has ended", |gateway| {
        gateway.metric("safecache_requests_total{outcome=\"forwarded\",route=\"/v1/*\",status=\"200\"}")
            == 1.0
    });
    assert!(!house.gateway.metrics().contains("upstream=\"llm\""), "{}", house.gateway.metrics());
    assert!(shows("safecache_upstream_first_byte_seconds_count{upstream=\"other\"}"));
    // Nor does a server that comes back.
    change(&house, "other", "llm");
    assert_eq!(servers(), [false, true, true]);
    assert_eq!(house.gateway.metric("safecache_upstream_first_byte_seconds_count{upstream=\"llm\"}"), 0.0);
}
