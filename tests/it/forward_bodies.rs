//! Request bodies arrive byte for byte, whatever their size, their framing, the protocols and the path.

use data_encoding::HEXLOWER;
use safecache::auth::token::digest;

use crate::support::client::Answer;
use crate::support::front::{Front, House, PASSED, PATHS, Plans, unstored};
use crate::support::gateway::secret;
use crate::support::tls::{Authority, TlsFront};
use crate::support::upstream::{Upstream, gate};

/// Around the size of pingora's own buffers, and the largest that `limits.max_body` lets through.
const SIZES: [usize; 7] = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024, 32 * 1024 * 1024];

/// The name in the upstream's certificate; its address is another.
const MODEL: &str = "model.test";

#[derive(Clone, Copy)]
enum Downstream {
    Length,
    Chunked,
    Http2,
}

#[test]
fn bodies_with_a_length_arrive_byte_for_byte() {
    bodies_arrive(Downstream::Length, false);
}

#[test]
fn chunked_bodies_arrive_byte_for_byte() {
    bodies_arrive(Downstream::Chunked, false);
}

#[test]
fn bodies_over_http2_arrive_byte_for_byte() {
    bodies_arrive(Downstream::Http2, false);
}

#[test]
fn bodies_with_a_length_arrive_byte_for_byte_over_tls() {
    bodies_arrive(Downstream::Length, true);
}

#[test]
fn chunked_bodies_arrive_byte_for_byte_over_tls() {
    bodies_arrive(Downstream::Chunked, true);
}

#[test]
fn bodies_over_http2_arrive_byte_for_byte_over_tls() {
    bodies_arrive(Downstream::Http2, true);
}

#[test]
fn an_upstream_with_a_certificate_of_an_unknown_authority_is_a_bad_gateway() {
    let upstream = unstored();
    let stranger = TlsFront::before(upstream.address(), &Authority::new().identity(MODEL));
    let plans =
        Plans { upstream: &format!(", tls: {{ca: ca.pem, server_name: {MODEL}}}"), ..Plans::default() };
    let house = House::planned(&[stranger.url()], plans);
    for path in PATHS {
        assert_eq!(house.h1().chat(path).status, 502, "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_upstream_with_a_certificate_for_another_name_is_a_bad_gateway() {
    let upstream = unstored();
    let authority = Authority::new();
    let front = TlsFront::before(upstream.address(), &authority.identity("other.test"));
    let plans =
        Plans { upstream: &format!(", tls: {{ca: ca.pem, server_name: {MODEL}}}"), ..Plans::default() };
    let house = House::build(&[front.url()], plans, authority);
    for path in PATHS {
        assert_eq!(house.h1().chat(path).status, 502, "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[expect(clippy::fn_params_excessive_bools, reason = "the table's second column")]
fn bodies_arrive(downstream: Downstream, over_tls: bool) {
    let upstream =
        Upstream::start(|request, exchange| exchange.json(&format!("\"{}\"", hash(&request.body))));
    let authority = Authority::new();
    let front = over_tls.then(|| TlsFront::before(upstream.address(), &authority.identity(MODEL)));
    let tls = format!(", tls: {{ca: ca.pem, server_name: {MODEL}}}");
    let plans = Plans { upstream: if over_tls { &tls } else { "" }, ..Plans::default() };
    let url = front.as_ref().map_or_else(|| upstream.url(), TlsFront::url);
    let house = House::build(&[url], plans, authority);
    for path in PATHS {
        let mut client = match downstream {
            Downstream::Http2 => house.h2(),
            _ => house.h1(),
        };
        for size in SIZES {
            let body = bytes(size);
            let line = format!("POST {path}?size={size}");
            let answer = match downstream {
                Downstream::Chunked => ask_chunked(&mut client, &line, &body),
                _ => client.ask(&line, &[], &body),
            };
            let expected = format!("\"{}\"", hash(&body));
            assert_eq!((answer.status, answer.text()), (200, expected), "{path} {size}");
            let arrived = upstream.take();
            assert_eq!(arrived.len(), 1, "{path} {size}");
            assert_eq!(arrived[0].body.len(), size, "{path}");
        }
    }
}

/// Sends `body` in chunks of many sizes.
fn ask_chunked(client: &mut Front, line: &str, body: &[u8]) -> Answer {
    let Front::H1(client) = client else { unreachable!("chunks are of HTTP/1.1") };
    client.send(format!(
        "{line} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        secret("one")
    ));
    let mut rest = body;
    let mut size = 1;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        client.send([format!("{size:x}\r\n", size = chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        rest = after;
        size = (size * 3).min(1024 * 1024);
    }
    client.send("0\r\n\r\n").answer()
}

/// Bytes without a pattern that a lost or doubled block would keep.
fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&digest(bytes))
}

/// Its server never says 100; it gets the body, and nothing to say it for.
#[test]
fn continue_is_said_by_the_gateway_where_nothing_is_cached() {
    let upstream =
        Upstream::start(|request, exchange| exchange.answer("200 OK", "text/plain", &request.body));
    let house = House::before(&[upstream.url()]);
    for _ in 0..2 {
        let mut client = house.gateway.connect();
        client.send(format!(
            "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
             Content-Length: 5\r\n\r\n",
            secret("one")
        ));
        assert_eq!(client.head().status, 100);
        client.send("hello");
        let mut answer = client.head();
        assert_eq!(answer.status, 200, "one 100 is enough");
        client.body_of(&mut answer);
        assert_eq!(answer.text(), "hello");
    }
    assert!(upstream.requests().iter().all(|request| request.header("expect").is_none()));
}

/// The client was told to go on, so it is heard to the end before it is answered.
#[test]
fn an_answer_that_comes_before_the_body_reaches_who_was_told_to_continue() {
    let upstream = Upstream::eager(|_, exchange| {
        exchange.answer("413 Content Too Large", "text/plain", "big");
        exchange.wait_for_close();
    });
    let house = House::before(&[upstream.url()]);
    let mut client = house.gateway.connect();
    client.send(format!(
        "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Length: 5\r\n\r\n",
        secret("one")
    ));
    assert_eq!(client.head().status, 100);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    assert!(client.try_send("hello"), "its body is still read");
}

/// Over HTTP/2 there is no 100; the server is not told of what is expected, so it does not wait either.
#[test]
fn over_http2_nobody_waits_for_a_continue_that_does_not_come() {
    let upstream =
        Upstream::start(|request, exchange| exchange.answer("200 OK", "text/plain", &request.body));
    let house = House::before(&[upstream.url()]);
    let answer = house.h2().ask(&format!("POST {PASSED}"), &[("expect", "100-continue")], b"hello");
    assert_eq!(answer.text(), "hello");
    assert!(upstream.requests().iter().all(|request| request.header("expect").is_none()));
}

/// What is held of a body while it is sent on counts, and is given back with it.
#[test]
fn a_body_that_is_passed_on_takes_memory_until_it_is_sent() {
    const MOST: f64 = 192.0 * 1024.0;
    for limits in ["buffer_memory: 256KiB", "buffer_memory_per_key: 256KiB"] {
        let ((begin, beginner), (end, _ender)) = (gate(), gate());
        let upstream = Upstream::eager(move |request, exchange| {
            begin.wait();
            let length = request.header("content-length").and_then(|length| length.parse().ok());
            exchange.body(length.unwrap_or_default());
            exchange.begin("text/plain");
            end.wait();
            exchange.chunk("");
        });
        let more = format!("limits: {{{limits}}}");
        let house = House::planned(&[upstream.url()], Plans { more: &more, ..Plans::default() });
        let head = |length: usize| {
            let key = secret("one");
            format!(
                "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
        };
        let held = || house.gateway.metric("safecache_buffer_bytes");
        let mut first = house.gateway.connect();
        first.send(head(1024 * 1024));
        upstream.wait_for(1);
        assert_eq!(held(), MOST, "{limits}");
        let mut second = house.gateway.connect();
        second.send(head(1024));
        upstream.wait_for(2);
        assert_eq!(held(), MOST + 1024.0, "{limits}");
        let refused = house.gateway.connect().send(head(100 * 1024)).send(vec![b'x'; 100 * 1024]).answer();
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{limits}");
        let refused = house.h2().ask(&format!("POST {PASSED}"), &[], &[b'x'; 1024]);
        assert_eq!(refused.status, 503, "{limits}: of an unknown length as much as can be");
        assert_eq!(house.h1().ask("GET /healthz", &[], b"").status, 200, "{limits}");
        beginner.open();
        beginner.open();
        first.send(vec![b'x'; 1024 * 1024]);
        second.send(vec![b'x'; 1024]);
        assert_eq!((first.head().status, second.head().status), (200, 200), "{limits}");
        house.gateway.eventually("what is sent takes none", |_| held() == 0.0);
        assert_eq!(upstream.count(), 2, "{limits}");
    }
}
