//! Token counts as the APIs report them.
