//! What counts as what, and what it cost and spared.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ANSWER, CHAT, PLAIN, chat, counts, gateway, report};
use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Upstream, gate};

const NO_CACHE: &str = "Content-Type: application/json\r\nCache-Control: no-cache\r\n";
const NO_STORE: &str = "Content-Type: application/json\r\nCache-Control: no-store\r\n";

fn totals(client: &mut Client) -> Value {
    counts(&report(client, "")["totals"])
}

#[test]
fn every_request_counts_in_exactly_one_class() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "limits: {max_body: 64KiB}", "");
    let (mut client, one) = (gateway.connect(), secret("one"));
    let body = chat("m", "a");
    for expected in ["MISS", "HIT", "HIT"] {
        assert_eq!(client.post(CHAT, &one, &body).header("x-cache"), Some(expected));
    }
    for fields in [NO_CACHE, NO_STORE] {
        client.request(&format!("POST {CHAT}"), &one, fields, body.as_bytes()).answer();
    }
    client.get("/v1/models", &one);
    client.post(PLAIN, &one, &body);
    assert_eq!(
        totals(&mut client),
        json!({"requests": 7, "cache_hits": 2, "exact_hits": 2, "cache_misses": 1, "uncached": 4,
            "hit_rate": 2.0 / 3.0, "prompt_tokens": 30 * 4, "completion_tokens": 4 * 4, "tokens_saved": 34 * 2})
    );
    assert_eq!(client.post(CHAT, &one, r#"{"a":1,"a":2}"#).status, 400);
    assert_eq!(client.get("/api/v1/nothing", &one).status, 404);
    assert_eq!(client.get("/api/v1/check", &one).status, 405);
    let only = "Content-Type: application/json\r\nCache-Control: only-if-cached\r\n";
    let unknown = chat("m", "never asked");
    assert_eq!(client.request(&format!("POST {CHAT}"), &one, only, unknown.as_bytes()).answer().status, 504);
    let told = totals(&mut client);
    assert_eq!((&told["requests"], &told["errors"], &told["other"]), (&json!(12), &json!(4), &json!(1)));
}

#[test]
fn what_the_upstream_refuses_is_an_error() {
    let upstream = Upstream::start(|_, exchange| exchange.answer("422 Not today", "application/json", "{}"));
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    for path in [CHAT, PLAIN] {
        assert_eq!(client.post(path, &secret("one"), &chat("m", "a")).status, 422);
    }
    assert_eq!(totals(&mut client), json!({"requests": 2, "errors": 2}));
}

#[test]
fn what_the_bucket_refuses_is_neither_an_error_nor_a_request_of_another_key() {
    let upstream = Upstream::json(ANSWER);
    let slow = key("slow", "plan: slow, account: acme");
    let gateway = gateway(&upstream, "plans: {slow: {requests_per_minute: 1, burst: 2}}", &slow);
    let mut client = gateway.connect();
    let statuses: Vec<_> =
        (0..5).map(|_| client.post(CHAT, &secret("slow"), &chat("m", "a")).status).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429]);
    let told = report(&mut client, "");
    let expected = json!({"requests": 5, "cache_hits": 1, "exact_hits": 1, "cache_misses": 1,
        "rate_limited": 3, "hit_rate": 0.5, "prompt_tokens": 30, "completion_tokens": 4, "tokens_saved": 34});
    assert_eq!(counts(&told["totals"]), expected);
    let keys: Vec<_> = told["keys"]["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(keys, ["slow"], "the asking key has not been counted yet");
}

#[test]
fn a_refused_address_is_an_error_and_an_unknown_key_is_nobodys() {
    let upstream = Upstream::json(ANSWER);
    let far = key("far", "allowed_ips: [192.0.2.1]");
    let gateway = gateway(&upstream, "", &far);
    let mut client = gateway.connect();
    assert_eq!(client.post(CHAT, &secret("far"), &chat("m", "a")).status, 403);
    assert_eq!(client.post(CHAT, "nobody's key", &chat("m", "a")).status, 401);
    assert_eq!(client.get("/healthz", &secret("one")).status, 200);
    assert_eq!(client.get("/api/v1/openapi.json", &secret("one")).status, 200);
    assert_eq!(totals(&mut client), json!({"requests": 1, "errors": 1}));
}

#[test]
fn who_reads_anothers_answer_has_hit() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(ANSWER);
    });
    let gateway = gateway(&upstream, "", "");
    let (one, body) = (secret("one"), chat("m", "a"));
    let ask = || {
        let mut client = gateway.connect();
        client.request(&format!("POST {CHAT}"), &one, NO_FIELDS, body.as_bytes());
        client
    };
    let mut leader = ask();
    upstream.wait_for(1);
    let mut other = ask();
    gateway.eventually("it joins", |g| g.metric("safecache_in_flight_requests") == 2.0);
    opener.open();
    assert_eq!(leader.answer().header("x-cache"), Some("MISS"));
    assert_eq!(other.answer().status, 200);
    let expected = json!({"requests": 2, "cache_hits": 1, "cache_misses": 1, "hit_rate": 0.5,
        "prompt_tokens": 30, "completion_tokens": 4, "tokens_saved": 34});
    eventually_totals(&gateway, &expected);
}

const NO_FIELDS: &str = "Content-Type: application/json\r\n";

/// Requests of other connections may be counted a moment after their answers have come.
fn eventually_totals(gateway: &Gateway, expected: &Value) {
    let mut told = Value::Null;
    let mut asked = 0;
    gateway.eventually(&format!("{expected}"), |g| {
        told = totals(&mut g.connect());
        if asked > 0 {
            // What asks is counted, too.
            let members = told.as_object_mut().unwrap();
            members.remove("other");
            let requests = members["requests"].as_u64().unwrap();
            members.insert("requests".into(), json!(requests - asked));
        }
        asked += 1;
        told == *expected
    });
}

#[test]
fn a_call_that_outlives_its_request_is_paid_by_who_asked() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(ANSWER);
    });
    let text = super::yaml(&upstream, "", "").replace("ttl: 1h", "ttl: 1h, finish_on_disconnect: true");
    let gateway = Gateway::start(&text);
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), NO_FIELDS, chat("m", "a").as_bytes());
    upstream.wait_for(1);
    drop(client);
    let left = "safecache_requests_total{outcome=\"client_closed\",route=\"/v1/*\",status=\"0\"}";
    gateway.eventually("it leaves", |g| g.metric(left) == 1.0);
    opener.open();
    gateway.eventually("it is stored", |g| g.metric("safecache_cache_entries") == 1.0);
    gateway.eventually("it is paid", |g| {
        let told = report(&mut g.connect(), "");
        (&told["totals"]["prompt_tokens"], &told["totals"]["errors"], &told["models"][1]["prompt_tokens"])
            == (&json!(30), &json!(1), &json!(30))
            || told["models"][0]["prompt_tokens"] == json!(30) && told["totals"]["errors"] == json!(1)
    });
}

#[test]
fn costs_are_those_of_the_prices_of_the_time() {
    let prices = |price: &str| format!("prices: {{\"m*\": {{prompt: {price}, cached: 1, completion: 10}}}}");
    let upstream = Upstream::json(ANSWER);
    let text = |price| super::yaml(&upstream, &prices(price), "");
    let gateway = Gateway::start(&text("2.5"));
    let mut client = gateway.connect();
    let ask = |client: &mut Client, model, question| {
        assert_eq!(client.post(CHAT, &secret("one"), &chat(model, question)).status, 200);
    };
    // A million times: 20 tokens at 2.5, 10 of the upstream's cache at 1, 4 at 10.
    ask(&mut client, "mini", "a");
    ask(&mut client, "mini", "a");
    ask(&mut client, "other", "a");
    let told = report(&mut client, "");
    let money = |value: &Value| (value["cost"].as_f64().unwrap(), value["cost_saved"].as_f64().unwrap());
    assert_eq!(money(&told["totals"]), (0.0001, 0.0001), "a hit spares what the answer has cost");
    assert_eq!(money(&told["models"][0]), (0.0001, 0.0001));
    assert_eq!((&told["models"][1]["model"], money(&told["models"][1])), (&json!("other"), (0.0, 0.0)));
    gateway.rewrite(&text("5"));
    gateway.running().reload(safecache::runtime::reload::Shrinking::Guarded).expect("a reload");
    ask(&mut client, "mini", "b");
    let told = report(&mut client, "");
    assert_eq!(money(&told["totals"]), (0.000_25, 0.0001), "and 20 at 5, 10 at 1, 4 at 10");
    assert_eq!(money(&told["keys"]["items"][0]), (0.000_25, 0.0001));
    assert_eq!(money(told["series"].as_array().unwrap().last().unwrap()), (0.000_25, 0.0001));
}

#[test]
fn without_prices_nothing_tells_of_money() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    client.post(CHAT, &secret("one"), &chat("m", "a"));
    let answer = super::ask(&mut client, "");
    assert!(!answer.text().contains("cost"), "{}", answer.text());
}

#[test]
fn models_that_are_not_listed_and_names_that_are_too_long_count_as_other() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "usage: {models: [\"gpt-*\", \"x*\"]}", "");
    let mut client = gateway.connect();
    let long = format!("x{}", "y".repeat(256));
    for model in ["gpt-1", "gpt-2", "claude", "gpt-1", long.as_str()] {
        client.post(CHAT, &secret("one"), &chat(model, "a"));
    }
    client.get("/v1/models", &secret("one"));
    let told = report(&mut client, "");
    let models = told["models"].as_array().unwrap().iter();
    let models: Vec<_> = models.map(|model| (&model["model"], &model["requests"])).collect();
    let expected = [(json!(null), 1), (json!("gpt-1"), 2), (json!("gpt-2"), 1), (json!("other"), 2)]
        .map(|(m, n)| (m, json!(n)));
    assert_eq!(models, expected.iter().map(|(model, count)| (model, count)).collect::<Vec<_>>());
}

/// On a path where no body of a request is read.
#[test]
fn the_answer_names_the_model_where_the_request_is_not_read() {
    let answers = [
        ("/plain/chat/completions", "application/json", ANSWER.replacen('{', r#"{"model":"m-json","#, 1)),
        (
            "/plain/v1/chat/completions",
            "text/event-stream",
            "data: {\"model\":\"m-chat\",\"choices\":[]}\n\ndata: {\"model\":\"later\",\"choices\":[]}\n\ndata: [DONE]\n\n".to_owned(),
        ),
        (
            "/plain/v1/responses",
            "text/event-stream",
            "data: {\"type\":\"response.created\",\"response\":{\"model\":\"m-responses\"}}\n\n".to_owned(),
        ),
        (
            "/plain/v1/messages",
            "text/event-stream",
            "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m-messages\"}}\n\n".to_owned(),
        ),
    ];
    let known = answers.clone();
    let upstream = Upstream::start(move |request, exchange| {
        let (_, kind, body) =
            known.iter().find(|(path, ..)| request.line.contains(*path)).expect("an answer");
        exchange.begin(kind);
        exchange.chunk(body);
        exchange.chunk("");
    });
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    for (path, ..) in &answers {
        assert_eq!(client.post(path, &secret("one"), &chat("asked", path)).status, 200);
    }
    let told = report(&mut client, "");
    let models: Vec<_> = told["models"].as_array().unwrap().iter().map(|model| &model["model"]).collect();
    assert_eq!(models, ["m-chat", "m-json", "m-messages", "m-responses"]);
    assert_eq!(told["models"][1]["prompt_tokens"], told["totals"]["prompt_tokens"]);
}

#[test]
fn an_estimate_counts_where_a_stream_tells_nothing() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"four bytes\"}}]}\n\n";
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(event);
        exchange.chunk("data: [DONE]\n\n");
        exchange.finish();
    });
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    client.post(CHAT, &secret("one"), r#"{"model":"m","stream":true}"#);
    let told = totals(&mut client);
    assert_eq!(
        (&told["prompt_tokens"], &told["completion_tokens"]),
        (&json!(7), &json!(3)),
        "27 and 10 bytes"
    );
}

#[test]
fn an_hour_ends_for_all_at_once() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    gateway.clock.advance(Duration::from_secs(3599));
    client.post(CHAT, &secret("one"), &chat("m", "a"));
    gateway.clock.advance(Duration::from_secs(1));
    client.post(CHAT, &secret("one"), &chat("m", "b"));
    let told = report(&mut client, "?granularity=hour&from=2027-01-15T08:00:00Z");
    let series: Vec<_> =
        told["series"].as_array().unwrap().iter().map(|step| (&step["start"], &step["requests"])).collect();
    let expected =
        [("2027-01-15T08:00:00Z", 1), ("2027-01-15T09:00:00Z", 1)].map(|(at, n)| (json!(at), json!(n)));
    assert_eq!(series, expected.iter().map(|(at, count)| (at, count)).collect::<Vec<_>>());
}

/// Whoever leaves a stream pays for what has come of it, as it is guessed.
#[test]
fn who_leaves_before_the_end_pays_for_what_has_come() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"four bytes\"}}]}\n\n";
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(event);
        exchange.wait_for_close();
    });
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), NO_FIELDS, br#"{"model":"m","stream":true}"#);
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().as_deref(), Some(event.as_bytes()));
    drop(client);
    gateway.eventually("it is counted", |g| {
        let told = report(&mut g.connect(), "");
        (
            &told["totals"]["cache_misses"],
            &told["totals"]["prompt_tokens"],
            &told["totals"]["completion_tokens"],
        ) == (&json!(1), &json!(7), &json!(3))
    });
}

/// One client's numbers break nobody's report, not even its own.
#[test]
fn numbers_that_no_sum_can_hold_break_nothing() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "prices: {\"*\": {prompt: 1, completion: 1000000}}", "");
    let mut client = gateway.connect();
    let messages = json!([{"role": "user", "content": "a"}]);
    let stored =
        json!({"messages": messages, "answer": "x", "model": "m", "tokens": 9_007_199_254_740_991_u64});
    assert_eq!(client.post("/api/v1/store", &secret("one"), &stored.to_string()).status, 200);
    for hits in 1..4 {
        let check = json!({"messages": messages}).to_string();
        assert_eq!(client.post("/api/v1/check", &secret("one"), &check).json()["cache_hit"], true);
        let told = report(&mut client, "");
        assert_eq!(told["totals"]["exact_hits"], hits, "{told}");
        assert!(told["totals"]["cost_saved"].as_f64().unwrap() > 1e6, "{told}");
    }
}
