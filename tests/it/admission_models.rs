//! What a key may ask for: `allowed_models`, wherever a request names its model. Contract §3 steps 6 and 7.

use crate::support::client::Answer;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const DENIED: &str =
    r#"{"error":"Access denied","message":"This API key may not use the requested model","status":403}"#;
const TWICE: &str = r#"{"error":"Bad request","message":"A member name stands twice in one JSON object of the body","status":400}"#;
const JSON: &str = "Content-Type: application/json\r\n";

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n\
         \x20 - {{path: /live/*, upstream: llm, upgrade: websocket}}\nkeys:\n{}{}",
        upstream.url(),
        key("bound", "allowed_models: [\"gpt-4o*\", \"text-*-3-*\", exact]"),
        key("free", "account: other")
    ))
}

fn ask(gateway: &Gateway, line: &str, key: &str, body: &str) -> Answer {
    gateway.connect().request(line, &secret(key), JSON, body.as_bytes()).answer()
}

#[track_caller]
fn denied(answer: &Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (403, DENIED));
    assert!(answer.header("x-ratelimit-remaining").is_some(), "step 5 comes before: {answer:?}");
}

#[test]
fn a_model_must_match_one_of_the_keys_globs_as_a_whole() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let table = [
        ("gpt-4o", 200),
        ("gpt-4o-mini", 200),
        ("text-embedding-3-large", 200),
        ("exact", 200),
        ("GPT-4o", 403),
        ("gpt-4", 403),
        ("xgpt-4o", 403),
        ("text-embedding-3", 403),
        ("exactly", 403),
        ("", 403),
    ];
    for (model, status) in table {
        for path in ["/v1/chat/completions", "/v1/uncached"] {
            let body = format!(r#"{{"messages":[],"model":"{model}"}}"#);
            let answer = ask(&gateway, &format!("POST {path}"), "bound", &body);
            assert_eq!(answer.status, status, "{model} at {path}");
            if status == 403 {
                denied(&answer);
            }
            assert_eq!(ask(&gateway, &format!("POST {path}"), "free", &body).status, 200);
        }
    }
}

#[test]
fn a_model_that_cannot_be_found_is_denied() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let bodies = [
        "",
        "{}",
        "[]",
        "not JSON",
        r#"{"model":null}"#,
        r#"{"model":["gpt-4o"]}"#,
        r#"{"a":{"model":"gpt-4o"}}"#,
    ];
    for body in bodies {
        for line in ["POST /v1/chat/completions", "POST /v1/x", "PUT /v1/x", "PATCH /v1/x"] {
            denied(&ask(&gateway, line, "bound", body));
        }
        assert_eq!(ask(&gateway, "POST /v1/x", "free", body).status, 200, "{body}");
    }
    assert_eq!(ask(&gateway, "GET /v1/models", "bound", "").status, 200, "a GET names none");
    assert_eq!(ask(&gateway, "DELETE /v1/x", "bound", "").status, 200);
    let sent = upstream.requests();
    assert!(!sent.iter().any(|request| request.line.starts_with("PUT")), "{sent:?}");
}

#[test]
fn a_member_twice_is_refused_before_its_model_is_read() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let bodies = [
        r#"{"model":"gpt-4o","model":"o1"}"#,
        r#"{"model":"o1","\u006dodel":"gpt-4o"}"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","role":"system"}]}"#,
    ];
    for body in bodies {
        for line in ["POST /v1/chat/completions", "POST /v1/x"] {
            let answer = ask(&gateway, line, "bound", body);
            assert_eq!((answer.status, answer.text().as_str()), (400, TWICE), "{line}: {body}");
        }
        let cached = ask(&gateway, "POST /v1/chat/completions", "free", body);
        assert_eq!(cached.status, 400, "{body}");
        assert_eq!(ask(&gateway, "POST /v1/x", "free", body).status, 200, "nobody reads this body");
    }
}

#[test]
fn an_upgrade_names_its_model_in_the_query() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let upgrade = |query: &str, key: &str| {
        let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let line = format!("GET /live/realtime{query}");
        gateway.connect().request(&line, &secret(key), headers, b"").answer()
    };
    for query in ["?model=gpt-4o-realtime", "?x=1&%6dodel=gpt%2D4o"] {
        assert_eq!(upgrade(query, "bound").status, 200, "{query}: the upstream did not upgrade");
    }
    for query in [
        "",
        "?",
        "?model",
        "?model=o1",
        "?model=gpt-4o&model=o1",
        "?models=gpt-4o",
        // Some upstreams make no difference between the two.
        "?model=gpt-4o&Model=o1",
        "?MODEL=o1&model=gpt-4o",
        "?model=gpt-4o&%4dodel=o1",
        "?Model=gpt-4o",
    ] {
        denied(&upgrade(query, "bound"));
        assert_eq!(upgrade(query, "free").status, 200, "{query}");
    }
    assert_eq!(ask(&gateway, "GET /live/list", "bound", "").status, 200, "no upgrade, no model");
}
