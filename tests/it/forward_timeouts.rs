//! The waits for a server, each with a bound of its own: until it has the request, until its first byte, and between
//! two pieces of its answer.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::front::{CHAT, Front, House, JSON, PASSED, PATHS, Piece, Plans};
use crate::support::gateway::secret;
use crate::support::h2::{H2, HasBody};
use crate::support::tls::{Authority, TlsFront};
use crate::support::upstream::{Upstream, gate};

/// Only the wait for the first byte can run out in a test.
const FIRST_BYTE: &str = ", first_byte_timeout: 200ms, idle_timeout: 60s";
/// Only the others can.
const IDLE: &str = ", first_byte_timeout: 60s, idle_timeout: 200ms";

/// A gateway before `upstream`, and one that comes to it by TLS.
fn houses(upstream: &Upstream, timeouts: &str) -> (Vec<House>, TlsFront) {
    let authority = Authority::new();
    let front = TlsFront::before(upstream.address(), &authority.identity("model.test"));
    let tls = format!(", tls: {{ca: ca.pem, server_name: model.test}}{timeouts}");
    let by_tls = House::build(&[front.url()], Plans { upstream: &tls, ..Plans::default() }, authority);
    let plain = House::planned(&[upstream.url()], Plans { upstream: timeouts, ..Plans::default() });
    (vec![plain, by_tls], front)
}

/// Asks on both paths, over both protocols, with and without TLS to the server.
fn each(upstream: &Upstream, timeouts: &str, check: impl Fn(Answer, &str)) {
    let (houses, _front) = houses(upstream, timeouts);
    for (house, server) in houses.iter().zip(["http", "https"]) {
        for path in PATHS {
            for mut client in house.fronts() {
                check(client.chat(path), &format!("{} {path} {server}", client.name()));
            }
        }
    }
    assert_eq!(upstream.count(), 8, "each request ran once");
}

fn times_out(answer: &Answer, case: &str) {
    assert_eq!(answer.status, 504, "{case}");
    assert_eq!(answer.json()["message"], "The upstream did not answer in time", "{case}");
    assert_eq!(answer.header("x-should-retry"), Some("false"), "{case}");
}

#[test]
fn a_first_byte_that_does_not_come_is_a_gateway_timeout() {
    let upstream = Upstream::start(|_, exchange| exchange.wait_for_close());
    each(&upstream, FIRST_BYTE, |answer, case| times_out(&answer, case));
}

#[test]
fn interim_answers_are_no_first_byte() {
    let upstream = Upstream::start(|_, exchange| {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        while exchange.send(hint) && !exchange.closes_within(Duration::from_millis(20)) {}
        exchange.close();
    });
    each(&upstream, FIRST_BYTE, |answer, case| times_out(&answer, case));
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_no_first_byte() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nX-Endless: ");
        exchange.wait_for_close();
        exchange.close();
    });
    each(&upstream, FIRST_BYTE, |answer, case| times_out(&answer, case));
}

#[test]
fn a_stream_that_falls_silent_is_finished_with_an_error() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: 1\n\n");
        exchange.wait_for_close();
        exchange.close();
    });
    each(&upstream, IDLE, |answer, case| {
        assert!(answer.is_whole, "{case}");
        let event = answer.text().strip_prefix("data: 1\n\n").map(str::to_owned);
        assert!(event.is_some_and(|event| event.contains("The upstream did not answer in time")), "{case}");
    });
}

#[test]
fn any_other_answer_that_falls_silent_is_reset() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("application/json");
        exchange.chunk("{\"a\":");
        exchange.wait_for_close();
        exchange.close();
    });
    each(&upstream, IDLE, |answer, case| {
        assert_eq!(answer.status, 200, "{case}");
        assert!(!answer.is_whole, "{case}");
    });
}

/// It takes as long as both timeouts together, and the one that is not asked for is shorter.
#[test]
fn neither_wait_is_bounded_by_the_other() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if request.line.contains("lost") {
            return exchange.wait_for_close();
        }
        if request.line.contains("begun") {
            exchange.begin("text/event-stream");
            exchange.chunk("data: 1\n\n");
            gate.wait();
            exchange.chunk("");
        } else {
            gate.wait();
            exchange.answer("200 OK", "text/plain", "{}");
        }
    });
    for (timeouts, query) in [(FIRST_BYTE, "begun"), (IDLE, "late")] {
        let house = House::planned(&[upstream.url()], Plans { upstream: timeouts, ..Plans::default() });
        let short =
            Plans { upstream: ", first_byte_timeout: 250ms, idle_timeout: 250ms", ..Plans::default() };
        let clock = House::planned(&[upstream.url()], short);
        for path in PATHS {
            for mut client in house.fronts() {
                let case = format!("{} {path} {query}", client.name());
                client.send(&format!("POST {path}?{query}"), JSON, CHAT.as_bytes());
                if query == "begun" {
                    assert_eq!(client.head().status, 200, "{case}");
                    assert!(matches!(client.piece(), Piece::Bytes(_)), "{case}");
                } else {
                    upstream.wait_for(1);
                }
                // A request that began later has waited for longer than the shorter timeout.
                assert_eq!(clock.h1().chat(&format!("{path}?lost")).status, 504, "{case}");
                opener.open();
                if query == "begun" {
                    assert_eq!(client.piece(), Piece::End, "{case}");
                } else {
                    assert_eq!(client.head_and_body().status, 200, "{case}");
                }
                upstream.take();
            }
        }
    }
}

/// The server owes nothing while the request is still coming.
#[test]
fn a_slow_upload_does_not_use_up_the_wait_for_the_first_byte() {
    let upstream = Upstream::start(|request, exchange| {
        if request.line.contains("lost") {
            return exchange.wait_for_close();
        }
        exchange.answer("200 OK", "text/plain", &request.body);
    });
    let (houses, _front) = houses(&upstream, ", first_byte_timeout: 200ms, idle_timeout: 200ms");
    for house in &houses {
        // Each lost request waits for longer than the timeout, within the upload.
        let lost = || assert_eq!(house.h1().chat(&format!("{PASSED}?lost")).status, 504);
        let mut client = house.gateway.connect();
        client.send(format!(
            "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nContent-Length: 3\r\n\r\n",
            secret("one")
        ));
        for piece in ["a", "b", "c"] {
            lost();
            client.send(piece);
        }
        assert_eq!(client.answer().text(), "abc");
        let Front::H2(mut h2, _) = house.h2() else { unreachable!("it is HTTP/2") };
        let mut stream = h2.open(H2::request(&format!("POST {PASSED}"), &secret("one"), &[]), HasBody::Yes);
        for piece in ["a", "b", "c"] {
            lost();
            assert!(h2.send_piece(&mut stream, piece.as_bytes()));
        }
        assert!(h2.send(&mut stream, b""));
        assert_eq!(h2.head(&mut stream).expect("a head").status, 200);
    }
}

/// How many bytes a connection takes whose server reads nothing.
fn taken(deaf: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(deaf).expect("it listens");
    stream.set_nonblocking(true).expect("without waiting");
    let piece = vec![b'x'; 16 * 1024];
    let mut taken = 0;
    while let Ok(more) = stream.write(&piece) {
        taken += more;
    }
    taken
}

/// A head may be larger than what the gateway keeps of a request; and a body is not to be waited with behind it.
#[test]
fn a_server_that_does_not_take_the_head_is_a_gateway_timeout() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = deaf.local_addr().expect("its address");
    for size in [taken(address) + 96 * 1024, 12 * 1024 * 1024] {
        let large = "x".repeat(size);
        let upstream = format!("{IDLE}, headers: {{set: {{X-Large: {large}}}}}");
        let plans = Plans { upstream: &upstream, ..Plans::default() };
        let house = House::planned(&[format!("http://{address}")], plans);
        for path in PATHS {
            for mut client in house.fronts() {
                let case = format!("{} {path}, {size} bytes", client.name());
                times_out(&client.ask(&format!("POST {path}"), &[], &[b'x'; 100_000]), &case);
            }
        }
    }
}

#[test]
fn a_server_that_does_not_take_the_request_is_a_gateway_timeout() {
    let (gate, opener) = gate();
    let upstream = Upstream::eager(move |_, exchange| {
        gate.wait();
        exchange.close();
    });
    // More than all socket buffers on the way take.
    let body = vec![b'x'; 24 * 1024 * 1024];
    let house = House::planned(&[upstream.url()], Plans { upstream: IDLE, ..Plans::default() });
    for path in PATHS {
        let mut client = house.h1();
        let answer = client.ask(&format!("POST {path}"), &[], &body);
        times_out(&answer, path);
        opener.open();
    }
}

/// The same once its answer has begun: what is missing is the client's.
#[test]
fn a_slow_upload_does_not_use_up_the_wait_for_the_next_piece() {
    let upstream = Upstream::eager(|request, exchange| {
        if request.line.contains("lost") {
            return exchange.wait_for_close();
        }
        exchange.begin("text/plain");
        let body = exchange.body(3);
        exchange.chunk(body);
        exchange.chunk("");
    });
    let (houses, _front) = houses(&upstream, ", first_byte_timeout: 200ms, idle_timeout: 200ms");
    for house in &houses {
        let mut client = house.gateway.connect();
        client.send(format!(
            "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nContent-Length: 3\r\n\r\n",
            secret("one")
        ));
        let mut answer = client.head();
        for piece in ["a", "b", "c"] {
            // The lost request waits for longer than the timeout, within the upload.
            assert_eq!(house.h1().chat(&format!("{PASSED}?lost")).status, 504);
            client.send(piece);
        }
        client.body_of(&mut answer);
        assert_eq!((answer.text().as_str(), answer.is_whole), ("abc", true));
    }
}
