//! Why something is not done. Displayed: what the person who asked is told.

use crate::store::failure::StoreError;
use crate::store::people::edit::Denial;

/// Why something is not done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name or the address has been tried too often.
    #[error("too many attempts; try again in a minute")]
    Limited,
    /// Too many passwords are being checked.
    #[error("too many people are logging in right now; try again in a few seconds")]
    Busy,
    /// Nobody has this name and this password, or they may not log in.
    #[error("the name or the password is wrong")]
    WrongLogin,
    /// The password that is to be changed is another.
    #[error("the current password is wrong")]
    WrongPassword,
    /// What was given cannot be taken.
    #[error("{0}")]
    Unfit(Unfit),
    /// The person's role does not allow it.
    #[error("your role does not allow this; ask an owner of the account")]
    Forbidden,
    /// It is for operators.
    #[error("only operators may do this")]
    OperatorsOnly,
    /// One's own password is not set by a link.
    #[error("change your own password with the current one, under Settings")]
    OwnReset,
    /// What was asked for cannot be.
    #[error("{0}")]
    Denied(Denial),
    /// The store, or the operating system, does not do its part. What it says is for the log.
    #[error("this cannot be done right now; try again, or look at the gateway's log")]
    Broken(Broken),
}

/// What does not do its part.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// The store.
    Store(StoreError),
    /// The operating system's generator of random numbers.
    Randomness,
    /// A password could not be hashed, or a hash not be read.
    Hash,
}

/// Why something that was given cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No name to log in with.
    #[error("a login name has 3 to 64 letters, digits and . _ - + @")]
    Login,
    /// No name to be shown.
    #[error("a name has at most 64 characters, and no control characters")]
    Name,
    /// The password is too short.
    #[error("a password has at least 12 characters; a few words in a row make a good one")]
    Short,
    /// The password is too long.
    #[error("a password has at most 128 characters")]
    Long,
    /// Nobody has made this account, and the key list does not name it.
    #[error("there is no account of this id; make it first")]
    Account,
    /// The password is the name to log in with.
    #[error("the password must not be the login name")]
    SameAsLogin,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Broken(Broken::Store(error))
    }
}
