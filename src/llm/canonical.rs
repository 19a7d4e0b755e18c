//! Canonical JSON (RFC 8785 with whole integers), fed to a hash.
