//! A cell of the sums that usage is kept in: whose requests, in which hour, how they ended.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::AddAssign;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::money::Money;

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

    /// So many hours later.
    #[must_use]
    pub const fn plus(self, hours: u32) -> Self {
        Self(self.0.saturating_add(hours))
    }

    /// So many hours earlier.
    #[must_use]
    pub const fn minus(self, hours: u32) -> Self {
        Self(self.0.saturating_sub(hours))
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Those of `saved_prompt_tokens` that the upstream's own prompt cache had held when the answer was made.
    pub saved_cached_tokens: u64,
    /// Tokens that no model had to write, because an answer was there.
    pub saved_completion_tokens: u64,
    /// What was paid, at the prices of the time.
    pub cost: Money,
    /// What did not have to be paid, because an answer was there.
    pub cost_saved: Money,
}

impl Sums {
    /// Tokens that no model had to read or write.
    pub const fn saved_tokens(self) -> u64 {
        self.saved_prompt_tokens.saturating_add(self.saved_completion_tokens)
    }
}

/// A cell and what is added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Where.
    pub cell: Cell,
    /// What.
    pub line: Line,
}

/// What is added to a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much.
    pub sums: Sums,
    /// When the last of these requests came.
    pub last_at: UnixTime,
    /// How people know the key.
    pub label: KeyLabel,
}

/// How people know a key: kept with its usage, which may outlive the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLabel {
    /// Its name, if it has one.
    pub name: Option<Box<str>>,
    /// Its environment, if it has one.
    pub environment: Option<Box<str>>,
}

impl Cell {
    /// Hashes what is unlike in most cells: a key has one account.
    pub(super) fn hash_of<H: Hasher>(state: &mut H, key: &KeyId, model: &str, class: Class, hour: Hour) {
        state.write(key.as_str().as_bytes());
        state.write(model.as_bytes());
        state.write_u64(u64::from(hour.number()) << 8 | class as u64);
    }
}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Self::hash_of(state, &self.key, &self.model, self.class, self.hour);
    }
}

impl AddAssign<Line> for Line {
    /// Adds what came later, or earlier: the key is known as of its last use.
    fn add_assign(&mut self, other: Self) {
        self.sums += other.sums;
        if self.last_at < other.last_at {
            self.last_at = other.last_at;
            self.label = other.label;
        }
    }
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
            saved_cached_tokens,
            saved_completion_tokens,
            cost,
            cost_saved,
        } = more;
        for (sum, part) in [
            (&mut self.requests, requests),
            (&mut self.prompt_tokens, prompt_tokens),
            (&mut self.cached_tokens, cached_tokens),
            (&mut self.completion_tokens, completion_tokens),
            (&mut self.saved_prompt_tokens, saved_prompt_tokens),
            (&mut self.saved_cached_tokens, saved_cached_tokens),
            (&mut self.saved_completion_tokens, saved_completion_tokens),
        ] {
            *sum = sum.saturating_add(part);
        }
        self.cost += cost;
        self.cost_saved += cost_saved;
    }
}
