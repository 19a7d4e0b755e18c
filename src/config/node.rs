//! The tree that a configuration is read into, and the places in it that problems name.

use std::borrow::Cow;
use std::fmt;

use crate::config::problem::Sink;

/// A value and where it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// True if `${…}` was replaced in it: such a text also reads as a number, and is never shown.
    pub interpolated: bool,
    /// The value.
    pub kind: Kind<'a>,
}

/// The value of a [`Node`]. Debug says what it is, not its text: that may be a secret.
#[derive(Clone, PartialEq)]
pub enum Kind<'a> {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number, also a whole one that does not fit.
    Float(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// A list.
    Seq(Vec<Node<'a>>),
    /// A mapping, in the order of the text.
    Map(Vec<Entry<'a>>),
    /// A value whose problem is recorded already; it causes no other.
    Refused,
}

impl Kind<'_> {
    /// What it is, in words, without its value.
    fn describe(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Str(_) => "text",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Refused => "a refused value",
        }
    }
}

impl fmt::Debug for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// One member of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// The key's line.
    pub line: u32,
    /// The key's column.
    pub column: u32,
    /// The value.
    pub value: Node<'a>,
}

/// A longer value is not shown in a problem.
const MOST_SHOWN: usize = 32;

impl<'a> Node<'a> {
    /// A value at a place in the text.
    pub fn new((line, column): (u32, u32), kind: Kind<'a>) -> Self {
        Self { line, column, interpolated: false, kind }
    }

    /// What it is, in words, without its value.
    pub fn describe(&self) -> &'static str {
        self.kind.describe()
    }

    /// The value between backquotes, or what it is, if it is long, a list or mapping. A text put in for `${…}` is
    /// not shown.
    pub fn quote(&self) -> String {
        match &self.kind {
            Kind::Str(_) if self.interpolated => "`${…}`".to_owned(),
            Kind::Str(text) if text.chars().count() <= MOST_SHOWN => {
                format!("`{}`", text.escape_debug())
            }
            Kind::Str(_) => "a text this long".to_owned(),
            Kind::Bool(value) => format!("`{value}`"),
            Kind::Int(value) => format!("`{value}`"),
            Kind::Float(value) => format!("`{value}`"),
            _ => self.describe().to_owned(),
        }
    }
}

/// A path into the tree, built on the stack while reading goes down.
#[derive(Clone, Copy, Debug)]
pub enum Place<'p> {
    /// The whole document.
    Root,
    /// A member of the mapping at a place.
    Key(&'p Place<'p>, &'p str),
    /// An element of the list at a place.
    Index(&'p Place<'p>, usize),
}

impl<'p> Place<'p> {
    /// The member `key` of what is here.
    pub fn key(&'p self, key: &'p str) -> Self {
        Self::Key(self, key)
    }

    /// The element `index` of what is here.
    pub fn index(&'p self, index: usize) -> Self {
        Self::Index(self, index)
    }

    /// The node here; `None` if it was not written.
    pub fn find<'n>(&self, root: &'n Node<'n>) -> Option<&'n Node<'n>> {
        match self {
            Self::Root => Some(root),
            Self::Key(parent, key) => match &parent.find(root)?.kind {
                Kind::Map(entries) => entries.iter().find(|e| e.key == *key).map(|e| &e.value),
                _ => None,
            },
            Self::Index(parent, index) => match &parent.find(root)?.kind {
                Kind::Seq(items) => items.get(*index),
                _ => None,
            },
        }
    }

    /// Line and column of what is here, or of the nearest thing around it that was written.
    pub fn position(&self, root: &Node<'_>) -> (u32, u32) {
        if let Some(node) = self.find(root) {
            return (node.line, node.column);
        }
        match self {
            Self::Root => (root.line, root.column),
            Self::Key(parent, _) | Self::Index(parent, _) => parent.position(root),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(parent, key) => {
                parent.fmt(f)?;
                let is_plain = !key.is_empty()
                    && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'/');
                match (is_plain, parent) {
                    (true, Self::Root) => f.write_str(key),
                    (true, _) => write!(f, ".{key}"),
                    (false, _) => write!(f, "[\"{}\"]", key.escape_debug()),
                }
            }
        }
    }
}

/// A document under examination: its tree, and where its problems go.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The tree.
    pub root: &'a Node<'a>,
    /// Where problems go.
    pub sink: &'a Sink,
}

impl Scene<'_> {
    /// Records a problem with what is at `place`.
    pub fn refuse(&self, place: &Place<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.sink.add(place.position(self.root), place.to_string(), message.into(), hint.into());
    }

    /// The value at `place` for use in a message; see [`Node::quote`].
    pub fn quote(&self, place: &Place<'_>) -> String {
        place.find(self.root).map_or_else(|| "nothing".to_owned(), Node::quote)
    }
}
