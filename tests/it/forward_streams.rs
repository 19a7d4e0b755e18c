//! Streams pass piece by piece, and a client that leaves stops the upstream.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::support::client::DEADLINE;
use crate::support::front::{CACHED, CHAT, Front, House, JSON, PASSED, PATHS, Piece, Plans};
use crate::support::gateway::secret;
use crate::support::h2::{H2, HasBody};
use crate::support::tls::{Authority, TlsFront};
use crate::support::upstream::{Exchange, Upstream, gate};

const EVENTS: usize = 5;

#[test]
fn each_piece_of_a_stream_passes_before_the_next_is_made() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        for number in 0..EVENTS {
            gate.wait();
            exchange.chunk(event(number));
        }
        gate.wait();
        exchange.chunk("");
    });
    let authority = Authority::new();
    let front = TlsFront::before(upstream.address(), &authority.identity("model.test"));
    let plans = crate::support::front::Plans {
        upstream: ", tls: {ca: ca.pem, server_name: model.test}",
        ..Default::default()
    };
    let houses = [House::before(&[upstream.url()]), House::build(&[front.url()], plans, authority)];
    for house in &houses {
        for path in PATHS {
            for mut client in house.fronts() {
                let case = format!("{} {path}", client.name());
                client.send(&format!("POST {path}?{}", client.name()), JSON, CHAT.as_bytes());
                let head = client.head();
                assert_eq!(head.header("content-type"), Some("text/event-stream"), "{case}");
                for number in 0..EVENTS {
                    opener.open();
                    assert_eq!(text_of(&mut client), event(number), "{case}");
                }
                opener.open();
                assert_eq!(client.piece(), Piece::End, "{case}");
            }
        }
    }
}

#[test]
fn each_piece_of_an_answer_with_a_length_passes_before_the_next_is_made() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 45\r\n\r\n");
        for _ in 0..EVENTS {
            gate.wait();
            exchange.send("data: 1\n\n");
        }
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        let Front::H1(mut client) = house.h1() else { unreachable!("it is HTTP/1.1") };
        client.request(&format!("POST {path}"), &secret("one"), "", CHAT.as_bytes());
        assert_eq!(client.head().header("content-length"), Some("45"), "{path}");
        for _ in 0..EVENTS {
            opener.open();
            assert_eq!(client.take(9), b"data: 1\n\n", "{path}");
        }
    }
}

#[test]
fn a_client_that_leaves_within_a_stream_stops_the_upstream() {
    let (upstream, stopped) = endless(|exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(event(0));
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            client.send(&format!("POST {path}"), JSON, CHAT.as_bytes());
            client.head();
            assert_eq!(text_of(&mut client), event(0));
            leave(client, path, "within a stream", &stopped);
        }
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_stops_the_upstream() {
    let (began, begins) = channel();
    let began = std::sync::Mutex::new(began);
    let (upstream, stopped) =
        endless(move |_| began.lock().expect("no script panicked").send(()).expect("heard"));
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            client.send(&format!("POST {path}"), JSON, CHAT.as_bytes());
            begins.recv_timeout(DEADLINE).expect("the request arrives");
            leave(client, path, "before the answer", &stopped);
        }
    }
}

#[test]
fn a_stream_of_http2_that_is_reset_stops_the_upstream_and_leaves_the_connection() {
    let (upstream, stopped) = endless(|exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(event(0));
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        let Front::H2(mut h2, _) = house.h2() else { unreachable!("it is HTTP/2") };
        let request = || H2::request(&format!("POST {path}"), &secret("one"), JSON);
        for _ in 0..2 {
            let mut stream = h2.open(request(), HasBody::Yes);
            assert!(h2.send(&mut stream, CHAT.as_bytes()));
            assert_eq!(h2.head(&mut stream).expect("a head").status, 200);
            let left = now();
            h2.reset(stream);
            stopped.recv_timeout(DEADLINE).expect("the upstream is stopped");
            println!("HTTP/2 {path}, reset: stopped after {:?}", left.elapsed());
        }
    }
}

/// Over HTTP/2 its leaving does not stand behind what it has sent.
#[test]
fn a_client_that_leaves_within_a_request_that_goes_no_further_is_seen() {
    // More than all socket buffers on the way take.
    let large = 24 * 1024 * 1024;
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = format!("http://{}", deaf.local_addr().expect("its address"));
    let large_head = format!(", headers: {{set: {{X-Large: {}}}}}", "x".repeat(large));
    for (upstream, body) in [("", large), (large_head.as_str(), 1)] {
        let house = House::planned(std::slice::from_ref(&server), Plans { upstream, ..Plans::default() });
        let in_flight = |count: f64| {
            house.gateway.eventually("so many are in flight", |gateway| {
                gateway.metric("safecache_in_flight_requests") == count
            });
        };
        for path in PATHS {
            let mut h2 = house.http2();
            let stream = h2.open(H2::request(&format!("POST {path}"), &secret("one"), &[]), HasBody::Yes);
            h2.send_meanwhile(stream, vec![b'x'; body]);
            in_flight(1.0);
            house.gateway.pass_some_time();
            drop(h2);
            in_flight(0.0);
        }
        let left = "safecache_requests_total{outcome=\"client_closed\",route=\"/v1/*\",status=\"0\"}";
        assert_eq!(house.gateway.metric(left), 2.0);
    }
}

#[test]
fn a_client_that_leaves_is_counted_as_one() {
    let (upstream, stopped) = endless(|exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(event(0));
    });
    let house = House::before(&[upstream.url()]);
    for path in [CACHED, PASSED] {
        let mut client = house.h1();
        client.send(&format!("POST {path}"), JSON, CHAT.as_bytes());
        client.head();
        leave(client, path, "counted", &stopped);
    }
    house.gateway.eventually("both are counted", |gateway| {
        let series = "safecache_requests_total{outcome=\"client_closed\",route=\"/v1/*\",status=\"200\"}";
        gateway.metric(series) == 2.0 && gateway.metric("safecache_in_flight_requests") == 0.0
    });
}

/// An upstream that never ends by itself, and what tells when it was stopped.
fn endless(first: impl Fn(&mut Exchange) + Send + Sync + 'static) -> (Upstream, Receiver<()>) {
    let (stopped, stops) = channel();
    let stopped = std::sync::Mutex::new(stopped);
    let upstream = Upstream::start(move |_, exchange| {
        first(exchange);
        exchange.wait_for_close();
        exchange.close();
        // A test that is over does not listen any more.
        let _ = stopped.lock().expect("no script panicked").send(());
    });
    (upstream, stops)
}

/// Closes the client's connection and tells how long it took until the upstream noticed.
fn leave(client: Front, path: &str, when: &str, stopped: &Receiver<()>) {
    let name = client.name();
    let left = now();
    drop(client);
    stopped.recv_timeout(DEADLINE).expect("the upstream is stopped");
    println!("{name} {path}, {when}: stopped after {:?}", left.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "a measured value to print")]
fn now() -> Instant {
    Instant::now()
}

fn text_of(client: &mut Front) -> String {
    match client.piece() {
        Piece::Bytes(bytes) => String::from_utf8(bytes).expect("text"),
        other => panic!("{other:?}"),
    }
}

fn event(number: usize) -> String {
    format!("data: {{\"number\":{number}}}\n\n")
}
