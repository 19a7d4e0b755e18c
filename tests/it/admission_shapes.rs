//! The other ways in which a refusal speaks: OpenAI's shape, and to scripts of a listed origin.

use std::net::TcpListener;

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Upstream, gate};

const CHAT: &str = "/o/v1/chat/completions";

fn openai(message: &str, kind: &str, code: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"{code}"}}}}"#)
}

#[track_caller]
fn check(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

const INVALID_REQUEST: &str = "invalid_request_error";

#[test]
fn a_route_with_openai_errors_says_every_refusal_of_the_request_in_that_shape() {
    let upstream = Upstream::json("{}");
    let gateway = Gateway::start(&format!(
        "plans: {{tiny: {{requests_per_minute: 1, burst: 1}}}}\nlimits: {{max_body: 1KiB, auth_failures: 1}}\n\
         trusted_proxies: [127.0.0.1]\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /o/*, upstream: llm, errors: openai, cache: {{ttl: 1h}}}}]\nkeys:\n{}{}{}",
        upstream.url(),
        key("one", ""),
        key("tiny", "plan: tiny"),
        key("bound", "allowed_models: [m], allowed_ips: [10.0.0.0/8, 127.0.0.1]"),
    ));
    let send = |line: &str, key: &str, headers: &str, body: &str| {
        gateway.connect().request(line, key, headers, body.as_bytes()).answer()
    };
    let chat = &format!("POST {CHAT}");
    let (one, bound) = (&secret("one"), &secret("bound"));
    let said = |message: &str, code: &str| openai(message, INVALID_REQUEST, code);
    let missing = gateway.connect().send(format!("GET {CHAT} HTTP/1.1\r\nHost: g\r\n\r\n")).answer();
    check(&missing, 401, &said("Authorization header is required", "missing_api_key"));
    let malformed =
        said("Authorization header must be in format: Bearer YOUR_API_KEY", "invalid_authorization_format");
    check(&send(chat, "a b", "", "{}"), 401, &malformed);
    let invalid = send(chat, "unknown-key-of-nobody", "", "{}");
    check(&invalid, 401, &said("The provided API key is invalid or has been revoked", "invalid_api_key"));
    assert_eq!(
        invalid.header("www-authenticate"),
        Some("Bearer realm=\"safecache\", error=\"invalid_token\"")
    );
    let too_many = send(chat, "unknown-key-of-nobody", "", "{}");
    let text = "Too many requests with an invalid API key came from your address. Please try again later.";
    check(&too_many, 429, &openai(text, "requests", "rate_limit_exceeded"));
    assert_eq!(too_many.header("x-should-retry"), Some("false"));
    let elsewhere = send(chat, bound, "X-Forwarded-For: 192.0.2.1\r\n", "{}");
    check(&elsewhere, 403, &said("This API key may not be used from your address", "access_denied"));
    let unreadable = send(chat, one, "X-Forwarded-For: x\r\n", "{}");
    check(&unreadable, 400, &said("The X-Forwarded-For header cannot be read", "bad_forwarded_for"));
    assert_eq!(send(chat, &secret("tiny"), "", "{}").status, 200);
    let limited = send(chat, &secret("tiny"), "", "{}");
    let text = "You have exceeded your rate limit. Please try again later.";
    check(&limited, 429, &openai(text, "requests", "rate_limit_exceeded"));
    assert_eq!(limited.header("retry-after"), Some("60"));
    let long = "x".repeat(1025);
    check(&send(chat, one, "", &long), 413, &said("The request body is too large", "payload_too_large"));
    let twice = send(chat, one, "", r#"{"a":{"b":1,"b":1}}"#);
    let text = "A member name stands twice in one JSON object of the body";
    check(&twice, 400, &said(text, "duplicate_member"));
    let model = send(chat, bound, "", r#"{"model":"n"}"#);
    check(&model, 403, &said("This API key may not use the requested model", "model_not_allowed"));
    let path = send("GET /o/../x", one, "", "");
    let text = "The path must not contain dot segments, empty segments, %2e or %2f";
    check(&path, 400, &said(text, "ambiguous_path"));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_route_with_openai_errors_says_every_failure_of_a_server_in_that_shape() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if request.line.contains("cut") {
            exchange.close();
        } else {
            gate.wait();
            exchange.json("{}");
        }
    });
    let gateway = Gateway::start(&format!(
        "limits: {{max_requests: 1}}\nupstreams:\n  llm: {{servers: [\"{}\"]}}\n\
         \x20 slow: {{servers: [\"{}\"], first_byte_timeout: 20ms, idle_timeout: 20ms}}\n  gone: {{servers: [\"{}\"]}}\n\
         routes:\n  - {{path: /o/*, upstream: llm, errors: openai, cache: {{ttl: 1h}}}}\n\
         \x20 - {{path: /slow/*, upstream: slow, errors: openai}}\n\
         \x20 - {{path: /gone/*, upstream: gone, errors: openai}}\nkeys:\n{}",
        upstream.url(),
        upstream.url(),
        nobody(),
        key("one", "")
    ));
    let one = &secret("one");
    let said = |message: &str, code: &str| openai(message, "server_error", code);
    // There is one place, and it is given back after an answer's last byte.
    let idle_client = || {
        gateway.eventually("idle", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
        gateway.connect()
    };
    let only = "Cache-Control: only-if-cached\r\n";
    let only = idle_client().request(&format!("POST {CHAT}"), one, only, b"{}").answer();
    let text = "Only a cached answer was asked for, and there is none";
    check(&only, 504, &said(text, "not_cached"));
    let gone = idle_client().get("/gone/x", one);
    check(&gone, 502, &said("The upstream could not be reached", "upstream_unreachable"));
    assert_eq!(gone.header("connection"), Some("keep-alive"), "its failure is not the client's");
    let cut = idle_client().get("/o/cut", one);
    check(&cut, 502, &said("The upstream failed to answer", "upstream_failed"));
    let slow = idle_client().get("/slow/x", one);
    check(&slow, 504, &said("The upstream did not answer in time", "upstream_timeout"));
    opener.open();
    let so_far = upstream.count();
    let mut first = idle_client();
    first.request("GET /o/held", one, "", b"");
    gateway.eventually("the place is taken", |_| upstream.count() > so_far);
    let full = gateway.connect().get("/o/x", one);
    let text = "The gateway is at its limits. Please try again later.";
    check(&full, 503, &said(text, "overloaded"));
    opener.open();
    assert_eq!(first.answer().status, 200);
}

/// The URL of a port that nobody listens on.
fn nobody() -> String {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", port.local_addr().expect("its address"))
}

const LISTED: &str = "https://app.example";

fn with_origins(upstream: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "cors: {{origins: [\"{LISTED}\"]}}\nplans: {{tiny: {{requests_per_minute: 1, burst: 1}}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "plan: tiny")
    ))
}

fn options(client: &mut Client, headers: &str) -> Answer {
    client.send(format!("OPTIONS /v1/models HTTP/1.1\r\nHost: g\r\n{headers}\r\n")).answer()
}

#[test]
fn a_preflight_from_a_listed_origin_is_answered_without_a_key() {
    let upstream = Upstream::json("{}");
    let gateway = with_origins(&upstream);
    let mut client = gateway.connect();
    let asks =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-a\r\n";
    let answer = options(&mut client, &format!("Origin: {LISTED}\r\n{asks}"));
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, x-a"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(answer.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
    assert!(answer.header("x-request-id").is_some());
    for headers in [
        format!("Origin: https://other.example\r\n{asks}"),
        format!("Origin: {LISTED}.other.example\r\n{asks}"),
        format!("Origin: null\r\n{asks}"),
        asks.to_owned(),
        // Listed, but no preflight.
        format!("Origin: {LISTED}\r\n"),
    ] {
        let refused = options(&mut client, &headers);
        assert_eq!(refused.status, 401, "{headers}");
        assert_eq!(refused.header("access-control-allow-methods"), None, "{headers}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_listed_origin_may_read_every_answer_and_no_other_may() {
    let upstream = Upstream::json("{}");
    let gateway = with_origins(&upstream);
    let ask = |origin: &str, key: &str| {
        let origin = format!("Origin: {origin}\r\n");
        gateway.connect().request("GET /v1/models", key, &origin, b"").answer()
    };
    for (status, key) in [(401, "x".to_owned()), (200, secret("one")), (429, secret("one"))] {
        let answer = ask(LISTED, &key);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED));
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"), "{exposed}");
        let other = ask("https://other.example", &key);
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
}
