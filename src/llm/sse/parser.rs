//! The event-stream format of the WHATWG (HTML §9.2.6), read piece by piece.
//!
//! Lines are bytes: they end with CR, LF or both, none of which is ever a part of another UTF-8 character, so a piece
//! may end anywhere, within a character or between CR and LF too. What is not read: `id` and `retry`, which concern
//! reconnections, and those are between the client and the upstream.

use memchr::memchr2;

/// The most bytes that an event may hold before it ends: its name, its data and the line being read. A longer one,
/// a comment too, ends the reading.
pub const MAX_EVENT: usize = 1 << 20;

/// Buffers above this many bytes are given back after the event that needed them.
const KEPT_BUFFER: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event, as its blank line ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'p> {
    /// What the last `event:` field says; empty if there is none.
    pub name: &'p [u8],
    /// The `data:` fields, joined by LF, not checked for UTF-8. `None` if there is none: browsers do not show such an
    /// event, but some clients do.
    pub data: Option<&'p [u8]>,
}

/// An event longer than [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlong;

/// Reads one stream from its first byte on. It holds one event at most, and copies only what an event consists of and
/// what a piece breaks off.
#[derive(Clone, Debug)]
pub struct EventParser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    is_first_line: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    is_after_cr: bool,
    is_overlong: bool,
}

impl Default for EventParser {
    fn default() -> Self {
        Self {
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            is_first_line: true,
            is_after_cr: false,
            is_overlong: false,
        }
    }
}

impl EventParser {
    /// Takes the next piece of the stream, cut anywhere, and hands on each event that it ends. The events do not
    /// depend on the cuts; an event without its blank line is none.
    ///
    /// Errors: [`Overlong`], then and ever after, once the events before it were handed on.
    pub fn feed(&mut self, piece: &[u8], mut on_event: impl FnMut(Event<'_>)) -> Result<(), Overlong> {
        let mut rest = piece;
        while !self.is_overlong && !rest.is_empty() {
            if std::mem::take(&mut self.is_after_cr)
                && let Some(after) = rest.strip_prefix(b"\n")
            {
                rest = after;
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.keep(rest);
                break;
            };
            let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.is_after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.end_line(head, &mut on_event);
            } else {
                self.keep(head);
                let mut line = std::mem::take(&mut self.line);
                self.end_line(&line, &mut on_event);
                reuse(&mut line);
                self.line = line;
            }
        }
        if self.is_overlong { Err(Overlong) } else { Ok(()) }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.has_room(self.line.len().saturating_add(part.len())) {
            self.line.extend_from_slice(part);
        }
    }

    /// True if the event may hold a line of so many bytes beside what it holds. Otherwise the reading ends.
    fn has_room(&mut self, line: usize) -> bool {
        let held = self.name.len().saturating_add(self.data.len());
        if MAX_EVENT < held.saturating_add(line) {
            *self = Self { is_overlong: true, ..Self::default() };
        }
        !self.is_overlong
    }

    fn end_line(&mut self, line: &[u8], on_event: &mut impl FnMut(Event<'_>)) {
        if !self.has_room(line.len()) {
            return;
        }
        let is_first = std::mem::take(&mut self.is_first_line);
        let marked = if is_first { line.strip_prefix(BYTE_ORDER_MARK) } else { None };
        let line = marked.unwrap_or(line);
        if line.is_empty() {
            self.end_event(on_event);
        } else if let Some(value) = field(line, b"data") {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        } else if let Some(value) = field(line, b"event") {
            self.name.clear();
            self.name.extend_from_slice(value);
        }
    }

    fn end_event(&mut self, on_event: &mut impl FnMut(Event<'_>)) {
        if self.has_data || !self.name.is_empty() {
            on_event(Event { name: &self.name, data: self.has_data.then_some(self.data.as_slice()) });
        }
        self.has_data = false;
        reuse(&mut self.name);
        reuse(&mut self.data);
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

fn reuse(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BUFFER);
}

#[cfg(test)]
mod tests;
