//! What is read of an answer: whether it is whole, and what it cost.

use crate::llm::json::{Kind, Tape, Value};
use crate::llm::usage::{Usage, UsageParts};

/// Why an answer is not a whole, good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The body, or the data of an event, is not JSON.
    NotJson,
    /// It says that something failed.
    Error,
    /// Its `status` is not `completed`.
    Status,
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
    /// Reads a whole JSON answer of any API. An array of `choices` that is there must not be empty.
    pub fn of_json(body: &[u8]) -> Self {
        let mut tape = Tape::default();
        let Ok(document) = tape.read(body) else {
            return Self { flaw: Some(Flaw::NotJson), usage: None };
        };
        let root = document.root();
        let mut usage = UsageParts::default();
        if let Some(counts) = root.member("usage") {
            usage.take(counts);
        }
        Self { flaw: flaw_of(root), usage: usage.total() }
    }
}

/// What is wrong with a JSON answer of any API, or with the answer that an event carries; `None`: it is whole.
pub fn flaw_of(answer: Value<'_>) -> Option<Flaw> {
    answer.members().find_map(|(name, value)| match name.as_str()?.as_ref() {
        "error" if !value.is_null() => Some(Flaw::Error),
        "status" if value.as_str().is_some_and(|status| status != "completed") => Some(Flaw::Status),
        "choices" if !all_finished(value) => Some(Flaw::Unfinished),
        _ => None,
    })
}

/// True if `choice` has ended.
pub fn is_finished(choice: Value<'_>) -> bool {
    choice.member("finish_reason").is_some_and(|reason| !reason.is_null())
}

fn all_finished(choices: Value<'_>) -> bool {
    match choices.kind() {
        Kind::Array => choices.elements().next().is_some() && choices.elements().all(is_finished),
        Kind::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{AnswerSummary, Flaw};

    #[track_caller]
    fn check(body: &str, flaw: Option<Flaw>) {
        assert_eq!(AnswerSummary::of_json(body.as_bytes()).flaw, flaw, "{body}");
    }

    #[test]
    fn tells_whole_answers_from_others() {
        check(
            r#"{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":"length"}]}"#,
            None,
        );
        check(r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8}}"#, None);
        check(r#"{"status":"completed","error":null}"#, None);
        check(r#"[{"index":0,"score":0.9}]"#, None);
        check(r#"{"status":200}"#, None);
        check(r#"{"choices":null}"#, None);

        check(r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}"#, Some(Flaw::Unfinished));
        check(r#"{"choices":[{"index":0}]}"#, Some(Flaw::Unfinished));
        check(r#"{"choices":[]}"#, Some(Flaw::Unfinished));
        check(r#"{"choices":"none"}"#, Some(Flaw::Unfinished));
        check(r#"{"error":{"message":"no"}}"#, Some(Flaw::Error));
        check(r#"{"error":""}"#, Some(Flaw::Error));
        check(r#"{"status":"incomplete"}"#, Some(Flaw::Status));
        check(r#"{"choices":[{"finish_reason":"stop"}]"#, Some(Flaw::NotJson));
        check("", Some(Flaw::NotJson));
    }

    #[test]
    fn reads_usage_beside_a_flaw() {
        let body = br#"{"status":"incomplete","usage":{"input_tokens":3,"output_tokens":4}}"#;
        let usage = AnswerSummary::of_json(body).usage.expect("counts");
        assert_eq!((usage.prompt, usage.completion), (3, 4));
    }
}
