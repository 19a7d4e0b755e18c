//! What operators see: metrics and their labels, health, the access log.

use std::collections::{BTreeMap, BTreeSet};

use safecache::runtime::reload::Shrinking;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
const STREAM: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";

/// Every metric of contract §6 with its labels, and those of ours beside them.
const FAMILIES: &[(&str, &[&str])] = &[
    ("safecache_requests_total", &["outcome", "route", "status"]),
    ("safecache_request_duration_seconds", &["outcome", "route"]),
    ("safecache_overhead_seconds", &["outcome"]),
    ("safecache_upstream_first_byte_seconds", &["upstream"]),
    ("safecache_in_flight_requests", &[]),
    ("safecache_connections", &[]),
    ("safecache_auth_failures_total", &["reason"]),
    ("safecache_rate_limited_total", &["plan"]),
    ("safecache_cache_lookups_total", &["kind", "result"]),
    ("safecache_cache_entries", &[]),
    ("safecache_cache_bytes", &[]),
    ("safecache_cache_evictions_total", &["cause"]),
    ("safecache_disk_entries", &[]),
    ("safecache_disk_bytes", &[]),
    ("safecache_disk_writes_total", &["result"]),
    ("safecache_disk_reads_total", &["result"]),
    ("safecache_tokens_total", &["direction"]),
    ("safecache_tokens_saved_total", &[]),
    ("safecache_upstream_up", &["server", "upstream"]),
    ("safecache_keys", &["state"]),
    ("safecache_key_ring_generation", &[]),
    ("safecache_config_reloads_total", &["result"]),
    ("safecache_config_last_reload_successful", &[]),
    ("safecache_buffer_bytes", &[]),
    ("safecache_build_info", &["version"]),
    ("safecache_connections_refused_total", &["bound"]),
    ("safecache_http2_floods_total", &[]),
    ("safecache_heads_refused_total", &[]),
    ("safecache_access_lines_dropped_total", &[]),
    ("safecache_usage_lost_total", &[]),
    ("safecache_stored_damaged_total", &[]),
    ("safecache_redis_up", &[]),
    ("safecache_postgres_up", &[]),
    ("safecache_replicas", &[]),
    ("safecache_limits_alone_total", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_max_fds", &[]),
    ("process_open_fds", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_start_time_seconds", &[]),
    ("process_threads", &[]),
    ("process_virtual_memory_bytes", &[]),
];

fn upstream() -> Upstream {
    Upstream::start(|request, exchange| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("refuse") {
            exchange.close();
        } else if body.contains("stream") {
            exchange.begin("text/event-stream");
            exchange.chunk(STREAM);
            exchange.chunk("");
        } else {
            exchange.json(ANSWER);
        }
    })
}

fn gateway(upstream: &Upstream) -> Gateway {
    let keys = [
        key("one", ""),
        key("slow", "plan: slow"),
        key("elsewhere", "allowed_ips: [\"192.0.2.1\"]"),
        key("bound", "allowed_models: [\"gpt-*\"]"),
        key("off", "disabled: true"),
        key("old", "expires_at: 2020-01-01T00:00:00Z"),
    ];
    Gateway::start(&format!(
        "plans: {{slow: {{requests_per_minute: 1, burst: 1}}}}\nlimits: {{max_body: 1MiB}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        keys.concat()
    ))
}

/// A request of every kind that has an outcome of its own.
fn every_kind(gateway: &Gateway) {
    let mut client = gateway.connect();
    let mut ask = |name: &str, body: &str| client.post(CHAT, &secret(name), body).status;
    assert_eq!(ask("one", r#"{"model":"a"}"#), 200);
    assert_eq!(ask("one", r#"{"model":"a"}"#), 200);
    assert_eq!(ask("one", r#"{"model":"a","stream":true}"#), 200);
    assert_eq!(ask("one", r#"{"model":"refuse"}"#), 502);
    assert_eq!(ask("one", r#"{"a":1,"a":2}"#), 400);
    assert_eq!(ask("elsewhere", "{}"), 403);
    assert_eq!(ask("bound", r#"{"model":"a"}"#), 403);
    for name in ["nobody", "off", "old"] {
        assert_eq!(ask(name, "{}"), 401);
    }
    let _ = ask("slow", "{}");
    assert_eq!(ask("slow", "{}"), 429);
    assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    assert_eq!(client.get("/elsewhere", &secret("one")).status, 404);
    assert_eq!(client.get("/elsewhere", "").status, 401);
    assert_eq!(client.send("GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n").answer().status, 401);
    assert_eq!(client.get("/healthz", "").status, 200);
    let line = format!("POST {CHAT}");
    assert_eq!(client.request(&line, &secret("one"), "", &[b'x'; 2 * 1024 * 1024]).answer().status, 413);
    assert_eq!(gateway.connect().send("GET / HTTP/1.1\r\n\r\n").answer().status, 400);
}

/// The series of all metrics: names with labels, without values.
fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

#[test]
fn the_metrics_have_the_names_and_labels_of_the_contract_and_no_others() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    every_kind(&gateway);
    gateway.clock.advance(std::time::Duration::from_secs(7200));
    let again = gateway.connect().post(CHAT, &secret("one"), r#"{"model":"a"}"#);
    assert_eq!(again.header("x-cache"), Some("MISS"), "what has expired is gone");
    gateway.running().reload(safecache::runtime::reload::Shrinking::Guarded).unwrap();
    let metrics = gateway.metrics();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in series(&metrics) {
        let (name, labels) = series.split_once('{').unwrap_or((&series, "}"));
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .filter(|_| {
                metrics
                    .contains(&format!("# TYPE {} histogram", name.rsplit_once('_').map_or("", |(n, _)| n)))
            })
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let known = found.entry(name.to_owned()).or_default();
        known.extend(labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
    }
    let expected: BTreeMap<String, BTreeSet<String>> = FAMILIES
        .iter()
        .map(|(name, labels)| ((*name).to_owned(), labels.iter().map(|label| (*label).to_owned()).collect()))
        .collect();
    assert_eq!(found, expected);
    let version = format!("safecache_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(metrics.contains(&version), "{metrics}");
    assert!(metrics.contains("safecache_overhead_seconds_bucket{outcome=\"forwarded\",le=\"0.00001\"}"));
}

#[test]
fn no_label_takes_a_value_that_a_client_chooses() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    every_kind(&gateway);
    // And the kinds that only odd requests have.
    let mut client = gateway.connect();
    assert_eq!(client.request("ODD /v1/x", &secret("one"), "", b"").answer().status, 200);
    let before = series(&gateway.metrics());
    for number in 0..250 {
        let odd = format!("odd{number}");
        assert_eq!(
            client.request(&format!("M{odd} /v1/{odd}"), &secret("one"), "", b"").answer().status,
            200
        );
        assert_eq!(client.get(&format!("/{odd}/x?{odd}"), &secret("one")).status, 404);
        let headers = format!("X-Request-Id: {odd}\r\nUser-Agent: {odd}\r\nX-Forwarded-For: {odd}\r\n");
        let body = format!(r#"{{"model":"{odd}","n":{number}}}"#);
        let answer =
            client.request(&format!("POST {CHAT}"), &secret("one"), &headers, body.as_bytes()).answer();
        assert_eq!(answer.status, 200);
        assert_eq!(client.get(&format!("/v1/{odd}"), &odd).status, 401);
    }
    let after = series(&gateway.metrics());
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!gateway.metrics().contains("odd"));
    let log = gateway.stop();
    assert!(log.lines().all(|line| !line.contains("Modd")), "nor does the log name made-up methods");
}

#[test]
fn health_and_readiness_are_told_on_their_ports() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    assert_eq!((gateway.admin("/healthz").status, gateway.admin("/readyz").status), (200, 200));
    let mut client = gateway.connect();
    let answer = client.send("GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n").answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    let head = client.send("HEAD /healthz HTTP/1.1\r\nHost: g\r\n\r\n").head();
    assert_eq!(head.status, 200);
    // What belongs to operators is not on the clients' port.
    for path in ["/metrics", "/readyz", "/admin/v1/config"] {
        assert_eq!(client.get(path, &secret("one")).status, 404, "{path}");
    }
    assert_eq!(gateway.admin("/admin/v1/config").status, 404, "off without a token");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn each_request_has_one_line_that_says_how_it_ended() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let id = |id: &str| format!("X-Request-Id: {id}\r\n");
    let line = format!("POST {CHAT}");
    let mut client = gateway.connect();
    let body = br#"{"model":"a"}"#;
    for name in ["miss", "hit"] {
        assert_eq!(client.request(&line, &secret("one"), &id(name), body).answer().status, 200);
    }
    let stream = br#"{"model":"a","stream":true}"#;
    assert_eq!(client.request(&line, &secret("one"), &id("stream"), stream).answer().status, 200);
    assert_eq!(client.request("ODD /v1/x", &secret("one"), &id("odd"), b"").answer().status, 200);
    assert_eq!(client.request(&line, &secret("off"), &id("refused"), body).answer().status, 401);
    assert_eq!(client.request(&line, &secret("bound"), &id("forbidden"), body).answer().status, 403);
    assert_eq!(client.request("GET /x", &secret("one"), &id("nowhere"), b"").answer().status, 404);
    let refuse = br#"{"model":"refuse"}"#;
    assert_eq!(client.request(&line, &secret("one"), &id("broken"), refuse).answer().status, 502);
    let generated = client.get("/v1/models", &secret("one"));
    let generated = generated.header("x-request-id").expect("an id").to_owned();

    let log = gateway.stop();
    let lines: BTreeMap<String, serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|line| (line["request_id"].as_str().expect("an id").to_owned(), line))
        .collect();
    assert_eq!(lines.len(), log.lines().count(), "one line each");
    let all =
        ["time", "request_id", "method", "outcome", "status", "duration_ms", "bytes_received", "bytes_sent"];
    let keyed = ["key", "route"];
    let called = ["upstream_first_byte_ms"];
    let expected: [(&str, &str, u16, &[&[&str]]); 9] = [
        ("miss", "forwarded", 200, &[&all, &keyed, &called, &["tokens"]]),
        ("hit", "exact_hit", 200, &[&all, &keyed]),
        ("stream", "forwarded", 200, &[&all, &keyed, &called, &["tokens"]]),
        ("odd", "forwarded", 200, &[&all, &keyed, &called]),
        ("refused", "unauthorized", 401, &[&all, &["route"]]),
        ("forbidden", "forbidden", 403, &[&all, &keyed]),
        ("nowhere", "not_found", 404, &[&all, &["key"]]),
        ("broken", "upstream_error", 502, &[&all, &keyed]),
        (&generated, "forwarded", 200, &[&all, &keyed, &called]),
    ];
    for (id, outcome, status, fields) in expected {
        let line = &lines[id];
        assert_eq!((&line["outcome"], &line["status"]), (&outcome.into(), &status.into()), "{line}");
        let names: BTreeSet<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, fields.concat().into_iter().collect(), "{line}");
    }
    let miss = &lines["miss"];
    assert_eq!(
        (&miss["key"], &miss["route"], &miss["method"]),
        (&"one".into(), &"/v1/*".into(), &"POST".into())
    );
    assert_eq!((&miss["bytes_received"], &miss["bytes_sent"]), (&body.len().into(), &ANSWER.len().into()));
    assert_eq!(miss["tokens"], serde_json::json!({"prompt": 3, "completion": 1, "cached": 0}));
    assert_eq!(miss["time"], "2027-01-15T08:00:00Z");
    assert_eq!(lines["odd"]["method"], "other");
}

/// What an answer cost is told whether or not it is stored, as long as it can be read on its way.
#[test]
fn tokens_are_told_of_answers_that_are_not_stored() {
    let upstream = Upstream::start(|request, exchange| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let long = "x".repeat(if body.contains("huge") { 1_100_000 } else { 3000 });
        if body.contains("\"stream\"") {
            exchange.begin("text/event-stream");
            exchange.chunk(format!(": {}\n\n", "x".repeat(100)).repeat(long.len() / 100));
            exchange.chunk(STREAM);
            exchange.chunk("");
        } else if body.contains("pieces") {
            exchange.begin("application/json");
            exchange.chunk(format!("{{\"text\":\"{long}\","));
            exchange.chunk(ANSWER.trim_start_matches('{'));
            exchange.chunk("");
        } else {
            exchange.json(&format!("{{\"text\":\"{long}\",{}", ANSWER.trim_start_matches('{')));
        }
    });
    let gateway = Gateway::start(&format!(
        "cache: {{max_entry: 2KiB}}\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    let mut client = gateway.connect();
    let mut counted = 0.0;
    for (body, tokens) in [
        (r#"{"a":"too long for an entry"}"#, 3.0),
        (r#"{"a":"too long for an entry, in pieces"}"#, 3.0),
        (r#"{"stream":true}"#, 3.0),
        (r#"{"a":"bypassed","store":true}"#, 3.0),
        (r#"{"a":"bypassed","store":true,"stream":true}"#, 3.0),
        (r#"{"a":"huge, bypassed","store":true}"#, 0.0),
        (r#"{"a":"huge, bypassed","store":true,"stream":true}"#, 3.0),
    ] {
        assert_eq!(client.post(CHAT, &secret("one"), body).status, 200);
        counted += tokens;
        gateway.eventually(body, |g| g.metric("safecache_tokens_total{direction=\"prompt\"}") == counted);
    }
    let told = gateway.stop().lines().filter(|line| line.contains(r#""tokens":{"prompt":3"#)).count();
    assert_eq!(told, 6);
}

/// A connection that is never used for a request has no line and no count of its own.
#[test]
fn a_connection_without_a_request_is_no_request() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    drop(Client::connect(gateway.address()));
    gateway.eventually("it has come and gone", |g| g.metric("safecache_connections") == 0.0);
    assert_eq!(gateway.metric("safecache_heads_refused_total"), 0.0);
    assert_eq!(gateway.stop(), "");
}

#[test]
fn counters_are_there_before_their_first_event() {
    let plans = "plans: {gold: {requests_per_minute: 60, burst: 60}}\n";
    let gateway = Gateway::start(&format!("{plans}keys:\n{}", key("one", "")));
    let shows = |series: &str| gateway.metrics().lines().any(|line| line == format!("{series} 0"));
    for plan in ["free", "pro", "enterprise", "gold"] {
        assert!(shows(&format!("safecache_rate_limited_total{{plan=\"{plan}\"}}")), "{plan}");
    }
    for cause in ["expired", "size", "replaced"] {
        assert!(shows(&format!("safecache_cache_evictions_total{{cause=\"{cause}\"}}")), "{cause}");
    }
    gateway.rewrite(&format!("{}keys:\n{}", plans.replace("gold", "silver"), key("one", "")));
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(shows("safecache_rate_limited_total{plan=\"silver\"}"));
}
