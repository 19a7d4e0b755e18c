//! The last event of a chat stream, to which the next is equal but for its `delta`.
//!
//! A stream's chunks differ in a word or two. What surrounds the word was read once; an event with the same
//! surroundings says nothing new, and comparing them costs a small part of reading them.

use std::ops::Range;

use crate::llm::json::{Tape, Value};

/// The longest event that is remembered, in bytes.
const MAX_REMEMBERED: usize = 4096;

/// An event that was read in full, and the place of its `delta`.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    data: Vec<u8>,
    delta: Range<usize>,
}

impl Remembered {
    /// Remembers `data`, whose outermost value is `event`, if it has one choice with a delta.
    pub(super) fn set(&mut self, data: &[u8], event: Value<'_>) {
        self.data.clear();
        let Some(choices) = event.member("choices") else { return };
        let mut elements = choices.elements();
        if let (Some(choice), None) = (elements.next(), elements.next())
            && let Some(delta) = choice.member("delta")
            && data.len() <= MAX_REMEMBERED
        {
            self.data.extend_from_slice(data);
            self.delta = delta.span();
        }
    }

    /// True if `data` is the remembered event with another value as its delta.
    pub(super) fn is_repeated(&self, data: &[u8], tape: &mut Tape) -> bool {
        if self.data.is_empty() {
            return false;
        }
        let before = self.data.get(..self.delta.start).unwrap_or_default();
        let after = self.data.get(self.delta.end..).unwrap_or_default();
        let delta = data.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap_or_default();
        tape.read(delta).is_ok()
    }
}
