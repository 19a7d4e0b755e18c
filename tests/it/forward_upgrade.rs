//! What a route lets through beyond HTTP: WebSocket, where it says so.

use crate::support::front::{House, PASSED, Plans};
use crate::support::gateway::secret;
use crate::support::upstream::Upstream;

/// An upstream that takes up WebSocket and then sends back what it gets.
fn echo() -> Upstream {
    Upstream::start(|request, exchange| {
        if request.header("upgrade").is_none() {
            return exchange.json("{}");
        }
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: abc\r\n\r\n",
        );
        loop {
            let bytes = exchange.read();
            if bytes.is_empty() || !exchange.send(bytes) {
                break;
            }
        }
        exchange.close();
    })
}

/// The request has a body, as pingora 0.9.1 may take the end of an empty one for the end of the upgraded connection:
/// when the 101 comes before it has looked at that end. What has a body is answered after it.
fn ask_for_websocket(house: &House) -> crate::support::client::Client {
    let mut client = house.gateway.connect();
    client.send(format!(
        "GET {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nhi",
        secret("one")
    ));
    client
}

#[test]
fn websocket_passes_where_the_route_lets_it() {
    let upstream = echo();
    let plans = Plans { route: ", upgrade: websocket", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
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
    assert_eq!(request.header("sec-websocket-key"), Some("abc"));
    assert_eq!(request.header("authorization"), None);
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
    let plans = Plans { route: ", upgrade: websocket", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let answer = house
        .gateway
        .connect()
        .request(&format!("GET {PASSED}"), &secret("one"), "Connection: upgrade\r\nUpgrade: h2c\r\n", b"")
        .answer();
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.requests()[0].header("upgrade"), None);
}

#[test]
fn a_key_is_asked_for_before_an_upgrade() {
    let upstream = echo();
    let plans = Plans { route: ", upgrade: websocket", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let more = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let answer =
        house.gateway.connect().request(&format!("GET {PASSED}"), "no key of anybody", more, b"").answer();
    assert_eq!((answer.status, upstream.count()), (401, 0));
}
