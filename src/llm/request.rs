//! The few request fields that decide about caching.
