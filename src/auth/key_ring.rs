//! The immutable index of all keys by digest.
