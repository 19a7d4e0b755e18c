//! The way of a request, once through: refused, missed, hit, streamed, passed on.

use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const ANSWER: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

#[test]
fn a_request_is_refused_missed_hit_and_passed_on() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    let mut client = gateway.connect();
    let refused = client.post("/v1/chat/completions", "unknown-key-of-nobody", "{}");
    assert_eq!(refused.status, 401);
    let body = r#"{"model":"m","messages":[]}"#;
    let missed = client.post("/v1/chat/completions", &secret("one"), body);
    assert_eq!((missed.status, missed.text().as_str()), (200, ANSWER));
    assert_eq!(missed.header("cache-status"), Some("safecache; fwd=miss; stored"));
    let hit = client.post("/v1/chat/completions", &secret("one"), body);
    assert_eq!((hit.status, hit.text().as_str()), (200, ANSWER));
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    let passed = client.get("/v1/models", &secret("one"));
    assert_eq!((passed.status, passed.text().as_str()), (200, ANSWER));
    assert_eq!(upstream.count(), 2);
    assert_eq!(gateway.metric("safecache_cache_lookups_total{kind=\"exact\",result=\"hit\"}"), 1.0);
    let log = gateway.stop();
    assert_eq!(log.lines().count(), 4, "{log}");
}
