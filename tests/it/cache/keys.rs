//! The key: each part changed once is a miss, everything left out of it shares.

use safecache::runtime::reload::Shrinking;

use super::{Ask, BODY, CHAT, JSON, assert_hit, assert_miss, counting, gateway, yaml};

#[test]
fn each_part_of_the_key_changed_once_is_a_miss() {
    let upstream = counting();
    let gateway = gateway(&upstream, "vary: [x-tenant]", "");
    Ask::default().send(&gateway);
    let bare = |headers: &str| Ask { headers: headers.into(), ..Ask::default() };
    let mut asks = vec![
        Ask::by("other"),
        Ask::at("/v1/x/chat/completions", BODY),
        Ask::at("/v1/chat/completions?", BODY),
        Ask::at("/v1/chat/completions?a=1", BODY),
        Ask::at("/v1/chat/completions?a=2", BODY),
        bare(""),
        bare("Content-Type: application/json; charset=utf-8\r\n"),
        Ask::body(r#"{"model":"m2","messages":[]}"#),
        Ask::body(r#"{"model":"m","messages":[{}]}"#),
        Ask::body(r#"{"model":"m","messages":[],"user":"u"}"#),
        Ask::body(r#"{"model":"m","messages":[],"metadata":{"a":"b"}}"#),
        Ask::body(r#"{"model":"m","messages":[],"service_tier":"flex"}"#),
        Ask::body(r#"{"model":"m","messages":[],"seed":1}"#),
        Ask::body(r#"{"model":"m","messages":[],"unheard_of":null}"#),
        Ask::body(r#"{"model":"m","messages":[" "]}"#),
    ];
    for name in [
        "Accept",
        "Accept-Language",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "anthropic-version",
        "anthropic-beta",
        "X-Tenant",
    ] {
        asks.push(Ask::with(&format!("{name}: a\r\n")));
        asks.push(Ask::with(&format!("{name}: b\r\n")));
    }
    for ask in &asks {
        assert_miss(&ask.send(&gateway), &format!("{ask:?}"));
    }
    for ask in &asks {
        assert_hit(&ask.send(&gateway), &format!("{ask:?}"));
    }
    assert_hit(&Ask::default().send(&gateway), "the first is still there");
    assert_eq!(upstream.count(), asks.len() + 1);
}

#[test]
fn what_is_left_out_of_the_key_shares() {
    let upstream = counting();
    let gateway = gateway(&upstream, "ignore: [user, metadata]", "");
    Ask::default().send(&gateway);
    let mut asks = vec![Ask::by("two")];
    for body in [
        r#"{"messages":[],"model":"m"}"#,
        " {\n\t\"model\" : \"m\" , \"messages\" : [ ] }\r\n",
        r#"{"mod\u0065l":"\u006d","messages":[]}"#,
        r#"{"model":"m","messages":[],"stream":false}"#,
        r#"{"model":"m","messages":[],"stream":null}"#,
        r#"{"model":"m","messages":[],"stream_options":{"include_usage":false}}"#,
        r#"{"model":"m","messages":[],"stream_options":null}"#,
        r#"{"model":"m","messages":[],"prompt_cache_key":"k"}"#,
        r#"{"model":"m","messages":[],"safety_identifier":"s"}"#,
        r#"{"model":"m","messages":[],"user":"u"}"#,
        r#"{"model":"m","messages":[],"metadata":{"a":["b"]}}"#,
    ] {
        asks.push(Ask::body(body));
    }
    for name in ["User-Agent", "X-Request-Id", "X-Stainless-Arch", "Origin", "Cookie", "Idempotency-Key"] {
        asks.push(Ask::with(&format!("{name}: a\r\n")));
    }
    asks.push(Ask::with("Accept-Encoding: gzip\r\n"));
    for ask in &asks {
        assert_hit(&ask.send(&gateway), &format!("{ask:?}"));
    }
    assert_eq!(upstream.count(), 1);
}

/// A header that Connection names reaches no upstream: its answer is the one to a request without it.
#[test]
fn a_header_that_is_not_sent_on_does_not_count() {
    let upstream = counting();
    let gateway = gateway(&upstream, "vary: [x-tenant]", "");
    let german = "Accept-Language: de\r\nX-Tenant: a\r\n";
    let hidden = Ask::with(&format!("{german}Connection: x-tenant, Accept-Language, keep-alive\r\n"));
    assert_miss(&hidden.send(&gateway), "sent without");
    let arrived = upstream.requests().remove(0);
    assert_eq!((arrived.header("accept-language"), arrived.header("x-tenant")), (None, None));
    assert_miss(&Ask::with(german).send(&gateway), "sent with them");
    assert_hit(&Ask::default().send(&gateway), "without, as the first was");
    // What no connection option may remove counts all the same.
    assert_hit(&Ask::with("Connection: content-type\r\n").send(&gateway), "as the first");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn numbers_are_told_apart_by_value_and_integers_by_every_digit() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    let seed = |number: &str| Ask::body(format!(r#"{{"model":"m","seed":{number}}}"#));
    assert_miss(&seed("10.0").send(&gateway), "new");
    assert_hit(&seed("1e1").send(&gateway), "the same number");
    for number in ["9007199254740993", "9007199254740992", "0"] {
        assert_miss(&seed(number).send(&gateway), number);
    }
    assert_hit(&seed("-0").send(&gateway), "0 again");
}

/// Only chats leave members out; other APIs read them.
#[test]
fn other_apis_leave_nothing_out() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    for path in ["/v1/embeddings", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/rerank"] {
        assert_miss(&Ask::at(path, BODY).send(&gateway), path);
        for member in [r#""prompt_cache_key":"k""#, r#""safety_identifier":"s""#, r#""stream":false"#] {
            let body = format!(r#"{{"model":"m","messages":[],{member}}}"#);
            assert_miss(&Ask::at(path, &body).send(&gateway), member);
        }
    }
}

#[test]
fn another_route_is_another_key() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    assert_miss(&Ask::default().send(&gateway), "new");
    gateway.rewrite(&yaml(&upstream, "/v1/chat/*", "", ""));
    gateway.running().reload(Shrinking::Guarded).expect("a good configuration");
    assert_miss(&Ask::default().send(&gateway), "by another route");
    gateway.rewrite(&yaml(&upstream, "/v1/*", "", ""));
    gateway.running().reload(Shrinking::Guarded).expect("a good configuration");
    assert_hit(&Ask::default().send(&gateway), "entries outlive a reload");
}

/// What reaches the upstream is what was sent, not what was hashed.
#[test]
fn the_body_reaches_the_upstream_as_it_came() {
    let upstream = counting();
    let gateway = gateway(&upstream, "ignore: [user]", "");
    let odd = " {\n\t\"mod\\u0065l\" : \"m\" , \"n\":1.0e0,\"user\":\"u\",\"stream\":false, \"messages\" : [ ] }\r\n";
    assert_miss(&Ask::body(odd).send(&gateway), "new");
    let request = upstream.requests().remove(0);
    assert_eq!(request.body, odd.as_bytes());
    assert_eq!(request.line, format!("POST {CHAT} HTTP/1.1"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("content-type"), Some(JSON.trim().trim_start_matches("Content-Type: ")));
}
