//! Answers reach the client byte for byte, whatever their framing.

use std::time::Duration;

use crate::support::front::{CHAT, House, JSON, PATHS};
use crate::support::gateway::secret;
use crate::support::upstream::{Exchange, Request, Upstream, gate};

/// Around the size of pingora's own buffers and of a recording's window.
const SIZES: [usize; 6] = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024];

/// Types that are kept while they are sent, forgotten while they are sent, and watched while they are sent.
const TYPES: [&str; 3] = ["application/json", "application/octet-stream", "text/event-stream"];

#[test]
fn answers_of_every_framing_arrive_byte_for_byte() {
    let upstream = Upstream::start(answer_as_asked);
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            for framing in ["length", "chunked", "close", "1xx"] {
                for (index, size) in SIZES.into_iter().enumerate() {
                    let kind = TYPES[index % TYPES.len()];
                    let line = format!("POST {path}?{framing}&{size}&{kind}");
                    let answer = client.ask(&line, JSON, CHAT.as_bytes());
                    let case = format!("{} {line}", client.name());
                    assert_eq!(answer.status, 200, "{case}");
                    assert!(answer.is_whole, "{case}");
                    assert!(answer.body == bytes(size), "{case}: {} bytes", answer.body.len());
                    assert_eq!(answer.header("content-type"), Some(kind), "{case}");
                }
            }
        }
    }
}

#[test]
fn answers_without_a_body_end_with_their_head_and_keep_the_connection() {
    let upstream = Upstream::start(answer_as_asked);
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            for (framing, status) in [("204", 204), ("304", 304)] {
                let line = format!("POST {path}?{framing}&0&application/json");
                let answer = client.ask(&line, JSON, CHAT.as_bytes());
                let case = format!("{} {line}", client.name());
                assert_eq!((answer.status, answer.body.len()), (status, 0), "{case}");
                assert_eq!(answer.header("etag"), Some("\"a\""), "{case}");
                assert_eq!(answer.header("transfer-encoding"), None, "{case}");
            }
            let after = client.ask(&format!("POST {path}?length&9&application/json"), JSON, CHAT.as_bytes());
            assert_eq!(after.body, bytes(9), "{} {path}", client.name());
        }
    }
}

#[test]
fn the_answer_to_head_names_a_length_and_sends_none_of_it() {
    let upstream = Upstream::start(answer_as_asked);
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            let head = client.ask(&format!("HEAD {path}?head&5&application/json"), &[], b"");
            let case = format!("{} {path}", client.name());
            assert_eq!((head.status, head.header("content-length")), (200, Some("5")), "{case}");
            let after = client.ask(&format!("GET {path}?length&9&application/json"), &[], b"");
            assert_eq!(after.body, bytes(9), "{case}");
        }
    }
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let upstream = Upstream::start(answer_as_asked);
    let house = House::before(&[upstream.url()]);
    let mut client = house.h1();
    for round in 0..5 {
        for path in PATHS {
            for framing in ["length", "chunked", "204", "304"] {
                client.ask(
                    &format!("POST {path}?{framing}&9&application/json&{round}"),
                    JSON,
                    CHAT.as_bytes(),
                );
            }
        }
    }
    // A connection comes back a moment after its answer, which a busy machine makes longer.
    assert!(upstream.connections() <= 20, "{} for {} requests", upstream.connections(), upstream.count());
}

/// Answers as the query asks: framing, size, type.
fn answer_as_asked(request: &Request, exchange: &mut Exchange) {
    let target = request.line.split(' ').nth(1).expect("a target");
    let mut asked = target.split_once('?').expect("a query").1.split('&');
    let framing = asked.next().expect("a framing");
    let size = asked.next().and_then(|size| size.parse().ok()).expect("a size");
    let kind = asked.next().expect("a type");
    match framing {
        "length" => exchange.answer("200 OK", kind, bytes(size)),
        "chunked" => {
            exchange.begin(kind);
            for piece in bytes(size).chunks(10_000) {
                exchange.chunk(piece);
            }
            exchange.chunk("");
        }
        "close" => {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"));
            exchange.send(bytes(size));
            exchange.close();
        }
        "1xx" => {
            exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            exchange.send("HTTP/1.1 102 Processing\r\n\r\n");
            exchange.answer("200 OK", kind, bytes(size));
        }
        "204" => {
            exchange.send("HTTP/1.1 204 No Content\r\nETag: \"a\"\r\n\r\n");
        }
        "304" => {
            exchange.send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n");
        }
        "head" => {
            exchange
                .send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"));
        }
        other => unreachable!("{other}"),
    }
}

/// A model may think for minutes.
#[test]
fn the_date_of_an_answer_is_not_that_of_its_question() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json("{}");
    });
    let house = House::before(&[upstream.url()]);
    for (path, asked, date) in
        [(PATHS[0], 1, "Fri, 15 Jan 2027 08:01:00 GMT"), (PATHS[1], 2, "Fri, 15 Jan 2027 08:02:00 GMT")]
    {
        let mut client = house.gateway.connect();
        client.request(&format!("POST {path}"), &secret("one"), "", CHAT.as_bytes());
        upstream.wait_for(asked);
        house.gateway.clock.advance(Duration::from_secs(60));
        opener.open();
        assert_eq!(client.answer().header("date"), Some(date), "{path}");
    }
}

/// Hints come before the answer, and say no more to a client than the answer may.
#[test]
fn hints_are_passed_on_with_the_fields_that_an_answer_would_have() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: a=b\r\nX-RateLimit-Limit: 9\r\nRateLimit: x\r\n\
             X-Request-Id: theirs\r\nAge: 9\r\nX-Cache: HIT\r\nCache-Status: other; hit\r\nKeep-Alive: timeout=9\r\n\
             Connection: X-Hop\r\nX-Hop: 1\r\nTE: gzip\r\nTrailer: x\r\nContent-Length: 9\r\n\
             Proxy-Authenticate: Basic\r\n\r\n",
        );
        exchange.json("{}");
    });
    let house = House::before(&[upstream.url()]);
    for (line, cookie) in [("GET /v1/plain", Some("a=b")), ("GET /v1/chat/completions", None)] {
        let mut client = house.gateway.connect();
        let hint = client.request(line, &secret("one"), "", b"").head();
        assert_eq!(
            (hint.status, hint.header("link"), hint.header("set-cookie")),
            (103, Some("</a>"), cookie)
        );
        let names: Vec<_> = hint.headers.iter().map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = match cookie {
            Some(_) => &["link", "set-cookie", "x-upstream-request-id"],
            None => &["link", "x-upstream-request-id"],
        };
        assert_eq!(names, expected, "{line}");
        assert_eq!((client.answer().status, upstream.take().len()), (200, 1));
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}
