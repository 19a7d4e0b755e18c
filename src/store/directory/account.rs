//! What is kept of an account.

use crate::clock::UnixTime;
use crate::ids::{AccountId, PlanName};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What people call it.
    pub name: Box<str>,
    /// The plan of its keys that have none of their own.
    pub plan: PlanName,
    /// When it was made, to the millisecond.
    pub created_at: UnixTime,
    /// Since when all its keys are refused; `None`: they are not.
    pub suspended_at: Option<UnixTime>,
    /// Its keys that are neither revoked nor deleted.
    pub keys: u64,
}
