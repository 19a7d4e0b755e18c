//! Random completions, random spellings of them, and random ways to stream them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::{Map, Value, json};

use super::{to_json, translated};
use crate::fuzzed::translate::{check_answer, check_stream};
use safecache::llm::translate::AnswerForm::{Json, Stream};
use safecache::llm::translate::StreamUsage::{Included, Omitted};

/// Seldom one that takes several chunks.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![15 => short(), 1 => "[é😀]{1500,1700}"]
}

fn short() -> impl Strategy<Value = String> {
    "(a|é|😀|\u{0}|\"|\\\\|\n|\u{2028}| ){0,12}"
}

fn text_or_null() -> impl Strategy<Value = Value> {
    prop_oneof![text().prop_map(Value::from), Just(Value::Null)]
}

fn tool_calls() -> impl Strategy<Value = Value> {
    let call = text().prop_map(
        |text| json!({"id": "call", "type": "function", "function": {"name": "f", "arguments": text}}),
    );
    prop_oneof![vec(call, 0..4).prop_map(Value::from), Just(Value::Null)]
}

fn logprobs() -> impl Strategy<Value = Value> {
    let list = || {
        prop_oneof![
            vec(text().prop_map(|token| json!({"token": token, "logprob": -0.5})), 0..4)
                .prop_map(Value::from),
            Just(Value::Null)
        ]
    };
    let both = (option::of(list()), option::of(list()))
        .prop_map(|(content, refusal)| object([("content", content), ("refusal", refusal)]));
    prop_oneof![both, Just(Value::Null)]
}

/// The members that are there, in this order.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

fn message() -> impl Strategy<Value = Value> {
    let texts = [(); 4].map(|()| option::of(text_or_null()));
    let annotations = option::of(prop_oneof![Just(json!([])), Just(json!([{"type": "url_citation"}]))]);
    (texts, annotations, option::of(text()), option::of(tool_calls()), any::<bool>()).prop_map(
        |(texts, annotations, arguments, tool_calls, has_null)| {
            let [content, reasoning_content, reasoning, refusal] = texts;
            object([
                ("role", Some(json!("assistant"))),
                ("content", content),
                ("reasoning_content", reasoning_content),
                ("reasoning", reasoning),
                ("refusal", refusal),
                ("annotations", annotations),
                ("function_call", arguments.map(|text| json!({"name": "f", "arguments": text}))),
                ("tool_calls", tool_calls),
                ("audio", has_null.then_some(Value::Null)),
            ])
        },
    )
}

fn completion() -> impl Strategy<Value = Value> {
    let choice = (message(), option::of(logprobs()), option::of(Just(json!({"hate": {"filtered": false}}))));
    let repeated = || option::of(prop_oneof![short().prop_map(Value::from), Just(Value::Null)]);
    (vec(choice, 1..4), repeated(), repeated(), option::of(Just(json!([1])))).prop_map(
        |(choices, service_tier, system_fingerprint, prompt_filter_results)| {
            let choices = choices.into_iter().enumerate().map(|(index, (message, logprobs, filtered))| {
                object([
                    ("index", Some(json!(index))),
                    ("message", Some(message)),
                    ("logprobs", logprobs),
                    ("finish_reason", Some(json!("stop"))),
                    ("content_filter_results", filtered),
                    ("stop_reason", Some(Value::Null)),
                ])
            });
            object([
                ("id", Some(json!("a"))),
                ("object", Some(json!("chat.completion"))),
                ("created", Some(json!(1))),
                ("choices", Some(choices.collect())),
                ("usage", Some(json!({"total_tokens": u64::MAX}))),
                ("service_tier", service_tier),
                ("system_fingerprint", system_fingerprint),
                ("prompt_filter_results", prompt_filter_results),
            ])
        },
    )
}

/// The chunks of a stream, each text of a delta cut after so many characters, and the chunks of each choice taken in
/// turns, as if the choices were made side by side.
fn recut(stream: &str, length: usize) -> String {
    let mut lanes: Vec<Vec<Value>> = Vec::new();
    let mut last = Vec::new();
    for event in stream.split("\n\n").filter_map(|event| event.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{event}")).expect("JSON");
        match chunk["choices"][0]["index"].as_u64() {
            Some(index) => {
                lanes.resize(lanes.len().max(index as usize + 1), Vec::new());
                lanes[index as usize].extend(cut(&chunk, length));
            }
            None => last.push(chunk),
        }
    }
    let longest = lanes.iter().map(Vec::len).max().unwrap_or_default();
    let in_turns = (0..longest).flat_map(|at| lanes.iter().filter_map(move |lane| lane.get(at)));
    let events = in_turns.chain(&last).map(|chunk| format!(": ping\r\ndata:{chunk}\r\n\r\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// A chunk as several, which say its texts bit by bit and all else with the first bit.
fn cut(chunk: &Value, length: usize) -> Vec<Value> {
    const TEXTS: [&str; 6] = [
        "/content",
        "/reasoning_content",
        "/reasoning",
        "/refusal",
        "/function_call/arguments",
        "/tool_calls/0/function/arguments",
    ];
    let place = |text: &str| format!("/choices/0/delta{text}");
    let Some(long) = TEXTS.iter().find(|text| {
        chunk.pointer(&place(text)).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
    }) else {
        return vec![chunk.clone()];
    };
    let characters: Vec<char> =
        chunk.pointer(&place(long)).and_then(Value::as_str).unwrap_or_default().chars().collect();
    let bits = characters.chunks(length).map(|bit| bit.iter().collect::<String>());
    bits.enumerate()
        .map(|(at, bit)| {
            let mut part = chunk.clone();
            if 0 < at && chunk.pointer("/choices/0/logprobs").is_some() {
                part["choices"][0]["logprobs"] = Value::Null;
            }
            *part.pointer_mut(&place(long)).expect("the text") = Value::from(bit);
            part
        })
        .collect()
}

proptest! {
    #[test]
    fn any_answer_survives_being_a_stream(completion in completion(), is_spread in any::<bool>()) {
        let answer = if is_spread {
            serde_json::to_string_pretty(&completion).expect("JSON")
        } else {
            completion.to_string()
        };
        prop_assert!(check_answer(answer.as_bytes()), "{}", answer);
        let plain = translated(&answer, Json, Stream(Omitted));
        prop_assert!(!plain.contains("\"usage\""));
    }

    #[test]
    fn any_way_to_stream_an_answer_gives_it_back(completion in completion(), length in 1..200usize) {
        let stream = translated(&completion.to_string(), Json, Stream(Included));
        let recut = recut(&stream, length);
        prop_assert_eq!(to_json(&recut), to_json(&stream));
        prop_assert!(check_stream(recut.as_bytes()));
    }
}
