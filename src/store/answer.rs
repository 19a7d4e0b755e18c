//! Answers that clients put, and the questions that find them.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::auth::model_glob::ModelGlob;
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::units::ByteSize;

/// Bytes that each answer counts in its account's quota beside its texts: for its row and what finds it.
pub const ROW_BYTES: u64 = 256;

/// SHA-256 of the canonical `messages` of a question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromptHash(pub [u8; 32]);

impl PromptHash {
    /// The hash that 64 hexadecimal digits spell, in either case; `None` for anything else.
    pub fn of_hex(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        let is_whole = HEXLOWER_PERMISSIVE.decode_len(text.len()) == Ok(hash.len());
        let read = is_whole.then(|| HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut hash))?;
        read.is_ok().then_some(Self(hash))
    }

    /// In lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }
}

impl fmt::Debug for PromptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PromptHash({})", self.hex())
    }
}

/// An answer to keep.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAnswer {
    /// Whose it is.
    pub account: AccountId,
    /// What was asked.
    pub prompt_hash: PromptHash,
    /// Which model wrote it, if that was said.
    pub model: Option<Box<str>>,
    /// The answer itself.
    pub answer: String,
    /// The tokens that it spares, if that was said.
    pub tokens: Option<u64>,
    /// What the client wants back with it: the text of a JSON object.
    pub metadata: Option<String>,
    /// Now.
    pub created_at: UnixTime,
    /// When it is given no more.
    pub expires_at: UnixTime,
    /// What the account's answers may take.
    pub quota: ByteSize,
}

impl NewAnswer {
    /// What it counts in its account's quota.
    pub fn counted(&self) -> ByteSize {
        let texts = [Some(self.answer.len()), self.metadata.as_ref().map(String::len)];
        let texts = texts.into_iter().flatten().chain(self.model.as_ref().map(|model| model.len()));
        ByteSize::bytes(texts.fold(ROW_BYTES, |sum, text| sum.saturating_add(text as u64)))
    }
}

/// Without the texts: what clients say belongs into no log.
impl fmt::Debug for NewAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewAnswer({}, {:?}, {} bytes)", self.account, self.prompt_hash, self.counted().as_u64())
    }
}

/// What became of a [`NewAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is kept.
    Kept,
    /// It would take the account over its quota; what was kept before still is.
    OverQuota {
        /// What the account's answers take, without the one that it would have replaced.
        used: ByteSize,
    },
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose answers.
    pub account: AccountId,
    /// What was asked.
    pub prompt_hash: PromptHash,
    /// Only this model's; `None`: any answer, also one without a model.
    pub model: Option<Box<str>>,
    /// Only of models that fit one of these; empty: of any, and of none.
    pub allowed_models: Box<[ModelGlob]>,
}

/// How a look-up for a stored answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookUp {
    /// What was found.
    pub answer: Option<Answer>,
    /// How many were passed over and deleted, as they are not what was put.
    pub damaged: u64,
}

/// A stored answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer itself.
    pub answer: String,
    /// Which model wrote it, if that was said.
    pub model: Option<Box<str>>,
    /// The tokens that it spares, if that was said.
    pub tokens: Option<u64>,
    /// What the client wanted back with it.
    pub metadata: Option<String>,
    /// When it was put, to the millisecond.
    pub created_at: UnixTime,
    /// When it is given no more, to the millisecond.
    pub expires_at: UnixTime,
    /// How often it was found, this time included.
    pub usage_count: u64,
}

/// Without the texts: what clients say belongs into no log.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} bytes, used {} times)", self.answer.len(), self.usage_count)
    }
}

/// Which stored answers are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Whose.
    pub account: AccountId,
    /// To which question; `None`: to any.
    pub prompt_hash: Option<PromptHash>,
    /// Only of models that fit one of these; empty: of any, and of none.
    pub allowed_models: Box<[ModelGlob]>,
}

/// True if a key that may use `allowed` models may see what `model` wrote. Empty: it may use, and see, all.
pub fn may_see(allowed: &[ModelGlob], model: Option<&str>) -> bool {
    allowed.is_empty() || model.is_some_and(|model| allowed.iter().any(|glob| glob.matches(model)))
}

/// Those of `models` that fit one of the patterns.
pub(in crate::store) fn allowed(models: Vec<String>, patterns: &[ModelGlob]) -> impl Iterator<Item = String> {
    models.into_iter().filter(|model| may_see(patterns, Some(model)))
}

/// CRC-32 of an answer and what came with it.
pub(in crate::store) fn checksum(answer: &str, metadata: Option<&str>) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(answer.as_bytes());
    // Stands in no text.
    hasher.update(&[0xff]);
    hasher.update(metadata.unwrap_or_default().as_bytes());
    i64::from(hasher.finalize())
}
