//! Admission through the front door: who is refused in which words, and which rule speaks first. Contract §3.

use std::time::Duration;

use safecache::clock::UnixTime;

use crate::support::admin::exchange;
use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, START, key, secret};
use crate::support::upstream::Upstream;

const MISSING: &str =
    r#"{"error":"Missing API key","message":"Authorization header is required","status":401}"#;
const MALFORMED: &str = r#"{"error":"Invalid authorization format","message":"Authorization header must be in format: Bearer YOUR_API_KEY","status":401}"#;
const INVALID: &str = r#"{"error":"Invalid API key","message":"The provided API key is invalid or has been revoked","status":401}"#;
const NO_ROUTE: &str = r#"{"error":"Not found","message":"No route takes this path","status":404}"#;
const CHAT: &str = "/v1/chat/completions";

/// A gateway before an upstream that answers `{}`; `more` precedes the keys.
fn gateway(upstream: &Upstream, more: &str, keys: &[String]) -> Gateway {
    Gateway::start(&format!(
        "{more}upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n  - {{path: /plain/*, upstream: llm}}\nkeys:\n{}",
        upstream.url(),
        keys.concat()
    ))
}

/// Sends a head without credentials but `headers`, and an empty JSON object to chat completions.
fn post(client: &mut Client, headers: &str) -> Answer {
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n{headers}\r\n{{}}")).answer()
}

#[test]
fn each_401_has_its_words_and_its_challenge() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", &[key("one", "")]);
    let mut client = gateway.connect();
    let good = secret("one");
    let realm = "Bearer realm=\"safecache\"";
    let invalid_token = "Bearer realm=\"safecache\", error=\"invalid_token\"";
    let checksum = format!("sk-sc-{}_{}", "a".repeat(10), "b".repeat(38));
    let table = [
        (String::new(), MISSING, realm),
        (format!("Authorization: Basic {good}\r\n"), MALFORMED, realm),
        (format!("Authorization: {good}\r\n"), MALFORMED, realm),
        ("Authorization: Bearer\r\n".to_owned(), MALFORMED, realm),
        ("Authorization: Bearer \r\n".to_owned(), MALFORMED, realm),
        ("Authorization: \r\n".to_owned(), MALFORMED, realm),
        (format!("Authorization: Bearer  {good}\r\n"), MALFORMED, realm),
        (format!("Authorization: Bearer {good} x\r\n"), MALFORMED, realm),
        (format!("Authorization: Bearer {good}\tx\r\n"), MALFORMED, realm),
        (format!("Authorization: Bearer {good}é\r\n"), MALFORMED, realm),
        (format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n"), MALFORMED, realm),
        (format!("Authorization: Basic x\r\nX-Api-Key: {good}\r\n"), MALFORMED, realm),
        (format!("X-Api-Key: {good}\r\nX-Api-Key: {good}\r\n"), MALFORMED, realm),
        (format!("X-Api-Key: {good}\r\napi-key: another-key-of-nobody\r\n"), MALFORMED, realm),
        ("X-Api-Key: \r\n".to_owned(), MALFORMED, realm),
        ("X-Api-Key: unknown-key-of-nobody\r\n".to_owned(), INVALID, invalid_token),
        ("Authorization: Bearer x\r\n".to_owned(), INVALID, invalid_token),
        (format!("Authorization: Bearer {checksum}\r\n"), INVALID, invalid_token),
        (format!("Authorization: Bearer x\r\nX-Api-Key: {good}\r\n"), INVALID, invalid_token),
    ];
    for (headers, body, challenge) in table {
        let answer = post(&mut client, &headers);
        assert_eq!((answer.status, answer.text().as_str()), (401, body), "{headers}");
        assert_eq!(answer.header("www-authenticate"), Some(challenge), "{headers}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(!answer.headers.iter().any(|(name, _)| name.contains("ratelimit")), "{answer:?}");
        assert!(answer.header("retry-after").is_none() && answer.header("x-should-retry").is_none());
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.metric("safecache_auth_failures_total{reason=\"missing\"}"), 1.0);
    assert_eq!(gateway.metric("safecache_auth_failures_total{reason=\"malformed\"}"), 14.0);
    assert_eq!(gateway.metric("safecache_auth_failures_total{reason=\"unknown\"}"), 3.0);
    assert_eq!(gateway.metric("safecache_auth_failures_total{reason=\"checksum\"}"), 1.0);
}

#[test]
fn a_key_is_taken_from_three_headers() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", &[key("one", "")]);
    let mut client = gateway.connect();
    let good = secret("one");
    for headers in [
        format!("Authorization: Bearer {good}\r\n"),
        format!("authorization: bEARER {good}\r\n"),
        format!("X-Api-Key: {good}\r\n"),
        format!("api-key: {good}\r\n"),
        format!("X-Api-Key: {good}\r\napi-key: {good}\r\n"),
        format!("Authorization: Bearer {good}\r\nX-Api-Key: unknown-key-of-nobody\r\n"),
    ] {
        assert_eq!(post(&mut client, &headers).status, 200, "{headers}");
    }
    for request in upstream.requests() {
        assert!(!request.headers.iter().any(|(_, value)| value.contains(&good)), "{request:?}");
    }
}

/// The bytes of an answer, without what must differ: the request id; and the date.
fn without_id(answer: &str) -> Vec<&str> {
    let is_kept = |line: &&str| {
        let line = line.to_lowercase();
        !line.starts_with("x-request-id:") && !line.starts_with("date:")
    };
    answer.split("\r\n").filter(is_kept).collect()
}

#[test]
fn unknown_disabled_and_expired_keys_are_told_the_same_bytes() {
    let upstream = Upstream::json("{}");
    let keys = [
        key("one", ""),
        key("off", "disabled: true"),
        key("old", "expires_at: 2027-01-15T08:00:00Z"),
        key("off-and-old", "disabled: true, expires_at: 2020-01-01T00:00:00Z"),
    ];
    let gateway = gateway(&upstream, "", &keys);
    let ask = |key: &str| {
        exchange(
            gateway.address(),
            &format!(
                "POST {CHAT} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        )
    };
    let unknown = ask("unknown-key-of-nobody");
    assert!(unknown.starts_with("HTTP/1.1 401 Unauthorized\r\n") && unknown.ends_with(INVALID), "{unknown}");
    for id in ["off", "old", "off-and-old"] {
        let refused = ask(&secret(id));
        assert_eq!(without_id(&unknown), without_id(&refused), "{id}");
        assert_eq!(unknown.len(), refused.len(), "{id}");
        assert_ne!(unknown, refused, "each has an id of its own");
    }
    assert_eq!(gateway.metric("safecache_keys{state=\"active\"}"), 1.0);
    assert_eq!(gateway.metric("safecache_keys{state=\"disabled\"}"), 2.0);
    assert_eq!(gateway.metric("safecache_keys{state=\"expired\"}"), 1.0);
}

#[test]
fn a_key_expires_by_the_wall_clock_alone() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", &[key("one", "expires_at: 2027-01-15T08:00:10Z")]);
    let mut client = gateway.connect();
    let mut status = || client.get("/nowhere", &secret("one")).status;
    assert_eq!(status(), 404);
    gateway.clock.advance(Duration::from_nanos(9_999_999_999));
    assert_eq!(status(), 404, "a nanosecond before its time");
    gateway.clock.advance(Duration::from_nanos(1));
    assert_eq!(status(), 401, "at its time");
    assert_eq!(gateway.metric("safecache_keys{state=\"expired\"}"), 1.0);
    gateway.clock.set_unix(UnixTime::from_nanos(START.as_nanos()));
    assert_eq!(status(), 404, "the wall clock was set back");
}

#[test]
fn a_request_id_is_taken_over_or_made_new() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", &[key("one", "plan: free")]);
    let mut client = gateway.connect();
    let ask = |client: &mut Client, line: &str, key: &str, id: &str| {
        let answer = client.request(line, key, id, b"").answer();
        answer.header("x-request-id").unwrap_or_else(|| panic!("no id: {answer:?}")).to_owned()
    };
    let longest = "!".repeat(128);
    for id in ["a", "trace-1/2~", longest.as_str()] {
        let header = format!("X-Request-Id: {id}\r\n");
        assert_eq!(ask(&mut client, "GET /plain/x", &secret("one"), &header), id);
        assert_eq!(upstream.requests().last().unwrap().header("x-request-id"), Some(id));
        assert_eq!(ask(&mut client, "GET /plain/x", "unknown-key-of-nobody", &header), id);
        assert_eq!(ask(&mut client, "GET /nowhere", &secret("one"), &header), id);
        assert_eq!(ask(&mut client, "GET /healthz", "", &header), id);
        assert_eq!(ask(&mut client, "GET /plain//x", "", &header), id);
        client = gateway.connect();
    }
    let too_long = "x".repeat(129);
    for id in ["", "two words", "é", too_long.as_str()] {
        let header = format!("X-Request-Id: {id}\r\n");
        let made = ask(&mut client, "GET /plain/x", &secret("one"), &header);
        let uuid = made.as_bytes();
        assert_eq!((uuid.len(), uuid[14]), (36, b'7'), "{made}");
        // A UUIDv7 begins with the milliseconds: the clock stands at the gateway's start.
        let milliseconds = format!("{:012x}", START.as_nanos() / 1_000_000);
        assert!(made.replace('-', "").starts_with(&milliseconds), "{made}");
        assert_eq!(upstream.requests().last().unwrap().header("x-request-id"), Some(made.as_str()));
    }
    let one = ask(&mut client, "GET /nowhere", &secret("one"), "");
    assert_ne!(one, ask(&mut client, "GET /nowhere", &secret("one"), ""));
}

#[test]
fn only_a_valid_key_learns_that_there_is_no_route() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", &[key("one", "plan: free")]);
    let mut client = gateway.connect();
    let stranger = client.get("/nowhere", "unknown-key-of-nobody");
    assert_eq!((stranger.status, stranger.text().as_str()), (401, INVALID));
    let known = client.get("/nowhere", &secret("one"));
    assert_eq!((known.status, known.text().as_str()), (404, NO_ROUTE));
    assert_eq!(known.header("x-ratelimit-remaining"), Some("60"));
    assert_eq!(known.header("ratelimit"), Some("\"free\";r=99;t=1"), "a 404 takes a token");
}

#[test]
fn built_in_paths_come_before_every_route() {
    let upstream = Upstream::json("{}");
    let gateway = Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /*, upstream: llm}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    let mut client = gateway.connect();
    for line in ["GET /healthz", "HEAD /healthz"] {
        client.send(format!("{line} HTTP/1.1\r\nHost: g\r\n\r\n"));
        let mut answer = client.head();
        if line.starts_with("GET") {
            client.body_of(&mut answer);
            assert_eq!(answer.text(), "ok\n");
        }
        assert_eq!(answer.status, 200, "{line}");
        assert!(answer.header("x-ratelimit-limit").is_none());
    }
    for (path, status) in
        [("/api/v1/check", 400), ("/api/v1/", 404), ("/api/v1/nothing?x", 404), ("/healthz", 405)]
    {
        assert_eq!(client.post(path, "unknown-key-of-nobody", "{}").status, 401, "{path}");
        let answer = client.post(path, &secret("one"), "{}");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("GET, HEAD"), "{path}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(client.get("/api/v2/x", &secret("one")).status, 200);
}

#[test]
fn the_rule_that_comes_first_speaks() {
    let upstream = Upstream::json("{}");
    let keys = [
        key("one", "plan: tiny"),
        key("elsewhere", "plan: tiny, allowed_ips: [10.0.0.0/8]"),
        key("bound", "allowed_models: [\"gpt-*\"]"),
        key("bound-and-empty", "plan: tiny, allowed_models: [\"gpt-*\"]"),
    ];
    let more = "plans: {tiny: {requests_per_minute: 1, burst: 1}}\ntrusted_proxies: [127.0.0.1]\n\
        cors: {origins: [\"https://app.example\"]}\nlimits: {max_body: 1KiB}\n";
    let gateway = gateway(&upstream, more, &keys);
    let status = |line: &str, key: &str, headers: &str, body: &str| {
        gateway.connect().request(line, key, headers, body.as_bytes()).answer().status
    };
    let unreadable = "X-Forwarded-For: nonsense\r\n";
    let preflight = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n";
    let chat = "POST /v1/chat/completions";
    let (twice, denied) = (r#"{"model":"o1","model":"o1"}"#, r#"{"model":"o1"}"#);
    let long = format!(r#"{{"model":"o1","x":"{}"}}"#, "x".repeat(1024));
    // Step 0 before 1, 2 and 3; 1 before 3; 3 before 2 and 4; 4 before 5; 5 before 2's 404, 6 and 7; 6 before 7.
    assert_eq!(status("OPTIONS /v1//x", "x", preflight, ""), 204);
    assert_eq!(status("OPTIONS /nowhere", "x", preflight, ""), 204);
    assert_eq!(status("GET /v1//x", "x", "", ""), 400);
    assert_eq!(status("GET /nowhere", "x", "", ""), 401);
    assert_eq!(status(chat, "x", unreadable, "{}"), 401);
    assert_eq!(status(chat, &secret("elsewhere"), unreadable, "{}"), 400);
    assert_eq!(status("GET /nowhere", &secret("elsewhere"), "", ""), 403);
    let from_there = "X-Forwarded-For: 10.1.2.3\r\n";
    assert_eq!(
        status(chat, &secret("elsewhere"), from_there, "{}"),
        200,
        "the 403s and the 400 took nothing"
    );
    assert_eq!(status(chat, &secret("elsewhere"), "", "{}"), 403, "its bucket is empty now");
    assert_eq!(status("GET /nowhere", &secret("one"), "", ""), 404);
    assert_eq!(status("GET /nowhere", &secret("one"), "", ""), 429);
    assert_eq!(status(chat, &secret("bound-and-empty"), "", denied), 403, "step 7 comes after step 5");
    assert_eq!(status(chat, &secret("bound-and-empty"), "", &long), 429);
    assert_eq!(status(chat, &secret("bound"), "", &long), 413);
    assert_eq!(status(chat, &secret("bound"), "", twice), 400);
    assert_eq!(status(chat, &secret("bound"), "", denied), 403);
}

#[test]
fn room_is_asked_for_last() {
    let (gate, opener) = crate::support::upstream::gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json("{}");
    });
    let keys = [key("one", ""), key("bound", "allowed_models: [\"gpt-*\"]")];
    let gateway = gateway(&upstream, "limits: {max_requests: 1, max_body: 1KiB}\n", &keys);
    let mut first = gateway.connect();
    first.request("GET /plain/x", &secret("one"), "", b"");
    gateway.eventually("the place is taken", |_| upstream.count() == 1);
    let mut client = gateway.connect();
    let full = client.post(CHAT, &secret("one"), "{}");
    assert_eq!((full.status, full.header("retry-after")), (503, Some("1")));
    assert_eq!(client.get("/plain/x", &secret("one")).status, 503);
    assert_eq!(client.post(CHAT, &secret("bound"), r#"{"model":"o1"}"#).status, 403);
    assert_eq!(client.post(CHAT, &secret("one"), r#"{"a":1,"a":2}"#).status, 400);
    assert_eq!(client.get("/nowhere", &secret("one")).status, 404);
    assert_eq!(client.get("/healthz", "").status, 200);
    assert_eq!(client.post(CHAT, &secret("one"), &"x".repeat(1025)).status, 413);
    opener.open();
    assert_eq!(first.answer().status, 200);
    assert_eq!(upstream.count(), 1);
}
