//! Bounds on connections: how many, how many from one address, how many requests each, how long without one.

use std::net::IpAddr;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::front::{CACHED, House, PASSED, PATHS, Plans, unstored};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::h2::{Frame, H2, HasBody};
use crate::support::upstream::{Upstream, gate};

/// The shortest that may be written.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

fn gateway(upstream: &Upstream, limits: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         limits: {{{limits}}}\n{more}\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ))
}

fn refused(gateway: &Gateway, bound: &str) -> f64 {
    gateway.metric(&format!("safecache_connections_refused_total{{bound=\"{bound}\"}}"))
}

/// A connection from `127.0.0.LAST` that has been accepted.
fn connected(gateway: &Gateway, last: u8) -> Client {
    let mut client = Client::connect_from(IpAddr::from([127, 0, 0, last]), gateway.address());
    assert_eq!(client.get("/healthz", "").status, 200);
    client
}

#[test]
fn a_full_table_refuses_new_connections_and_serves_the_old() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_connections: 4, max_connections_per_address: 4", "");
    let mut old: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut old {
        assert_eq!(client.get("/healthz", "").status, 200);
    }
    assert_eq!(gateway.metric("safecache_connections"), 4.0);
    for _ in 0..3 {
        assert!(gateway.connect().is_closed(), "a connection too many ends without a word");
    }
    assert_eq!((refused(&gateway, "all"), refused(&gateway, "address")), (3.0, 0.0));
    assert_eq!(gateway.metric("safecache_connections"), 4.0);
    for client in &mut old {
        assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    }
    drop(old.pop());
    gateway.eventually("a place is free", |g| g.metric("safecache_connections") == 3.0);
    assert_eq!(gateway.connect().get("/v1/models", &secret("one")).status, 200);
    drop(old);
    gateway.eventually("all have left", |g| g.metric("safecache_connections") == 0.0);
}

#[test]
fn one_address_does_not_take_the_places_of_all() {
    let upstream = Upstream::json("{}");
    // The first listener takes IPv4, the second is where an IPv4 address comes as an IPv6 one.
    let listen = "listen: [\"127.0.0.1:0\", \"[::]:0\"]";
    let gateway = gateway(&upstream, "max_connections: 10, max_connections_per_address: 2", listen);
    let mut crowd = [connected(&gateway, 2), connected(&gateway, 2)];
    let mapped = (gateway.running().data_addresses()[1].port(), IpAddr::from([127, 0, 0, 2]));
    for _ in 0..3 {
        assert!(Client::connect_from(mapped.1, gateway.address()).is_closed());
        assert!(Client::connect_from(mapped.1, ([127, 0, 0, 1], mapped.0).into()).is_closed());
    }
    assert_eq!((refused(&gateway, "all"), refused(&gateway, "address")), (0.0, 6.0));
    let mut other = connected(&gateway, 3);
    for client in crowd.iter_mut().chain([&mut other]) {
        assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    }
    assert_eq!(gateway.metric("safecache_connections"), 3.0);
    let [leaving, _staying] = crowd;
    drop(leaving);
    gateway.eventually("its place is free", |g| g.metric("safecache_connections") == 2.0);
    assert_eq!(connected(&gateway, 2).get("/v1/models", &secret("one")).status, 200);
}

#[test]
fn a_trusted_proxy_is_bounded_by_the_table_alone() {
    let upstream = Upstream::json("{}");
    let limits = "max_connections: 5, max_connections_per_address: 1";
    let gateway = gateway(&upstream, limits, "trusted_proxies: [127.0.0.2]");
    let proxied: Vec<_> = (0..4).map(|_| connected(&gateway, 2)).collect();
    let _other = connected(&gateway, 3);
    assert!(Client::connect_from(IpAddr::from([127, 0, 0, 2]), gateway.address()).is_closed());
    assert_eq!((refused(&gateway, "all"), refused(&gateway, "address")), (1.0, 0.0));
    drop(proxied);
    gateway.eventually("they have left", |g| g.metric("safecache_connections") == 1.0);
    assert!(Client::connect_from(IpAddr::from([127, 0, 0, 3]), gateway.address()).is_closed());
    assert_eq!(refused(&gateway, "address"), 1.0);
}

#[test]
fn a_reload_changes_the_bounds_of_connections() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "max_connections_per_address: 1", "");
    let _first = connected(&gateway, 1);
    assert!(gateway.connect().is_closed());
    gateway.rewrite(&format!("limits: {{max_connections_per_address: 2}}\nkeys:\n{}", key("one", "")));
    gateway.running().reload(safecache::runtime::reload::Shrinking::Guarded).expect("it is taken");
    let _second = connected(&gateway, 1);
    assert!(gateway.connect().is_closed());
}

#[test]
fn a_connection_carries_so_many_requests_and_ends_in_order() {
    let upstream = unstored();
    let gateway = gateway(&upstream, "max_requests_per_connection: 4", "");
    let mut client = gateway.connect();
    for (number, path) in PATHS.iter().chain(&PATHS).enumerate() {
        let answer = client.post(path, &secret("one"), &format!("{{\"n\":{number}}}"));
        assert_eq!((answer.status, answer.is_whole), (200, true));
        assert_eq!(answer.header("connection") == Some("close"), number == 3, "{number}: {answer:?}");
    }
    assert!(client.is_closed());
    assert_eq!(gateway.connect().post(CACHED, &secret("one"), "{}").status, 200);
}

#[test]
fn a_connection_over_http2_carries_so_many_requests_and_ends_in_order() {
    let (wait, open) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        wait.wait();
        exchange.answer("200 OK", "text/plain", "{}");
    });
    let plans = Plans { more: "limits: {max_requests_per_connection: 3}", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let mut h2 = house.http2();
    let mut streams: Vec<_> = (0..3)
        .map(|_| h2.open(H2::request(&format!("GET {PASSED}"), &secret("one"), &[]), HasBody::No))
        .collect();
    upstream.wait_for(3);
    (0..3).for_each(|_| open.open());
    for stream in &mut streams {
        assert_eq!(h2.head(stream).expect("an answer").status, 200);
        assert!(matches!(h2.frame(stream), Frame::Data(_)));
        assert!(matches!(h2.frame(stream), Frame::End));
    }
    house.gateway.eventually("it was told to go", |g| g.metric("safecache_connections") == 0.0);
    open.open();
    assert_eq!(house.h2().ask(&format!("GET {PASSED}"), &[], b"").status, 200, "another is served");
}

#[test]
fn connections_that_wait_for_too_long_end() {
    let upstream = unstored();
    let limits = "limits: {keep_alive: 1s, head: {timeout: 60s}}";
    let house = House::planned(&[upstream.url()], Plans { more: limits, ..Plans::default() });
    let clock = safecache::clock::Clock::system();
    let begun = clock.monotonic();
    // Whoever asks again in time is served again; nothing hangs on how soon these come.
    for open in [House::h1, House::h2] {
        let mut client = open(&house);
        assert_eq!(client.chat(PASSED).status, 200);
        house.gateway.eventually("the idle one ends", |g| g.metric("safecache_connections") == 0.0);
    }
    assert!(clock.monotonic().saturating_since(begun) >= KEEP_ALIVE * 2);
}
