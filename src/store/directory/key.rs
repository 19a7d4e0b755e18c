//! What is kept of a key: everything but the key itself.

use ipnet::IpNet;

use crate::auth::key::{Digest, Environment};
use crate::auth::model_glob::ModelGlob;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};

/// What a person decides of a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyTerms {
    /// What people call it.
    pub name: Option<Box<str>>,
    /// Where it is used.
    pub environment: Option<Environment>,
    /// Its own plan; `None`: its account's.
    pub plan: Option<PlanName>,
    /// From then on it is refused.
    pub expires_at: Option<UnixTime>,
    /// Addresses that may use it; empty: all.
    pub allowed_ips: Box<[IpNet]>,
    /// Models that it may ask for; empty: all.
    pub allowed_models: Box<[ModelGlob]>,
}

/// A key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its id: of its first secret, whatever became of that.
    pub id: KeyId,
    /// Whose it is.
    pub account: AccountId,
    /// What was decided of it.
    pub terms: KeyTerms,
    /// The plan that it has: its own or its account's.
    pub plan: PlanName,
    /// When it was made, to the millisecond.
    pub created_at: UnixTime,
    /// Since when it is refused for good.
    pub revoked_at: Option<UnixTime>,
    /// True if its account is suspended.
    pub is_suspended: bool,
    /// Its secrets, the newest first.
    pub secrets: Vec<KeySecret>,
}

/// One secret of a key, as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// The part of it that may be shown.
    pub public_id: Box<str>,
    /// When it was made, to the millisecond.
    pub created_at: UnixTime,
    /// From then on it is refused; `None`: as long as the key is.
    pub ends_at: Option<UnixTime>,
}

/// What is kept of a secret that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// The part of it that may be shown.
    pub public_id: Box<str>,
    /// SHA-256 of the whole key.
    pub digest: Digest,
}

/// Without the digest.
impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSecret({})", self.public_id)
    }
}

/// What can be said of a key's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They pass.
    Active,
    /// They are refused until the account is resumed.
    Suspended,
    /// They are refused: the key's time has come.
    Expired,
    /// They are refused for good.
    Revoked,
}

impl State {
    /// Its name where people and programs see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// The state of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Active, Self::Suspended, Self::Expired, Self::Revoked];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

impl Key {
    /// Its state at `now`. [`KeysOf::state`] finds it by the same rules.
    pub fn state(&self, now: UnixTime) -> State {
        if self.revoked_at.is_some() {
            State::Revoked
        } else if self.terms.expires_at.is_some_and(|at| at <= now) {
            State::Expired
        } else if self.is_suspended {
            State::Suspended
        } else {
            State::Active
        }
    }
}

/// The most keys that are looked at for a page of those of an environment or a state: others wait meanwhile.
pub const MOST_LOOKED_AT: u32 = 10_000;

/// Some keys, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyPage {
    /// They; there may be fewer than were wanted, or none, though more follow.
    pub keys: Vec<Key>,
    /// What the next page is behind; `None`: there is none.
    pub next: Option<Box<str>>,
}

/// A page of keys that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysOf {
    /// Whose; `None`: everybody's.
    pub account: Option<AccountId>,
    /// Of which environment; `None`: of all, and of none.
    pub environment: Option<Environment>,
    /// In which state at that time; `None`: in any.
    pub state: Option<(State, UnixTime)>,
    /// Those behind this id; empty: from the beginning.
    pub after: Box<str>,
    /// The most keys wanted.
    pub limit: u32,
}
