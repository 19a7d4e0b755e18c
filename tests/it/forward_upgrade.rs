//! What a route lets through beyond HTTP: WebSocket, where it says so.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::client::{Client, DEADLINE};
use crate::support::front::{CACHED, House, PASSED, Plans};
use crate::support::gateway::secret;
use crate::support::tls::{Authority, TlsClient, TlsFront};
use crate::support::upstream::{Exchange, Upstream, gate};

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: abc\r\n\r\n";

const WEBSOCKET: Plans<'static> = Plans { upstream: "", route: ", upgrade: websocket", more: "" };

/// An upstream that takes up WebSocket as `script` says, and answers anything else.
fn taking_up(script: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |request, exchange| {
        if request.header("upgrade").is_none() {
            return exchange.json("{}");
        }
        script(exchange);
        exchange.close();
    })
}

/// One that then sends back what it gets.
fn echo() -> Upstream {
    taking_up(|exchange| {
        exchange.send(SWITCHED);
        loop {
            let bytes = exchange.read();
            if bytes.is_empty() || !exchange.send(bytes) {
                break;
            }
        }
    })
}

fn handshake() -> String {
    format!(
        "GET {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: WebSocket\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n\r\n",
        secret("one")
    )
}

fn ask_for_websocket(house: &House) -> Client {
    let mut client = house.gateway.connect();
    client.send(handshake());
    client
}

/// A client that is through with the handshake.
fn upgraded(house: &House) -> Client {
    let mut client = ask_for_websocket(house);
    assert_eq!(client.head().status, 101);
    client
}

#[test]
fn websocket_passes_where_the_route_lets_it() {
    let upstream = echo();
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = ask_for_websocket(&house);
    let head = client.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(head.header("sec-websocket-accept"), Some("abc"));
    assert!(head.header("x-ratelimit-limit").is_some());
    for message in [&b"\x81\x02hi"[..], b"\x82\x01\0", &[7; 1000]] {
        client.send(message);
        assert_eq!(client.take(message.len()), message);
    }
    let request = &upstream.requests()[0];
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert_eq!(request.header("connection"), Some("Upgrade"));
    assert_eq!(request.header("sec-websocket-key"), Some("abc"));
    assert_eq!(request.header("authorization"), None);
    drop(client);
    house.gateway.eventually("it is over", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
    let log = house.gateway.stop();
    let line: serde_json::Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&line["outcome"], &line["status"]), (&"forwarded".into(), &101.into()), "{line}");
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&1007.into(), &1007.into()), "{line}");
}

/// A server's answer may be there before anything else has happened to the request.
#[test]
fn a_server_that_switches_at_once_is_joined_each_time() {
    let upstream = echo();
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    for round in 0..300 {
        let mut client = upgraded(&house);
        client.send("ping");
        assert_eq!(client.take(4), b"ping", "{round}");
    }
}

#[test]
fn a_server_may_speak_first() {
    for (together, apart) in [("in one piece with its head", ""), ("", "apart"), ("both", "of them")] {
        let upstream = taking_up(move |exchange| {
            exchange.send(format!("{SWITCHED}{together}"));
            exchange.send(apart);
            let heard = exchange.read();
            exchange.send(heard);
        });
        let house = House::planned(&[upstream.url()], WEBSOCKET);
        let mut client = upgraded(&house);
        assert_eq!(client.take(together.len() + apart.len()), format!("{together}{apart}").as_bytes());
        client.send("heard");
        assert_eq!(client.take(5), b"heard");
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_may_speak_right_behind_its_handshake() {
    let upstream = echo();
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let early = "x".repeat(40_000);
    let mut client = house.gateway.connect();
    client.send(format!("{}{early}", handshake()));
    assert_eq!(client.head().status, 101);
    client.send("later");
    assert_eq!(client.take(early.len() + 5), format!("{early}later").as_bytes());
}

#[test]
fn a_client_may_speak_before_the_server_has_switched() {
    let (gate, opener) = gate();
    let upstream = taking_up(move |exchange| {
        gate.wait();
        exchange.send(SWITCHED);
        let mut heard = Vec::new();
        while heard.len() < 10 {
            heard.extend(exchange.read());
        }
        exchange.send(heard);
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = ask_for_websocket(&house);
    house.gateway.eventually("the server has the request", |_| upstream.count() == 1);
    client.send("early");
    house.gateway.pass_some_time();
    opener.open();
    assert_eq!(client.head().status, 101);
    client.send("later");
    assert_eq!(client.take(10), b"earlylater");
}

#[test]
fn what_is_said_after_the_other_side_has_finished_still_arrives() {
    let upstream = taking_up(|exchange| {
        exchange.send(SWITCHED);
        let mut heard = Vec::new();
        loop {
            let bytes = exchange.read();
            if bytes.is_empty() {
                break;
            }
            heard.extend(bytes);
        }
        exchange.send([b"heard ", heard.as_slice()].concat());
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = upgraded(&house);
    client.send("all I say");
    client.stream().shutdown(Shutdown::Write).expect("a half-close");
    assert_eq!(client.take(15), b"heard all I say");
    assert!(client.is_closed());
}

#[test]
fn a_client_still_speaks_to_a_server_that_has_finished() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = taking_up(move |exchange| {
        exchange.send(format!("{SWITCHED}last words"));
        exchange.finish();
        tell.lock().expect("no script panicked").send(exchange.body(usize::MAX)).expect("heard");
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = upgraded(&house);
    assert_eq!(client.take(10), b"last words");
    assert!(client.is_closed());
    client.send("and mine");
    client.stream().shutdown(Shutdown::Write).expect("a half-close");
    assert_eq!(told.recv_timeout(DEADLINE).expect("the end"), b"and mine");
}

#[test]
fn both_sides_may_speak_at_once() {
    const SIZE: usize = 16 * 1024 * 1024;
    let upstream = taking_up(|exchange| {
        exchange.send(SWITCHED);
        let mut talking = exchange.second_handle();
        let talk = std::thread::spawn(move || talking.write_all(&vec![b's'; SIZE]).is_ok());
        let heard = exchange.body(SIZE);
        assert!(talk.join().expect("it talks"));
        exchange.send(if heard == vec![b'c'; SIZE] { "good" } else { "bad!" });
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = upgraded(&house);
    let mut talking = client.stream().try_clone().expect("a second handle");
    let talk = std::thread::spawn(move || talking.write_all(&vec![b'c'; SIZE]).is_ok());
    assert!(client.take(SIZE) == vec![b's'; SIZE]);
    assert!(talk.join().expect("it talks"));
    assert_eq!(client.take(4), b"good");
}

#[test]
fn one_direction_that_is_stuck_does_not_hold_up_the_other() {
    const SIZE: usize = 4 * 1024 * 1024;
    let (gate, opener) = gate();
    // It never listens.
    let upstream = taking_up(move |exchange| {
        exchange.send(SWITCHED);
        gate.wait();
        exchange.send(vec![b's'; SIZE]);
        gate.wait();
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = upgraded(&house);
    let mut talking = client.stream().try_clone().expect("a second handle");
    talking.set_nonblocking(true).expect("nonblocking");
    let mut looks = 0;
    house.gateway.eventually("nobody takes any more", |gateway| {
        let is_stuck = talking.write(&[b'c'; 65536]).is_err();
        gateway.metrics();
        looks = if is_stuck { looks + 1 } else { 0 };
        looks == 100
    });
    talking.set_nonblocking(false).expect("blocking");
    opener.open();
    assert!(client.take(SIZE) == vec![b's'; SIZE]);
}

#[test]
fn a_silence_of_both_sides_ends_it() {
    let upstream = taking_up(|exchange| {
        exchange.send(SWITCHED);
        exchange.wait_for_close();
    });
    let plans = Plans { upstream: ", idle_timeout: 200ms", ..WEBSOCKET };
    let house = House::planned(&[upstream.url()], plans);
    let mut client = upgraded(&house);
    assert!(client.is_closed());
    house.gateway.eventually("it is over", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
}

#[test]
fn a_client_that_leaves_takes_its_server_with_it() {
    for is_through in [false, true] {
        let (stopped, stops) = channel();
        let stopped = Mutex::new(stopped);
        let upstream = taking_up(move |exchange| {
            if is_through {
                exchange.send(SWITCHED);
            }
            exchange.wait_for_close();
            stopped.lock().expect("no script panicked").send(()).expect("heard");
        });
        let house = House::planned(&[upstream.url()], WEBSOCKET);
        let mut client = ask_for_websocket(&house);
        house.gateway.eventually("the server has the request", |_| upstream.count() == 1);
        if is_through {
            assert_eq!(client.head().status, 101);
        }
        drop(client);
        stops.recv_timeout(DEADLINE).expect("the server is stopped");
        house
            .gateway
            .eventually("it is over", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
    }
}

#[test]
fn websocket_passes_over_tls_on_both_sides() {
    let upstream = taking_up(|exchange| {
        exchange.send(format!("{SWITCHED}hello "));
        let heard = exchange.body(10);
        exchange.send(heard);
    });
    let authority = Authority::new();
    let front = TlsFront::before(upstream.address(), &authority.identity("model.test"));
    let plans = Plans { upstream: ", tls: {ca: ca.pem, server_name: model.test}", ..WEBSOCKET };
    let house = House::build(&[front.url()], plans, authority);
    let config = house.authority.client(rustls::ALL_VERSIONS, &["http/1.1"]);
    let mut client = TlsClient::connect(house.tls_address(), config).expect("TLS");
    client.send(format!("{}early", handshake()));
    client.send("later");
    let (answer, is_clean) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nhello earlylater"), "{answer}");
    assert!(is_clean);
}

#[test]
fn an_upgrade_that_the_server_refuses_is_an_answer_like_any_other() {
    let upstream = taking_up(|exchange| exchange.answer("426 Upgrade Required", "text/plain", "no"));
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let mut client = ask_for_websocket(&house);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (426, "no"));
    assert_eq!(client.get(PASSED, &secret("one")).status, 200, "the connection goes on");
}

/// What was sent in the hope of another protocol is never half of a request: either the connection ends with the
/// answer, or what came after it is a request of its own.
#[test]
fn what_follows_a_refused_upgrade_is_not_taken_apart() {
    let (gate, opener) = gate();
    let upstream = taking_up(move |exchange| {
        gate.wait();
        exchange.answer("426 Upgrade Required", "text/plain", "no");
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let next = handshake().replace("keep-alive, Upgrade", "close").replace("Upgrade: WebSocket\r\n", "");
    for is_in_one in [true, false] {
        upstream.take();
        let mut client = house.gateway.connect();
        client.send(if is_in_one { handshake() + &next } else { handshake() });
        upstream.wait_for(1);
        if !is_in_one {
            client.send(&next);
            house.gateway.pass_some_time();
        }
        opener.open();
        assert_eq!(client.answer().status, 426);
        assert!(client.is_closed());
        let rest = String::from_utf8(client.pending(Duration::from_millis(1))).expect("text");
        assert!(rest.is_empty() || !is_in_one && rest.starts_with("HTTP/1.1 200 "), "{rest}");
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send(SWITCHED);
        exchange.wait_for_close();
        exchange.close();
    });
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    for path in [PASSED, CACHED] {
        for mut client in house.fronts() {
            assert_eq!(client.chat(path).status, 502, "{} {path}", client.name());
        }
    }
}

#[test]
fn websocket_is_an_ordinary_request_where_the_route_says_nothing() {
    let upstream = echo();
    let house = House::before(&[upstream.url()]);
    let answer = ask_for_websocket(&house).answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    let request = &upstream.requests()[0];
    assert_eq!((request.header("upgrade"), request.header("connection")), (None, None));
}

#[test]
fn other_upgrades_never_pass() {
    let upstream = echo();
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    for (line, more) in [
        ("GET", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
        ("GET", "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"),
        ("POST", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
        ("GET", "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        let body: &[u8] = if more.contains("chunked") { b"0\r\n\r\n" } else { b"" };
        let mut client = house.gateway.connect();
        let head = format!(
            "{line} {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\n",
            secret("one")
        );
        let answer = client.send([head.as_bytes(), more.as_bytes(), b"\r\n", body].concat()).answer();
        assert_eq!(answer.status, 200, "{line} {more}");
        assert_eq!(upstream.take()[0].header("upgrade"), None, "{line} {more}");
    }
}

#[test]
fn a_key_is_asked_for_before_an_upgrade() {
    let upstream = echo();
    let house = House::planned(&[upstream.url()], WEBSOCKET);
    let more = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let answer =
        house.gateway.connect().request(&format!("GET {PASSED}"), "no key of anybody", more, b"").answer();
    assert_eq!((answer.status, upstream.count()), (401, 0));
}
