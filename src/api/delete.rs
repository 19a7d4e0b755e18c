//! `DELETE /api/v1/cache/{prompt_hash}` and `DELETE /api/v1/cache`: forgets what is kept for an account.
//!
//! A hash finds stored answers of every model, and the account's proxied answer that the list shows under it. Who knows
//! another account's hash deletes nothing by it, and learns nothing: the answer is the same 404.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::failed::failed;
use crate::api::query::Query;
use crate::api::wrong::{cut, wrong};
use crate::api::{Api, allowed_models, told};
use crate::cache::key::EntryKey;
use crate::outcome::api_error::ApiError;
use crate::runtime::answerer::{Asked, Refusal, Told};
use crate::store::answer::{PromptHash, Which};
use crate::store::proxied::Purge;

/// What is said where the store fails.
pub(super) const UNDELETABLE: &str = "The entries could not be deleted";

/// Entries were deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// How many.
    pub deleted: u64,
}

/// Answers the call that names one hash.
pub(super) async fn delete(api: &Api, asked: &Asked, hash: &str) -> Result<Told, Refusal> {
    Query::read(asked.query.as_deref(), &[])?;
    let Some(hash) = PromptHash::of_hex(hash) else {
        return Err(no_hash(hash).into());
    };
    let (account, allowed_models) = (asked.key.account().clone(), allowed_models(&asked.key));
    let which =
        Which { account: account.clone(), prompt_hash: Some(hash), allowed_models: allowed_models.clone() };
    let purge = Purge::Key { account, key: EntryKey::from_bytes(hash.0), allowed_models };
    match delete_both(api, which, purge).await? {
        0 => Err(nothing_there().into()),
        deleted => told(&Deleted { deleted }),
    }
}

/// Answers the call that names none.
pub(super) async fn delete_all(api: &Api, asked: &Asked) -> Result<Told, Refusal> {
    Query::read(asked.query.as_deref(), &[])?;
    let (account, allowed_models) = (asked.key.account().clone(), allowed_models(&asked.key));
    let which = Which { account: account.clone(), prompt_hash: None, allowed_models: allowed_models.clone() };
    let deleted = delete_both(api, which, Purge::Account { account, allowed_models }).await?;
    told(&Deleted { deleted })
}

/// Deletes stored and proxied answers. If one half fails, the other may be done: asking again does the rest.
async fn delete_both(api: &Api, which: Which, purge: Purge) -> Result<u64, Refusal> {
    let stored = api.store.delete_answers(which).await.map_err(|error| failed(&error, UNDELETABLE))?;
    let proxied = (api.purge)(purge).await.map_err(|error| failed(&error, UNDELETABLE))?;
    Ok(stored.saturating_add(proxied))
}

pub(super) fn no_hash(text: &str) -> ApiError {
    wrong("prompt_hash", "64 hexadecimal digits", cut(text))
}

pub(super) fn nothing_there() -> ApiError {
    ApiError::new(404, "Nothing is kept under this prompt_hash")
}
