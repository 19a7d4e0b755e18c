//! One line of JSON to the same tree that YAML becomes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::config::node::{Entry, Kind, Node};
use crate::config::problem::Sink;

/// Reads line `number` of a file, without its newline. `None`: it is no JSON; `sink` holds why and where.
pub fn parse<'a>(line: &'a str, number: u32, sink: &Sink) -> Option<Node<'a>> {
    let mut reader = serde_json::Deserializer::from_str(line);
    let whole = Line { number, text: line, column: 1 };
    let node = whole.deserialize(&mut reader).and_then(|node| reader.end().map(|()| node));
    match node {
        Ok(node) => Some(node),
        Err(error) => {
            let column = u32::try_from(error.column()).unwrap_or(u32::MAX).max(1);
            let message = match error.classify() {
                serde_json::error::Category::Data => {
                    "a member is written twice, or there are more than any key has".to_owned()
                }
                serde_json::error::Category::Eof => "not JSON: the line ends too early".to_owned(),
                serde_json::error::Category::Io | serde_json::error::Category::Syntax => {
                    "not JSON".to_owned()
                }
            };
            sink.add((number, column), String::new(), message, "one object a line".to_owned());
            None
        }
    }
}

/// Reads any value of a line. A member stands where its name does; what is within a list, where the list does.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: u32,
    text: &'a str,
    column: u32,
}

impl<'de> DeserializeSeed<'de> for Line<'de> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A key of an object, borrowed from the line unless it is escaped.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor).map(Self)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

impl<'a> Line<'a> {
    fn node(self, kind: Kind<'_>) -> Node<'_> {
        Node::new((self.number, self.column), kind)
    }

    /// The column of a member's name, its quote counted; of an escaped one, that of the object.
    fn column_of(self, name: &str) -> u32 {
        // How far into the line a slice of it begins. A name that was unescaped is no slice of it.
        let bytes = name.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let before = bytes.and_then(|bytes| self.text.get(..bytes)).map(|before| before.chars().count());
        before.filter(|count| *count != 0).and_then(|count| u32::try_from(count).ok()).unwrap_or(self.column)
    }
}

impl<'de> Visitor<'de> for Line<'de> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(self.node(Kind::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(self.node(Kind::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(self.node(Kind::Int(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(self.node(i64::try_from(value).map_or(Kind::Float(f64::INFINITY), Kind::Int)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(self.node(Kind::Float(value)))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(self.node(Kind::Str(Cow::Borrowed(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(self.node(Kind::Str(Cow::Owned(value.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(self.node(Kind::Seq(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        // Ten is what a key has; searching them all for a second one is quadratic only for lines of no use.
        let mut entries: Vec<Entry<'de>> = Vec::with_capacity(10);
        while let Some(Name(key)) = access.next_key()? {
            if entries.len() > MOST_MEMBERS || entries.iter().any(|entry| entry.key == key) {
                return Err(Error::custom("written twice"));
            }
            let column = self.column_of(&key);
            let value = access.next_value_seed(Line { column, ..self })?;
            entries.push(Entry { key, line: self.number, column, value });
        }
        Ok(self.node(Kind::Map(entries)))
    }
}

/// More members than any key has: such a line is not searched to its end.
const MOST_MEMBERS: usize = 64;
