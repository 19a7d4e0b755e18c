//! From a presented key to its record, or a refusal.
