//! Header fields, wherever they are: in a plain map, or in one of pingora's heads.
//!
//! pingora's heads remember how each name was spelt; every insert there copies the name and parses it again. Heads
//! that the gateway builds itself need none of that, so they are built in a plain map.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

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

    /// The fields as they are.
    fn map(&self) -> &HeaderMap;
}

impl Fields for HeaderMap {
    fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        Self::insert(self, name, value);
        Ok(())
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        Self::append(self, name, value);
        Ok(())
    }

    fn remove(&mut self, name: &HeaderName) {
        Self::remove(self, name);
    }

    fn map(&self) -> &HeaderMap {
        self
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

            fn map(&self) -> &HeaderMap {
                &self.headers
            }
        }
    )+};
}

fields_of!(RequestHeader, ResponseHeader);
