//! Why something was not done.

use http::StatusCode;

use crate::store::directory::edit::Denial;
use crate::store::failure::{StoreError, Trouble};

/// Why something was not done. Displayed: one line for whoever asked, without paths; what is wrong with the store is
/// for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What was given cannot be.
    #[error("{field}: {message}")]
    Wrong {
        /// Which part of it, by the name that the operator's API has for it.
        field: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// What is there does not allow it.
    #[error("{0}")]
    Denied(#[from] Denial),
    /// The store failed.
    #[error("nothing was changed, as accounts and keys cannot be used: {}", .0.trouble)]
    Store(#[from] StoreError),
    /// The operating system gives no random numbers.
    #[error("no random numbers can be had for a key")]
    NoRandomness,
}

/// What kind of refusal it is, for doors that have a word of their own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was given cannot be.
    Wrong,
    /// What it is about is not there.
    Absent,
    /// What is there does not allow it.
    Conflict,
    /// It may be possible later.
    Busy,
    /// Something is broken, as the log says.
    Broken,
}

impl Refused {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Wrong { .. } | Self::Denied(Denial::OtherRequest) => Kind::Wrong,
            Self::Denied(Denial::NoAccount | Denial::NoKey) => Kind::Absent,
            Self::Denied(_) => Kind::Conflict,
            Self::Store(StoreError {
                trouble: Trouble::Busy | Trouble::Closed | Trouble::Full | Trouble::Unreachable(_),
                ..
            }) => Kind::Busy,
            Self::Store(_) | Self::NoRandomness => Kind::Broken,
        }
    }

    /// The status of HTTP that tells it, at every door that has one. What is broken is told to the log as well, in its own
    /// words.
    pub fn status(&self) -> StatusCode {
        match self.kind() {
            Kind::Wrong => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Absent => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Broken => {
                tracing::error!(refused = ?self, "accounts and keys could not be used");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    pub(super) fn wrong(field: &'static str, message: impl Into<String>) -> Self {
        Self::Wrong { field, message: message.into() }
    }
}
