//! Answers of upstreams, as they are written behind the cache in memory.

use std::fmt;
use std::sync::Arc;

use crate::auth::model_glob::ModelGlob;
use crate::cache::entries::Slot;
use crate::cache::key::EntryKey;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::llm::translate::{AnswerForm, StreamUsage};

/// Bytes that each answer counts beside its payload: for its row and what finds it.
pub const ROW_BYTES: u64 = 512;

/// The most answers that one put deletes to stay within its bound.
pub const MOST_EVICTED: u32 = 1000;

/// The most answers that one purge deletes.
pub const MOST_PURGED: u32 = 5000;

/// An answer to keep. What the payload means is its writer's affair.
#[derive(Clone)]
pub struct NewProxied {
    /// Where.
    pub slot: Slot,
    /// Whose it is; `None`: everybody's.
    pub account: Option<AccountId>,
    /// The label of its route.
    pub route: Arc<str>,
    /// The model that was asked, if one was named.
    pub model: Option<Box<str>>,
    /// When it came.
    pub created_at: UnixTime,
    /// When it is given no more.
    pub expires_at: UnixTime,
    /// All of it.
    pub payload: Vec<u8>,
}

/// Without the payload: what models say belongs into no log.
impl fmt::Debug for NewProxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewProxied({:?}, {} bytes)", self.slot.key, self.payload.len())
    }
}

/// What is in a slot.
#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or what has expired.
    Nothing,
    /// The payload, as it was put.
    Payload {
        /// All of it.
        payload: Vec<u8>,
        /// When it came, to the millisecond.
        created_at: UnixTime,
        /// When it is given no more, to the millisecond.
        expires_at: UnixTime,
    },
    /// Something else than was put; it is deleted.
    Damaged,
}

/// Without the payload: what models say belongs into no log.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Payload { payload, .. } => write!(f, "Payload({} bytes)", payload.len()),
            Self::Damaged => f.write_str("Damaged"),
        }
    }
}

/// Which answers are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// An account's to a question, in every form: who knows a key need not own what it finds.
    Key {
        /// Whose.
        account: AccountId,
        /// The question.
        key: EntryKey,
        /// Only of models that fit one of these; empty: of any, and of none.
        allowed_models: Box<[ModelGlob]>,
    },
    /// An account's.
    Account {
        /// Whose.
        account: AccountId,
        /// Only of models that fit one of these; empty: of any, and of none.
        allowed_models: Box<[ModelGlob]>,
    },
    /// Those of a route, by its label.
    Route(Arc<str>),
    /// All.
    All,
}

/// Where a list of slots goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// Behind the one with this number; 0: from the first one on.
    pub after: i64,
    /// At most this many.
    pub limit: u32,
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotPage {
    /// The slots.
    pub slots: Vec<Slot>,
    /// The number of the last answer that was looked at, for the next page; that of the page before, if there was none.
    pub last: i64,
    /// True if the list goes on.
    pub goes_on: bool,
}

/// The name of a form where it is kept; never changed.
pub(super) fn form_name(form: AnswerForm) -> &'static str {
    match form {
        AnswerForm::Json => "json",
        AnswerForm::Stream(StreamUsage::Included) => "stream_usage",
        AnswerForm::Stream(StreamUsage::Omitted) => "stream",
    }
}

/// The slot of a row; `None` if another version wrote it in a way that this one does not know.
pub(super) fn slot_of(key: &[u8], form: &str) -> Option<Slot> {
    let key = EntryKey::from_bytes(key.try_into().ok()?);
    let form = AnswerForm::ALL.into_iter().find(|known| form_name(*known) == form)?;
    Some(Slot { key, form })
}
