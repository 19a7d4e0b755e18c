//! What things are called in Redis.
//!
//! Which installation it is stands first, where that is known. Whose a thing is stands next, in braces, so that a cluster of
//! servers keeps together what belongs together: an account's answers, a key's bucket. What somebody has called himself is
//! told byte by byte where it is no letter or digit: no two have one name there, and none has that of what is everybody's.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::cache::entries::Slot;
use crate::ids::AccountId;
use crate::limits::limiter::Owner;
use crate::llm::translate::{AnswerForm, StreamUsage};
use crate::shelf::shared::Flight;

/// What an installation's things are called.
#[derive(Clone, Debug)]
pub struct Names(Box<str>);

impl Names {
    /// Those of this installation; of whoever is alone in a database of Redis, if it is not known.
    pub fn new(installation: Option<&str>) -> Self {
        Self(match installation {
            Some(installation) => format!("sc:1:{installation}:").into(),
            None => "sc:1:".into(),
        })
    }

    /// The state of the log of purges.
    pub(super) fn purges_head(&self) -> String {
        self.name("{purges}:head")
    }

    /// The newest purges.
    pub(super) fn purges(&self) -> String {
        self.name("{purges}:log")
    }

    /// Which gateways are there.
    pub(super) fn replicas(&self) -> String {
        self.name("replicas")
    }

    /// What is written to find out whether anything can be.
    pub(super) fn probe(&self) -> String {
        self.name("probe")
    }

    /// A bucket.
    pub(super) fn bucket(&self, owner: &Owner) -> String {
        let kind = match owner {
            Owner::Key(_) => 'k',
            Owner::Account(_) => 'a',
        };
        self.name(&format!("{{{kind}:{}}}:b", escaped(owner.as_str())))
    }

    /// An answer.
    pub(super) fn entry(&self, account: Option<&AccountId>, slot: &Slot) -> String {
        self.place(account, 'e', slot)
    }

    /// The count of an account's calls.
    pub(super) fn calls(&self, account: Option<&AccountId>) -> String {
        self.name(&format!("{}:n", owner(account)))
    }

    /// The lock on a call.
    pub(super) fn lock(&self, flight: &Flight) -> String {
        let place = self.place(flight.account.as_ref(), 'l', &flight.slot);
        match &flight.service_tier {
            None => place,
            Some(tier) => {
                let tier: [u8; 32] = Sha256::digest(tier.as_bytes()).into();
                format!("{place}:{}", data_encoding::HEXLOWER.encode(&tier))
            }
        }
    }

    fn place(&self, account: Option<&AccountId>, kind: char, slot: &Slot) -> String {
        let key = data_encoding::HEXLOWER.encode(slot.key.as_bytes());
        self.name(&format!("{}:{kind}:{key}:{}", owner(account), form(slot.form)))
    }

    fn name(&self, rest: &str) -> String {
        format!("{}{rest}", self.0)
    }
}

/// Whose.
fn owner(account: Option<&AccountId>) -> String {
    match account {
        Some(account) => format!("{{a:{}}}", escaped(account.as_str())),
        None => "{*}".to_owned(),
    }
}

fn escaped(name: &str) -> impl std::fmt::Display {
    utf8_percent_encode(name, NON_ALPHANUMERIC)
}

/// The name of a form there; never changed.
fn form(form: AnswerForm) -> &'static str {
    match form {
        AnswerForm::Json => "json",
        AnswerForm::Stream(StreamUsage::Omitted) => "stream",
        AnswerForm::Stream(StreamUsage::Included) => "stream_usage",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Names;
    use crate::cache::entries::Slot;
    use crate::cache::key::EntryKey;
    use crate::ids::{AccountId, KeyId};
    use crate::limits::limiter::Owner;
    use crate::llm::translate::AnswerForm;
    use crate::shelf::shared::Flight;

    #[test]
    fn no_two_accounts_share_a_name_whatever_they_are_called() {
        let names = [
            "",
            "*",
            "{*}",
            "a",
            "A",
            "a:",
            "a}",
            "a}:e:",
            "{a",
            "a%7D",
            "a}",
            "%",
            "%25",
            "a b",
            "a\u{e4}",
            "*}:e:00:json",
            "a\0",
            "purges",
            "a\nb",
        ];
        let distinct: HashSet<&str> = names.into_iter().collect();
        let slot = Slot { key: EntryKey::from_bytes([0; 32]), form: AnswerForm::Json };
        let accounts = distinct.iter().map(|name| Some(AccountId::new(name))).chain([None]);
        let names = Names::new(None);
        let mut keys = HashSet::new();
        let mut tags = HashSet::new();
        for account in accounts {
            let key = names.entry(account.as_ref(), &slot);
            let (_, behind) = key.split_once('{').unwrap();
            let (tag, rest) = behind.split_once('}').unwrap();
            assert!(rest.starts_with(":e:") && !rest.contains(['{', '}']), "{key}");
            assert!(tags.insert(tag.to_owned()), "{key}");
            let flight = Flight { account: account.clone(), slot, service_tier: None };
            let tiered = Flight { service_tier: Some("flex".into()), ..flight.clone() };
            let others = [names.calls(account.as_ref()), names.lock(&flight), names.lock(&tiered)];
            for key in others.into_iter().chain([key.clone()]) {
                assert!(key.is_ascii() && keys.insert(key.clone()), "{key}");
            }
            if let Some(account) = account {
                let of_key = Owner::Key(KeyId::new(account.as_str()));
                for key in [names.bucket(&Owner::Account(account)), names.bucket(&of_key)] {
                    assert!(key.ends_with("}:b") && key.matches(['{', '}']).count() == 2, "{key}");
                    assert!(key.is_ascii() && keys.insert(key.clone()), "{key}");
                }
            }
        }
    }

    #[test]
    fn no_two_installations_share_a_name() {
        let flight = || Flight {
            account: Some(AccountId::new("acme")),
            slot: Slot { key: EntryKey::from_bytes([0; 32]), form: AnswerForm::Json },
            service_tier: None,
        };
        let owner = Owner::Key(KeyId::new("id"));
        let all = |names: Names| {
            let (flight, account) = (flight(), AccountId::new("acme"));
            let account = Some(&account);
            [
                names.purges_head(),
                names.purges(),
                names.replicas(),
                names.probe(),
                names.bucket(&owner),
                names.entry(account, &flight.slot),
                names.calls(account),
                names.lock(&flight),
            ]
        };
        let of_all = [None, Some("3f2a"), Some("77b0")].map(|installation| all(Names::new(installation)));
        let distinct: HashSet<&String> = of_all.iter().flatten().collect();
        assert_eq!(distinct.len(), of_all.iter().flatten().count());
    }
}
