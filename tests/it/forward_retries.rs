//! Second tries that cannot run a model twice; several servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::front::{ALONE, CHAT, House, PATHS, Plans, unstored};
use crate::support::upstream::{Upstream, gate};

/// Refuses connections.
fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("its address"))
}

/// Answers the first request of a connection, ends the connection at the second: as if it had been closed for its
/// idleness just then.
fn forgetful() -> Upstream {
    let uses: Arc<std::sync::Mutex<Vec<usize>>> = Arc::default();
    Upstream::start(move |request, exchange| {
        let mut uses = uses.lock().expect("no script panicked");
        if uses.contains(&request.connection) {
            exchange.close();
        } else {
            uses.push(request.connection);
            exchange.answer("200 OK", "text/plain", "{}");
        }
    })
}

#[test]
fn a_server_that_cannot_be_reached_is_passed_over() {
    for path in PATHS {
        let upstream = unstored();
        let house = House::before(&[dead(), dead(), upstream.url()]);
        for mut client in house.fronts() {
            for _ in 0..4 {
                assert_eq!(client.chat(path).status, 200, "{} {path}", client.name());
            }
        }
        assert_eq!(upstream.count(), 8, "{path}");
        for request in upstream.take() {
            assert_eq!(request.body, CHAT.as_bytes(), "{path}");
        }
    }
}

#[test]
fn a_connection_that_had_died_is_replaced_once() {
    for path in PATHS {
        let upstream = forgetful();
        let house = House::before(&[upstream.url()]);
        for mut client in house.fronts() {
            upstream.take();
            assert_eq!(client.chat(path).status, 200, "{} {path}", client.name());
            let first = upstream.take();
            // A moment later its connection is in the pool.
            let answer = client.chat(path);
            assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{} {path}", client.name());
            let second = upstream.take();
            let connections: Vec<_> = second.iter().map(|request| request.connection).collect();
            assert!(connections.len() <= 2, "{path}: {connections:?} after {}", first.len());
            assert!(second.iter().all(|request| request.body == CHAT.as_bytes()), "{path}");
        }
    }
}

#[test]
fn a_connection_that_had_died_is_replaced_after_two_servers_that_cannot_be_reached() {
    for path in PATHS {
        let upstream = forgetful();
        let house = House::before(&[dead(), dead(), upstream.url()]);
        let mut client = house.h1();
        for number in 0..8 {
            assert_eq!(client.alone(path).status, 200, "{path}, request {number}");
        }
    }
}

/// A server closes each connection after its first answer, a moment before or after the next request is written to it.
#[test]
fn forty_of_forty_requests_survive_a_server_that_closes_idle_connections() {
    for path in PATHS {
        let uses: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::default();
        let upstream = Upstream::start(move |request, exchange| {
            let mut uses = uses.lock().expect("no script panicked");
            let is_second = uses.contains(&request.connection);
            uses.push(request.connection);
            if !is_second {
                exchange.answer("200 OK", "text/plain", "{}");
            }
            if is_second || request.connection % 2 == 1 {
                exchange.close();
            }
        });
        let house = House::before(&[upstream.url()]);
        let mut client = house.h1();
        for number in 0..40 {
            assert_eq!(client.alone(path).status, 200, "{path}, request {number}");
        }
        let tries = upstream.take();
        assert!(tries.len() > 40, "{path}: some connections were used again, and had died");
        assert!(tries.iter().all(|request| request.body == CHAT.as_bytes()), "{path}");
    }
}

#[test]
fn the_second_try_is_on_a_fresh_connection() {
    for path in PATHS {
        let (gate, opener) = gate();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let upstream = Upstream::start(move |request, exchange| {
            // The first two run side by side, so that the pool has two connections; used again, each is dead.
            if count.fetch_add(1, Ordering::SeqCst) < 2 {
                gate.wait();
                exchange.answer("200 OK", "text/plain", "{}");
            } else if request.connection < 2 {
                exchange.close();
            } else {
                exchange.answer("200 OK", "text/plain", "[]");
            }
        });
        let house = House::before(&[upstream.url()]);
        let mut clients = [house.h1(), house.h1()];
        for client in &mut clients {
            client.send(&format!("POST {path}"), ALONE, CHAT.as_bytes());
        }
        house.gateway.eventually("both are under way", |_| upstream.count() == 2);
        opener.open();
        opener.open();
        for client in &mut clients {
            client.head_and_body();
        }
        upstream.take();
        // A connection comes into the pool a moment after its answer.
        house.gateway.eventually("a pooled connection is used", |_| {
            let answer = clients[0].chat(path);
            assert_eq!((answer.status, answer.text().as_str()), (200, "[]"), "{path}");
            let tries: Vec<_> = upstream.take().iter().map(|request| request.connection).collect();
            assert!(matches!(tries[..], [2..=99] | [0..=1, 2..=99]), "{path}: {tries:?}");
            tries.len() == 2
        });
    }
}

#[test]
fn a_fresh_connection_is_never_tried_again() {
    for path in PATHS {
        let upstream = Upstream::start(|_, exchange| exchange.close());
        let house = House::before(&[upstream.url(), upstream.url().replace("127.0.0.1", "localhost")]);
        let answer = house.h1().chat(path);
        assert_eq!((answer.status, upstream.count()), (502, 1), "{path}");
    }
}

/// What a server has begun to answer it has begun to work on.
#[test]
fn a_reused_connection_that_ends_within_a_head_is_not_replaced() {
    for path in PATHS {
        let uses: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::default();
        let upstream = Upstream::start(move |request, exchange| {
            let mut uses = uses.lock().expect("no script panicked");
            if uses.contains(&request.connection) {
                exchange.send("HTTP/1.1 200");
                exchange.close();
            } else {
                uses.push(request.connection);
                exchange.answer("200 OK", "text/plain", "{}");
            }
        });
        let house = House::before(&[upstream.url()]);
        let mut client = house.h1();
        // A connection comes into the pool a moment after its answer.
        house.gateway.eventually("a pooled connection is used", |_| {
            let connections = upstream.connections();
            let answer = client.chat(path);
            let tries = upstream.take();
            assert_eq!(tries.len(), 1, "{path}");
            let is_reused = tries[0].connection < connections;
            assert_eq!(answer.status, if is_reused { 502 } else { 200 }, "{path}");
            is_reused
        });
    }
}

/// What a server has had for a second it may have worked on, whatever becomes of its connection.
#[test]
fn what_a_server_has_held_for_a_second_is_asked_of_it_once() {
    for path in PATHS {
        let (gate, opener) = gate();
        let upstream = Upstream::start(move |request, exchange| {
            if request.line.contains("held") {
                gate.wait();
                exchange.close();
            } else {
                exchange.answer("200 OK", "text/plain", "{}");
            }
        });
        let house = House::before(&[upstream.url()]);
        let mut client = house.h1();
        // A connection comes into the pool a moment after its answer.
        house.gateway.eventually("a pooled connection is used", |gateway| {
            client.chat(path);
            upstream.take();
            let connections = upstream.connections();
            client.send(&format!("POST {path}?held"), ALONE, CHAT.as_bytes());
            upstream.wait_for(1);
            gateway.clock.advance(std::time::Duration::from_secs(1));
            opener.open();
            assert_eq!(client.head_and_body().status, 502, "{path}");
            let tries = upstream.take();
            assert_eq!(tries.len(), 1, "{path}: the model ran once");
            tries[0].connection < connections
        });
    }
}

#[test]
fn retry_never_leaves_a_dead_connection_to_the_client() {
    for path in PATHS {
        let upstream = forgetful();
        let plans = Plans { upstream: ", retry: never", ..Plans::default() };
        let house = House::planned(&[upstream.url()], plans);
        let mut client = house.h1();
        // A connection comes into the pool a moment after its answer.
        house.gateway.eventually("a pooled connection is used", |_| {
            let connections = upstream.connections();
            let answer = client.chat(path);
            let tries = upstream.take();
            assert_eq!(tries.len(), 1, "{path}");
            let is_reused = tries[0].connection < connections;
            assert_eq!(answer.status, if is_reused { 502 } else { 200 }, "{path}");
            assert_eq!(answer.header("x-should-retry"), is_reused.then_some("false"), "{path}");
            is_reused
        });
    }
}

#[test]
fn servers_are_asked_as_often_as_they_weigh() {
    for path in PATHS {
        let (heavy, light) = (unstored(), unstored());
        let servers =
            [format!("{{url: \"{}\", weight: 3}}", heavy.url()), format!("{{url: \"{}\"}}", light.url())];
        let house = House::before(&servers);
        let mut client = house.h1();
        for _ in 0..8 {
            assert_eq!(client.chat(path).status, 200);
        }
        assert_eq!((heavy.count(), light.count()), (6, 2), "{path}");
    }
}

#[test]
fn a_server_that_keeps_failing_is_left_alone_for_a_while() {
    for path in PATHS {
        let (bad, good) = (Upstream::start(|_, exchange| exchange.close()), unstored());
        let house = House::before(&[bad.url(), good.url()]);
        let mut failed = 0;
        for _ in 0..20 {
            failed += usize::from(house.h1().chat(path).status == 502);
        }
        assert_eq!((failed, bad.count(), good.count()), (3, 3, 17), "{path}");
        let up = |server: &Upstream| {
            let series = format!("safecache_upstream_up{{server=\"{}\",upstream=\"llm\"}}", server.url());
            house.gateway.metric(&series)
        };
        assert_eq!((up(&bad), up(&good)), (0.0, 1.0), "{path}");
        house.gateway.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(up(&bad), 1.0, "{path}");
        for _ in 0..4 {
            house.h1().chat(path);
        }
        assert_eq!(bad.count(), 4, "{path}: one more failure, and it is left alone again");
        assert_eq!(up(&bad), 0.0, "{path}");
    }
}

/// What the server has taken a part of, and thought about, it may have begun to work on.
#[test]
fn a_reused_connection_that_stalls_within_a_request_is_not_replaced() {
    // More than all socket buffers on the way take.
    let body = vec![b'x'; 24 * 1024 * 1024];
    for path in PATHS {
        let (gate, opener) = gate();
        let uses: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::default();
        let upstream = Upstream::eager(move |request, exchange| {
            let length = request.header("content-length").and_then(|length| length.parse().ok());
            let is_reused = uses.lock().expect("no script panicked").contains(&request.connection);
            if is_reused {
                exchange.body(100_000);
                gate.wait();
                return exchange.reset();
            }
            uses.lock().expect("no script panicked").push(request.connection);
            exchange.body(length.expect("a length"));
            exchange.answer("200 OK", "text/plain", "{}");
        });
        let house = House::before(&[upstream.url()]);
        // A connection comes into the pool a moment after its answer.
        house.gateway.eventually("a pooled connection is used", |gateway| {
            assert_eq!(house.h1().chat(path).status, 200, "{path}");
            let (connections, requests) = (upstream.connections(), upstream.count());
            std::thread::scope(|scope| {
                let answer = scope.spawn(|| house.h1().ask(&format!("POST {path}"), &[], &body).status);
                upstream.wait_for(requests + 1);
                let is_reused = upstream.requests()[requests].connection < connections;
                if is_reused {
                    // Once the sockets are full nothing more is written, and this is longer than what is borne with.
                    for _ in 0..20 {
                        gateway.pass_some_time();
                        gateway.clock.advance(std::time::Duration::from_millis(300));
                    }
                    opener.open();
                }
                let status = answer.join().expect("it is answered");
                assert_eq!(status, if is_reused { 502 } else { 200 }, "{path}");
                assert_eq!(upstream.count(), requests + 1, "{path}");
                is_reused
            })
        });
    }
}
