//! Streams, whole and cut: what ends properly, and that no cut changes the verdict.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

use super::SseWatch;
use crate::llm::answer::{AnswerSummary, Flaw};
use crate::llm::request::Api;
use crate::llm::sse::parser::MAX_EVENT;

fn watch(api: Api, stream: &[u8]) -> AnswerSummary {
    let mut watch = SseWatch::new(api);
    watch.feed(stream);
    watch.summary()
}

#[track_caller]
fn check(api: Api, stream: &str, flaw: Option<Flaw>) {
    assert_eq!(watch(api, stream.as_bytes()).flaw, flaw, "{stream}");
}

const WORDS: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hé\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const COUNTS: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_whole_chat_stream_is_good() {
    let stream = [WORDS, WORDS, STOP, COUNTS, DONE].concat();
    check(Api::ChatCompletions, &stream, None);
    let usage = watch(Api::ChatCompletions, stream.as_bytes()).usage.expect("counts");
    assert_eq!((usage.prompt, usage.completion, usage.cached), (5, 2, 0));
}

#[test]
fn every_spelling_of_the_format_is_read() {
    let stream = [WORDS, STOP, DONE].concat();
    check(Api::ChatCompletions, &stream.replace('\n', "\r\n"), None);
    check(Api::ChatCompletions, &stream.replace('\n', "\r"), None);
    check(Api::ChatCompletions, &stream.replace("data: ", "data:"), None);
    check(Api::ChatCompletions, &format!("\u{feff}{stream}"), None);
    check(Api::ChatCompletions, &format!(": ping\n\n{stream}"), None);
    check(Api::ChatCompletions, &format!("id: 1\nretry: 3\n{stream}"), None);
    let in_lines = stream.replace("{\"choices\"", "{\ndata: \"choices\"");
    check(Api::ChatCompletions, &in_lines, None);
    check(Api::ChatCompletions, &in_lines.replace('\n', "\r\n"), None);
    check(Api::ChatCompletions, &in_lines.replace('\n', "\r"), None);
}

#[test]
fn a_stream_that_was_cut_is_flawed() {
    check(Api::ChatCompletions, "", Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[WORDS, STOP].concat(), Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[STOP, "data: [DONE]"].concat(), Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[STOP, "data: [DONE]\n"].concat(), Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[WORDS, DONE].concat(), Some(Flaw::Unfinished));
    check(Api::ChatCompletions, DONE, Some(Flaw::Unfinished));
    check(Api::Embeddings, DONE, None);
}

#[test]
fn the_terminal_event_is_not_found_in_text_or_comments() {
    let spoken = WORDS.replace("hé", "data: [DONE]\\n\\n");
    check(Api::ChatCompletions, &[&spoken, STOP].concat(), Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[STOP, ":data: [DONE]\n\n"].concat(), Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[STOP, "datas: [DONE]\n\n"].concat(), Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &[STOP, "data: {}\ndata: [DONE]\n\n"].concat(), Some(Flaw::NotJson));
}

#[test]
fn every_choice_must_finish() {
    let second = WORDS.replace("\"index\":0", "\"index\":1");
    let second_stop = STOP.replace("\"index\":0", "\"index\":1");
    check(Api::ChatCompletions, &[WORDS, &second, STOP, DONE].concat(), Some(Flaw::Unfinished));
    check(Api::ChatCompletions, &[WORDS, &second, STOP, &second_stop, DONE].concat(), None);
    for index in ["128", "4294967296", "-1", "\"0\""] {
        let beyond = STOP.replace("\"index\":0", &format!("\"index\":{index}"));
        check(Api::ChatCompletions, &[STOP, &beyond, DONE].concat(), Some(Flaw::Unfinished));
    }
    let last = STOP.replace("\"index\":0", "\"index\":127");
    check(Api::ChatCompletions, &[&last, DONE].concat(), None);
}

#[test]
fn an_event_like_the_last_is_still_looked_at() {
    let with = |delta: &str| WORDS.replace("{\"content\":\"hé\"}", delta);
    let good = [&with("{\"content\":\"a\"}"), &with("{\"content\":\"b\"}"), &with("{}"), STOP, DONE].concat();
    check(Api::ChatCompletions, &good, None);
    let stop_in_delta = with("{},\"finish_reason\":\"stop\",\"x\":{}");
    for (delta, flaw) in [
        ("{\"content\":\"b\"", Flaw::NotJson),
        ("{},", Flaw::NotJson),
        ("", Flaw::NotJson),
        ("{}},{\"index\":1,\"delta\":{}", Flaw::Unfinished),
        ("{}}],\"error\":{},\"x\":[{\"y\":{}", Flaw::Error),
    ] {
        check(Api::ChatCompletions, &[WORDS, &with(delta), STOP, DONE].concat(), Some(flaw));
    }
    // The last of two members of one name counts: null here.
    check(Api::ChatCompletions, &[WORDS, &stop_in_delta, DONE].concat(), Some(Flaw::Unfinished));
    check(Api::ChatCompletions, &[WORDS, WORDS, DONE].concat(), Some(Flaw::Unfinished));
}

#[test]
fn an_error_event_forbids_storing() {
    check(
        Api::ChatCompletions,
        &[STOP, "data: {\"error\":{\"message\":\"x\"}}\n\n", DONE].concat(),
        Some(Flaw::Error),
    );
    check(Api::ChatCompletions, &[STOP, "event: error\ndata: {}\n\n", DONE].concat(), Some(Flaw::Error));
    check(Api::ChatCompletions, &[STOP, "data: {\"error\":null}\n\n", DONE].concat(), None);
    check(Api::ChatCompletions, &[STOP, "data: oops\n\n", DONE].concat(), Some(Flaw::NotJson));
}

#[test]
fn responses_end_with_their_own_event() {
    let delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\"}\n\n";
    let end = |kind: &str| {
        format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"response\":{{\"usage\":{{\"input_tokens\":3,\
             \"output_tokens\":4,\"input_tokens_details\":{{\"cached_tokens\":2}}}}}}}}\n\n"
        )
    };
    let whole = [delta, &end("response.completed")].concat();
    check(Api::Responses, &whole, None);
    let usage = watch(Api::Responses, whole.as_bytes()).usage.expect("counts");
    assert_eq!((usage.prompt, usage.completion, usage.cached), (3, 4, 2));
    check(Api::Responses, delta, Some(Flaw::NoTerminal));
    check(Api::Responses, &[delta, DONE].concat(), Some(Flaw::NoTerminal));
    for (kind, flaw) in [
        ("response.failed", Flaw::Error),
        ("response.incomplete", Flaw::Status),
        ("response.cancelled", Flaw::Status),
        ("error", Flaw::Error),
    ] {
        check(Api::Responses, &[delta, &end(kind)].concat(), Some(flaw));
        check(Api::Responses, &[delta, &end(kind), &end("response.completed")].concat(), Some(flaw));
        let named = format!("event: {kind}\ndata: {{}}\n\n");
        check(Api::Responses, &[delta, &named, &end("response.completed")].concat(), Some(flaw));
        let untold = format!("event: {kind}\n\n");
        check(Api::Responses, &[delta, &untold, &end("response.completed")].concat(), Some(flaw));
    }
    for (answer, flaw) in [
        ("{\"status\":\"completed\",\"error\":null}", None),
        ("{\"status\":\"incomplete\",\"error\":null}", Some(Flaw::Status)),
        ("{\"status\":\"completed\",\"error\":{\"code\":\"x\"}}", Some(Flaw::Error)),
    ] {
        let completed = format!("data: {{\"type\":\"response.completed\",\"response\":{answer}}}\n\n");
        check(Api::Responses, &[delta, &completed].concat(), flaw);
        let created = completed.replace("completed\",\"response\"", "created\",\"response\"");
        check(Api::Responses, &[created.as_str(), &end("response.completed")].concat(), None);
    }
    check(Api::Messages, &whole, Some(Flaw::NoTerminal));
    check(Api::ChatCompletions, &whole, Some(Flaw::NoTerminal));
}

#[test]
fn messages_end_with_message_stop() {
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\
        \"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    check(Api::Messages, stream, Some(Flaw::NoTerminal));
    check(Api::Messages, &[stream, stop].concat(), None);
    let usage = watch(Api::Messages, stream.as_bytes()).usage.expect("counts");
    assert_eq!((usage.prompt, usage.completion, usage.cached), (30, 15, 5));
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    check(Api::Messages, &[stream, error, stop].concat(), Some(Flaw::Error));
    check(Api::Responses, &[stream, stop].concat(), Some(Flaw::NoTerminal));
}

#[test]
fn a_longer_event_than_is_read_ends_the_watch() {
    let stop_of = |length: usize| {
        let padding = length - (STOP.len() - 2);
        STOP.replace("{\"choices\"", &format!("{{{}\"choices\"", " ".repeat(padding)))
    };
    check(Api::ChatCompletions, &[&stop_of(MAX_EVENT), DONE].concat(), None);
    check(Api::ChatCompletions, &[&stop_of(MAX_EVENT + 1), STOP, DONE].concat(), Some(Flaw::Overlong));
}

/// Streams of valid and broken parts, so that cuts fall into everything that a line can be.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(WORDS.as_bytes().to_vec()),
        Just(STOP.as_bytes().to_vec()),
        Just(STOP.replace('\n', "\r\n").into_bytes()),
        Just(COUNTS.as_bytes().to_vec()),
        Just(DONE.as_bytes().to_vec()),
        Just(b"event: error\n".to_vec()),
        Just(b"event: x.delta\ndata: not json\r\r".to_vec()),
        Just("\u{feff}".as_bytes().to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_cut_changes_the_verdict(stream in streams(), cuts in vec(1usize..60, 1..50)) {
        let whole = watch(Api::ChatCompletions, &stream);
        let mut pieces = SseWatch::new(Api::ChatCompletions);
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.feed(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(pieces.summary(), whole);

        let mut bytes = SseWatch::new(Api::ChatCompletions);
        stream.chunks(1).for_each(|byte| bytes.feed(byte));
        prop_assert_eq!(bytes.summary(), whole);
    }
}
