//! JSON read onto a flat tape: checked once, walked as often as needed, nothing copied.
//!
//! A prompt can be megabytes long and a handful of its members decide everything, so no tree is built: a node is
//! sixteen bytes that point into the text, and a string is passed over with a vector search for its end. Unlike
//! `serde_json` it keeps number literals as they were written and sees a name that stands twice.

mod escape;
mod parser;

use std::borrow::Cow;

use crate::llm::json::escape::{respell, unescape};
use crate::llm::json::parser::Parser;

/// The deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 128;

/// The most values (names included) of one text: a tape of 32 MiB.
pub const MAX_NODES: usize = 1 << 21;

/// Room for the nodes of a small request: 2 KiB.
const NODES: usize = 128;

/// Why a text is not read, or has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonFault {
    /// Not JSON (RFC 8259), or not UTF-8.
    NotJson,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More than [`MAX_NODES`] values, or 4 GiB.
    TooLarge,
    /// A member name twice in one object: two readers could see two values.
    Duplicate,
    /// Half of a surrogate pair, which no UTF-8 can hold.
    LoneSurrogate,
    /// A number beyond the range of a double, such as `1e999`.
    NonFinite,
}

impl JsonFault {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::Duplicate => "duplicate_name",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NonFinite => "non_finite",
        }
    }
}

/// What a value is. Strings are told apart by what their spelling asks of a writer of canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `null`.
    Null,
    /// `false`.
    False,
    /// `true`.
    True,
    /// A number without fraction and exponent.
    Integer,
    /// Any other number.
    Float,
    /// A string without escapes.
    Plain,
    /// A string whose every escape is the one that RFC 8785 prescribes.
    Escaped,
    /// A string that RFC 8785 spells differently.
    Respelled,
    /// An array.
    Array,
    /// An object.
    Object,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    /// How many nodes this value and all within it take.
    size: u32,
    kind: Kind,
}

/// Room for nodes, kept from one text to the next where many small ones are read.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

/// A text that is JSON. Copies share it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'t> {
    text: &'t str,
    nodes: &'t [Node],
    fault: Option<JsonFault>,
}

/// One value of a document.
#[derive(Clone, Copy, Debug)]
pub struct Value<'t> {
    text: &'t str,
    node: Node,
    /// The nodes of all within it.
    within: &'t [Node],
}

// === impl Tape ===

impl Tape {
    /// Reads `bytes`, one JSON text with white space around it at most.
    ///
    /// Errors: [`JsonFault::NotJson`], [`JsonFault::TooDeep`], [`JsonFault::TooLarge`]. A lone surrogate and a number
    /// out of range do not end the reading: see [`Document::fault`]. Names are not compared here.
    pub fn read<'t>(&'t mut self, bytes: &'t [u8]) -> Result<Document<'t>, JsonFault> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(JsonFault::TooLarge);
        }
        // Four times as fast as the standard library where text is not ASCII, and prompts often are not.
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| JsonFault::NotJson)?;
        self.nodes.clear();
        self.nodes.reserve(NODES);
        let fault = Parser::new(text, &mut self.nodes).run()?;
        Ok(Document { text, nodes: &self.nodes, fault })
    }
}

// === impl Document ===

impl<'t> Document<'t> {
    /// The text as it came.
    pub fn text(self) -> &'t str {
        self.text
    }

    /// Why the text, though readable, has no canonical form: a lone surrogate or a number out of range.
    pub fn fault(self) -> Option<JsonFault> {
        self.fault
    }

    /// The outermost value.
    pub fn root(self) -> Value<'t> {
        match self.nodes.split_first() {
            Some((&node, within)) => Value { text: self.text, node, within },
            None => Value {
                text: self.text,
                node: Node { start: 0, end: 0, size: 1, kind: Kind::Null },
                within: &[],
            },
        }
    }
}

// === impl Value ===

impl<'t> Value<'t> {
    /// What it is.
    pub fn kind(self) -> Kind {
        self.node.kind
    }

    /// Its place in the text: byte offsets, a string's quotes included.
    pub fn span(self) -> std::ops::Range<usize> {
        self.node.start as usize..self.node.end as usize
    }

    /// Its text, a string's quotes included.
    pub fn raw(self) -> &'t str {
        self.text.get(self.span()).unwrap_or_default()
    }

    /// True if it is `null`.
    pub fn is_null(self) -> bool {
        self.node.kind == Kind::Null
    }

    /// `true` or `false`; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        match self.node.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// A whole number without sign, fraction and exponent that fits; `None` for anything else.
    pub fn as_u64(self) -> Option<u64> {
        if self.node.kind == Kind::Integer { self.raw().parse().ok() } else { None }
    }

    /// A number as the nearest double, infinite if out of range; `None` for anything else.
    pub fn as_f64(self) -> Option<f64> {
        if matches!(self.node.kind, Kind::Integer | Kind::Float) { self.raw().parse().ok() } else { None }
    }

    /// A string, unescaped; `None` for anything else, and for one with a lone surrogate.
    pub fn as_str(self) -> Option<Cow<'t, str>> {
        match self.node.kind {
            Kind::Plain => Some(Cow::Borrowed(self.inner())),
            Kind::Escaped | Kind::Respelled => {
                String::from_utf8(unescape(self.inner().as_bytes())).ok().map(Cow::Owned)
            }
            _ => None,
        }
    }

    /// A string, unescaped, as UTF-8 in which a lone surrogate has the three bytes that its code point would have:
    /// fit for comparing, not for showing. `None` for anything but a string.
    pub fn string_bytes(self) -> Option<Cow<'t, [u8]>> {
        match self.node.kind {
            Kind::Plain => Some(Cow::Borrowed(self.inner().as_bytes())),
            Kind::Escaped | Kind::Respelled => Some(Cow::Owned(unescape(self.inner().as_bytes()))),
            _ => None,
        }
    }

    /// Appends a string as RFC 8785 spells it, quotes included; for anything else, void text.
    pub fn respell(self, out: &mut Vec<u8>) {
        out.push(b'"');
        respell(self.inner().as_bytes(), out);
        out.push(b'"');
    }

    /// What stands between a string's quotes, its escapes as they are written; for anything else, void text.
    pub fn inner(self) -> &'t str {
        let quoted = self.span();
        self.text.get(quoted.start + 1..quoted.end.saturating_sub(1)).unwrap_or_default()
    }

    /// Bytes of [`Value::inner`]; 0 for anything but a string.
    pub fn inner_length(self) -> u64 {
        match self.node.kind {
            Kind::Plain | Kind::Escaped | Kind::Respelled => self.inner().len() as u64,
            _ => 0,
        }
    }

    /// True if it is the string `text`.
    pub fn is_str(self, text: &str) -> bool {
        match self.node.kind {
            Kind::Plain => self.inner() == text,
            _ => self.string_bytes().is_some_and(|bytes| bytes.as_ref() == text.as_bytes()),
        }
    }

    /// The elements of an array, in order; none for anything else.
    pub fn elements(self) -> impl Iterator<Item = Value<'t>> {
        Children::of(self, Kind::Array)
    }

    /// The members of an object, in the text's order, each as its name (a string) and value; none for anything else.
    pub fn members(self) -> impl Iterator<Item = (Value<'t>, Value<'t>)> {
        let mut children = Children::of(self, Kind::Object);
        std::iter::from_fn(move || Some((children.next()?, children.next()?)))
    }

    /// The member `name` of an object, the last if it is there twice.
    pub fn member(self, name: &str) -> Option<Value<'t>> {
        let mut found = None;
        for (key, value) in self.members() {
            if key.is_str(name) {
                found = Some(value);
            }
        }
        found
    }
}

struct Children<'t> {
    text: &'t str,
    nodes: &'t [Node],
}

impl<'t> Children<'t> {
    fn of(parent: Value<'t>, kind: Kind) -> Self {
        let nodes: &[Node] = if parent.node.kind == kind { parent.within } else { &[] };
        Self { text: parent.text, nodes }
    }
}

impl<'t> Iterator for Children<'t> {
    type Item = Value<'t>;

    fn next(&mut self) -> Option<Value<'t>> {
        let (&node, rest) = self.nodes.split_first()?;
        let (within, after) = rest.split_at_checked(node.size as usize - 1)?;
        self.nodes = after;
        Some(Value { text: self.text, node, within })
    }
}
