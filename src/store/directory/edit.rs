//! Every change that can be made to accounts and keys, and why one is denied.

use std::fmt;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PersonId, PlanName};
use crate::store::directory::key::{KeyTerms, NewSecret};

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Makes an account.
    CreateAccount {
        /// Its id.
        id: AccountId,
        /// What people call it.
        name: Box<str>,
        /// Its plan.
        plan: PlanName,
    },
    /// Changes what is given of an account.
    ChangeAccount {
        /// Which one.
        id: AccountId,
        /// What people call it from now on.
        name: Option<Box<str>>,
        /// Its plan from now on.
        plan: Option<PlanName>,
        /// The plan of the account, which is made if it is not there; `None`: it has to be there.
        new_account: Option<PlanName>,
    },
    /// Has all keys of an account refused. One that is suspended already stays so.
    SuspendAccount {
        /// Which one.
        id: AccountId,
        /// The plan of the account, which is made if it is not there; `None`: it has to be there.
        new_account: Option<PlanName>,
    },
    /// Ends that.
    ResumeAccount(AccountId),
    /// Makes a key.
    CreateKey(NewKey),
    /// Gives a key another name.
    RenameKey {
        /// Which one.
        which: Which,
        /// What people call it from now on; `None`: nothing.
        name: Option<Box<str>>,
    },
    /// Gives a key a new secret. What was its newest ends then; what was older ends when that was said to.
    RotateKey {
        /// Which one.
        which: Which,
        /// The new secret.
        secret: NewSecret,
        /// When the one before it ends.
        ends_at: UnixTime,
        /// By what the request is known if it is sent again.
        request: Option<Request>,
    },
    /// Ends all secrets of a key but the newest.
    EndOverlap(Which),
    /// Has a key refused for good. One that is revoked already stays so.
    RevokeKey(Which),
    /// The same, and it is listed no more.
    DeleteKey(Which),
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub account: AccountId,
    /// What was decided of it.
    pub terms: KeyTerms,
    /// Its first secret.
    pub secret: NewSecret,
    /// By what the request is known if it is sent again.
    pub request: Option<Request>,
    /// The most keys that are neither revoked nor deleted that its account may have.
    pub most: u32,
    /// The plan of the account, which is made if it is not there; `None`: it has to be there.
    pub new_account: Option<PlanName>,
}

/// What a request is known by if it is sent again: then nothing is done, and the key that it was about is found. For 30 days,
/// and as long as that key is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The name that its author has given to it.
    pub name: Box<str>,
    /// SHA-256 of what it asks for: another request must have another name.
    pub content: [u8; 32],
}

/// A key that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Its id.
    pub id: KeyId,
    /// Whose it must be; `None`: anybody's. Another's is as good as not there.
    pub within: Option<AccountId>,
}

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// Whoever has the operator's token.
    Operator,
    /// Whoever may write to the data folder.
    CommandLine,
    /// Somebody who is logged in.
    Person(PersonId),
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The revision of the keys with which it is in force; 0: it is about none.
    pub revision: u64,
    /// The key that it was about.
    pub key: Option<KeyId>,
    /// False if all was so before: then there is no trail of it.
    pub is_new: bool,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Other gateways would not see it.
    #[error(
        "nothing can be changed here: several gateways share Redis alone, and keys come from the list; PostgreSQL \
         (cluster.postgres) would keep accounts, keys and people for all of them"
    )]
    ListOnly,
    /// There is no such account.
    #[error("there is no such account")]
    NoAccount,
    /// There is one with this id.
    #[error("there is an account with this id already")]
    AccountExists,
    /// There is no such key.
    #[error("there is no such key")]
    NoKey,
    /// The key is revoked, which nothing undoes.
    #[error("the key is revoked, for good; make another one")]
    Revoked,
    /// The key's time has come.
    #[error("the key has expired; make another one")]
    Expired,
    /// The key has as many secrets as it may.
    #[error("the key has 8 secrets that are valid; end the overlap first")]
    TooManySecrets,
    /// The author has given the name of this request to another one.
    #[error("idempotency-key: another request was sent with it; give each a name of its own")]
    OtherRequest,
    /// The account has as many keys as its plan allows.
    #[error("the account has {most} keys, as many as its plan allows (max_keys); revoke one first")]
    TooManyKeys {
        /// How many.
        most: u32,
    },
}

impl Edit {
    /// What the trail calls it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::CreateAccount { .. } => "account.create",
            Self::ChangeAccount { .. } => "account.change",
            Self::SuspendAccount { .. } => "account.suspend",
            Self::ResumeAccount(_) => "account.resume",
            Self::CreateKey(_) => "key.create",
            Self::RenameKey { .. } => "key.rename",
            Self::RotateKey { .. } => "key.rotate",
            Self::EndOverlap(_) => "key.end_overlap",
            Self::RevokeKey(_) => "key.revoke",
            Self::DeleteKey(_) => "key.delete",
        }
    }

    /// By what the request is known if it is sent again.
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::CreateKey(NewKey { request, .. }) | Self::RotateKey { request, .. } => request.as_ref(),
            Self::CreateAccount { .. }
            | Self::ChangeAccount { .. }
            | Self::SuspendAccount { .. }
            | Self::ResumeAccount(_)
            | Self::RenameKey { .. }
            | Self::EndOverlap(_)
            | Self::RevokeKey(_)
            | Self::DeleteKey(_) => None,
        }
    }

    /// More of it, for people.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::CreateAccount { name, plan, .. } => Some(new_account(name, plan)),
            Self::ChangeAccount { name, plan, .. } => {
                let name = name.as_ref().map(|name| format!("name {name}"));
                let plan = plan.as_ref().map(|plan| format!("plan {plan}"));
                Some(name.into_iter().chain(plan).collect::<Vec<_>>().join(", "))
            }
            Self::CreateKey(NewKey { terms, .. }) => {
                let name = terms.name.as_ref().map(|name| format!("name {name}"));
                let plan = terms.plan.as_ref().map(|plan| format!("plan {plan}"));
                let expiry = terms.expires_at.map(|at| format!("until {}", at.rfc3339()));
                let parts = [name, plan, expiry].into_iter().flatten().collect::<Vec<_>>().join(", ");
                (!parts.is_empty()).then_some(parts)
            }
            Self::RenameKey { name, .. } => name.as_deref().map(str::to_owned),
            Self::RotateKey { secret, ends_at, .. } => {
                Some(format!("new secret {}, the old one until {}", secret.public_id, ends_at.rfc3339()))
            }
            Self::SuspendAccount { .. }
            | Self::ResumeAccount(_)
            | Self::EndOverlap(_)
            | Self::RevokeKey(_)
            | Self::DeleteKey(_) => None,
        }
    }
}

/// More of an account that is made, for people.
pub fn new_account(name: &str, plan: &PlanName) -> String {
    format!("{name}, plan {plan}")
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::CommandLine => f.write_str("command line"),
            Self::Person(id) => f.write_str(id.as_str()),
        }
    }
}
