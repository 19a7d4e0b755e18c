//! What is known of one key, as a list or a store names it.

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
    /// The name as configuration and API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
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
