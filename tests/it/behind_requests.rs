//! What a client sends behind its request: it hides nobody who leaves, and an empty line does no harm.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::client::{Client, DEADLINE};
use crate::support::front::{CHAT, House, PATHS, unstored};
use crate::support::gateway::secret;
use crate::support::upstream::Upstream;

/// What is sent behind a request: an empty line too much (RFC 9112 §2.2), and the next request.
const BEHIND: [&str; 2] = ["\r\n", "GET /v1/second HTTP/1.1\r\nHost: g\r\n\r\n"];

#[test]
fn nobody_who_leaves_is_hidden() {
    let (began, begins) = channel();
    let (stop, stopped) = channel();
    let ends = Mutex::new((began, stop));
    let upstream = Upstream::start(move |_, exchange| {
        let (began, stop) = ends.lock().expect("no script panicked").clone();
        began.send(()).expect("heard");
        stop.send(exchange.closes_within(DEADLINE)).expect("heard");
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for behind in BEHIND {
            for is_in_one in [true, false] {
                let mut client = house.gateway.connect();
                send(&mut client, path, if is_in_one { behind } else { "" });
                begins.recv_timeout(DEADLINE).expect("the request arrives");
                if !is_in_one {
                    client.send(behind);
                    house.gateway.pass_some_time();
                }
                drop(client);
                let left = stopped.recv_timeout(2 * DEADLINE);
                assert_eq!(left, Ok(true), "{path} {behind:?} in one: {is_in_one}");
            }
        }
    }
}

#[test]
fn an_empty_line_does_no_harm() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let mut client = house.gateway.connect();
    for path in PATHS {
        for _ in 0..2 {
            send(&mut client, path, "\r\n");
            assert_eq!(client.answer().status, 200, "{path}");
            client.send("\r\n\n");
            house.gateway.pass_some_time();
        }
    }
    house.gateway.pass_some_time();
    assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    drop(client);
    house
        .gateway
        .eventually("the connection is closed", |gateway| gateway.metric("safecache_connections") == 0.0);
    assert_eq!(house.gateway.metric("safecache_heads_refused_total"), 0.0, "an empty line is no head");
}

fn send(client: &mut Client, path: &str, behind: &str) {
    let length = CHAT.len();
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{CHAT}{behind}",
        secret("one"),
    ));
}
