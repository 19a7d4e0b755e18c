//! Server-sent events, watched as they pass: did the stream end properly, and what did it cost?
//!
//! The watcher reads the lines of the WHATWG's event-stream format and keeps at most one event. It holds up no byte,
//! and what it makes of a stream does not depend on how the stream is cut into pieces.

mod repeat;

use memchr::memchr2;

use crate::llm::answer::{AnswerSummary, Flaw, is_finished};
use crate::llm::json::{Tape, Value};
use crate::llm::request::{Api, Terminal};
use crate::llm::sse::repeat::Remembered;
use crate::llm::usage::UsageParts;

/// The longest event that is looked at, in bytes. A longer one ends the watch with [`Flaw::Overlong`].
pub const MAX_EVENT: usize = 1 << 20;

/// Buffers above this many bytes are given back after the event that needed them.
const KEPT_BUFFER: usize = 64 << 10;

/// What the `event:` field of the event being read says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    /// Nothing, or something that decides nothing: the data decides.
    #[default]
    Open,
    /// A piece of text: its data cannot matter.
    Delta,
    /// `error`.
    Error,
}

/// The choices of a stream, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Choices {
    seen: u128,
    finished: u128,
}

/// Watches one stream.
#[derive(Debug)]
pub struct SseWatch {
    api: Api,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    is_first_line: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    is_after_cr: bool,
    name: Name,
    /// The `data:` lines of the event being read; `None` before the first.
    data: Option<Vec<u8>>,
    spare: Vec<u8>,
    tape: Tape,
    last: Remembered,
    choices: Choices,
    usage: UsageParts,
    has_ended: bool,
    flaw: Option<Flaw>,
}

impl SseWatch {
    /// A watch over a stream of `api` from its first byte on.
    pub fn new(api: Api) -> Self {
        Self {
            api,
            line: Vec::new(),
            is_first_line: true,
            is_after_cr: false,
            name: Name::Open,
            data: None,
            spare: Vec::new(),
            tape: Tape::default(),
            last: Remembered::default(),
            choices: Choices::default(),
            usage: UsageParts::default(),
            has_ended: false,
            flaw: None,
        }
    }

    /// Takes the next piece of the stream, cut anywhere.
    pub fn feed(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while self.flaw != Some(Flaw::Overlong) && !rest.is_empty() {
            if std::mem::take(&mut self.is_after_cr)
                && let Some(after) = rest.strip_prefix(b"\n")
            {
                rest = after;
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.keep(rest);
                return;
            };
            let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.is_after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.end_line(head);
            } else {
                self.keep(head);
                let mut line = std::mem::take(&mut self.line);
                self.end_line(&line);
                line.clear();
                line.shrink_to(KEPT_BUFFER);
                self.line = line;
            }
        }
    }

    /// What the stream is, if it ends here. An event without its blank line does not count.
    pub fn summary(&self) -> AnswerSummary {
        let is_unfinished = self.api.has_choices() && !self.choices.all_finished();
        let flaw = match self.flaw {
            Some(flaw) => Some(flaw),
            None if !self.has_ended => Some(Flaw::NoTerminal),
            None if is_unfinished => Some(Flaw::Unfinished),
            None => None,
        };
        AnswerSummary { flaw, usage: self.usage.total() }
    }

    /// True from the stream's terminal event on.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn keep(&mut self, part: &[u8]) {
        if self.has_room(self.line.len().saturating_add(part.len())) {
            self.line.extend_from_slice(part);
        }
    }

    /// True if the event may hold `more` bytes beside its data. Otherwise the watch ends.
    fn has_room(&mut self, more: usize) -> bool {
        let held = self.data.as_ref().map_or(0, Vec::len);
        let has_room = held.saturating_add(more) <= MAX_EVENT;
        if !has_room {
            self.flaw = Some(Flaw::Overlong);
            self.line = Vec::new();
            self.data = None;
        }
        has_room
    }

    fn end_line(&mut self, line: &[u8]) {
        let is_first = std::mem::take(&mut self.is_first_line);
        if self.flaw == Some(Flaw::Overlong) || !self.has_room(line.len()) {
            return;
        }
        let bom: &[u8] = if is_first { b"\xef\xbb\xbf" } else { b"" };
        let line = line.strip_prefix(bom).unwrap_or(line);
        if line.is_empty() {
            self.end_event();
        } else if let Some(value) = field(line, b"data") {
            self.add_data(value);
        } else if let Some(value) = field(line, b"event") {
            self.name = name_of(value);
        }
    }

    fn add_data(&mut self, value: &[u8]) {
        match &mut self.data {
            Some(data) => data.push(b'\n'),
            None => self.data = Some(std::mem::take(&mut self.spare)),
        }
        if self.name != Name::Delta
            && let Some(data) = &mut self.data
        {
            data.extend_from_slice(value);
        }
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if name == Name::Error {
            self.found(Flaw::Error);
        }
        if let Some(mut data) = self.data.take() {
            if name != Name::Delta {
                self.read_data(data.trim_ascii());
            }
            data.clear();
            data.shrink_to(KEPT_BUFFER);
            self.spare = data;
        }
    }

    fn read_data(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.has_ended |= self.api.terminal() == Terminal::Done;
            return;
        }
        let mut tape = std::mem::take(&mut self.tape);
        if !self.last.is_repeated(data, &mut tape) {
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

    fn read_event(&mut self, event: Value<'_>) {
        for (name, value) in event.members() {
            let Some(name) = name.as_str() else { continue };
            match name.as_ref() {
                "choices" => self.choices.take(value),
                "type" => self.read_type(value),
                "error" if !value.is_null() => self.found(Flaw::Error),
                "usage" => self.usage.take(value),
                "response" | "message" => {
                    if let Some(usage) = value.member("usage") {
                        self.usage.take(usage);
                    }
                }
                _ => {}
            }
        }
    }

    fn read_type(&mut self, value: Value<'_>) {
        let Some(kind) = value.as_str() else { return };
        match (kind.as_ref(), self.api.terminal()) {
            ("error" | "response.failed" | "response.incomplete" | "response.cancelled", _) => {
                self.found(Flaw::Error);
            }
            ("response.completed", Terminal::ResponseCompleted) | ("message_stop", Terminal::MessageStop) => {
                self.has_ended = true;
            }
            _ => {}
        }
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

/// The value of the field `name`, if `line` is one: what follows the colon and at most one space.
fn field<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

fn name_of(value: &[u8]) -> Name {
    match value {
        b"error" => Name::Error,
        b"content_block_delta" => Name::Delta,
        _ if value.ends_with(b".delta") => Name::Delta,
        _ => Name::Open,
    }
}

#[cfg(test)]
mod tests;
