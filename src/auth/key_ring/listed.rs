//! The accounts that the key list names, in order: what a page of accounts is read from, so that nobody looks at all keys
//! for it. Takes 24 bytes an account, however many keys it has; the text of its id is the keys' own.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use crate::ids::AccountId;

/// An account that the list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAccount {
    /// Its id.
    pub id: AccountId,
    /// How many keys of the list it has, in whatever state.
    pub keys: u32,
}

/// All of them, in the order of their ids. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct ListedAccounts(Arc<[ListedAccount]>);

impl ListedAccounts {
    /// The account with this id.
    pub fn get(&self, id: &str) -> Option<&ListedAccount> {
        let place = self.0.binary_search_by(|account| account.id.as_str().cmp(id)).ok()?;
        self.0.get(place)
    }

    /// Those behind `after`, in order.
    pub fn after(&self, after: &str) -> &[ListedAccount] {
        let first = self.0.partition_point(|account| account.id.as_str() <= after);
        self.0.get(first..).unwrap_or_default()
    }
}

/// The accounts of a list that is being read.
#[derive(Default)]
pub(super) struct Counting {
    accounts: Vec<ListedAccount>,
    places: HashMap<AccountId, usize, RandomState>,
    /// The place of the last one: keys of an account often stand together.
    last: usize,
}

impl Counting {
    /// The text that the account has already, or else `account` itself: one for each, however many keys name it.
    pub(super) fn one_text(&self, account: AccountId) -> AccountId {
        let known = self.places.get(&account).and_then(|place| self.accounts.get(*place));
        known.map_or(account, |known| known.id.clone())
    }

    /// Counts a key of the account.
    pub(super) fn count(&mut self, account: &AccountId) {
        let is_last = self.accounts.get(self.last).is_some_and(|last| last.id == *account);
        if !is_last {
            let next = self.accounts.len();
            self.last = *self.places.entry(account.clone()).or_insert(next);
            if self.last == next {
                self.accounts.push(ListedAccount { id: account.clone(), keys: 0 });
            }
        }
        if let Some(counted) = self.accounts.get_mut(self.last) {
            counted.keys = counted.keys.saturating_add(1);
        }
    }

    /// All of them, in order.
    pub(super) fn finish(self) -> ListedAccounts {
        drop(self.places);
        let mut accounts: Vec<_> =
            self.accounts.into_iter().map(|account| (beginning(&account.id), account)).collect();
        // The text is read only where two begin alike: it lies anywhere in the memory.
        accounts.sort_unstable_by(|(begins, one), (other_begins, other)| match begins.cmp(other_begins) {
            Ordering::Equal => one.id.cmp(&other.id),
            unlike => unlike,
        });
        ListedAccounts(accounts.into_iter().map(|(_, account)| account).collect())
    }
}

/// The first sixteen bytes of an id, which are in the order of the ids; shorter ones are before those that go on.
fn beginning(id: &AccountId) -> u128 {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(id.as_str().bytes()).for_each(|(to, from)| *to = from);
    u128::from_be_bytes(bytes)
}
