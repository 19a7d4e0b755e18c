//! What a client sees when the upstream fails: before the first byte, and after it.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::client::Answer;
use crate::support::closed_port::ClosedPort;
use crate::support::front::{CHAT, House, JSON, PATHS, Piece, Plans};
use crate::support::upstream::{Exchange, Upstream};

/// Asks on both paths over both protocols; every answer is the same refusal.
fn refused(house: &House, status: u16, message: &str, should_retry: Option<&str>) {
    for path in PATHS {
        for mut client in house.fronts() {
            let answer = client.chat(path);
            let case = format!("{} {path}", client.name());
            assert_eq!(answer.status, status, "{case}: {}", answer.text());
            assert_eq!(answer.json()["message"], message, "{case}");
            assert_eq!(answer.header("x-should-retry"), should_retry, "{case}");
            assert_eq!(answer.header("cache-status"), None, "{case}");
        }
    }
}

#[test]
fn a_refused_connection_is_a_bad_gateway() {
    let closed = ClosedPort::any();
    let house = House::before(&[format!("http://{}", closed.address())]);
    refused(&house, 502, "The upstream could not be reached", None);
}

#[test]
fn a_reset_before_the_answer_is_a_bad_gateway_that_is_not_to_be_tried_again() {
    for linger in [false, true] {
        let upstream =
            Upstream::start(move |_, exchange| if linger { exchange.reset() } else { exchange.close() });
        let house = House::before(&[upstream.url()]);
        refused(&house, 502, "The upstream failed to answer", Some("false"));
        assert_eq!(upstream.count(), 4, "each request ran once");
    }
}

#[test]
fn an_answer_that_is_no_http_is_a_bad_gateway() {
    for answer in
        ["hello, I am no HTTP server\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno field\r\n\r\n"]
    {
        let upstream = Upstream::start(move |_, exchange| {
            exchange.send(answer);
            exchange.close();
        });
        let house = House::before(&[upstream.url()]);
        refused(&house, 502, "The upstream failed to answer", Some("false"));
        assert_eq!(upstream.count(), 4, "each request ran once");
    }
}

#[test]
fn a_connection_that_does_not_come_about_is_a_gateway_timeout() {
    let full = full_backlog();
    let plans = Plans { upstream: ", connect_timeout: 200ms", ..Plans::default() };
    let house = House::planned(&[format!("http://{}", full.address)], plans);
    refused(&house, 504, "The upstream could not be reached in time", None);
}

#[test]
fn a_handshake_that_does_not_come_about_is_a_gateway_timeout() {
    let silent = silent_port();
    let plans = Plans { upstream: ", connect_timeout: 200ms", ..Plans::default() };
    let house = House::planned(&[format!("https://{silent}")], plans);
    refused(&house, 504, "The upstream could not be reached in time", None);
}

#[test]
fn a_stream_that_falls_silent_ends_with_an_error_event() {
    let silent: Script = |_, exchange| exchange.wait_for_close();
    streams_end_with_an_error(silent, "The upstream did not answer in time");
}

#[test]
fn a_stream_that_is_cut_ends_with_an_error_event() {
    let cut: Script = |_, exchange| exchange.close();
    streams_end_with_an_error(cut, "The upstream failed to answer");
}

#[test]
fn a_stream_whose_framing_breaks_ends_with_an_error_event() {
    let broken: Script = |_, exchange| {
        exchange.send("no chunk\r\n");
    };
    streams_end_with_an_error(broken, "The upstream failed to answer");
}

#[test]
fn an_answer_that_falls_silent_is_reset() {
    cut_short(|_, exchange| exchange.wait_for_close());
}

#[test]
fn an_answer_that_is_cut_is_reset() {
    cut_short(|_, exchange| exchange.close());
}

type Script = fn(&crate::support::upstream::Request, &mut Exchange);

/// The wait between pieces is the one that runs out here.
const IMPATIENT: Plans<'static> =
    Plans { upstream: ", first_byte_timeout: 60s, idle_timeout: 200ms", route: "", more: "" };

/// The upstream's stream breaks off as `how` says, within a line, after it, and between events.
fn streams_end_with_an_error(how: Script, message: &'static str) {
    const OPEN: [(&str, &str); 3] =
        [("data: {\"a\":", "\n\n"), ("data: {\"a\":1}\n", "\n"), ("data: {\"a\":1}\n\n", "")];
    let upstream = Upstream::start(move |request, exchange| {
        let number = request.line.split(['?', ' ']).nth(2).and_then(|number| number.parse::<usize>().ok());
        exchange.begin("text/event-stream; charset=utf-8");
        exchange.chunk(OPEN[number.expect("a number")].0);
        how(request, exchange);
        exchange.close();
    });
    let house = House::planned(&[upstream.url()], IMPATIENT);
    let openai = |answer: &str| {
        let data = answer
            .strip_prefix("data: ")
            .and_then(|data| data.strip_suffix("\n\n"))
            .unwrap_or_else(|| panic!("no one event: {answer:?}"));
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(data["error"]["message"], message);
    };
    let anthropic = |answer: &str| {
        let data = answer.strip_prefix("event: error\ndata: ").and_then(|data| data.strip_suffix("\n\n"));
        let data: serde_json::Value = serde_json::from_str(data.expect("one event")).expect("JSON");
        assert_eq!((&data["type"], &data["error"]["message"]), (&"error".into(), &message.into()));
    };
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/plain", "/v1/plain/messages"] {
        for mut client in house.fronts() {
            for (number, (open, completion)) in OPEN.into_iter().enumerate() {
                let answer = client.ask(&format!("POST {path}?{number}"), JSON, CHAT.as_bytes());
                let case = format!("{} {path} {open:?}", client.name());
                assert!(answer.is_whole, "{case}");
                let text = answer.text();
                let event = text.strip_prefix(&format!("{open}{completion}"));
                let event = event.unwrap_or_else(|| panic!("{case}: {text:?}"));
                if path.ends_with("/messages") {
                    anthropic(event)
                } else {
                    openai(event)
                }
                if client.name() == "HTTP/1.1" {
                    // The connection may have ended with the answer.
                    client = house.h1();
                }
            }
        }
    }
}

/// The upstream's JSON breaks off as `how` says: chunked, and with a length.
fn cut_short(how: Script) {
    let upstream = Upstream::start(move |request, exchange| {
        if request.line.contains("chunked") {
            exchange.begin("application/json");
            exchange.chunk("{\"a\":");
        } else {
            exchange.send(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":",
            );
        }
        how(request, exchange);
        exchange.close();
    });
    let house = House::planned(&[upstream.url()], IMPATIENT);
    for path in PATHS {
        for framing in ["chunked", "length"] {
            for mut client in house.fronts() {
                let answer: Answer = client.ask(&format!("POST {path}?{framing}"), JSON, CHAT.as_bytes());
                let case = format!("{} {path} {framing}", client.name());
                assert_eq!(answer.status, 200, "{case}");
                if client.name() == "HTTP/1.1" {
                    // A reset of HTTP/2 may overtake what was sent before it.
                    assert_eq!(answer.text(), "{\"a\":", "{case}");
                }
                assert!(!answer.is_whole, "{case}");
            }
        }
    }
    house.gateway.eventually("all are counted", |gateway| {
        let series = "safecache_requests_total{outcome=\"upstream_error\",route=\"/v1/*\",status=\"200\"}";
        gateway.metric(series) == 8.0
    });
}

#[test]
fn what_came_before_a_cut_reaches_the_client() {
    const SIZE: usize = 300_000;
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(vec![b'x'; SIZE]);
        exchange.close();
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            client.send(&format!("POST {path}"), JSON, CHAT.as_bytes());
            client.head();
            let mut count = 0;
            while let Piece::Bytes(bytes) = client.piece() {
                count += bytes.iter().filter(|byte| **byte == b'x').count();
            }
            assert!(count >= SIZE, "{} {path}: {count}", client.name());
        }
    }
}

/// A listener whose backlog is full: connections to it stay half open.
struct FullBacklog {
    address: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

fn full_backlog() -> FullBacklog {
    let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let listener = new();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().expect("its address").as_socket().expect("an address");
    let waiting = (0..4)
        .map(|_| {
            let socket = new();
            socket.set_nonblocking(true).expect("nonblocking");
            // In progress, for ever.
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    FullBacklog { address, _listener: listener, _waiting: waiting }
}

/// A listener that accepts, reads and never says anything.
fn silent_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || read_away(&mut stream));
        }
    });
    address
}

fn read_away(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    // Until the gateway gives up.
    let _ = stream.read_to_end(&mut bytes);
}

/// An event there would fill up the length, or be no part of what the client decodes.
#[test]
fn a_stream_with_a_length_or_a_coding_is_cut_short() {
    for framing in [
        "Content-Length: 600\r\n\r\ndata: 1\n\nda",
        "Content-Length: 12\r\n\r\ndata: 1\n\nda",
        "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\x1f\u{8}\u{8}\0\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\x1f\u{8}\u{8}\0\r\n",
    ] {
        let upstream = Upstream::start(move |_, exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}"));
            exchange.close();
        });
        let house = House::before(&[upstream.url()]);
        for path in PATHS {
            for mut client in house.fronts() {
                let answer = client.chat(path);
                let case = format!("{} {path} {framing:?}", client.name());
                assert_eq!(answer.status, 200, "{case}");
                assert!(!answer.is_whole, "{case}: {:?}", answer.text());
                assert!(!answer.text().contains("error"), "{case}: {:?}", answer.text());
            }
        }
        let log = house.gateway.stop();
        assert_eq!(log.matches("\"upstream_error\"").count(), 4, "{log}");
    }
}

#[test]
fn a_stream_that_says_it_is_not_coded_ends_with_an_error_event() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: Identity\r\n");
        exchange.send("Transfer-Encoding: chunked\r\n\r\n");
        exchange.chunk("data: 1\n\n");
        exchange.close();
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            let answer = client.chat(path);
            assert!(answer.is_whole, "{} {path}", client.name());
            assert!(answer.text().contains("The upstream failed to answer"), "{} {path}", client.name());
        }
    }
}
