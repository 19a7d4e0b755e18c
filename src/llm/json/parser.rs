//! The one pass over a JSON text that checks it and lays its values onto the tape.

use memchr::memchr2;

use crate::llm::json::escape::{hex_unit, low_after};
use crate::llm::json::{JsonFault, Kind, MAX_DEPTH, MAX_NODES, Node};

/// Reads one text from left to right.
pub(super) struct Parser<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    nodes: &'t mut Vec<Node>,
    fault: Option<JsonFault>,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str, nodes: &'t mut Vec<Node>) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, nodes, fault: None }
    }

    /// Puts the whole text onto the tape; returns why it has no canonical form, if it has none.
    pub(super) fn run(mut self) -> Result<Option<JsonFault>, JsonFault> {
        self.value(0)?;
        self.white_space();
        let is_at_end = self.at == self.bytes.len();
        if is_at_end { Ok(self.fault) } else { Err(JsonFault::NotJson) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Steps over `byte`; false, and no step, if something else is there.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn open(&mut self, kind: Kind, start: usize) -> Result<usize, JsonFault> {
        let index = self.nodes.len();
        if index == MAX_NODES {
            return Err(JsonFault::TooLarge);
        }
        self.nodes.push(Node { start: start as u32, end: self.at as u32, size: 1, kind });
        Ok(index)
    }

    fn close(&mut self, index: usize) {
        let size = (self.nodes.len() - index) as u32;
        if let Some(node) = self.nodes.get_mut(index) {
            node.end = self.at as u32;
            node.size = size;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), JsonFault> {
        self.white_space();
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(JsonFault::TooDeep),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::True),
            Some(b'f') => self.literal("false", Kind::False),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => Err(JsonFault::NotJson),
        }
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<(), JsonFault> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(JsonFault::NotJson);
        }
        self.at += word.len();
        self.open(kind, start).map(drop)
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonFault> {
        let index = self.open(Kind::Array, self.at)?;
        self.at += 1;
        self.white_space();
        if !self.take(b']') {
            loop {
                self.value(depth)?;
                self.white_space();
                if self.take(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.close(index);
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonFault> {
        let index = self.open(Kind::Object, self.at)?;
        self.at += 1;
        self.white_space();
        if !self.take(b'}') {
            loop {
                self.white_space();
                if self.peek() != Some(b'"') {
                    return Err(JsonFault::NotJson);
                }
                self.string()?;
                self.white_space();
                self.expect(b':')?;
                self.value(depth)?;
                self.white_space();
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.close(index);
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonFault> {
        if self.take(byte) { Ok(()) } else { Err(JsonFault::NotJson) }
    }

    fn number(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        let mut kind = Kind::Integer;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            kind = Kind::Float;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            kind = Kind::Float;
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        if kind == Kind::Float {
            let literal = self.text.get(start..self.at).unwrap_or_default();
            let is_finite = literal.parse::<f64>().is_ok_and(f64::is_finite);
            if !is_finite {
                self.fault.get_or_insert(JsonFault::NonFinite);
            }
        }
        self.open(kind, start).map(drop)
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(JsonFault::NotJson) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        let mut kind = Kind::Plain;
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let run = plain_run(rest);
            self.at += run + 1;
            match rest.get(run) {
                Some(b'"') => break,
                Some(b'\\') => kind = kind.max(self.escape()?),
                _ => return Err(JsonFault::NotJson),
            }
        }
        self.open(kind, start).map(drop)
    }

    /// Reads an escape, its backslash already read, and tells what it makes of its string.
    fn escape(&mut self) -> Result<Kind, JsonFault> {
        let letter = self.peek().ok_or(JsonFault::NotJson)?;
        self.at += 1;
        match letter {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(Kind::Escaped),
            b'/' => Ok(Kind::Respelled),
            b'u' => self.unicode_escape(),
            _ => Err(JsonFault::NotJson),
        }
    }

    fn unicode_escape(&mut self) -> Result<Kind, JsonFault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (unit, digits) = hex_unit(rest).ok_or(JsonFault::NotJson)?;
        self.at += 4;
        let has_short_form = matches!(unit, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
        let in_lower_case = !digits.iter().any(u8::is_ascii_uppercase);
        if unit < 0x20 && !has_short_form && in_lower_case {
            return Ok(Kind::Escaped);
        }
        let is_low = (0xdc00..0xe000).contains(&unit);
        let is_high = (0xd800..0xdc00).contains(&unit);
        if is_high && low_after(self.bytes.get(self.at..).unwrap_or_default()).is_some() {
            self.at += 6;
        } else if is_low || is_high {
            self.fault.get_or_insert(JsonFault::LoneSurrogate);
        }
        Ok(Kind::Respelled)
    }
}

/// How many bytes `text` begins with that are no quote, no backslash and no control character.
///
/// Most strings are short, and text with line breaks is many short runs: eight bytes at a time are looked at in one
/// word. What is still plain after [`SHORT`] bytes is likely to go on, and vector code takes over.
fn plain_run(text: &[u8]) -> usize {
    let mut at = 0;
    while at < SHORT
        && let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>)
    {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    let limit = if rest.len() < 8 { rest.len() } else { memchr2(b'"', b'\\', rest).unwrap_or(rest.len()) };
    let plain = rest.get(..limit).unwrap_or_default();
    if limit == rest.len() || has_control(plain) {
        let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        return at + plain.iter().position(is_special).unwrap_or(limit);
    }
    at + limit
}

/// How far a string is read word by word.
const SHORT: usize = 32;

/// A word whose lowest bit that is set is the highest of the first byte (in memory's order, if read little-endian)
/// that is a quote, a backslash or below 0x20; zero if there is none. A subtraction borrows from the next byte only
/// above such a byte, so that bits set in error lie above the right one.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_in(quote) | zero_in(backslash) | control) & HIGH
}

/// True if a byte is below 0x20. Written without an early exit, so that it becomes vector code.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(u8::MAX, |least, &byte| least.min(byte)) < 0x20
}
