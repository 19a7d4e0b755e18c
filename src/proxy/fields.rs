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

    /// Takes out all fields of the name.
    pub(super) fn remove_all(&mut self, name: &HeaderName) {
        self.0.retain(|(other, _)| other != name);
    }

    /// The fields in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
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
        match self.0.iter().position(|(other, _)| *other == name) {
            None => self.push(name, value),
            Some(place) => {
                let mut at = 0;
                self.0.retain(|(other, _)| {
                    at += 1;
                    at <= place + 1 || *other != name
                });
                if let Some((_, old)) = self.0.get_mut(place) {
                    *old = value;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.push(name, value);
        Ok(())
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_all(name);
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
