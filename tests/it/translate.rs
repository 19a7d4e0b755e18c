//! Chat completions in both forms. `tests/data/translate` has a folder for each shape of answer that servers send:
//!
//! - `answer.json` and `stream.sse`: the two forms as the gateway writes them, each the translation of the other
//! - `server.json`, `server.sse`: the same answer in a server's own spelling, one of the two at least
//! - `with_usage.sse`, `without_usage.sse`: `server.sse` for clients with either option
//! - `request.json`: what it answers

use std::fs;
use std::path::{Path, PathBuf};

use safecache::llm::json::{JsonFault, Tape};
use safecache::llm::request::{Api, RequestFields};
use safecache::llm::translate::AnswerForm::{Json, Stream};
use safecache::llm::translate::StreamUsage::{Included, Omitted};
use safecache::llm::translate::Untranslatable as Why;
use safecache::llm::translate::{AnswerForm, translate};

use crate::fuzzed::translate::{check, check_answer, check_stream};

mod laws;

const MOST: usize = 4 << 20;

/// The folders of all shapes.
fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/translate");
    let entries = fs::read_dir(folder).expect("the shapes");
    let mut shapes: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    shapes.sort();
    assert!(30 <= shapes.len(), "only {} shapes", shapes.len());
    shapes
}

#[track_caller]
fn translated(body: &str, from: AnswerForm, to: AnswerForm) -> String {
    let translated = translate(body.as_bytes(), from, to, MOST);
    let translated = translated.unwrap_or_else(|why| panic!("{why:?} from {from:?} to {to:?}: {body}"));
    String::from_utf8(translated.into_owned()).expect("UTF-8")
}

fn to_stream(json: &str) -> String {
    translated(json, Json, Stream(Included))
}

fn to_json(stream: &str) -> String {
    translated(stream, Stream(Included), Json) + "\n"
}

/// What one of a shape's files says, if there is one.
fn read(shape: &Path, file: &str) -> Option<String> {
    fs::read_to_string(shape.join(file)).ok()
}

/// Holds `found` against a shape's file. `UPDATE_EXPECT=1` writes the file anew.
fn golden(shape: &Path, file: &str, found: Option<String>) {
    let Some(found) = found else { return };
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(shape.join(file), &found).expect("written");
    }
    let expected = read(shape, file).unwrap_or_default();
    assert_eq!(found, expected, "{}", shape.join(file).display());
}

#[test]
fn both_directions_are_golden() {
    for shape in shapes() {
        let (json, stream) = (read(&shape, "server.json"), read(&shape, "server.sse"));
        assert!(json.is_some() || stream.is_some(), "{} has no server's answer", shape.display());
        golden(&shape, "stream.sse", json.as_deref().map(to_stream));
        golden(&shape, "answer.json", stream.as_deref().map(to_json));
        let other = |from, to| stream.as_deref().map(|stream| translated(stream, Stream(from), Stream(to)));
        golden(&shape, "with_usage.sse", other(Omitted, Included));
        golden(&shape, "without_usage.sse", other(Included, Omitted));
        golden(&shape, "answer.json", read(&shape, "stream.sse").as_deref().map(to_json));
        golden(&shape, "stream.sse", read(&shape, "answer.json").as_deref().map(to_stream));
        golden(&shape, "answer.json", read(&shape, "stream.sse").as_deref().map(to_json));
    }
}

#[test]
fn every_shape_obeys_the_laws() {
    for shape in shapes() {
        println!("{}", shape.display());
        for file in ["server.json", "answer.json"] {
            assert!(read(&shape, file).is_none_or(|answer| check_answer(answer.as_bytes())), "{file}");
        }
        for file in ["server.sse", "stream.sse"] {
            assert!(read(&shape, file).is_none_or(|stream| check_stream(stream.as_bytes())), "{file}");
        }
    }
}

/// Every prefix of every shape, and every byte changed: nothing panics, and what is still translated keeps the laws.
#[test]
fn broken_shapes_obey_the_laws() {
    for shape in shapes() {
        for file in ["server.json", "server.sse"] {
            let Some(text) = read(&shape, file).filter(|text| text.len() < 1500) else { continue };
            for at in 0..text.len() {
                check(&text.as_bytes()[..at]);
                for byte in [b'"', b'}', b'1', b'\n'] {
                    let mut broken = text.clone().into_bytes();
                    broken[at] = byte;
                    check(&broken);
                }
            }
        }
    }
}

#[test]
fn every_shape_answers_a_request_that_is_looked_up() {
    for shape in shapes() {
        let request = read(&shape, "request.json").expect("a request");
        let mut tape = Tape::default();
        let fields = RequestFields::read(Api::ChatCompletions, tape.read(request.as_bytes()).expect("JSON"));
        assert_eq!(fields.unlookable, None, "{}", shape.display());
        assert!(fields.model.is_some(), "{}", shape.display());
    }
}

const ANSWER: &str = r#"{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"logprobs":{"content":[1],"refusal":null},"finish_reason":"stop"}],"usage":{"total_tokens":1}}"#;

/// What becomes of [`ANSWER`] with one thing about it changed.
#[track_caller]
fn refused(old: &str, new: &str, why: Why) {
    let changed = ANSWER.replacen(old, new, 1);
    assert_ne!(changed, ANSWER, "{old} is there");
    assert_eq!(translate(changed.as_bytes(), Json, Stream(Included), MOST), Err(why), "{changed}");
}

#[test]
fn an_answer_that_a_stream_cannot_tell_is_refused() {
    refused("\"created\":1", "\"created\"", Why::Json(JsonFault::NotJson));
    refused("\"hi\"", "\"\\ud83d\"", Why::Json(JsonFault::LoneSurrogate));
    refused("\"created\":1", "\"created\":1e999", Why::Json(JsonFault::NonFinite));
    refused("\"hi\"", "\"hi\",\"content\":\"hi\"", Why::Json(JsonFault::Duplicate));
    refused("\"hi\"", "\"hi\",\"c\\u006fntent\":null", Why::Json(JsonFault::Duplicate));

    refused("\"created\"", "\"metadata\":{},\"created\"", Why::Unknown);
    refused("\"created\"", "\"obfuscation\":null,\"created\"", Why::Unknown);
    refused("\"index\"", "\"stop_reason\":\"x\",\"index\"", Why::Unknown);
    refused("\"index\"", "\"delta\":null,\"index\"", Why::Unknown);
    refused("\"hi\"", "\"hi\",\"audio\":{\"id\":\"x\"}", Why::Unknown);
    refused("\"hi\"", "\"hi\",\"reasoning_details\":[]", Why::Unknown);
    refused("\"hi\"", "\"hi\",\"\\u0061udio\":null", Why::Unknown);
    refused("\"id\":\"c\"", "\"id\":\"c\",\"x\":null", Why::Unknown);
    refused("\"name\"", "\"x\":null,\"name\"", Why::Unknown);
    refused("\"refusal\"", "\"x\":null,\"refusal\"", Why::Unknown);
    refused("\"function\",", "\"custom\",", Why::Unknown);

    refused("chat.completion", "text_completion", Why::Shape);
    refused("\"hi\"", "[{\"type\":\"text\",\"text\":\"hi\"}]", Why::Shape);
    refused("\"{}\"", "{}", Why::Shape);
    refused("[1]", "{}", Why::Shape);
    refused("{\"total_tokens\":1}", "1", Why::Shape);
    refused("\"index\":0", "\"index\":\"0\"", Why::Shape);
    refused("\"hi\"", "\"hi\",\"annotations\":{}", Why::Shape);
    refused(ANSWER, "[]", Why::Shape);

    refused("\"object\":\"chat.completion\",", "", Why::Missing);
    refused("\"role\":\"assistant\",", "", Why::Missing);
    refused("\"role\":\"assistant\"", "\"role\":null", Why::Missing);
    refused(",\"finish_reason\":\"stop\"", "", Why::Missing);
    refused("\"index\":0,", "", Why::Missing);
    refused("\"hi\"", "\"hi\",\"function_call\":{\"name\":\"f\"}", Why::Missing);
    refused("\"hi\"", "\"hi\",\"function_call\":{\"arguments\":\"\"}", Why::Missing);
    refused("\"id\":\"c\",", "", Why::Missing);
    refused("\"type\":\"function\",", "", Why::Missing);
    refused("\"name\":\"f\",", "", Why::Missing);
    refused(",\"arguments\":\"{}\"", "", Why::Missing);
    refused("\"choices\"", "\"choice\":null,\"choices\":[],\"x\"", Why::Unknown);
    refused("\"index\":0", "\"index\":1", Why::Order);
    refused("\"id\":\"c\"", "\"index\":1,\"id\":\"c\"", Why::Order);
    refused(",\"usage\":{\"total_tokens\":1}", "", Why::NoUsage);
    refused("{\"total_tokens\":1}", "null", Why::NoUsage);
}

const ROLE: &str = r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const CALL: &str = r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const COUNT: &str = r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"total_tokens":1}}"#;
const DONE: &str = "data: [DONE]";

fn stream(events: &[&str]) -> String {
    events.iter().map(|event| format!("{event}\n\n")).collect()
}

#[track_caller]
fn ungathered(events: &[&str], why: Why) {
    let stream = stream(events);
    assert_eq!(translate(stream.as_bytes(), Stream(Included), Json, MOST), Err(why), "{stream}");
}

#[test]
fn a_stream_that_is_no_one_answer_is_refused() {
    let changed = |event: &str, old: &str, new: &str| {
        let changed = event.replacen(old, new, 1);
        assert_ne!(changed, event, "{old} is there");
        changed
    };
    assert!(check_stream(stream(&[ROLE, CALL, STOP, COUNT, DONE]).as_bytes()), "it is good as it is");
    assert!(check_stream(stream(&[ROLE, STOP, COUNT, "data:  [DONE] "]).as_bytes()), "so is white space");

    ungathered(&[ROLE, STOP, DONE], Why::NoUsage);
    ungathered(&[ROLE, STOP, COUNT, COUNT, DONE], Why::Conflict);
    ungathered(&[ROLE, STOP, COUNT], Why::Unended);
    ungathered(&["", DONE], Why::Missing);
    ungathered(&[ROLE, COUNT, DONE], Why::Missing);
    ungathered(&[ROLE, STOP, COUNT, DONE, DONE], Why::Conflict);
    ungathered(&[ROLE, STOP, COUNT, DONE, COUNT], Why::Conflict);
    ungathered(&[ROLE, STOP, ROLE, COUNT, DONE], Why::Conflict);
    ungathered(&[ROLE, STOP, "data: oops", COUNT, DONE], Why::Json(JsonFault::NotJson));
    let infinite = changed(STOP, "\"created\":1", "\"created\":1e999");
    ungathered(&[ROLE, &infinite, COUNT, DONE], Why::Json(JsonFault::NonFinite));
    ungathered(&[ROLE, STOP, &changed(COUNT, "[]", "{}"), DONE], Why::Shape);
    ungathered(&[ROLE, STOP, &changed(COUNT, "[]", "null"), DONE], Why::Shape);
    ungathered(&[ROLE, STOP, "data: {\"error\":{}}", COUNT, DONE], Why::Unknown);
    ungathered(&[ROLE, STOP, "event: error", COUNT, DONE], Why::Unknown);
    ungathered(&[ROLE, STOP, "event: x\ndata: {}", COUNT, DONE], Why::Unknown);
    ungathered(&[ROLE, &changed(STOP, "\"m\"", "\"n\""), COUNT, DONE], Why::Conflict);
    ungathered(&[ROLE, &changed(STOP, "\"a\"", "\"b\""), COUNT, DONE], Why::Conflict);
    ungathered(&[ROLE, &changed(ROLE, "\"assistant\"", "\"tool\""), STOP, COUNT, DONE], Why::Conflict);
    ungathered(&[ROLE, &changed(STOP, "\"chat.completion.chunk\"", "\"\""), COUNT, DONE], Why::Shape);
    ungathered(&[ROLE, &changed(STOP, "delta", "message"), COUNT, DONE], Why::Unknown);
    ungathered(&[ROLE, &changed(STOP, "\"delta\"", "\"message\":null,\"delta\""), COUNT, DONE], Why::Unknown);
    ungathered(&[ROLE, &changed(STOP, "{},", "{\"audio\":{}},"), COUNT, DONE], Why::Unknown);
    ungathered(&[ROLE, &changed(STOP, "\"index\":0,", ""), COUNT, DONE], Why::Missing);
    ungathered(&[ROLE, &changed(STOP, "\"choices\"", "\"choice\""), COUNT, DONE], Why::Unknown);
    let second = |event: &str| changed(event, "\"index\":0", "\"index\":1");
    ungathered(&[&second(ROLE), &second(STOP), COUNT, DONE], Why::Order);
    ungathered(&[ROLE, &second(ROLE), STOP, COUNT, DONE], Why::Missing);
    ungathered(&[&changed(ROLE, "\"index\":0", "\"index\":128"), COUNT, DONE], Why::TooLarge);

    let call = |old: &str, new: &str| changed(CALL, old, new);
    ungathered(&[ROLE, CALL, CALL, STOP, COUNT, DONE], Why::Conflict);
    ungathered(&[ROLE, &call("calls\":[{\"index\":0,", "calls\":[{"), STOP, COUNT, DONE], Why::Missing);
    ungathered(
        &[ROLE, &call("calls\":[{\"index\":0", "calls\":[{\"index\":1"), STOP, COUNT, DONE],
        Why::Order,
    );
    ungathered(
        &[ROLE, &call("calls\":[{\"index\":0", "calls\":[{\"index\":1024"), STOP, COUNT, DONE],
        Why::TooLarge,
    );
    ungathered(&[ROLE, &call("\"id\":\"c\",", ""), STOP, COUNT, DONE], Why::Missing);
    ungathered(&[ROLE, &call(",\"arguments\":\"{}\"", ""), STOP, COUNT, DONE], Why::Missing);
    let annotated =
        changed(STOP, "{},\"finish_reason\":\"stop\"", "{\"annotations\":[{}]},\"finish_reason\":null");
    ungathered(&[ROLE, &annotated, &annotated, STOP, COUNT, DONE], Why::Conflict);
    // What Azure sends first, and that it judges each piece of the text.
    let first =
        r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[]}"#;
    ungathered(&[first, ROLE, STOP, COUNT, DONE], Why::Shape);
    let judged = |event: &str| changed(event, "\"index\":0", "\"index\":0,\"content_filter_results\":{}");
    ungathered(&[&judged(ROLE), &judged(STOP), COUNT, DONE], Why::Conflict);
}

/// The texts of events, and what they become with `usage`.
#[track_caller]
fn optioned(events: &[&str], usage: AnswerForm, expected: Result<&[&str], Why>) {
    let from = if usage == Stream(Included) { Stream(Omitted) } else { Stream(Included) };
    let found = translate(stream(events).as_bytes(), from, usage, MOST).map(|bytes| bytes.into_owned());
    assert_eq!(found.map(|bytes| String::from_utf8(bytes).unwrap()), expected.map(stream));
}

#[test]
fn a_stream_gains_and_loses_its_usage() {
    let with_null = |event: &str| event.replacen("}]}", "}],\"usage\":null}", 1);
    let with_count = |event: &str| event.replacen("}]}", "}],\"usage\":{\"total_tokens\":1}}", 1);
    let (role, stop) = (with_null(ROLE), with_null(STOP));
    optioned(&[&role, &stop, COUNT, DONE], Stream(Omitted), Ok(&[ROLE, STOP, DONE]));
    optioned(&[ROLE, &with_count(STOP), DONE], Stream(Omitted), Ok(&[ROLE, STOP, DONE]));
    optioned(&[ROLE, STOP, COUNT, DONE], Stream(Included), Ok(&[&role, &stop, COUNT, DONE]));
    // The usage chunk comes last, wherever the usage was.
    optioned(&[ROLE, COUNT, STOP, DONE], Stream(Included), Ok(&[&role, &stop, COUNT, DONE]));
    optioned(&[ROLE, &with_count(STOP), DONE], Stream(Included), Ok(&[&role, &stop, COUNT, DONE]));
    let tiered = |event: &str| {
        event.replacen("\"choices\"", r#""service_tier":"flex","system_fingerprint":"fp","choices""#, 1)
    };
    let (tiered_stop, tiered_count) = (tiered(&stop), tiered(COUNT));
    let told = tiered(&with_count(STOP));
    optioned(&[ROLE, &told, DONE], Stream(Included), Ok(&[&role, &tiered_stop, &tiered_count, DONE]));
    optioned(&[&role, &tiered_stop, &tiered_count, DONE], Stream(Omitted), Ok(&[ROLE, &tiered(STOP), DONE]));
    optioned(&[ROLE, STOP, DONE], Stream(Included), Err(Why::NoUsage));
    optioned(&[&role, &stop, DONE], Stream(Included), Err(Why::NoUsage));
    optioned(&[ROLE, COUNT, STOP, COUNT, DONE], Stream(Included), Err(Why::Conflict));
    optioned(&[ROLE, STOP, COUNT], Stream(Omitted), Err(Why::Unended));
    optioned(&[ROLE, "data: {}", STOP, DONE], Stream(Omitted), Err(Why::Missing));
    optioned(&[ROLE, "data: {\"choices\":{}}", STOP, DONE], Stream(Omitted), Err(Why::Shape));
}

/// What the JSON form has no place for stays where it is.
#[test]
fn a_stream_keeps_what_it_does_not_know() {
    let odd = r#"data: {"choices":[{"index":7,"delta":{"audio":{"n":1.0}}}],"x":1.50,"usage":null,"y":[ ]}"#;
    let kept = r#"data: {"choices":[{"index":7,"delta":{"audio":{"n":1.0}}}],"x":1.50,"y":[]}"#;
    optioned(&[odd, COUNT, DONE], Stream(Omitted), Ok(&[kept, DONE]));
    let telling = COUNT.replace("\"usage\"", "\"x\":1,\"usage\"");
    let told =
        r#"data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"x":1}"#;
    optioned(&[ROLE, &telling, DONE], Stream(Omitted), Ok(&[ROLE, told, DONE]));
    let padded = COUNT.replace("\"usage\"", "\"obfuscation\":\"x\",\"usage\"");
    optioned(&[ROLE, &padded, DONE], Stream(Omitted), Ok(&[ROLE, DONE]));
    let members = |count: usize| {
        format!("data: {{\"choices\":[]{}}}", (1..count).map(|n| format!(",\"x{n}\":1")).collect::<String>())
    };
    optioned(&[&members(64), DONE], Stream(Omitted), Ok(&[&members(64), DONE]));
    optioned(&[&members(65), DONE], Stream(Omitted), Err(Why::TooLarge));
}

#[test]
fn the_same_form_is_the_same_bytes() {
    for form in [Json, Stream(Included), Stream(Omitted)] {
        assert_eq!(translate(b" anything", form, form, 0).unwrap().as_ref(), b" anything");
    }
}

#[test]
fn no_more_bytes_are_made_than_allowed() {
    let streamed = stream(&[ROLE, CALL, STOP, COUNT, DONE]);
    for (from, to, body) in [
        (Json, Stream(Included), ANSWER),
        (Json, Stream(Omitted), ANSWER),
        (Stream(Included), Json, &streamed),
        (Stream(Included), Stream(Omitted), &streamed),
        (Stream(Omitted), Stream(Included), &streamed),
    ] {
        let whole = translated(body, from, to).len();
        assert!(translate(body.as_bytes(), from, to, whole).is_ok(), "{from:?} {to:?}");
        assert_eq!(translate(body.as_bytes(), from, to, whole - 1), Err(Why::TooLarge), "{from:?} {to:?}");
    }
}

/// What could grow beyond the answer itself: a long id before each of many tool calls, and events.
#[test]
fn what_would_grow_too_large_is_refused() {
    let many = |count: usize| {
        vec![r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}"#; count].join(",")
    };
    let call = many(1);
    let id = format!("\"id\":\"{}\"", "a".repeat(10_000));
    let heavy = ANSWER.replacen("\"id\":\"a\"", &id, 1);
    assert!(translate(heavy.as_bytes(), Json, Stream(Included), MOST).is_ok());
    let answer = heavy.replacen(&call, &many(1000), 1);
    assert_eq!(translate(answer.as_bytes(), Json, Stream(Included), MOST), Err(Why::TooLarge));
    refused(&call, &many(1025), Why::TooLarge);
    refused("[1]", &format!("[\"{}\"]", "x".repeat(1 << 20)), Why::TooLarge);
    refused(
        "\"hi\"",
        &format!("\"hi\",{}\"x\":null", (0..32).map(|n| format!("\"x{n}\":null,")).collect::<String>()),
        Why::TooLarge,
    );
    let choice = |index: usize| {
        format!(
            r#"{{"index":{index},"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}"#
        )
    };
    let answer = |count: usize| {
        let choices: Vec<String> = (0..count).map(choice).collect();
        format!(r#"{{"object":"chat.completion","choices":[{}],"usage":{{}}}}"#, choices.join(","))
    };
    assert!(check_answer(answer(128).as_bytes()));
    assert_eq!(translate(answer(129).as_bytes(), Json, Stream(Included), MOST), Err(Why::TooLarge));
    let long = format!("data: {{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    ungathered(&[ROLE, STOP, COUNT, &long, DONE], Why::TooLarge);
    let events: Vec<String> =
        (0..33).map(|n| ROLE.replacen("\"index\"", &format!("\"x{n}\":null,\"index\""), 1)).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).chain([STOP, COUNT, DONE]).collect();
    ungathered(&events, Why::TooLarge);
    assert!(check_stream(stream(&events[1..]).as_bytes()));
}
