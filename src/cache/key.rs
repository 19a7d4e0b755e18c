//! The cache key: SHA-256 over length-prefixed parts.
//!
//! It is made in two steps, so that a body seen before need not be read again: the body's digest, which depends on
//! the body and on what is left out of it, and the key of an entry, which adds who asks for it, where and how.

use std::fmt;

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::cache::policy::RoutePolicy;
use crate::ids::AccountId;
use crate::llm::canonical;
use crate::llm::json::{JsonFault, Tape};
use crate::llm::request::{Api, RequestFields};

/// Raised when the meaning of a key changes, so that stored entries of the old meaning are found no more.
const KEY_VERSION: u8 = 2;

/// The request headers in every key, each by its place here: their order is a part of the key's meaning. A route adds its
/// `vary`.
static KEY_HEADERS: [HeaderName; 8] = [
    CONTENT_TYPE,
    ACCEPT,
    ACCEPT_LANGUAGE,
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
];

/// SHA-256 of a body's canonical form, without the members that are left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; 32]);

/// Under which an entry is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey([u8; 32]);

/// A body that was read: all that is remembered of it.
///
/// It depends on the body, on the API and on the route's `ignore` list alone: who memoises it by the body's raw hash
/// must keep routes and APIs apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannedBody {
    /// What its members say.
    pub fields: RequestFields,
    /// Its digest, or why it has none and is not cached.
    pub digest: Result<BodyDigest, JsonFault>,
}

/// Whose entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// One account's.
    Account(&'a AccountId),
    /// Everybody's. Equal to no account, whatever its name.
    Everyone,
}

/// What an entry's key is made of.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// Whose entry it is.
    pub owner: Owner<'a>,
    /// The route's label.
    pub route: &'a str,
    /// The path as it came.
    pub path: &'a str,
    /// The query as it came; `None` without a question mark.
    pub query: Option<&'a str>,
    /// The request's headers, without those that are not sent on.
    pub headers: &'a HeaderMap,
    /// The route's policy, for its `vary`.
    pub policy: &'a RoutePolicy,
    /// The body.
    pub body: &'a BodyDigest,
}

// === impl ScannedBody ===

impl ScannedBody {
    /// Reads and digests a request body, in one pass.
    ///
    /// Errors: [`JsonFault::Duplicate`], which is the client's fault; [`JsonFault::NotJson`], [`JsonFault::TooDeep`]
    /// and [`JsonFault::TooLarge`], with which nothing is known of the body.
    pub fn read(body: &[u8], api: Api, ignore: &[Box<str>]) -> Result<Self, JsonFault> {
        let mut tape = Tape::default();
        let document = tape.read(body)?;
        let fields = RequestFields::read(api, document);
        let mut hasher = Sha256::new();
        let is_left_out = |name: &[u8]| {
            api.left_out().iter().any(|left_out| left_out.as_bytes() == name)
                || ignore.iter().any(|ignored| ignored.as_bytes() == name)
        };
        let digest = match canonical::write(document, &is_left_out, &mut |piece| hasher.update(piece)) {
            Ok(()) => Ok(BodyDigest(hasher.finalize().into())),
            Err(JsonFault::Duplicate) => return Err(JsonFault::Duplicate),
            Err(fault) => Err(fault),
        };
        Ok(Self { fields, digest })
    }
}

// === impl EntryKey ===

impl EntryKey {
    /// The key of the entry that answers such a request.
    pub fn of(parts: &KeyParts<'_>) -> Self {
        let KeyParts { owner, route, path, query, headers, policy, body } = *parts;
        let mut text = Parts(Vec::with_capacity(COMMON_PARTS));
        text.part(Tag::Version, &[KEY_VERSION]);
        match owner {
            Owner::Account(account) => text.part(Tag::Account, account.as_str().as_bytes()),
            Owner::Everyone => text.part(Tag::Everyone, b""),
        }
        text.part(Tag::Route, route.as_bytes());
        text.part(Tag::Path, path.as_bytes());
        if let Some(query) = query {
            text.part(Tag::Query, query.as_bytes());
        }
        for (place, name) in (0..).zip(&KEY_HEADERS) {
            text.header(Tag::Header, &[place], headers.get_all(name).iter());
        }
        for name in &policy.vary {
            text.header(Tag::Vary, name.as_str().as_bytes(), headers.get_all(name).iter());
        }
        text.part(Tag::Body, &body.0);
        Self(Sha256::digest(&text.0).into())
    }

    /// The key a store has kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, evenly spread.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The request headers in the keys of a route.
pub fn header_names(policy: &RoutePolicy) -> impl Iterator<Item = &HeaderName> {
    KEY_HEADERS.iter().chain(policy.vary.iter())
}

impl fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryKey({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// Says what a part is. The numbers are part of the key's meaning.
#[derive(Clone, Copy)]
enum Tag {
    Version = 1,
    Account = 2,
    Everyone = 3,
    Route = 4,
    Path = 5,
    Query = 6,
    Header = 7,
    Vary = 8,
    HeaderValue = 9,
    Body = 10,
}

/// Room for the parts of a common request, in bytes.
const COMMON_PARTS: usize = 256;

/// The text that a key is the digest of.
struct Parts(Vec<u8>);

impl Parts {
    /// Adds a part as tag, length and bytes: no two lists of parts give the same text. A length takes seven bits a byte,
    /// the lowest first, and a high bit where more follow.
    fn part(&mut self, tag: Tag, bytes: &[u8]) {
        self.0.push(tag as u8);
        let mut length = bytes.len();
        while length > 0x7f {
            self.0.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        self.0.push((length & 0x7f) as u8);
        self.0.extend_from_slice(bytes);
    }

    /// Adds a header that is there: which it is, then each value.
    fn header<'a>(&mut self, tag: Tag, name: &[u8], values: impl Iterator<Item = &'a HeaderValue>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.part(tag, name);
        }
        values.for_each(|value| self.part(Tag::HeaderValue, value.as_bytes()));
    }
}
