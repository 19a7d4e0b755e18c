//! Header fields, wherever they are: in a list, or in one of pingora's heads.
//!
//! pingora's heads remember how each name was spelt; every insert there copies the name and parses it again. Heads
//! that the gateway builds itself need none of that, and are a list.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

/// Fields in their order; few, as `limits.head_fields` bounds them, so that one is found by looking through them all.
#[derive(Debug, Default)]
pub(super) struct FieldList(Vec<(HeaderName, HeaderValue)>);

impl FieldList {
    /// A list with room for `fields`.
    pub(super) fn with_capacity(fields: usize) -> Self {
        Self(Vec::with_capacity(fields))
    }

    /// Puts a field behind the others.
    pub(super) fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// The fields in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

/// How many bytes a field is written in.
pub(super) fn written_size((name, value): &(HeaderName, HeaderValue)) -> usize {
    name.as_str().len() + value.len() + ": \r\n".len()
}

/// Writes a field to a head over HTTP/1.1.
pub(super) fn put_field(text: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// A head that fields are put into.
pub(super) trait Fields {
    /// Puts a field in place of all of its name.
    ///
    /// # Errors
    /// pingora does not take the name; cannot come up, as it is one.
    fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;

    /// Puts a field beside others of its name.
    ///
    /// # Errors
    /// As [`Fields::insert`].
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;

    /// Removes all fields of the name.
    fn remove(&mut self, name: &HeaderName);

    /// The values of all fields of the name, in their order.
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue>;
}

impl From<FieldList> for HeaderMap {
    fn from(fields: FieldList) -> Self {
        let mut map = Self::with_capacity(fields.0.len());
        for (name, value) in fields.0 {
            map.append(name, value);
        }
        map
    }
}

impl Fields for FieldList {
    fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        let mut value = Some(value);
        // The first takes it, and the others go.
        self.0.retain_mut(|(other, old)| *other != name || value.take().map(|new| *old = new).is_some());
        if let Some(value) = value {
            self.push(name, value);
        }
        Ok(())
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.push(name, value);
        Ok(())
    }

    fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|(other, _)| other != name);
    }

    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value)
    }
}

/// pingora's two heads have the same methods and no trait in common.
macro_rules! fields_of {
    ($($head:ty),+) => {$(
        impl Fields for $head {
            fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
                self.insert_header(name, value)
            }

            fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
                self.append_header(name, value).map(drop)
            }

            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }

            fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
                self.headers.get_all(name).iter()
            }
        }
    )+};
}

fields_of!(RequestHeader, ResponseHeader);
