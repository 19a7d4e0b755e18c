//! What is kept for an account, of both kinds, as its owner is shown it.

use crate::auth::model_glob::ModelGlob;
use crate::cache::key::EntryKey;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::answer::PromptHash;
use crate::units::ByteSize;

/// The most answers of each kind that are deleted at once because they have expired: others wait meanwhile.
pub const MOST_EXPIRED: u32 = 1000;

/// The most entries that are looked at for one page.
pub const MOST_SEEN: u32 = 1000;

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whose entries.
    pub account: AccountId,
    /// Only of models that fit one of these; empty: of any, and of none.
    pub allowed_models: Box<[ModelGlob]>,
    /// Where the page before ended; `None`: the first one.
    pub after: Option<Place>,
    /// The most entries wanted, at most [`MOST_SEEN`].
    pub limit: u32,
}

/// A place in the list, which stays where it is when entries come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds since 1970 at which the entry before it came.
    pub created_at: u64,
    /// Which one of that millisecond.
    pub number: i64,
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// The entries; fewer than wanted, even none, where many that are not allowed stand between.
    pub entries: Vec<ListedEntry>,
    /// Where the list goes on; `None`: this was its end.
    pub next: Option<Place>,
}

/// What finds an entry, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKey {
    /// A stored answer.
    Stored(PromptHash),
    /// A proxied one.
    Proxied(EntryKey),
}

/// An entry, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// What finds it.
    pub key: ListedKey,
    /// Which model, if one was named.
    pub model: Option<Box<str>>,
    /// What it takes.
    pub size: ByteSize,
    /// When it came, to the millisecond.
    pub created_at: UnixTime,
    /// When it is given no more, to the millisecond.
    pub expires_at: UnixTime,
}
