//! A client that leaves while its upload goes no further, with more of it unread than the gateway reads ahead.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::front::{House, PASSED};
use crate::support::gateway::secret;

/// Of one that ends its side in an orderly way nobody hears while the system's buffers before it are full.
#[test]
fn a_client_that_leaves_within_an_upload_that_stands_still_is_seen() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let house = House::before(&[format!("http://{}", deaf.local_addr().expect("its address"))]);
    let client = house.gateway.connect();
    let mut stream = client.stream().try_clone().expect("a second handle");
    let head = format!(
        "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999\r\n\r\n",
        secret("one")
    );
    stream.write_all(head.as_bytes()).expect("the gateway reads");
    // Until all buffers on the way are full.
    stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    while stream.write(&[b'x'; 64 * 1024]).is_ok() {}
    let in_flight = || house.gateway.metric("safecache_in_flight_requests");
    assert_eq!(in_flight(), 1.0);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop((client, stream));
    house.gateway.eventually("it is seen", |_| in_flight() == 0.0);
    assert_eq!(house.gateway.stop().matches("\"client_closed\"").count(), 1);
}
