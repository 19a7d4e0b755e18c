//! The last event of a chat stream, to which the next is equal but for its `delta`.
//!
//! A stream's chunks differ in a word or two. What surrounds the word was read once; an event with the same
//! surroundings says nothing new, and comparing them costs a small part of reading them.

use std::ops::Range;

use crate::llm::json::Value;

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

    /// What stands in `data` where the remembered event has its delta, if all around it is equal. If that is JSON,
    /// `data` is the same event with another delta.
    pub(super) fn delta_in<'d>(&self, data: &'d [u8]) -> Option<&'d [u8]> {
        let before = self.data.get(..self.delta.start).filter(|before| !before.is_empty())?;
        let after = self.data.get(self.delta.end..)?;
        data.strip_prefix(before)?.strip_suffix(after)
    }
}
