//! The trail that changes leave.

use crate::clock::UnixTime;
use crate::ids::AccountId;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number: later ones are larger.
    pub id: u64,
    /// When, to the millisecond.
    pub at: UnixTime,
    /// Who.
    pub actor: Box<str>,
    /// What.
    pub action: Box<str>,
    /// Whose account it was about, if about one.
    pub account: Option<AccountId>,
    /// What it was done to: the id of a key, say.
    pub subject: Option<Box<str>>,
    /// More of it, for people.
    pub detail: Option<Box<str>>,
}

/// A page of the trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditOf {
    /// Of which account; `None`: of all.
    pub account: Option<AccountId>,
    /// Rows before this number; `None`: from the newest on.
    pub before: Option<u64>,
    /// The most rows wanted.
    pub limit: u32,
}
