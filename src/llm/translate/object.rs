//! One JSON object being written, member by member in a fixed order. A member that was never said is left out.

use crate::llm::translate::said::{List, Nulls, Text, Whole};

/// An object that is open, behind what was written before it.
pub(super) struct Object<'o> {
    out: &'o mut String,
    is_empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    /// Writes a name, which needs no escapes, and gives the place for its value.
    pub(super) fn name(&mut self, name: &str) -> &mut String {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
        self.out
    }

    /// A value that is JSON already.
    pub(super) fn raw(&mut self, name: &str, value: &str) {
        self.name(name).push_str(value);
    }

    pub(super) fn whole(&mut self, name: &str, value: &Whole) {
        if let Some(told) = value.told() {
            self.raw(name, told.map_or("null", String::as_str));
        }
    }

    /// A string whose escapes are written already.
    pub(super) fn string(&mut self, name: &str, inner: &str) {
        let out = self.name(name);
        out.push('"');
        out.push_str(inner);
        out.push('"');
    }

    pub(super) fn text(&mut self, name: &str, value: &Text) {
        match value.told() {
            Some(Some(inner)) => self.string(name, inner),
            Some(None) => self.raw(name, "null"),
            None => {}
        }
    }

    pub(super) fn array<S: AsRef<str>>(&mut self, name: &str, elements: impl IntoIterator<Item = S>) {
        let out = self.name(name);
        out.push('[');
        for (index, element) in elements.into_iter().enumerate() {
            if index != 0 {
                out.push(',');
            }
            out.push_str(element.as_ref());
        }
        out.push(']');
    }

    pub(super) fn list(&mut self, name: &str, value: &List) {
        match value.told() {
            Some(Some(elements)) => self.array(name, elements),
            Some(None) => self.raw(name, "null"),
            None => {}
        }
    }

    pub(super) fn nulls(&mut self, nulls: &Nulls) {
        for name in nulls.names() {
            self.raw(name, "null");
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Object<'_> {
        Object::open(self.name(name))
    }

    pub(super) fn close(self) {
        self.out.push('}');
    }
}
