//! The eye on the key list.
