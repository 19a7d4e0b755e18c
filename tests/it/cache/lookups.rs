//! Which requests are looked up at all.

use super::{Ask, assert_hit, assert_miss, counting, gateway, told};

const BYPASS: (u16, Option<&str>, Option<&str>, Option<&str>) =
    (200, Some("safecache; fwd=bypass"), Some("BYPASS"), None);

/// Sends each twice: neither is looked up, neither is stored, and the upstream gets both.
#[track_caller]
fn assert_bypassed(cache: &str, asks: &[Ask]) {
    let upstream = counting();
    let gateway = gateway(&upstream, cache, "");
    for ask in asks {
        let before = upstream.count();
        for _ in 0..2 {
            assert_eq!(told(&ask.send(&gateway)), BYPASS, "{ask:?}");
        }
        assert_eq!(upstream.count(), before + 2, "{ask:?}");
        assert_eq!(upstream.requests()[before].body, ask.body.as_bytes());
    }
    assert_eq!(gateway.metric("safecache_cache_entries"), 0.0);
}

#[test]
fn what_depends_on_more_than_the_request_is_not_looked_up() {
    let bodies = [
        r#"{"model":"m","store":true}"#,
        r#"{"model":"m","background":true}"#,
        r#"{"model":"m","conversation":"c"}"#,
        r#"{"model":"m","conversation":{"id":"c"}}"#,
        r#"{"model":"m","previous_response_id":"r"}"#,
        r#"{"model":"m","prompt":{"id":"p"}}"#,
        r#"{"model":"m","web_search_options":{}}"#,
        r#"{"model":"m","tools":[{"type":"function"},{"type":"web_search"}]}"#,
        r#"{"model":"m","tools":[{"type":"code_interpreter"}]}"#,
        r#"{"model":"m","mcp_servers":[{"url":"https://example.com"}]}"#,
    ];
    let mut asks = Vec::new();
    for path in ["/v1/chat/completions", "/v1/responses"] {
        asks.extend(bodies.iter().map(|body| Ask::at(path, body)));
    }
    asks.push(Ask::at("/v1/messages", r#"{"model":"m","tools":[{"type":"web_search_20250305"}]}"#));
    assert_bypassed("", &asks);
}

#[test]
fn what_is_no_json_object_is_not_looked_up() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let bodies =
        ["", "hello", "[]", "null", "{", r#"{"a":1}}"#, r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#, &deep];
    assert_bypassed("", &bodies.map(Ask::body));
}

#[test]
fn a_stream_that_only_the_upstream_understands_is_not_looked_up() {
    let bodies = [
        r#"{"stream":"true"}"#,
        r#"{"stream":1}"#,
        r#"{"stream_options":[]}"#,
        r#"{"stream":true,"stream_options":{"include_usage":1}}"#,
    ];
    assert_bypassed("", &bodies.map(Ask::body));
}

#[test]
fn a_warm_request_is_not_looked_up_above_the_bound() {
    let warm = ["0.51", "2", "1e3"].map(|number| Ask::body(format!(r#"{{"temperature":{number}}}"#)));
    assert_bypassed("max_temperature: 0.5", &warm);
    let unclear =
        [r#""0""#, "true", "[0]", "{}"].map(|other| Ask::body(format!(r#"{{"temperature":{other}}}"#)));
    assert_bypassed("", &unclear);
    let upstream = counting();
    let gateway = gateway(&upstream, "max_temperature: 0.5", "");
    for number in ["0.5", "0", "null"] {
        let cool = Ask::body(format!(r#"{{"model":"m","temperature":{number}}}"#));
        assert_miss(&cool.send(&gateway), number);
        assert_hit(&cool.send(&gateway), number);
    }
}

#[test]
fn paths_that_the_route_does_not_cache_are_not_looked_up() {
    assert_bypassed("paths: [/embeddings]", &[Ask::default(), Ask::at("/v1/embeddings/x", "{}")]);
    let put = Ask { line: "PUT /v1/embeddings".into(), ..Ask::default() };
    assert_bypassed("", &[put, Ask::at("/v1/chat/completions/", super::BODY)]);
}

/// The same members where they mean nothing of that kind.
#[test]
fn ordinary_requests_are_looked_up() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    for ask in [
        Ask::body(r#"{"store":false,"background":null,"conversation":null,"previous_response_id":null}"#),
        Ask::body(r#"{"tools":[{"type":"function"},{"type":"custom"}]}"#),
        Ask::body(r#"{"messages":[{"store":true,"conversation":"c","stream":true}]}"#),
        Ask::body(r#"{"temperature":2}"#),
        Ask::at("/v1/completions", r#"{"prompt":"a text"}"#),
        Ask::at("/v1/messages", r#"{"tools":[{"name":"f","input_schema":{}}]}"#),
        Ask::at("/v1/moderations", r#"{"input":"a"}"#),
    ] {
        assert_miss(&ask.send(&gateway), &format!("{ask:?}"));
        assert_hit(&ask.send(&gateway), &format!("{ask:?}"));
    }
}
