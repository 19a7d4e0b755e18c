//! Usage: every request of a known key counts once, and its sums stay.
//!
//! - `ledger` is where they are summed. `report` asks for them in every way, `counted` is what counts as what. `lasting` is what becomes of them when a
//!   gateway ends.

mod counted;
mod lasting;
mod ledger;
mod report;

use safecache::clock::UnixTime;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

/// What the upstream answers a chat with.
const ANSWER: &str = r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":10}}}"#;

/// The paths of chats, of which the second is not cached.
const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/plain/chat/completions";

/// The text of a configuration before `upstream`, with further lines and keys.
fn yaml(upstream: &Upstream, more: &str, keys: &str) -> String {
    format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n  - {{path: /*, upstream: llm}}\n\
         {more}\nkeys:\n{}{keys}",
        upstream.url(),
        key("one", "name: first, environment: production")
    )
}

fn gateway(upstream: &Upstream, more: &str, keys: &str) -> Gateway {
    Gateway::start(&yaml(upstream, more, keys))
}

/// A question to a model.
fn chat(model: &str, question: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": question}]}).to_string()
}

/// The report for a query, asked over a connection whose requests are all counted before.
fn report(client: &mut Client, query: &str) -> Value {
    let answer = ask(client, query);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn ask(client: &mut Client, query: &str) -> Answer {
    client.get(&format!("/api/v1/usage{query}"), &secret("one"))
}

/// The counts that are not 0, by name.
fn counts(of: &Value) -> Value {
    let members = of.as_object().expect("an object").iter();
    members
        .filter(|(_, value)| value.as_f64().is_some_and(|number| number != 0.0))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn time(text: &str) -> UnixTime {
    UnixTime::of_rfc3339(text).expect("a time")
}
