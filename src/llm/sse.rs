//! Server-sent events, watched as they pass: did the stream end properly, and what did it cost?
//!
//! The watch holds up no byte, keeps at most one event, and what it makes of a stream does not depend on how the
//! stream is cut into pieces: `parser` reads the format, `repeat` passes over what an event says again.

mod repeat;

pub mod parser;

use std::sync::Arc;

use crate::llm::answer::{AnswerSummary, Flaw, flaw_of, is_finished, model_in};
use crate::llm::json::{Tape, Value};
use crate::llm::request::{Api, Terminal};
use crate::llm::sse::parser::{Event, EventParser};
use crate::llm::sse::repeat::Remembered;
use crate::llm::usage::{Said, Usage, UsageParts};

/// Watches one stream.
#[derive(Debug)]
pub struct SseWatch {
    parser: EventParser,
    seen: Seen,
}

/// What the events so far have said.
#[derive(Debug)]
struct Seen {
    api: Api,
    tape: Tape,
    last: Remembered,
    choices: Choices,
    usage: UsageParts,
    said: Said,
    model: Option<Arc<str>>,
    has_ended: bool,
    flaw: Option<Flaw>,
}

/// The choices of a stream, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Choices {
    seen: u128,
    finished: u128,
}

impl SseWatch {
    /// A watch over a stream of `api` from its first byte on.
    pub fn new(api: Api) -> Self {
        let seen = Seen {
            api,
            tape: Tape::default(),
            last: Remembered::default(),
            choices: Choices::default(),
            usage: UsageParts::default(),
            said: Said::default(),
            model: None,
            has_ended: false,
            flaw: None,
        };
        Self { parser: EventParser::default(), seen }
    }

    /// Takes the next piece of the stream, cut anywhere. An event longer than [`parser::MAX_EVENT`] ends the watch
    /// with [`Flaw::Overlong`].
    pub fn feed(&mut self, piece: &[u8]) {
        let seen = &mut self.seen;
        if self.parser.feed(piece, |event| seen.take(event)).is_err() {
            seen.flaw = Some(Flaw::Overlong);
        }
    }

    /// What the stream is, if it ends here. An event without its blank line does not count.
    pub fn summary(&self) -> AnswerSummary {
        let seen = &self.seen;
        let is_unfinished = seen.api.has_choices() && !seen.choices.all_finished();
        let flaw = match seen.flaw {
            Some(flaw) => Some(flaw),
            None if !seen.has_ended => Some(Flaw::NoTerminal),
            None if is_unfinished => Some(Flaw::Unfinished),
            None => None,
        };
        AnswerSummary { flaw, usage: seen.usage.total() }
    }

    /// A guess at what the stream cost so far, after a request of `question` bytes; `None` if it said nothing.
    pub fn estimate(&self, question: u64) -> Option<Usage> {
        self.seen.said.estimate(question)
    }

    /// Which model an event has said writes it; the first that did.
    pub fn model(&self) -> Option<&Arc<str>> {
        self.seen.model.as_ref()
    }

    /// True from the stream's terminal event on, a good one or not.
    pub fn has_ended(&self) -> bool {
        self.seen.has_ended
    }
}

impl Seen {
    fn take(&mut self, event: Event<'_>) {
        self.take_failure(event.name);
        if let Some(data) = event.data {
            self.read_data(data.trim_ascii());
        }
    }

    fn read_data(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.has_ended |= self.api.terminal() == Terminal::Done;
            return;
        }
        let mut tape = std::mem::take(&mut self.tape);
        if !self.is_repeated(data, &mut tape) {
            match tape.read(data) {
                Ok(document) => {
                    self.read_event(document.root());
                    self.last.set(data, document.root());
                }
                Err(_) => self.found(Flaw::NotJson),
            }
        }
        self.tape = tape;
    }

    /// True if `data` is the last event with another delta, which is all that is taken of it.
    fn is_repeated(&mut self, data: &[u8], tape: &mut Tape) -> bool {
        let delta = self.last.delta_in(data).and_then(|delta| tape.read(delta).ok());
        delta.inspect(|delta| self.said.take(delta.root())).is_some()
    }

    fn read_event(&mut self, event: Value<'_>) {
        let mut kind = None;
        // What `response.completed` carries whole and `message_start` in its beginnings.
        let mut answer = None;
        for (name, value) in event.members() {
            let Some(name) = name.as_str() else { continue };
            match name.as_ref() {
                "choices" => {
                    self.choices.take(value);
                    self.hear(value);
                }
                "delta" => self.said.take(value),
                "type" => kind = value.as_str(),
                "error" if !value.is_null() => self.found(Flaw::Error),
                "usage" => self.usage.take(value),
                "response" | "message" => answer = Some(value),
                _ => {}
            }
        }
        if self.model.is_none() {
            self.model = model_in(event).or_else(|| model_in(answer?));
        }
        if let Some(usage) = answer.and_then(|answer| answer.member("usage")) {
            self.usage.take(usage);
        }
        match (kind.as_deref().unwrap_or_default(), self.api.terminal()) {
            ("response.completed", Terminal::ResponseCompleted) => {
                self.has_ended = true;
                if let Some(flaw) = answer.and_then(flaw_of) {
                    self.found(flaw);
                }
            }
            ("message_stop", Terminal::MessageStop) => self.has_ended = true,
            (kind, _) => self.take_failure(kind.as_bytes()),
        }
    }

    fn hear(&mut self, choices: Value<'_>) {
        for choice in choices.elements() {
            let texts = [choice.member("delta"), choice.member("text")];
            texts.into_iter().flatten().for_each(|text| self.said.take(text));
        }
    }

    /// Takes a kind of event, told by its name or its data's `type`, that says that the answer is not whole.
    fn take_failure(&mut self, kind: &[u8]) {
        let flaw = match kind {
            b"error" | b"response.failed" => Flaw::Error,
            b"response.incomplete" | b"response.cancelled" => Flaw::Status,
            _ => return,
        };
        self.has_ended |= kind != b"error" && self.api.terminal() == Terminal::ResponseCompleted;
        self.found(flaw);
    }

    /// Notes a flaw; the first stays.
    fn found(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
    }
}

impl Choices {
    fn take(&mut self, choices: Value<'_>) {
        for choice in choices.elements() {
            let index = choice.member("index").map_or(Some(0), Value::as_u64);
            // A choice beyond what can be counted counts as one that never finishes.
            let bit = index.and_then(|index| 1u128.checked_shl(u32::try_from(index).ok()?));
            self.seen |= bit.unwrap_or(u128::MAX);
            if is_finished(choice) {
                self.finished |= bit.unwrap_or(0);
            }
        }
    }

    fn all_finished(self) -> bool {
        self.seen != 0 && self.seen == self.finished
    }
}

#[cfg(test)]
mod tests;
