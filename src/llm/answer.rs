//! What is read of an answer: whether it is whole, and what it cost.

use std::sync::Arc;

use crate::llm::json::{Kind, Tape, Value};
use crate::llm::request::Api;
use crate::llm::usage::{Usage, UsageParts};

/// Why an answer is not a whole, good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The body, or the data of an event, is not JSON.
    NotJson,
    /// It says that something failed.
    Error,
    /// Its `status` is something else than `completed`.
    Status,
    /// It lacks what the answers of its API are made of.
    Shape,
    /// A choice has no `finish_reason`, or there is no choice.
    Unfinished,
    /// The stream's terminal event did not come.
    NoTerminal,
    /// An event is too long to be looked at.
    Overlong,
}

impl Flaw {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "answer_not_json",
            Self::Error => "answer_is_error",
            Self::Status => "answer_status",
            Self::Shape => "answer_shape",
            Self::Unfinished => "answer_unfinished",
            Self::NoTerminal => "no_terminal_event",
            Self::Overlong => "event_too_long",
        }
    }
}

/// An answer in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerSummary {
    /// What is wrong with it; `None`: it is whole.
    pub flaw: Option<Flaw>,
    /// Its token counts, if it has any.
    pub usage: Option<Usage>,
}

impl AnswerSummary {
    /// Reads a whole JSON answer of `api`.
    pub fn of_json(body: &[u8], api: Api) -> Self {
        let mut tape = Tape::default();
        let Ok(document) = tape.read(body) else {
            return Self::NOT_JSON;
        };
        Self::of(document.root(), api)
    }

    /// The same, and which model it says has written it.
    pub fn with_model(body: &[u8], api: Api) -> (Self, Option<Arc<str>>) {
        let mut tape = Tape::default();
        match tape.read(body) {
            Ok(document) => (Self::of(document.root(), api), model_in(document.root())),
            Err(_) => (Self::NOT_JSON, None),
        }
    }

    const NOT_JSON: Self = Self { flaw: Some(Flaw::NotJson), usage: None };

    fn of(root: Value<'_>, api: Api) -> Self {
        let (mut counts, mut flaw) = (None, None);
        for (name, value) in root.members() {
            if name.is_str("usage") {
                counts = Some(value);
            }
            flaw = flaw.or_else(|| flaw_in(name, value));
        }
        let mut usage = UsageParts::default();
        counts.into_iter().for_each(|counts| usage.take(counts));
        let flaw = flaw.or_else(|| (!has_shape(root, api)).then_some(Flaw::Shape));
        Self { flaw, usage: usage.total() }
    }
}

/// Which model an answer, or an event of one, says has written it.
pub fn model_in(answer: Value<'_>) -> Option<Arc<str>> {
    let model = answer.member("model")?.as_str()?;
    (!model.is_empty()).then(|| Arc::from(model.as_ref()))
}

/// What a JSON answer of any API, or the answer that an event carries, says of itself; `None`: it is whole.
pub fn flaw_of(answer: Value<'_>) -> Option<Flaw> {
    answer.members().find_map(|(name, value)| flaw_in(name, value))
}

/// What one member of an answer says of it.
fn flaw_in(name: Value<'_>, value: Value<'_>) -> Option<Flaw> {
    match name.as_str()?.as_ref() {
        "error" if !value.is_null() => Some(Flaw::Error),
        "status" if value.as_str().is_none_or(|status| status != "completed") => Some(Flaw::Status),
        "choices" if !all_finished(value) => Some(Flaw::Unfinished),
        _ => None,
    }
}

/// True if `answer` has what the answers of `api` are made of. Of an API that is not known nothing is asked.
fn has_shape(answer: Value<'_>, api: Api) -> bool {
    let has_some = |name| answer.member(name).is_some_and(is_filled);
    match api {
        Api::ChatCompletions | Api::Completions => has_some("choices"),
        // Ollama's own API has a single `embedding`.
        Api::Embeddings => has_some("data") || has_some("embedding"),
        Api::Moderations => has_some("results"),
        // Cohere, Jina and vLLM; Voyage; text-embeddings-inference.
        Api::Rerank => has_some("results") || has_some("data") || is_filled(answer),
        // A turn may end without a word, but not without a reason.
        Api::Messages => {
            answer.member("content").is_some_and(|content| content.kind() == Kind::Array)
                && answer.member("stop_reason").is_some_and(|reason| !reason.is_null())
        }
        Api::Responses => has_some("output"),
        Api::Other => true,
    }
}

fn is_filled(value: Value<'_>) -> bool {
    value.kind() == Kind::Array && value.elements().next().is_some()
}

/// True if `choice` has ended.
pub fn is_finished(choice: Value<'_>) -> bool {
    choice.member("finish_reason").is_some_and(|reason| !reason.is_null())
}

fn all_finished(choices: Value<'_>) -> bool {
    is_filled(choices) && choices.elements().all(is_finished)
}

#[cfg(test)]
mod tests {
    use super::{AnswerSummary, Flaw};
    use crate::llm::request::Api;

    #[track_caller]
    fn check(api: Api, body: &str, flaw: Option<Flaw>) {
        assert_eq!(AnswerSummary::of_json(body.as_bytes(), api).flaw, flaw, "{api:?} {body}");
    }

    #[test]
    fn tells_whole_answers_from_others() {
        let chat = |body: &str, flaw| check(Api::ChatCompletions, body, flaw);
        chat(
            r#"{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":"length"}]}"#,
            None,
        );
        chat(r#"{"status":"completed","error":null,"choices":[{"finish_reason":"stop"}]}"#, None);

        chat(r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}"#, Some(Flaw::Unfinished));
        chat(r#"{"choices":[{"index":0}]}"#, Some(Flaw::Unfinished));
        chat(r#"{"choices":[]}"#, Some(Flaw::Unfinished));
        chat(r#"{"choices":"none"}"#, Some(Flaw::Unfinished));
        chat(r#"{"error":{"message":"no"}}"#, Some(Flaw::Error));
        chat(r#"{"error":"","choices":[{"finish_reason":"stop"}]}"#, Some(Flaw::Error));
        for status in [r#""incomplete""#, r#""""#, "200", "429", "null", "true", r#"["completed"]"#] {
            let body = format!(r#"{{"status":{status},"choices":[{{"finish_reason":"stop"}}]}}"#);
            chat(&body, Some(Flaw::Status));
        }
        chat(r#"{"choices":[{"finish_reason":"stop"}]"#, Some(Flaw::NotJson));
        chat("", Some(Flaw::NotJson));
    }

    #[test]
    fn each_api_has_a_shape() {
        let table: [(Api, &[&str], &[&str]); 8] = [
            (Api::ChatCompletions, &[r#"{"choices":[{"finish_reason":"stop"}]}"#], &[r#"{"choices":null}"#]),
            (Api::Completions, &[r#"{"choices":[{"finish_reason":"stop"}]}"#], &[r#"{"data":[1]}"#]),
            (
                Api::Embeddings,
                &[r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8}}"#, r#"{"embedding":[0.1]}"#],
                &[r#"{"data":[]}"#, r#"{"data":{"0":1}}"#],
            ),
            (Api::Moderations, &[r#"{"results":[{"flagged":false}]}"#], &[r#"{"results":[]}"#]),
            (
                Api::Rerank,
                &[r#"{"results":[{"index":0}]}"#, r#"{"data":[{}]}"#, r#"[{"index":0,"score":0.9}]"#],
                &["[]", r#"{"results":[]}"#],
            ),
            (
                Api::Messages,
                &[r#"{"content":[],"stop_reason":"end_turn"}"#],
                &[r#"{"content":[{}],"stop_reason":null}"#, r#"{"stop_reason":"end_turn"}"#],
            ),
            (Api::Responses, &[r#"{"status":"completed","output":[{}]}"#], &[r#"{"status":"completed"}"#]),
            (Api::Other, &["{}", "null", r#""overloaded""#, "[]"], &[]),
        ];
        for (api, whole, lacking) in table {
            whole.iter().for_each(|body| check(api, body, None));
            let never = ["{}", "null", r#""overloaded""#, r#"{"message":"slow down"}"#];
            let others = never.iter().filter(|_| api != Api::Other);
            for body in lacking.iter().chain(others) {
                let flaw = if body.contains("choices") { Flaw::Unfinished } else { Flaw::Shape };
                check(api, body, Some(flaw));
            }
        }
    }

    #[test]
    fn reads_usage_beside_a_flaw() {
        let body = br#"{"status":"incomplete","usage":{"input_tokens":3,"output_tokens":4}}"#;
        let usage = AnswerSummary::of_json(body, Api::Responses).usage.expect("counts");
        assert_eq!((usage.prompt, usage.completion), (3, 4));
    }
}
