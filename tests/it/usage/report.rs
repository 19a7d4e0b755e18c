//! The report: its shape, spans, steps, pages, and what it refuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ANSWER, CHAT, ask, chat, gateway, report, time};
use crate::support::gateway::{START, key, secret};
use crate::support::upstream::Upstream;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn it_has_the_members_of_the_contract() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    client.post(CHAT, &secret("one"), &chat("m", "a"));
    let answer = ask(&mut client, "");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told = answer.json();
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(members(&told), "account keys models period plan rate_limit series totals");
    let counts = "cache_hits cache_misses completion_tokens errors exact_hits hit_rate other prompt_tokens \
                  rate_limited requests semantic_hits stores tokens_saved uncached";
    assert_eq!(members(&told["totals"]), counts);
    assert_eq!((&told["account"], &told["plan"]), (&json!("acme"), &json!("enterprise")));
    assert_eq!(told["rate_limit"], json!({"requests_per_minute": 6000, "burst": 10000, "remaining": 6000}));
    assert_eq!(told["period"], json!({"start": "2026-12-17T00:00:00Z", "end": "2027-01-15T09:00:00Z"}));
    let series = told["series"].as_array().unwrap();
    assert_eq!((series.len(), &series[29]["start"]), (30, &json!("2027-01-15T00:00:00Z")));
    assert_eq!(series[0]["hit_rate"], Value::Null);
    let first = &told["keys"]["items"][0];
    assert_eq!(
        (&first["id"], &first["name"], &first["environment"], &first["last_used_at"]),
        (&json!("one"), &json!("first"), &json!("production"), &json!("2027-01-15T08:00:00Z"))
    );
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("6000"));
}

#[test]
fn a_head_request_has_the_head_alone() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    let head = client.request("HEAD /api/v1/usage", &secret("one"), "", b"").head();
    assert_eq!(head.status, 200);
    // What comes next is the next answer.
    assert_eq!(client.get("/healthz", &secret("one")).text(), "ok\n");
}

#[test]
fn a_span_is_of_whole_hours_and_its_series_without_holes() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.post(CHAT, &secret("one"), &chat("m", "a"));
        gateway.clock.advance(2 * DAY);
    }
    let spans = [
        ("?from=2027-01-15&to=2027-01-15", "2027-01-15T00:00:00Z", "2027-01-16T00:00:00Z", vec![1]),
        ("?from=2027-01-15&to=2027-01-18", "2027-01-15T00:00:00Z", "2027-01-19T00:00:00Z", vec![1, 0, 1, 0]),
        (
            "?from=2027-01-15T08:59:59Z&to=2027-01-17T08:00:00Z",
            "2027-01-15T08:00:00Z",
            "2027-01-17T08:00:00Z",
            vec![1, 0, 0],
        ),
        (
            "?from=2027-01-17T07:30:00Z&to=2027-01-17T09:30:00%2B00:00&granularity=hour",
            "2027-01-17T07:00:00Z",
            "2027-01-17T10:00:00Z",
            vec![0, 1, 0],
        ),
        ("?from=2027-01-19T00:00:00Z", "2027-01-19T00:00:00Z", "2027-01-21T09:00:00Z", vec![1, 0, 0]),
    ];
    for (query, start, end, expected) in spans {
        let told = report(&mut client, query);
        assert_eq!(told["period"], json!({"start": start, "end": end}), "{query}");
        let requests: Vec<_> = told["series"]
            .as_array()
            .unwrap()
            .iter()
            // The asking itself falls into the last day.
            .map(|step| step["requests"].as_u64().unwrap() - step["other"].as_u64().unwrap())
            .collect();
        assert_eq!(requests, expected, "{query}");
        assert_eq!(
            told["totals"]["requests"].as_u64().unwrap() - told["totals"]["other"].as_u64().unwrap(),
            expected.iter().sum::<u64>(),
            "{query}"
        );
    }
}

#[test]
fn what_is_no_span_is_refused_and_said_why() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    for (query, field, received) in [
        ("?from=yesterday", "from", "yesterday"),
        ("?from=1969-12-31", "from", "1969-12-31"),
        ("?from=2027-02-30", "from", "2027-02-30"),
        ("?to=", "to", "empty string"),
        ("?from=2027-01-16&to=2027-01-15", "from", "a later time"),
        ("?to=1970-01-01T00:00:00Z", "from", "a later time"),
        ("?from=2020-01-01&granularity=hour", "from", "61713 steps"),
        ("?granularity=week", "granularity", "week"),
        ("?page=0", "page", "0"),
        ("?per_page=101", "per_page", "101"),
        ("?per_page=ten", "per_page", "ten"),
        ("?pages=1", "query", "pages"),
    ] {
        let answer = ask(&mut client, query);
        assert_eq!(answer.status, 400, "{query}");
        let error = answer.json();
        assert_eq!(error["error"]["code"], "INVALID_INPUT", "{query}");
        let details = &error["error"]["details"];
        assert_eq!((&details["field"], &details["received"]), (&json!(field), &json!(received)), "{error}");
        assert_eq!((&error["status"], &error["timestamp"]), (&json!(400), &json!("2027-01-15T08:00:00Z")));
    }
    assert_eq!(START, time("2027-01-15T08:00:00Z"));
    let told = report(&mut client, "?from=2026-01-01&granularity=hour");
    assert_eq!(told["series"].as_array().unwrap().len(), 9105, "a year of hours is no problem");
    assert_eq!(told["totals"]["errors"], 12);
}

#[test]
fn keys_come_in_pages_and_are_the_accounts_alone() {
    let upstream = Upstream::json(ANSWER);
    let mut keys: String = (0..25).map(|n| key(&format!("k{n:02}"), "")).collect();
    keys += &key("stranger", "account: globex");
    let gateway = gateway(&upstream, "", &keys);
    let mut client = gateway.connect();
    for id in (0..25).map(|n| format!("k{n:02}")).chain(["stranger".into()]) {
        client.post(CHAT, &secret(&id), &chat("m", "a"));
    }
    let page = |told: &Value| {
        let keys = &told["keys"];
        let ids =
            keys["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
        (keys["page"].as_u64().unwrap(), keys["total"].as_u64().unwrap(), ids.collect::<Vec<_>>())
    };
    let (number, total, ids) = page(&report(&mut client, ""));
    assert_eq!((number, total, ids.len(), &*ids[19]), (1, 25, 20, "k19"));
    let (number, total, ids) = page(&report(&mut client, "?page=2"));
    assert_eq!((number, total), (2, 26), "and the one that asks");
    assert_eq!(ids, ["k20", "k21", "k22", "k23", "k24", "one"]);
    let (_, _, ids) = page(&report(&mut client, "?page=3&per_page=2"));
    assert_eq!(ids, ["k04", "k05"]);
    assert_eq!(page(&report(&mut client, "?page=1000000000&per_page=100")).2, Vec::<String>::new());
    let told = client.get("/api/v1/usage", &secret("stranger")).json();
    assert_eq!((&told["account"], &told["totals"]["requests"]), (&json!("globex"), &json!(1)));
    assert_eq!(told["totals"]["cache_misses"], 1, "another's answer is no hit");
}

#[test]
fn a_key_sees_the_models_that_it_may_use() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", &key("bound", "allowed_models: [gpt-*]"));
    let mut client = gateway.connect();
    for model in ["gpt-1", "claude"] {
        client.post(CHAT, &secret("one"), &chat(model, "a"));
    }
    assert_eq!(client.post(CHAT, &secret("bound"), &chat("claude", "a")).status, 403);
    let told = client.get("/api/v1/usage", &secret("bound")).json();
    let models: Vec<_> = told["models"].as_array().unwrap().iter().map(|model| &model["model"]).collect();
    assert_eq!(models, ["gpt-1"]);
    assert_eq!(told["totals"]["requests"], 3, "but the account's sums");
}

#[test]
fn the_plan_is_the_keys_own() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", &key("small", "plan: free"));
    let told = gateway.connect().get("/api/v1/usage", &secret("small")).json();
    assert_eq!(told["plan"], "free");
    assert_eq!(told["rate_limit"], json!({"requests_per_minute": 60, "burst": 100, "remaining": 60}));
}
