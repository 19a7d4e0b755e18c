//! A key of JSON lines as nearly all are, read without the tree that knows the place of each problem: a list may have a
//! million. Whatever is unusual about a line is left to that tree.

use serde::{Deserialize, Deserializer};

use crate::auth::key::{Digest, Environment, KeyOptions};
use crate::clock::UnixTime;
use crate::config::key_rules::{digest, is_name, is_visible};
use crate::config::raw::RawEnvironment;

/// A key whose members are what they must be, as far as they can be judged alone.
pub(super) struct PlainKey<'a> {
    pub(super) id: &'a str,
    pub(super) account: &'a str,
    pub(super) plan: &'a str,
    pub(super) digest: Digest,
    pub(super) options: KeyOptions,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    id: &'a str,
    account: &'a str,
    plan: &'a str,
    sha256: &'a str,
    #[serde(default, deserialize_with = "given", borrow)]
    name: Option<&'a str>,
    #[serde(default, deserialize_with = "given")]
    environment: Option<RawEnvironment>,
    #[serde(default, deserialize_with = "given", borrow)]
    expires_at: Option<&'a str>,
    #[serde(default)]
    disabled: bool,
}

/// A member that is there has a value: `null` is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'a> PlainKey<'a> {
    /// Reads one line without its newline. `None`: there may be something wrong with it, or it says more than this can
    /// read.
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let written: Written<'a> = serde_json::from_str(line).ok()?;
        let Written { id, account, plan, sha256, name, environment, expires_at, disabled } = written;
        let are_good = is_visible(id) && is_visible(account) && name.is_none_or(is_name);
        let digest = digest(sha256).filter(|_| are_good)?;
        let expires_at = match expires_at {
            Some(text) => Some(UnixTime::of_rfc3339(text)?),
            None => None,
        };
        let options = KeyOptions {
            name: name.map(Into::into),
            environment: environment.map(Environment::from),
            expires_at,
            disabled,
            ..KeyOptions::default()
        };
        Some(Self { id, account, plan, digest, options })
    }
}
