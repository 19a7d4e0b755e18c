//! Several gateways that share one Redis, each over a line of its own that the test can trouble.

use std::net::SocketAddr;

use crate::support::admin::TOKEN;
use crate::support::client::Answer;
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;

/// The gateways, and what is between them and Redis.
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) lines: Vec<FaultProxy>,
    pub(crate) redis: Redis,
    yaml: String,
    begin: fn(&str) -> Gateway,
}

/// A question: whose, and what in a body of JSON.
pub(crate) type Question<'a> = (&'a str, &'a str);

/// An answer to chat completions, with what a translation needs.
pub(crate) fn completion(text: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#
    )
}

/// What a gateway of `upstream` is configured with: account acme's key `one`, globex's `two`, whatever `more` says; two
/// routes whose cache has members `cache`.
pub(crate) fn yaml(upstream: &Upstream, cache: &str, more: &str) -> String {
    let route = |path| format!("  - {{path: {path}/*, upstream: llm, cache: {{ttl: 1h{cache}}}}}\n");
    format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n{more}\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes:\n{}{}keys:\n{}{}",
        upstream.url(),
        route("/v1"),
        route("/v2"),
        key("one", ""),
        key("two", "account: globex")
    )
}

impl Fleet {
    /// So many gateways from `yaml`, once they share answers.
    pub(crate) fn start(count: usize, yaml: &str) -> Self {
        Self::build(count, yaml, Gateway::start)
    }

    /// The same, that wait for Redis as briefly as gateways do as a rule.
    pub(crate) fn impatient(count: usize, yaml: &str) -> Self {
        Self::build(count, yaml, Gateway::start_impatient)
    }

    fn build(count: usize, yaml: &str, begin: fn(&str) -> Gateway) -> Self {
        let redis = Redis::start();
        let mut fleet = Self { gateways: Vec::new(), lines: Vec::new(), redis, yaml: yaml.to_owned(), begin };
        (0..count).for_each(|_| fleet.grow());
        fleet
    }

    /// One gateway more.
    pub(crate) fn grow(&mut self) {
        let line = FaultProxy::before(self.redis.address());
        let yaml = clustered(&self.yaml, line.address());
        let gateway = (self.begin)(&yaml);
        self.lines.push(line);
        self.gateways.push(gateway);
        self.joined(self.gateways.len() - 1);
    }

    /// Waits until this one shares answers.
    pub(crate) fn joined(&self, number: usize) {
        self.gateways[number].eventually("it shares", |gateway| gateway.metric("safecache_shared_up") == 1.0);
    }

    /// Waits until this one shares answers no more.
    pub(crate) fn alone(&self, number: usize) {
        self.gateways[number]
            .eventually("it is alone", |gateway| gateway.metric("safecache_shared_up") == 0.0);
    }

    /// What one of them answers to a question on /v1.
    pub(crate) fn ask(&self, number: usize, question: Question<'_>, more: &str) -> Answer {
        ask(&self.gateways[number], "/v1", question, more)
    }

    /// True if one of them answers it by itself, or from what is shared.
    pub(crate) fn knows(&self, number: usize, question: Question<'_>) -> bool {
        self.ask(number, question, "cache-control: only-if-cached\r\n").status == 200
    }

    /// Waits until one of them has shared so many answers.
    pub(crate) fn shared(&self, number: usize, answers: f64) {
        let stored = "safecache_shared_writes_total{result=\"stored\"}";
        self.gateways[number].eventually("they are shared", |gateway| gateway.metric(stored) == answers);
    }

    /// How many look-ups of one of them ended so.
    pub(crate) fn reads(&self, number: usize, result: &str) -> f64 {
        self.gateways[number].metric(&format!("safecache_shared_reads_total{{result=\"{result}\"}}"))
    }

    /// The number that a script in Redis returns.
    pub(crate) fn script(&self, text: &str) -> i64 {
        let answer = self.redis.ask(&["EVAL", text, "0"]);
        answer.strip_prefix(':').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }

    /// How many answers Redis has.
    pub(crate) fn kept(&self) -> i64 {
        self.script("return #redis.call('KEYS', 'sc:1:*:e:*')")
    }
}

/// `yaml` with the Redis at `address`.
pub(crate) fn clustered(yaml: &str, address: SocketAddr) -> String {
    // Limits are not what these tests are about, and by a clock that stands a part of one never fills.
    format!("{yaml}cluster: {{redis: \"redis://{address}\", replicas: 2, without_redis: open}}\n")
}

/// What a gateway answers to a question below `path`.
pub(crate) fn ask(gateway: &Gateway, path: &str, (id, body): Question<'_>, more: &str) -> Answer {
    let line = format!("POST {path}/chat/completions");
    let more = format!("content-type: application/json\r\n{more}");
    gateway.connect().request(&line, &secret(id), &more, body.as_bytes()).answer()
}
