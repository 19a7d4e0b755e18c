//! What clients are told when the store fails: whether to try again, and nothing of files and paths, which are logged.

use crate::outcome::api_error::ApiError;
use crate::runtime::answerer::Refusal;
use crate::store::failure::{StoreError, Trouble};

/// The refusal of a call because of `error`; `what` could not be done, in a sentence for the client.
pub(super) fn failed(error: &StoreError, what: &'static str) -> Refusal {
    let is_passing = matches!(
        error.trouble,
        Trouble::Busy | Trouble::Untold(_) | Trouble::Closed | Trouble::Unreachable(_)
    );
    if is_passing {
        tracing::warn!(%error, "a call of the cache API met a store that is busy, closed or out of reach");
        return passing(what).into();
    }
    tracing::error!(%error, "a call of the cache API failed");
    lasting(what).into()
}

/// `what` could not be done, and could be in a moment.
pub(super) fn passing(what: &'static str) -> ApiError {
    ApiError::new(503, format!("{what} at the moment. Please try again later."))
}

/// `what` could not be done, and trying again does not help.
pub(super) fn lasting(what: &'static str) -> ApiError {
    ApiError::new(500, what)
}
