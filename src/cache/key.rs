//! The cache key: SHA-256 over length-prefixed parts.
