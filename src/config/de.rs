//! serde over the tree, with one difference: an error is recorded where it arose, and reading goes on.
//!
//! Every error that leaves this deserializer is in the sink already, with path, line and column. So a
//! `scalar::Slot` around a field swallows it, and the fields beside it are still read. An enum whose variants are
//! named after shapes (`text`, `number`, `list`, `mapping`) is chosen by the shape of the value.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::config::hint;
use crate::config::node::{Entry, Kind, Node, Place};
use crate::config::problem::Sink;

/// Reads `node`, which stands at `place`. `None`: it cannot be read at all; `sink` holds why.
pub fn read<'n, T: Deserialize<'n>>(node: &'n Node<'n>, place: &Place<'_>, sink: &Sink) -> Option<T> {
    T::deserialize(Reader { node, place, sink }).ok()
}

/// Why a value could not be read.
#[derive(Debug)]
pub struct ReadError(Reason);

#[derive(Debug)]
enum Reason {
    /// It is in the sink.
    Recorded,
    /// Something else was expected; the value may be shown.
    Value(String),
    /// Something else was expected; the value must not be shown.
    Type(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Recorded => f.write_str("recorded"),
            Reason::Value(expected) | Reason::Type(expected) => write!(f, "expected {expected}"),
            Reason::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Reason::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Reason::Type(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Reason::Value(expected.to_string()))
    }
}

/// The deserializer of one node.
#[derive(Clone, Copy)]
struct Reader<'p, 'n> {
    node: &'n Node<'n>,
    place: &'p Place<'p>,
    sink: &'p Sink,
}

impl<'n> Reader<'_, 'n> {
    fn refuse(&self, message: String, hint: String) -> ReadError {
        if !matches!(self.node.kind, Kind::Refused) {
            self.sink.add((self.node.line, self.node.column), self.place.to_string(), message, hint);
        }
        ReadError(Reason::Recorded)
    }

    /// Records an error that a visitor returned, unless it is recorded already.
    fn record(&self, error: ReadError) -> ReadError {
        let (message, hint) = match error.0 {
            Reason::Recorded => return error,
            Reason::Value(expected) => (
                format!("expected {expected}, found {}", self.node.quote()),
                hint::of_value(self.node, &expected),
            ),
            Reason::Type(expected) => (
                format!("expected {expected}, found {}", self.node.describe()),
                hint::of_type(self.node, &expected),
            ),
            Reason::Other(message) => (message, "the gateway.yaml that ships explains every key".to_owned()),
        };
        self.refuse(message, hint)
    }

    fn expected(&self, what: &str) -> ReadError {
        self.record(ReadError(Reason::Type(what.to_owned())))
    }

    /// The text that was put in for `${…}`, which may be read as any scalar.
    fn interpolated(&self) -> Option<&'n str> {
        match &self.node.kind {
            Kind::Str(text) if self.node.interpolated => Some(text.as_ref()),
            _ => None,
        }
    }

    fn entries(&self) -> Result<&'n [Entry<'n>], ReadError> {
        match &self.node.kind {
            Kind::Map(entries) => Ok(entries),
            _ => Err(self.expected("a mapping")),
        }
    }

    fn refuse_unknown(&self, entry: &Entry<'_>, known: &[&str]) {
        let message = format!("unknown key `{}`", entry.key.escape_debug());
        let place = self.place.key(&entry.key);
        self.sink.add(
            (entry.line, entry.column),
            place.to_string(),
            message,
            suggest(&entry.key, known, "known are"),
        );
    }

    /// The shape of the value, as shape enums name it.
    fn shape(&self, variants: &[&str]) -> &'static str {
        match &self.node.kind {
            Kind::Str(text) => {
                let is_number =
                    self.node.interpolated && variants.contains(&"number") && text.parse::<i64>().is_ok();
                if is_number { "number" } else { "text" }
            }
            Kind::Int(_) | Kind::Float(_) => "number",
            Kind::Seq(_) => "list",
            Kind::Map(_) => "mapping",
            Kind::Null | Kind::Bool(_) | Kind::Refused => "other",
        }
    }
}

/// A hint that names the known word nearest to `word`, or else all of them.
pub fn suggest(word: &str, known: &[&str], all: &str) -> String {
    let word = word.to_lowercase();
    let nearest = known.iter().map(|k| (strsim::damerau_levenshtein(&word, k), k)).min();
    match nearest {
        Some((distance, name)) if distance <= 2 && distance < name.len() => format!("did you mean `{name}`?"),
        Some(_) => format!("{all} {}", known.join(", ")),
        None => "none is known here".to_owned(),
    }
}

/// Shapes that a shape enum may have.
const SHAPES: [&str; 4] = ["text", "number", "list", "mapping"];

fn shape_in_words(shape: &str) -> &'static str {
    match shape {
        "text" => "text",
        "number" => "a number",
        "list" => "a list",
        _ => "a mapping",
    }
}

impl<'n> Deserializer<'n> for Reader<'_, 'n> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.kind {
            Kind::Refused => return Err(ReadError(Reason::Recorded)),
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Int(value) => visitor.visit_i64(*value),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Str(text) => visitor.visit_borrowed_str(text),
            Kind::Seq(items) => visitor.visit_seq(Items { reader: self, items: items.iter().enumerate() }),
            Kind::Map(entries) => {
                visitor.visit_map(Members { reader: self, entries: entries.iter(), known: None, value: None })
            }
        }
        .map_err(|error| self.record(error))
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.interpolated().and_then(|text| text.parse().ok()) {
            Some(value) => visitor.visit_bool(value).map_err(|error| self.record(error)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_i64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.interpolated().and_then(|text| text.parse().ok()) {
            Some(value) => visitor.visit_i64(value).map_err(|error| self.record(error)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.interpolated().and_then(|text| text.parse().ok()) {
            Some(value) => visitor.visit_f64(value).map_err(|error| self.record(error)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.kind {
            Kind::Seq(_) => self.deserialize_any(visitor),
            _ => Err(self.expected("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.entries()?;
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let entries = self.entries()?;
        for entry in entries.iter().filter(|entry| !fields.contains(&entry.key.as_ref())) {
            self.refuse_unknown(entry, fields);
        }
        let members = Members { reader: self, entries: entries.iter(), known: Some(fields), value: None };
        visitor.visit_map(members).map_err(|error| self.record(error))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if variants.iter().all(|variant| SHAPES.contains(variant)) {
            let shape = self.shape(variants);
            if !variants.contains(&shape) {
                let words: Vec<&str> = variants.iter().map(|v| shape_in_words(v)).collect();
                return Err(self.expected(&words.join(" or ")));
            }
            return visitor.visit_enum(Shaped { reader: self, shape }).map_err(|error| self.record(error));
        }
        match &self.node.kind {
            Kind::Str(text) if variants.contains(&text.as_ref()) => {
                let variant: StrDeserializer<'_, ReadError> = text.as_ref().into_deserializer();
                visitor.visit_enum(variant).map_err(|error| self.record(error))
            }
            Kind::Str(text) => {
                let message = format!("unknown value {}", self.node.quote());
                let word = if self.node.interpolated { "" } else { text.as_ref() };
                Err(self.refuse(message, suggest(word, variants, "allowed are")))
            }
            _ => Err(self.refuse(
                format!("expected one of {}, found {}", variants.join(", "), self.node.describe()),
                "write one of these words".to_owned(),
            )),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <W: Visitor<'n>>
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier
    }
}

/// The elements of a list.
struct Items<'p, 'n> {
    reader: Reader<'p, 'n>,
    items: std::iter::Enumerate<std::slice::Iter<'n, Node<'n>>>,
}

impl<'n> SeqAccess<'n> for Items<'_, 'n> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let place = self.reader.place.index(index);
        seed.deserialize(Reader { node, place: &place, sink: self.reader.sink }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The members of a mapping; of a struct, those that it knows.
struct Members<'p, 'n> {
    reader: Reader<'p, 'n>,
    entries: std::slice::Iter<'n, Entry<'n>>,
    known: Option<&'static [&'static str]>,
    value: Option<&'n Entry<'n>>,
}

impl<'n> MapAccess<'n> for Members<'_, 'n> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let known = self.known;
        self.value = self.entries.find(|entry| known.is_none_or(|known| known.contains(&entry.key.as_ref())));
        match self.value {
            Some(entry) => seed.deserialize(BorrowedStrDeserializer::new(&entry.key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(entry) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let place = self.reader.place.key(&entry.key);
        seed.deserialize(Reader { node: &entry.value, place: &place, sink: self.reader.sink })
    }
}

/// A variant chosen by shape, which holds the value itself.
struct Shaped<'p, 'n> {
    reader: Reader<'p, 'n>,
    shape: &'static str,
}

impl<'p, 'n> EnumAccess<'n> for Shaped<'p, 'n> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let variant = seed.deserialize(BorrowedStrDeserializer::new(self.shape))?;
        Ok((variant, self))
    }
}

impl<'n> VariantAccess<'n> for Shaped<'_, 'n> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'n>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'n>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.reader.deserialize_struct("", fields, visitor)
    }
}
