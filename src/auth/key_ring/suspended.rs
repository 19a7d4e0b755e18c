//! Accounts whose keys of the list are refused: a key of the store says by itself that its account is suspended.
//!
//! The list does not know of suspensions, and a million of its keys are not written anew for one of them: who is suspended
//! stands beside the shards, and is looked at behind the look-up of a key.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

use ahash::RandomState;

use crate::auth::key::Source;
use crate::auth::key_record::KeyRecord;
use crate::auth::key_ring::KeyRing;
use crate::ids::AccountId;

/// What is looked up for a key that is not of the list. Accounts have no spaces.
const NOBODY: &str = "no account";

/// The accounts that are suspended, whether the list names them or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Suspended(HashSet<AccountId, RandomState>);

impl Suspended {
    /// True if `account` is among them.
    pub(super) fn holds(&self, account: &str) -> bool {
        !self.0.is_empty() && self.0.contains(account)
    }

    /// Those of them that are not in `other`.
    pub(super) fn beyond<'a>(&'a self, other: &'a Self) -> HashSet<&'a AccountId, RandomState> {
        self.0.difference(&other.0).collect()
    }
}

impl KeyRing {
    /// The ring in which the list's keys of these accounts are refused, and those of no others are. Looks at all keys if
    /// that is another set.
    pub fn with_suspended(mut self, accounts: impl IntoIterator<Item = AccountId>) -> Self {
        let suspended = Suspended(accounts.into_iter().collect());
        if suspended == *self.suspended {
            return self;
        }
        self.suspended = Arc::new(suspended);
        let (mut disabled, mut expiries) = (0, Vec::new());
        for record in self.records() {
            let options = record.options();
            if options.is_some_and(|options| options.disabled) || self.is_suspended(Some(record)) {
                disabled += 1;
            } else {
                expiries.extend(options.and_then(|options| options.expires_at));
            }
        }
        expiries.sort_unstable();
        (self.disabled, self.expiries) = (disabled, expiries.into());
        self
    }

    /// True if what was found is a key of the list whose account is suspended. Where any is, that is looked up for every
    /// key, whether it is the list's, the store's or nobody's, so that the time taken tells none from another.
    pub fn is_suspended(&self, found: Option<&Arc<KeyRecord>>) -> bool {
        if self.suspended.0.is_empty() {
            return false;
        }
        let listed = found.filter(|record| record.source() == Source::List);
        black_box(self.suspended.holds(listed.map_or(NOBODY, |record| record.account().as_str())))
    }

    /// The list's records of accounts that `previous` had suspended and this one has not.
    pub fn resumed_since<'a>(&'a self, previous: &'a Self) -> impl Iterator<Item = &'a Arc<KeyRecord>> {
        self.listed_of(previous.suspended.beyond(&self.suspended))
    }

    /// The list's records of these accounts. Looks at no key if there are none.
    pub(super) fn listed_of<'a>(
        &'a self,
        accounts: HashSet<&'a AccountId, RandomState>,
    ) -> impl Iterator<Item = &'a Arc<KeyRecord>> {
        let records = (!accounts.is_empty()).then(|| self.records()).into_iter().flatten();
        records.filter(move |record| record.source() == Source::List && accounts.contains(record.account()))
    }
}
