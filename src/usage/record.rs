//! A cell of the sums that usage is kept in: whose requests, in which hour, how they ended.

use std::fmt;
use std::ops::AddAssign;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};

/// Nanoseconds of an hour.
const NANOS: u64 = 3600 * 1_000_000_000;

/// How a request of a known key counts. Every one counts in exactly one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Answered from an entry with an equal key.
    ExactHit,
    /// Answered from an entry with a similar prompt.
    SemanticHit,
    /// Answered by another request's upstream call.
    Collapsed,
    /// Looked up and not found.
    Miss,
    /// Not looked up.
    Uncached,
    /// An answer was put into the store.
    Stored,
    /// Refused by its bucket.
    RateLimited,
    /// Any other answer of 400 and above.
    Error,
    /// Usage, listing, deleting.
    Other,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::ExactHit,
        Self::SemanticHit,
        Self::Collapsed,
        Self::Miss,
        Self::Uncached,
        Self::Stored,
        Self::RateLimited,
        Self::Error,
        Self::Other,
    ];

    /// Its name where it is kept; never changed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExactHit => "exact_hit",
            Self::SemanticHit => "semantic_hit",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Uncached => "uncached",
            Self::Stored => "stored",
            Self::RateLimited => "rate_limited",
            Self::Error => "error",
            Self::Other => "other",
        }
    }

    /// The class of a kept name; `None` for a name of another version's.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// An hour of UTC, counted from 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u32);

impl Hour {
    /// Hours of a day.
    pub const A_DAY: u32 = 24;

    /// The hour that `time` lies in.
    pub fn of(time: UnixTime) -> Self {
        Self(u32::try_from(time.as_nanos() / NANOS).unwrap_or(u32::MAX))
    }

    /// The hour `number` hours after the first.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Hours since the first.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The first hour of its day.
    pub const fn day(self) -> Self {
        Self(self.0 - self.0 % Self::A_DAY)
    }

    /// When it begins.
    pub const fn start(self) -> UnixTime {
        UnixTime::from_secs(self.0 as u64 * 3600)
    }
}

impl fmt::Debug for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hour({})", self.0)
    }
}

/// What is summed for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// When.
    pub hour: Hour,
    /// Who pays.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// Which model; empty: none was named.
    pub model: Box<str>,
    /// How it ended.
    pub class: Class,
}

/// The sums of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Tokens read by models, those of `cached_tokens` included.
    pub prompt_tokens: u64,
    /// Tokens that the upstream's own prompt cache held.
    pub cached_tokens: u64,
    /// Tokens written by models.
    pub completion_tokens: u64,
    /// Tokens that no model had to read, because an answer was there.
    pub saved_prompt_tokens: u64,
    /// Tokens that no model had to write, because an answer was there.
    pub saved_completion_tokens: u64,
}

impl AddAssign for Sums {
    /// Adds each sum; one that would not fit stays at the most that does.
    fn add_assign(&mut self, more: Self) {
        let Self {
            requests,
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            saved_prompt_tokens,
            saved_completion_tokens,
        } = more;
        for (sum, part) in [
            (&mut self.requests, requests),
            (&mut self.prompt_tokens, prompt_tokens),
            (&mut self.cached_tokens, cached_tokens),
            (&mut self.completion_tokens, completion_tokens),
            (&mut self.saved_prompt_tokens, saved_prompt_tokens),
            (&mut self.saved_completion_tokens, saved_completion_tokens),
        ] {
            *sum = sum.saturating_add(part);
        }
    }
}
