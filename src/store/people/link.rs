//! What is kept of a one-time link.

use crate::clock::UnixTime;
use crate::ids::PersonId;
use crate::store::people::TokenDigest;
use crate::store::people::person::{Membership, Role};

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Lets somebody into an account.
    Invite(Membership),
    /// Lets somebody be an operator.
    Operator,
    /// The same as long as there is none, and gives them a place in an account.
    FirstOperator(Option<Membership>),
    /// Sets somebody's password.
    Reset(PersonId),
}

impl Purpose {
    /// Its name in the store and in the trail.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Invite(_) => "invite",
            Self::Operator => "operator",
            Self::FirstOperator(_) => "first_operator",
            Self::Reset(_) => "reset",
        }
    }

    /// What somebody may do in the account that it lets them into, if into one.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Invite(membership) | Self::FirstOperator(Some(membership)) => Some(membership.role),
            Self::Operator | Self::FirstOperator(None) | Self::Reset(_) => None,
        }
    }
}

/// A link that waits to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id, `link_…`, which lets nobody in.
    pub id: Box<str>,
    /// What it is for.
    pub purpose: Purpose,
    /// Who made it, as the trail says it.
    pub made_by: Box<str>,
    /// When, to the millisecond.
    pub created_at: UnixTime,
    /// From then on it is good for nothing.
    pub ends_at: UnixTime,
}

/// A link that is made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewLink {
    /// What it is recognised by.
    pub digest: TokenDigest,
    /// Its id.
    pub id: Box<str>,
    /// What it is for.
    pub purpose: Purpose,
    /// From then on it is good for nothing.
    pub ends_at: UnixTime,
}

/// Without the digest.
impl std::fmt::Debug for NewLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewLink({}, {:?})", self.id, self.purpose)
    }
}
