//! An entry answers in every form of a chat completion: the shapes of `tests/data/translate`, through the front door.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::front::{CACHED, House, JSON, Plans};
use crate::support::upstream::{Exchange, Request, Upstream};

const AS_JSON: &str = "";
const AS_STREAM: &str = r#","stream":true"#;
const WITH_USAGE: &str = r#","stream":true,"stream_options":{"include_usage":true}"#;

/// A question in the form asked for.
fn ask(house: &House, form: &str, control: &str) -> Answer {
    let mut fields = JSON.to_vec();
    if !control.is_empty() {
        fields.push(("cache-control", control));
    }
    let body = format!(r#"{{"model":"m","messages":[]{form}}}"#);
    house.h1().ask(&format!("POST {CACHED}"), &fields, body.as_bytes())
}

#[track_caller]
fn check(answer: &Answer, x_cache: &str, content_type: &str, text: &str, case: &str) {
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some(x_cache)), "{case}");
    assert_eq!(answer.header("content-type"), Some(content_type), "{case}");
    assert_eq!(answer.text(), text, "{case}");
    assert_eq!(answer.header("age").is_some(), x_cache == "HIT", "{case}");
}

fn stream(exchange: &mut Exchange, text: &str) {
    exchange.begin("text/event-stream");
    exchange.chunk(text);
    exchange.chunk("");
}

fn is_stream(request: &Request) -> bool {
    String::from_utf8_lossy(&request.body).contains("\"stream\":true")
}

fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/translate");
    let entries = fs::read_dir(folder).expect("the shapes");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn read(shape: &Path, file: &str) -> Option<String> {
    fs::read_to_string(shape.join(file)).ok()
}

#[test]
fn an_entry_of_json_answers_as_a_stream() {
    let mut tried = 0;
    for shape in shapes() {
        let Some(served) = read(&shape, "server.json") else { continue };
        tried += 1;
        let case = shape.display().to_string();
        let body = served.clone();
        let upstream = Upstream::start(move |_, exchange| exchange.json(&body));
        let house = House::before(&[upstream.url()]);
        check(&ask(&house, AS_JSON, ""), "MISS", "application/json", &served, &case);
        let expected = read(&shape, "stream.sse").expect("the translation");
        let replay = ask(&house, WITH_USAGE, "");
        check(&replay, "HIT", "text/event-stream", &expected, &case);
        assert!(replay.is_whole, "{case}");
        check(&ask(&house, WITH_USAGE, ""), "HIT", "text/event-stream", &expected, &case);
        let without = ask(&house, AS_STREAM, "");
        assert_eq!(
            (without.header("x-cache"), without.text().contains("\"usage\"")),
            (Some("HIT"), false),
            "{case}"
        );
        check(&ask(&house, AS_JSON, ""), "HIT", "application/json", &served, &case);
        assert_eq!(upstream.count(), 1, "{case}");
    }
    assert!(tried >= 15, "{tried}");
}

#[test]
fn an_entry_of_a_stream_answers_as_json() {
    let mut tried = 0;
    for shape in shapes() {
        let Some(served) = read(&shape, "server.sse") else { continue };
        let case = shape.display().to_string();
        let text = served.clone();
        let upstream = Upstream::start(move |_, exchange| stream(exchange, &text));
        let house = House::before(&[upstream.url()]);
        check(&ask(&house, WITH_USAGE, ""), "MISS", "text/event-stream", &served, &case);
        let expected = read(&shape, "answer.json").expect("the translation");
        check(&ask(&house, AS_JSON, ""), "HIT", "application/json", expected.trim_end(), &case);
        if let Some(without) = read(&shape, "without_usage.sse") {
            tried += 1;
            check(&ask(&house, AS_STREAM, ""), "HIT", "text/event-stream", &without, &case);
        }
        check(&ask(&house, WITH_USAGE, ""), "HIT", "text/event-stream", &served, &case);
        assert_eq!(upstream.count(), 1, "{case}");
    }
    assert!(tried >= 10, "{tried}");
}

const PLAIN: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const STREAM: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
    \"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: [DONE]\n\n";

/// Answers a stream with `STREAM` and anything else with JSON.
fn both(json: String) -> Upstream {
    Upstream::start(move |request, exchange| match is_stream(request) {
        true => stream(exchange, STREAM),
        false => exchange.json(&json),
    })
}

#[test]
fn a_stream_without_usage_is_no_json() {
    let upstream = both(PLAIN.into());
    let house = House::before(&[upstream.url()]);
    for (x_cache, count) in [("MISS", 2), ("HIT", 2)] {
        check(&ask(&house, AS_STREAM, ""), x_cache, "text/event-stream", STREAM, x_cache);
        check(&ask(&house, AS_JSON, ""), x_cache, "application/json", PLAIN, x_cache);
        assert_eq!(upstream.count(), count);
    }
}

#[test]
fn what_cannot_be_translated_is_kept_apart() {
    let odd = PLAIN.replace("\"model\"", "\"unheard_of\":{},\"model\"");
    let upstream = both(odd.clone());
    let house = House::before(&[upstream.url()]);
    for x_cache in ["MISS", "HIT"] {
        check(&ask(&house, AS_JSON, ""), x_cache, "application/json", &odd, x_cache);
        check(&ask(&house, AS_STREAM, ""), x_cache, "text/event-stream", STREAM, x_cache);
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_new_answer_takes_the_place_of_every_form() {
    let round = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, exchange| {
        let word = format!("hello {}", round.fetch_add(1, Ordering::SeqCst));
        exchange.json(&PLAIN.replace("hello", &word));
    });
    let house = House::before(&[upstream.url()]);
    ask(&house, AS_JSON, "");
    for form in [AS_JSON, AS_STREAM, WITH_USAGE] {
        assert!(ask(&house, form, "").text().contains("hello 0"), "{form}");
    }
    assert_eq!(ask(&house, AS_JSON, "no-cache").header("x-cache"), Some("BYPASS"));
    for form in [AS_JSON, AS_STREAM, WITH_USAGE] {
        let answer = ask(&house, form, "");
        assert!(answer.text().contains("hello 1"), "{form}");
        assert_eq!(answer.header("x-cache"), Some("HIT"), "{form}");
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_translation_is_as_old_as_what_it_was_made_of() {
    let upstream = both(PLAIN.into());
    let house = House::before(&[upstream.url()]);
    ask(&house, AS_JSON, "");
    house.gateway.clock.advance(Duration::from_secs(50 * 60));
    assert_eq!(
        ask(&house, AS_STREAM, "max-age=2999").header("x-cache"),
        Some("MISS"),
        "too old to be translated"
    );
    house.gateway.clock.advance(Duration::from_secs(9 * 60));
    assert_eq!(ask(&house, AS_STREAM, "").header("age"), Some("540"));
    let house = House::before(&[upstream.url()]);
    ask(&house, AS_JSON, "");
    house.gateway.clock.advance(Duration::from_secs(59 * 60));
    let hit = ask(&house, AS_STREAM, "");
    assert_eq!(
        (hit.header("age"), hit.header("cache-status")),
        (Some("3540"), Some("safecache; hit; ttl=60"))
    );
    house.gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&house, AS_STREAM, "").header("x-cache"), Some("MISS"), "its hour is over");
}

#[test]
fn a_long_answer_is_translated_as_well_and_gives_its_memory_back() {
    let long = PLAIN.replace("hello", &"x".repeat(1 << 20));
    let upstream = both(long);
    let house = House::before(&[upstream.url()]);
    ask(&house, AS_JSON, "");
    let hit = ask(&house, AS_STREAM, "");
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    assert!(hit.is_whole && hit.text().len() > 1 << 20);
    house.gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}

#[test]
fn without_memory_a_long_answer_is_asked_for_again() {
    let long = PLAIN.replace("hello", &"x".repeat(1 << 20));
    let upstream = both(long);
    let plans =
        Plans { more: "limits: {buffer_memory: 3MiB, buffer_memory_per_key: 3MiB}", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    ask(&house, AS_JSON, "");
    check(&ask(&house, AS_STREAM, ""), "MISS", "text/event-stream", STREAM, "no room to translate");
}

#[test]
fn other_apis_are_kept_apart_by_form() {
    let upstream = Upstream::start(|request, exchange| match is_stream(request) {
        true => stream(
            exchange,
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
        ),
        false => exchange.json(r#"{"status":"completed","output":[{}]}"#),
    });
    let house = House::before(&[upstream.url()]);
    for x_cache in ["MISS", "HIT"] {
        for form in [AS_JSON, AS_STREAM] {
            let body = format!(r#"{{"model":"m","input":"hello"{form}}}"#);
            let answer = house.h1().ask("POST /v1/responses", JSON, body.as_bytes());
            assert_eq!((answer.status, answer.header("x-cache")), (200, Some(x_cache)), "{form}");
        }
    }
    assert_eq!(upstream.count(), 2);
}
