//! What is known of one key, as a list or a store names it.

use std::fmt;

use ipnet::IpNet;

use crate::auth::model_glob::ModelGlob;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};

/// SHA-256 of a whole key: all that is kept of it.
pub type Digest = [u8; 32];

/// Where a key is used; shown to people, decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// While building.
    Development,
    /// Before release.
    Staging,
    /// For real.
    Production,
}

impl Environment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Development, Self::Staging, Self::Production];

    /// The name as configuration and API write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// The environment of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the configuration or in the list that it names.
    List,
    /// In the store.
    Store,
}

/// One key of a key source, checked by itself; its plan is still a name.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEntry {
    /// Unique over all sources.
    pub id: KeyId,
    /// The owner.
    pub account: AccountId,
    /// The plan's name; the ring refuses a name that points nowhere.
    pub plan: PlanName,
    /// SHA-256 of the key.
    pub digest: Digest,
    /// What most keys do without.
    pub options: KeyOptions,
}

/// The optional members of a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyOptions {
    /// Shown to people.
    pub name: Option<Box<str>>,
    /// Shown to people.
    pub environment: Option<Environment>,
    /// From then on the key is refused.
    pub expires_at: Option<UnixTime>,
    /// Addresses that may use it; empty: all.
    pub allowed_ips: Box<[IpNet]>,
    /// Models that it may ask for; empty: all.
    pub allowed_models: Box<[ModelGlob]>,
    /// Refused, but still listed.
    pub disabled: bool,
}

/// A key of the store as it is now: what a ring has of it is to be replaced by this.
#[derive(Clone, PartialEq)]
pub struct StoredKey {
    /// Its id, that of each of the entries.
    pub id: KeyId,
    /// One for each of its secrets that may be used; none if it is revoked or deleted.
    pub entries: Vec<KeyEntry>,
    /// The digests of its secrets that may not.
    pub ended: Vec<Digest>,
}

/// Without the digests.
impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKey({}, {} secrets, {} ended)", self.id, self.entries.len(), self.ended.len())
    }
}
