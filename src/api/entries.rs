//! `GET /api/v1/cache`: what is kept for an account, of both kinds, the newest first and page after page.
//!
//! What a proxied entry is found by is a hash over its whole request. It stands under `prompt_hash` like a stored one's,
//! so that `DELETE /api/v1/cache/{prompt_hash}` takes either.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::failed::failed;
use crate::api::query::Query;
use crate::api::wrong::wrong;
use crate::api::{Api, allowed_models, told};
use crate::runtime::answerer::{Asked, Refusal, Told};
use crate::store::answer::PromptHash;
use crate::store::cursor;
use crate::store::entries::{EntryKind, ListedEntry, Page};

/// The entries of a page where the client does not say.
pub(super) const DEFAULT_LIMIT: u64 = 20;

/// The most entries of a page.
pub(super) const MOST: u64 = 100;

/// What is said where the store fails.
pub(super) const UNREADABLE: &str = "The entries could not be listed";

/// A page of what is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryList {
    /// The calling key's account.
    pub account: String,
    /// The newest first; fewer than wanted, even none, where `next` says that the list goes on.
    pub entries: Vec<Entry>,
    /// `after` of the next page; null at the end of the list.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// One thing that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entry {
    /// Where it comes from.
    pub kind: Kind,
    /// What finds it, in hexadecimal digits: of a stored answer SHA-256 of its canonical messages, of a proxied one
    /// SHA-256 of its request.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub prompt_hash: String,
    /// Which model it is of; null if none was named.
    #[schema(required = true, value_type = Option<String>)]
    pub model: Option<Box<str>>,
    /// What it takes.
    pub bytes: u64,
    /// When it came: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From when on it is not found any more: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EntryKind)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A client stored it.
    Stored,
    /// An upstream answered it.
    Proxied,
}

fn read(asked: &Asked) -> Result<Page, Refusal> {
    let query = Query::read(asked.query.as_deref(), &["limit", "after", "kind"])?;
    let kinds = [("stored", EntryKind::Stored), ("proxied", EntryKind::Proxied)];
    let limit = query.whole("limit", 1..=MOST)?.unwrap_or(DEFAULT_LIMIT);
    let after = match query.text("after") {
        None => None,
        Some(text) => match cursor::decode(text) {
            Some(place) => Some(place),
            None => return Err(wrong("after", "next of the page before", "something else").into()),
        },
    };
    Ok(Page {
        account: asked.key.account().clone(),
        allowed_models: allowed_models(&asked.key),
        hash: None,
        kind: query.one_of("kind", &kinds)?,
        after,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    })
}

/// Answers the call.
pub(super) async fn list(api: &Api, asked: Asked) -> Result<Told, Refusal> {
    let page = read(&asked)?;
    let listed = api.store.list_entries(page, asked.now.unix).await;
    let listed = listed.map_err(|error| failed(&error, UNREADABLE))?;
    told(&EntryList {
        account: asked.key.account().to_string(),
        entries: listed.entries.into_iter().map(entry).collect(),
        next: listed.next.as_ref().map(cursor::encode),
    })
}

fn entry(listed: ListedEntry) -> Entry {
    let ListedEntry { key, model, size, created_at, expires_at } = listed;
    let (kind, hash) = key.parts();
    Entry {
        kind: match kind {
            EntryKind::Stored => Kind::Stored,
            EntryKind::Proxied => Kind::Proxied,
        },
        prompt_hash: PromptHash(*hash).hex(),
        model,
        bytes: size.as_u64(),
        created_at: created_at.rfc3339(),
        expires_at: expires_at.rfc3339(),
    }
}
