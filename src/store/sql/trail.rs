//! The trail: a row for each change of accounts, keys and people, written with it.

use std::fmt;

use crate::clock::UnixTime;

/// A row of it.
pub(in crate::store) struct Step<'a> {
    /// When.
    pub(in crate::store) at: UnixTime,
    /// Who.
    pub(in crate::store) actor: &'a (dyn fmt::Display + Sync),
    /// What.
    pub(in crate::store) action: &'a str,
    /// Whose account it was about, if about one.
    pub(in crate::store) account: Option<&'a str>,
    /// What it was done to.
    pub(in crate::store) subject: Option<&'a str>,
    /// More of it, for people.
    pub(in crate::store) detail: Option<String>,
}
