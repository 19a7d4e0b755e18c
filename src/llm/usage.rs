//! Token counts as the APIs report them, in one shape, and a guess at them where an answer reports none.

use crate::llm::json::Value;

/// The most of any count that is believed: far more than a model reads or writes, and far too little to make a sum of
/// 64 bits overflow.
const MOST: u64 = 1 << 32;

/// The tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, those read from the upstream's prompt cache included.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
    /// Those of `prompt` that the upstream's prompt cache held.
    pub cached: u64,
}

/// Token counts, and where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// The answer told them.
    Told(Usage),
    /// The answer did not tell them.
    Estimated(Usage),
}

impl Tokens {
    /// The counts, wherever they come from.
    pub fn usage(self) -> Usage {
        match self {
            Self::Told(usage) | Self::Estimated(usage) => usage,
        }
    }

    /// The counts that the answer told.
    pub fn told(self) -> Option<Usage> {
        match self {
            Self::Told(usage) => Some(usage),
            Self::Estimated(_) => None,
        }
    }
}

/// Bytes that a token stands for, about.
const BYTES_A_TOKEN: u64 = 4;

/// How much text the events of a stream have brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Events that brought some.
    events: u64,
    /// Its bytes, as they are spelt in JSON.
    bytes: u64,
}

impl Said {
    /// Takes what an event adds to the answer: all strings in it, but for those that are no text.
    pub fn take(&mut self, delta: Value<'_>) {
        let bytes = text_within(delta);
        self.events += u64::from(bytes > 0);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// A guess at what the stream cost after a request of `question` bytes; `None` if nothing was said. An event brings
    /// a token at least, as most servers send one in each.
    pub fn estimate(self, question: u64) -> Option<Usage> {
        let completion = self.events.max(self.bytes.div_ceil(BYTES_A_TOKEN));
        (self.events > 0).then(|| Usage { prompt: question.div_ceil(BYTES_A_TOKEN), completion, cached: 0 })
    }
}

/// True for members of a delta that say something about the answer, and are no text of it.
fn is_no_text(name: Value<'_>) -> bool {
    const NAMES: [&str; 7] = ["id", "index", "role", "type", "signature", "stop_reason", "stop_sequence"];
    name.as_str().is_some_and(|name| NAMES.contains(&name.as_ref()))
}

fn text_within(value: Value<'_>) -> u64 {
    let members = value.members().filter(|(name, _)| !is_no_text(*name));
    let within: u64 = members.map(|(_, value)| value).chain(value.elements()).map(text_within).sum();
    within + value.inner_length()
}

/// What has been seen of a usage, which Anthropic spreads over several events; a later count replaces an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageParts {
    input: Option<u64>,
    output: Option<u64>,
    /// Within `input`: OpenAI's way of counting.
    cached_within: Option<u64>,
    /// Beside `input`: Anthropic's way of counting.
    cache_read: Option<u64>,
    cache_written: Option<u64>,
}

impl UsageParts {
    /// Takes what `usage`, the object of that name, says: chat completions' `prompt_tokens`, `completion_tokens`,
    /// `prompt_tokens_details.cached_tokens`; responses' `input_tokens`, `output_tokens`,
    /// `input_tokens_details.cached_tokens`; messages' `input_tokens`, `output_tokens`, `cache_read_input_tokens`,
    /// `cache_creation_input_tokens`. Other members, and counts that are no whole numbers or more than 2³², are passed over.
    pub fn take(&mut self, usage: Value<'_>) {
        for (name, value) in usage.members() {
            let Some(name) = name.as_str() else { continue };
            match name.as_ref() {
                "prompt_tokens" | "input_tokens" => set(&mut self.input, value),
                "completion_tokens" | "output_tokens" => set(&mut self.output, value),
                "prompt_tokens_details" | "input_tokens_details" => {
                    if let Some(cached) = value.member("cached_tokens") {
                        set(&mut self.cached_within, cached);
                    }
                }
                "cache_read_input_tokens" => set(&mut self.cache_read, value),
                "cache_creation_input_tokens" => set(&mut self.cache_written, value),
                _ => {}
            }
        }
    }

    /// The usage, if any count was seen.
    pub fn total(self) -> Option<Usage> {
        let is_seen = self.input.is_some() || self.output.is_some();
        let beside = self.cache_read.unwrap_or(0);
        let input = self.input.unwrap_or(0).saturating_add(self.cache_written.unwrap_or(0));
        is_seen.then(|| Usage {
            prompt: input.saturating_add(beside),
            completion: self.output.unwrap_or(0),
            cached: self.cached_within.unwrap_or(0).saturating_add(beside),
        })
    }
}

fn set(count: &mut Option<u64>, value: Value<'_>) {
    *count = value.as_u64().filter(|tokens| *tokens <= MOST).or(*count);
}

#[cfg(test)]
mod tests {
    use super::{Said, Usage, UsageParts};
    use crate::llm::json::Tape;

    #[track_caller]
    fn check(texts: &[&str], expected: Option<(u64, u64, u64)>) {
        let mut parts = UsageParts::default();
        for text in texts {
            parts.take(Tape::default().read(text.as_bytes()).expect("JSON").root());
        }
        let expected = expected.map(|(prompt, completion, cached)| Usage { prompt, completion, cached });
        assert_eq!(parts.total(), expected);
    }

    #[test]
    fn reads_the_three_shapes() {
        let chat = r#"{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,
            "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0}}"#;
        check(&[chat], Some((9, 12, 4)));
        let responses =
            r#"{"input_tokens":36,"input_tokens_details":{"cached_tokens":3},"output_tokens":87}"#;
        check(&[responses], Some((36, 87, 3)));
        let messages = r#"{"input_tokens":5,"output_tokens":7,"cache_read_input_tokens":100,
            "cache_creation_input_tokens":20}"#;
        check(&[messages], Some((125, 7, 100)));
        check(&[r#"{"prompt_tokens":8,"total_tokens":8}"#], Some((8, 0, 0)));
    }

    #[test]
    fn adds_up_what_a_stream_spreads() {
        let start = r#"{"input_tokens":25,"output_tokens":1,"cache_read_input_tokens":10}"#;
        check(&[start, r#"{"output_tokens":15}"#], Some((35, 15, 10)));
    }

    #[track_caller]
    fn guess(deltas: &[&str], expected: Option<(u64, u64)>) {
        let mut said = Said::default();
        for delta in deltas {
            said.take(Tape::default().read(delta.as_bytes()).expect("JSON").root());
        }
        let found = said.estimate(41).map(|usage| (usage.prompt, usage.completion));
        assert_eq!(found, expected, "{deltas:?}");
    }

    #[test]
    fn guesses_at_tokens_by_events_or_bytes() {
        guess(&[], None);
        guess(&[r#"{"role":"assistant","content":""}"#, "{}", r#"{"stop_reason":"end_turn"}"#], None);
        guess(&[r#"{"content":"a"}"#, r#""b""#], Some((11, 2)));
        guess(&[r#"{"content":"nine byte"}"#], Some((11, 3)));
        let call = r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get","arguments":"{}"}}]}"#;
        guess(&[call], Some((11, 2)));
    }

    #[test]
    fn passes_over_what_is_no_count() {
        check(&["null"], None);
        check(&["{}"], None);
        check(&[r#"{"prompt_tokens":-1,"completion_tokens":1.5}"#], None);
        check(&[r#"{"prompt_tokens":3,"prompt_tokens_details":null}"#], Some((3, 0, 0)));
        check(&[r#"{"prompt_tokens":4294967296,"completion_tokens":4294967297}"#], Some((1 << 32, 0, 0)));
        check(&[r#"{"prompt_tokens":18446744073709551611}"#], None);
    }
}
