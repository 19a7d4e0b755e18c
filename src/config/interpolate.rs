//! `${VAR}` in string values.
