//! A purge as it stands in the log: which one it is in 32 hexadecimal digits, then what it forgets, as JSON.
//!
//! Whoever reads it takes what it does not know for a purge of everything: nothing is kept that should be forgotten.

use serde::{Deserialize, Serialize};

use crate::auth::model_glob::ModelGlob;
use crate::cache::key::EntryKey;
use crate::ids::AccountId;
use crate::shelf::shared::Tag;
use crate::store::proxied::Purge;

/// What other versions cannot read is written under another one.
const MAJOR: u32 = 1;

/// More models than this are told as all: so a purge has a bound.
const MOST_MODELS: usize = 16;

/// The digits of a tag.
const TAG: usize = 32;

#[derive(Serialize, Deserialize)]
struct Line {
    version: u32,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
enum What {
    Key {
        account: String,
        key: String,
        #[serde(default)]
        models: Vec<String>,
    },
    Account {
        account: String,
        #[serde(default)]
        models: Vec<String>,
    },
    Route {
        route: String,
    },
    All {},
}

/// A tag as text.
pub(super) fn tag(tag: Tag) -> String {
    format!("{:032x}", tag.0)
}

/// The tag that a text begins with, and the rest.
pub(super) fn split_tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let (tag, rest) = text.split_at_checked(TAG)?;
    let tag = u128::from_str_radix(std::str::from_utf8(tag).ok()?, 16).ok()?;
    Some((Tag(tag), rest))
}

/// A purge as text.
pub(super) fn written(purge: &Purge) -> String {
    let models = |allowed: &[ModelGlob]| match allowed.len() {
        0..=MOST_MODELS => allowed.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let what = match purge {
        Purge::Key { account, key, allowed_models } => What::Key {
            account: account.to_string(),
            key: data_encoding::HEXLOWER.encode(key.as_bytes()),
            models: models(allowed_models),
        },
        Purge::Account { account, allowed_models } => {
            What::Account { account: account.to_string(), models: models(allowed_models) }
        }
        Purge::Route(route) => What::Route { route: route.to_string() },
        Purge::All => What::All {},
    };
    // No map with keys that are no texts, and nothing else that JSON cannot tell.
    serde_json::to_string(&Line { version: MAJOR, what }).unwrap_or_default()
}

/// The purge that a text is of.
pub(super) fn read(text: &[u8]) -> Purge {
    let line = serde_json::from_slice::<Line>(text).ok().filter(|line| line.version == MAJOR);
    line.and_then(|line| purge(line.what)).unwrap_or(Purge::All)
}

fn purge(what: What) -> Option<Purge> {
    let globs = |models: Vec<String>| models.iter().map(|model| ModelGlob::new(model)).collect::<Option<_>>();
    Some(match what {
        What::Key { account, key, models } => Purge::Key {
            account: AccountId::new(&account),
            key: EntryKey::from_bytes(data_encoding::HEXLOWER.decode(key.as_bytes()).ok()?.try_into().ok()?),
            allowed_models: globs(models)?,
        },
        What::Account { account, models } => {
            Purge::Account { account: AccountId::new(&account), allowed_models: globs(models)? }
        }
        What::Route { route } => Purge::Route(route.into()),
        What::All {} => Purge::All,
    })
}

#[cfg(test)]
mod tests {
    use super::{MOST_MODELS, read, split_tag, tag, written};
    use crate::auth::model_glob::ModelGlob;
    use crate::cache::key::EntryKey;
    use crate::ids::AccountId;
    use crate::shelf::shared::Tag;
    use crate::store::proxied::Purge;

    fn account(models: usize) -> Purge {
        let globs = (0..models).map(|number| ModelGlob::new(&format!("m{number}*")).unwrap());
        Purge::Account { account: AccountId::new("a}c\"m\ne"), allowed_models: globs.collect() }
    }

    #[test]
    fn what_was_written_is_read() {
        let key = Purge::Key {
            account: AccountId::new("{*}"),
            key: EntryKey::from_bytes([0xfe; 32]),
            allowed_models: [ModelGlob::new("gpt*").unwrap()].into(),
        };
        for purge in [key, account(0), account(MOST_MODELS), Purge::Route("/v1/*".into()), Purge::All] {
            assert_eq!(read(written(&purge).as_bytes()), purge);
        }
        assert_eq!(read(written(&account(MOST_MODELS + 1)).as_bytes()), account(0), "all of its models");
    }

    #[test]
    fn unknown_fields_are_passed_over_and_unknown_purges_forget_all() {
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(read(r#"{"version":1,"of":"route","route":"/a","more":1}"#), Purge::Route("/a".into()));
        for other in [
            r#"{"version":2,"of":"route","route":"/a"}"#,
            r#"{"version":1,"of":"model","model":"m"}"#,
            r#"{"version":1,"of":"key","account":"a","key":"00"}"#,
            r#"{"version":1,"of":"account","account":"a","models":[""]}"#,
            "",
        ] {
            assert_eq!(read(other), Purge::All, "{other}");
        }
    }

    #[test]
    fn a_tag_is_read_as_it_is_written() {
        for one in [0, 1, u128::MAX] {
            let text = tag(Tag(one)) + "{}";
            assert_eq!(split_tag(text.as_bytes()), Some((Tag(one), &b"{}"[..])));
        }
        assert_eq!(split_tag(b"00"), None);
    }
}
