//! The framing of a server's answer, as far as it is odd: what of it reaches the client, and what is refused.

use std::io::{ErrorKind, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::front::{House, PASSED, PATHS, Plans};
use crate::support::gateway::secret;
use crate::support::tls::TlsClient;
use crate::support::upstream::Upstream;

/// Asks on both paths over both protocols; the server answers `answer`, as it stands.
fn each(answer: &'static str, check: impl Fn(&Answer, &str)) {
    let upstream = Upstream::start(move |_, exchange| {
        exchange.send(answer);
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            check(&client.chat(path), &format!("{} {path} {answer:?}", client.name()));
        }
    }
}

fn lengths(answer: &Answer) -> Vec<&str> {
    let fields = answer.headers.iter().filter(|(name, _)| name == "content-length");
    fields.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn an_answer_of_no_content_has_no_framing() {
    for answer in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        each(answer, |answer, case| {
            assert_eq!(answer.status, 204, "{case}");
            assert_eq!(lengths(answer), [""; 0], "{case}");
            assert_eq!(answer.header("transfer-encoding"), None, "{case}");
        });
    }
}

#[test]
fn a_length_said_twice_is_said_once() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        each(answer, |answer, case| {
            assert_eq!(lengths(answer), ["2"], "{case}");
            assert_eq!(answer.text(), "{}", "{case}");
        });
    }
}

#[test]
fn a_coding_that_is_not_undone_is_refused() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        each(answer, |answer, case| {
            assert_eq!(answer.status, 502, "{case}");
            assert_eq!(answer.json()["message"], "The upstream failed to answer", "{case}");
        });
    }
}

#[test]
fn a_required_upgrade_is_named() {
    let answer = "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: HTTP/3.0\r\nContent-Length: 0\r\n\r\n";
    each(answer, |answer, case| {
        // HTTP/2 has no such field (RFC 9113 §8.2.2).
        let named = if case.starts_with("HTTP/2") { None } else { Some("HTTP/3.0") };
        assert_eq!((answer.status, answer.header("upgrade")), (426, named), "{case}");
    });
}

/// A WebSocket's handshake, and the head that answers it.
fn handshake(answer: &'static str) -> Answer {
    let upstream = Upstream::start(move |_, exchange| {
        exchange.send(answer);
        exchange.wait_for_close();
    });
    let plans = Plans { route: ", upgrade: websocket", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    house.gateway.connect().request(&format!("GET {PASSED}"), &secret("one"), fields, b"").head()
}

#[test]
fn a_change_to_another_protocol_is_refused() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
    ] {
        assert_eq!(handshake(answer).status, 502, "{answer:?}");
    }
}

#[test]
fn a_change_of_protocol_carries_nothing_of_the_servers_connection() {
    let head = handshake(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nContent-Length: 5\r\nX-Kept: 1\r\n\r\n",
    );
    assert_eq!(head.status, 101);
    for name in ["x-hop", "keep-alive", "content-length", "transfer-encoding"] {
        assert_eq!(head.header(name), None, "{name}");
    }
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "WebSocket"), ("x-kept", "1")] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
}

/// Where its end is the connection's, a cut answer must not end as a whole one does (RFC 9112 §8 and §9.8).
#[test]
fn an_answer_that_breaks_off_ends_with_a_reset_for_an_old_client() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("application/json");
        exchange.chunk("{\"half\":");
        exchange.close();
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        let request = format!(
            "POST {path} HTTP/1.0\r\nHost: g\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\r\n{{}}",
            secret("one")
        );
        let mut client = house.gateway.connect();
        client.send(&request);
        let mut came = Vec::new();
        let end = client.stream().read_to_end(&mut came).map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "{path}");
        assert!(came.ends_with(b"\r\n\r\n{\"half\":"), "{path}");
        let config = house.authority.client(rustls::ALL_VERSIONS, &["http/1.0"]);
        let mut tls = TlsClient::connect(house.tls_address(), config).expect("a handshake");
        tls.send(&request);
        let (came, is_clean) = tls.rest();
        assert!(came.ends_with("{\"half\":") && !is_clean, "{path}: {came}");
    }
}

/// A gateway after one request to a server that keeps connections as `fields` say.
struct Kept {
    house: House,
    ask: Sender<Duration>,
    told: Receiver<bool>,
}

impl Kept {
    fn after(fields: &'static str) -> Self {
        let ((ask, asked), (tell, told)) = (channel::<Duration>(), channel());
        let ends = Mutex::new((asked, tell));
        let upstream = Upstream::start(move |_, exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\n{{}}"));
            let (asked, tell) = &*ends.lock().expect("no script panicked");
            asked.iter().for_each(|wait| tell.send(exchange.closes_within(wait)).expect("the test waits"));
            exchange.close();
        });
        let house = House::before(&[upstream.url()]);
        assert_eq!(house.h1().ask(&format!("GET {PASSED}"), &[], b"").text(), "{}");
        Self { house, ask, told }
    }

    /// Whether the gateway ends the connection, at the latest in `wait`.
    fn ends_within(&self, wait: Duration) -> bool {
        self.ask.send(wait).expect("the script is asked");
        self.told.recv().expect("the script tells")
    }
}

#[test]
fn a_connection_waits_for_less_than_its_server_keeps_it() {
    let (some_sweeps, long) = (Duration::from_millis(1200), Duration::from_secs(20));
    for fields in ["Keep-Alive: timeout=1\r\n", "Keep-Alive: max=5, Timeout=0\r\n"] {
        assert!(Kept::after(fields).ends_within(long), "{fields:?}");
    }
    for (fields, longest) in [
        ("Keep-Alive: timeout=2, max=5\r\n", Duration::from_secs(1)),
        ("Keep-Alive: timeout=\"2\"\r\n", Duration::from_secs(1)),
        ("", Duration::from_secs(4)),
        ("Keep-Alive: timeout=60\r\n", Duration::from_secs(4)),
        ("Keep-Alive: timeout=soon\r\n", Duration::from_secs(4)),
    ] {
        let kept = Kept::after(fields);
        kept.house.gateway.clock.advance(longest - Duration::from_millis(1));
        assert!(!kept.ends_within(some_sweeps), "{fields:?}");
        // It may have begun to wait only after the first step.
        kept.house.gateway.clock.advance(longest);
        assert!(kept.ends_within(long), "{fields:?}");
    }
}
