//! The form of a key, and where a request carries it.
