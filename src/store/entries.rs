//! What is kept for an account, of both kinds, as its owner is shown it.

use crate::auth::model_glob::ModelGlob;
use crate::cache::entries::Slot;
use crate::cache::key::EntryKey;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::answer::PromptHash;
use crate::units::ByteSize;

/// The most answers of each kind that are deleted at once because they have expired: others wait meanwhile.
pub const MOST_EXPIRED: u32 = 1000;

/// The most entries that are looked at for one page.
pub const MOST_SEEN: u32 = 1000;

/// What was deleted because it had expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many stored answers.
    pub stored: u64,
    /// The slots of proxied ones.
    pub proxied: Vec<Slot>,
}

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whose entries.
    pub account: AccountId,
    /// Only of models that fit one of these; empty: of any, and of none.
    pub allowed_models: Box<[ModelGlob]>,
    /// Only what this hash finds; `None`: all.
    pub hash: Option<[u8; 32]>,
    /// Only this kind; `None`: both.
    pub kind: Option<EntryKind>,
    /// Where the page before ended; `None`: the first one.
    pub after: Option<Place>,
    /// The most entries wanted, at most [`MOST_SEEN`].
    pub limit: u32,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A client put it.
    Stored,
    /// An upstream answered it.
    Proxied,
}

/// A place in the list, which stays where it is when entries come and go. It holds nothing but what the account is shown
/// of its entry: the number of a row would tell how much others store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds since 1970 at which the entry before it came.
    pub created_at: u64,
    /// What finds that entry.
    pub key: ListedKey,
    /// Which one of the same key: a stored answer's model, a proxied one's form.
    pub which: Box<str>,
}

impl Place {
    /// The place behind all that came in a millisecond since 1970, or later. It names none of them.
    pub fn behind(millisecond: u64) -> Self {
        let least = ListedKey::of(EntryKind::Stored, [0; 32]);
        Self { created_at: millisecond, key: least, which: "".into() }
    }
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

impl ListedKey {
    /// Its kind, and the bytes of the hash that it is.
    pub fn parts(&self) -> (EntryKind, &[u8; 32]) {
        match self {
            Self::Stored(PromptHash(hash)) => (EntryKind::Stored, hash),
            Self::Proxied(key) => (EntryKind::Proxied, key.as_bytes()),
        }
    }

    /// The key of such a kind and hash.
    pub fn of(kind: EntryKind, hash: [u8; 32]) -> Self {
        match kind {
            EntryKind::Stored => Self::Stored(PromptHash(hash)),
            EntryKind::Proxied => Self::Proxied(EntryKey::from_bytes(hash)),
        }
    }
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
