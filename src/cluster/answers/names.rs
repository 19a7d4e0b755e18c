//! What things are called in Redis.
//!
//! Whose an answer is stands first, in braces, so that a cluster of servers keeps all of an account's together. An
//! account's name is told byte by byte where it is no letter or digit: no two have one name there, and none has that of
//! what is everybody's.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::cache::entries::Slot;
use crate::ids::AccountId;
use crate::llm::translate::{AnswerForm, StreamUsage};
use crate::shelf::shared::Flight;

/// The state of the log of purges.
pub(super) const HEAD: &str = "sc:1:{purges}:head";

/// The newest purges.
pub(super) const LOG: &str = "sc:1:{purges}:log";

/// Whose.
fn owner(account: Option<&AccountId>) -> String {
    match account {
        Some(account) => format!("{{a:{}}}", utf8_percent_encode(account.as_str(), NON_ALPHANUMERIC)),
        None => "{*}".to_owned(),
    }
}

/// The name of a form there; never changed.
fn form(form: AnswerForm) -> &'static str {
    match form {
        AnswerForm::Json => "json",
        AnswerForm::Stream(StreamUsage::Omitted) => "stream",
        AnswerForm::Stream(StreamUsage::Included) => "stream_usage",
    }
}

fn place(account: Option<&AccountId>, kind: char, slot: &Slot) -> String {
    let key = data_encoding::HEXLOWER.encode(slot.key.as_bytes());
    format!("sc:1:{}:{kind}:{key}:{}", owner(account), form(slot.form))
}

/// An answer.
pub(super) fn entry(account: Option<&AccountId>, slot: &Slot) -> String {
    place(account, 'e', slot)
}

/// The count of an account's calls, which has no end of its own.
pub(super) fn calls(account: Option<&AccountId>) -> String {
    format!("sc:1:{}:n", owner(account))
}

/// The lock on a call.
pub(super) fn lock(flight: &Flight) -> String {
    let place = place(flight.account.as_ref(), 'l', &flight.slot);
    match &flight.service_tier {
        None => place,
        Some(tier) => {
            let tier: [u8; 32] = Sha256::digest(tier.as_bytes()).into();
            format!("{place}:{}", data_encoding::HEXLOWER.encode(&tier))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{calls, entry, lock};
    use crate::cache::entries::Slot;
    use crate::cache::key::EntryKey;
    use crate::ids::AccountId;
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
        let mut keys = HashSet::new();
        let mut tags = HashSet::new();
        for account in accounts {
            let key = entry(account.as_ref(), &slot);
            let (_, behind) = key.split_once('{').unwrap();
            let (tag, rest) = behind.split_once('}').unwrap();
            assert!(rest.starts_with(":e:") && !rest.contains(['{', '}']), "{key}");
            assert!(tags.insert(tag.to_owned()), "{key}");
            let flight = Flight { account: account.clone(), slot, service_tier: None };
            let tiered = Flight { service_tier: Some("flex".into()), ..flight.clone() };
            for key in [key.clone(), calls(account.as_ref()), lock(&flight), lock(&tiered)] {
                assert!(key.is_ascii() && keys.insert(key.clone()), "{key}");
            }
        }
    }
}
