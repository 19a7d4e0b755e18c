//! What is kept of somebody who may log in.

use std::fmt;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};

/// What somebody may do in their account. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Makes and ends keys.
    Admin,
    /// Says who belongs to the account.
    Owner,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Admin, Self::Owner];

    /// Its name in forms and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where somebody belongs, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The account.
    pub account: AccountId,
    /// What they may do in it.
    pub role: Role,
}

/// A name to log in with: 3 to 64 ASCII letters, digits and `.`, `_`, `-`, `+`, `@`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginName(Box<str>);

impl LoginName {
    /// The name that `text` spells in any case; `None`: it is none.
    pub fn new(text: &str) -> Option<Self> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
        let is_name = (3..=64).contains(&text.len()) && text.bytes().all(is_part);
        is_name.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password's hash, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub Box<str>);

/// Without the hash.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their id.
    pub id: PersonId,
    /// What they log in with; nobody else has it.
    pub login: LoginName,
    /// What others see of them.
    pub name: Box<str>,
    /// Their account; `None` for operators alone.
    pub membership: Option<Membership>,
    /// True if they may do what the operator's token may.
    pub is_operator: bool,
    /// When they came, to the millisecond.
    pub created_at: UnixTime,
    /// When their password was set last.
    pub password_changed_at: UnixTime,
    /// Since when they cannot log in; `None`: they can.
    pub disabled_at: Option<UnixTime>,
}

/// Somebody, and what their password is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who.
    pub person: Person,
    /// Of their password.
    pub password: PasswordHash,
}

/// A page of people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeopleOf {
    /// Of which account; `None`: all.
    pub account: Option<AccountId>,
    /// Those behind this id; empty: from the beginning.
    pub after: Box<str>,
    /// The most wanted.
    pub limit: u32,
}
