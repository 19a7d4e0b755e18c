//! Where a client is, what its key allows there, and how often it may fail. Contract §3 steps 3 and 4.

use std::net::IpAddr;
use std::time::Duration;

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, key, secret};

const DENIED: &str =
    r#"{"error":"Access denied","message":"This API key may not be used from your address","status":403}"#;
const UNREADABLE: &str =
    r#"{"error":"Bad request","message":"The X-Forwarded-For header cannot be read","status":400}"#;
const TOO_MANY: &str = r#"{"error":"Rate limit exceeded","message":"Too many requests with an invalid API key came from your address. Please try again later.","retry_after":60,"status":429}"#;

/// No route: whoever is admitted gets a 404.
fn gateway(more: &str, keys: &[String]) -> Gateway {
    Gateway::start(&format!("{more}keys:\n{}", keys.concat()))
}

fn forwarded(client: &mut Client, key: &str, headers: &str) -> Answer {
    client.request("GET /x", key, headers, b"").answer()
}

#[test]
fn a_key_bound_to_addresses_is_refused_elsewhere() {
    let keys = [
        key("four", "allowed_ips: [10.0.0.0/8, 192.0.2.7]"),
        key("six", "allowed_ips: [\"2001:db8::/32\", \"::1\"]"),
        key("mapped", "allowed_ips: [\"::ffff:192.0.2.0/120\"]"),
        key("anywhere", ""),
    ];
    let gateway = gateway("trusted_proxies: [127.0.0.1]\n", &keys);
    let mut client = gateway.connect();
    let table = [
        ("four", "10.0.0.0", 404),
        ("four", "10.255.255.255", 404),
        ("four", "11.0.0.0", 403),
        ("four", "9.255.255.255", 403),
        ("four", "192.0.2.7", 404),
        ("four", "192.0.2.8", 403),
        ("four", "::ffff:10.1.2.3", 404),
        ("four", "::ffff:11.1.2.3", 403),
        ("four", "2001:db8::1", 403),
        ("six", "2001:db8::1", 404),
        ("six", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 404),
        ("six", "2001:db9::1", 403),
        ("six", "::1", 404),
        ("six", "10.0.0.1", 403),
        ("mapped", "192.0.2.255", 404),
        ("mapped", "::ffff:192.0.2.1", 404),
        ("mapped", "192.0.3.0", 403),
        ("anywhere", "203.0.113.9", 404),
    ];
    for (id, address, status) in table {
        let header = format!("X-Forwarded-For: {address}\r\n");
        let answer = forwarded(&mut client, &secret(id), &header);
        assert_eq!(answer.status, status, "{id} from {address}");
        if status == 403 {
            assert_eq!(answer.text(), DENIED);
            assert!(!answer.headers.iter().any(|(name, _)| name.contains("ratelimit")), "{answer:?}");
            assert_eq!(answer.header("www-authenticate"), None);
        }
    }
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    let keys = [key("one", "allowed_ips: [192.0.2.7, \"2001:db8::7\"]")];
    let gateway = gateway("trusted_proxies: [127.0.0.1, 10.0.0.0/8, \"fd00::/8\"]\n", &keys);
    let mut client = gateway.connect();
    let table = [
        ("X-Forwarded-For: 192.0.2.7\r\n", 404),
        ("X-Forwarded-For: 192.0.2.7, 10.1.1.1, 10.2.2.2\r\n", 404),
        ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.1.1.1, fd00::1\r\n", 404),
        ("X-Forwarded-For:  192.0.2.7:4711 ,[fd00::1]\r\n", 404),
        ("X-Forwarded-For: [2001:db8::7]:4711\r\n", 404),
        ("X-Forwarded-For: ::ffff:192.0.2.7,::ffff:10.1.1.1\r\n", 404),
        // What a client claims stands left of what the proxies saw.
        ("X-Forwarded-For: 192.0.2.7, 203.0.113.9\r\n", 403),
        ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n", 403),
        // All are trusted, or nobody is named: the leftmost, or the peer, is the client.
        ("X-Forwarded-For: 10.1.1.1, 10.2.2.2\r\n", 403),
        ("", 403),
        // Nonsense left of the client is the client's own and is not looked at; elsewhere it is.
        ("X-Forwarded-For: nonsense, 192.0.2.7\r\n", 404),
        ("X-Forwarded-For: nonsense\r\n", 400),
        ("X-Forwarded-For: 192.0.2.7, nonsense\r\n", 400),
        ("X-Forwarded-For: 192.0.2.7, \r\n", 400),
        ("X-Forwarded-For: 192.0.2.7, unknown, 10.1.1.1\r\n", 400),
        ("X-Forwarded-For: 192.0.2.256\r\n", 400),
        ("X-Forwarded-For: \u{e9}\r\n", 400),
    ];
    for (headers, status) in table {
        let answer = forwarded(&mut client, &secret("one"), headers);
        assert_eq!(answer.status, status, "{headers}");
        if status == 400 {
            assert_eq!(answer.text(), UNREADABLE);
            client = gateway.connect();
        }
    }
}

#[test]
fn an_untrusted_peer_is_believed_nothing() {
    let keys = [key("one", "allowed_ips: [127.0.0.2]"), key("other", "allowed_ips: [10.0.0.0/8]")];
    let gateway = gateway("trusted_proxies: [127.0.0.1]\n", &keys);
    let from = IpAddr::from([127, 0, 0, 2]);
    let mut client = Client::connect_from(from, gateway.address());
    for claim in ["", "X-Forwarded-For: 10.1.2.3\r\n", "X-Forwarded-For: nonsense\r\n"] {
        assert_eq!(forwarded(&mut client, &secret("one"), claim).status, 404, "{claim}");
        assert_eq!(forwarded(&mut client, &secret("other"), claim).status, 403, "{claim}");
    }
}

#[test]
fn a_minute_of_refused_keys_ends_in_429_and_never_locks_out_a_valid_one() {
    let gateway = gateway("trusted_proxies: [127.0.0.1]\n", &[key("one", ""), key("off", "disabled: true")]);
    let mut client = gateway.connect();
    let here = "X-Forwarded-For: 192.0.2.1\r\n";
    for n in 0..600 {
        let presented = if n % 3 == 0 { secret("off") } else { format!("unknown-key-number-{n}") };
        assert_eq!(forwarded(&mut client, &presented, here).status, 401, "failure {n}");
    }
    // No key, and what could be none, is not looked up and not counted.
    for _ in 0..5 {
        assert_eq!(client.send("GET /x HTTP/1.1\r\nHost: g\r\n\r\n").answer().status, 401);
        assert_eq!(forwarded(&mut client, "two words", here).status, 401);
    }
    let beyond = forwarded(&mut client, "unknown-key-of-nobody", here);
    assert_eq!((beyond.status, beyond.text().as_str()), (429, TOO_MANY));
    assert_eq!(beyond.header("x-should-retry"), Some("false"));
    assert_eq!(beyond.header("retry-after"), Some("60"));
    assert_eq!(beyond.header("www-authenticate"), None);
    assert!(!beyond.headers.iter().any(|(name, _)| name.contains("ratelimit")), "{beyond:?}");
    assert_eq!(forwarded(&mut client, &secret("off"), here).status, 429, "nothing tells them apart");
    assert_eq!(forwarded(&mut client, "two words", here).status, 401);
    assert_eq!(forwarded(&mut client, &secret("one"), here).status, 404, "a valid key always passes");
    let elsewhere = "X-Forwarded-For: 192.0.2.2\r\n";
    assert_eq!(forwarded(&mut client, "unknown-key-of-nobody", elsewhere).status, 401);
    // The window holds half minutes: two minutes on, nothing is left of them.
    gateway.clock.advance(Duration::from_secs(120));
    assert_eq!(forwarded(&mut client, "unknown-key-of-nobody", here).status, 401);
}

#[test]
fn failures_count_by_the_64_of_ipv6_and_can_be_left_uncounted() {
    let few = gateway("trusted_proxies: [127.0.0.1]\nlimits: {auth_failures: 2}\n", &[key("one", "")]);
    let mut client = few.connect();
    let mut fail = |address: &str| {
        let header = format!("X-Forwarded-For: {address}\r\n");
        forwarded(&mut client, "unknown-key-of-nobody", &header).status
    };
    assert_eq!(["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(&mut fail), [401, 401, 429]);
    assert_eq!(fail("2001:db8:0:1::1"), 401, "another /64");
    assert_eq!(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"].map(&mut fail), [401, 401, 429]);
    let off = gateway("limits: {auth_failures: off}\n", &[key("one", "")]);
    let mut client = off.connect();
    for _ in 0..700 {
        assert_eq!(client.get("/x", "unknown-key-of-nobody").status, 401);
    }
}

#[test]
fn failures_behind_a_proxy_that_cannot_be_understood_are_its_own() {
    let gateway = gateway("trusted_proxies: [127.0.0.1]\nlimits: {auth_failures: 2}\n", &[key("one", "")]);
    let mut client = gateway.connect();
    let mut fail = |header: &str| forwarded(&mut client, "unknown-key-of-nobody", header).status;
    assert_eq!(fail("X-Forwarded-For: nonsense\r\n"), 401);
    assert_eq!(fail("X-Forwarded-For: more nonsense\r\n"), 401);
    assert_eq!(fail("X-Forwarded-For: nonsense\r\n"), 429);
    assert_eq!(fail("X-Forwarded-For: 192.0.2.1\r\n"), 401);
}
