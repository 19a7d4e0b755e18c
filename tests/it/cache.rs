//! The cache through the front door: what is looked up, under what key, what is stored, and what clients are told.

mod clients_say;
mod keys;
mod leaving;
mod lookups;
mod memory;
mod packed;
mod recording;
mod replay;
mod scope;
mod stored;
mod told;

use crate::support::client::Answer;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const JSON: &str = "Content-Type: application/json\r\n";
const BODY: &str = r#"{"model":"m","messages":[]}"#;
const MISS: &str = "safecache; fwd=miss; stored";

/// Keys `one` and `two` of account acme, `other` of another.
fn keys() -> String {
    key("one", "") + &key("two", "") + &key("other", "account: globex")
}

/// A gateway with one route; `cache` are members of the route's `cache` beside its ttl, `more` are further lines.
fn gateway(upstream: &Upstream, cache: &str, more: &str) -> Gateway {
    Gateway::start(&yaml(upstream, "/v1/*", cache, more))
}

fn yaml(upstream: &Upstream, path: &str, cache: &str, more: &str) -> String {
    format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: {path}, upstream: llm, cache: {{ttl: 1h, {cache}}}}}]\n{more}keys:\n{}",
        upstream.url(),
        keys()
    )
}

/// A whole answer, of whichever API it is asked for; told from others by its id.
fn whole(id: impl std::fmt::Display) -> String {
    format!(
        "{{\"id\":\"{id}\",\"choices\":[{{\"index\":0,\"finish_reason\":\"stop\"}}],\"data\":[{{}}],\
         \"results\":[{{}}],\"output\":[{{}}],\"content\":[],\"stop_reason\":\"end_turn\"}}"
    )
}

/// One that is so many bytes longer.
fn long(pad: usize) -> String {
    whole("x".repeat(pad))
}

/// A whole stream of a chat.
fn stream(id: impl std::fmt::Display) -> String {
    format!(
        "data: {{\"id\":\"{id}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"hi\"}}}}]}}\n\n\
         data: {{\"id\":\"{id}\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: [DONE]\n\n"
    )
}

/// An upstream whose answers carry their number, from 1.
fn counting() -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |_, exchange| {
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        exchange.json(&whole(number));
    })
}

/// A request, changed in one place by a test.
#[derive(Clone, Debug)]
struct Ask {
    line: String,
    key: &'static str,
    headers: String,
    body: String,
}

impl Default for Ask {
    fn default() -> Self {
        Self { line: format!("POST {CHAT}"), key: "one", headers: JSON.into(), body: BODY.into() }
    }
}

impl Ask {
    fn body(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With more header lines.
    fn with(headers: &str) -> Self {
        Self { headers: format!("{JSON}{headers}"), ..Self::default() }
    }

    fn at(path: &str, body: &str) -> Self {
        Self { line: format!("POST {path}"), ..Self::body(body) }
    }

    fn by(key: &'static str) -> Self {
        Self { key, ..Self::default() }
    }

    /// Sends it on a connection of its own.
    fn send(&self, gateway: &Gateway) -> Answer {
        let mut client = gateway.connect();
        client.request(&self.line, &secret(self.key), &self.headers, self.body.as_bytes()).answer()
    }
}

/// Status, Cache-Status, X-Cache and Age of an answer.
fn told(answer: &Answer) -> (u16, Option<&str>, Option<&str>, Option<&str>) {
    (answer.status, answer.header("cache-status"), answer.header("x-cache"), answer.header("age"))
}

#[track_caller]
fn assert_hit(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some("HIT")), "{what}: {answer:?}");
}

#[track_caller]
fn assert_miss(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some("MISS")), "{what}: {answer:?}");
}
