//! Purges as far as they are told apart: what is asked is whether one of them, behind a number, forgets an answer.
//!
//! What an account has purged is remembered apart from others', so that it costs them nothing; one that purges often, or
//! with many models, is remembered as having purged all of its own. Of accounts that purged there are bounded numbers too:
//! beyond it what is older than the oldest half is forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::entries::Origin;
use crate::cache::key::EntryKey;
use crate::ids::AccountId;
use crate::store::answer::may_see;
use crate::store::proxied::Purge;

/// The most purges of an account that are told apart.
pub(super) const MOST_PARTS: usize = 16;

/// The most models of such a purge.
pub(super) const MOST_MODELS: usize = 16;

/// The most accounts and the most routes that are told apart.
pub(super) const MOST_NAMES: usize = 8192;

/// Purges, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was begun before is forgotten.
    floor: u64,
    pub(super) routes: HashMap<Arc<str>, u64>,
    pub(super) accounts: HashMap<AccountId, Forgotten>,
}

/// What an account has forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// The newest purge.
    newest: u64,
    /// The newest of all its answers.
    all: u64,
    /// Those behind it of some of its answers.
    pub(super) parts: Vec<(u64, Purge)>,
}

/// True if `purge` forgets an answer to `key`.
pub(super) fn concerns(purge: &Purge, key: &EntryKey, origin: &Origin) -> bool {
    match purge {
        Purge::Key { account, key: purged, allowed_models } => {
            purged == key
                && origin.account.as_ref() == Some(account)
                && may_see(allowed_models, origin.model.as_deref())
        }
        Purge::Account { account, allowed_models } => {
            origin.account.as_ref() == Some(account) && may_see(allowed_models, origin.model.as_deref())
        }
        Purge::Route(route) => *route == origin.route,
        Purge::All => true,
    }
}

impl Told {
    /// Of what was begun before the purge with this number, nothing is known: it is forgotten.
    pub(super) fn since(number: u64) -> Self {
        Self { floor: number, ..Self::default() }
    }

    /// True if a purge with a higher number than `since` forgets an answer to `key`.
    pub(super) fn forgets(&self, since: u64, key: &EntryKey, origin: &Origin) -> bool {
        let is_forgotten = |account: &AccountId| {
            let forgotten = self.accounts.get(account).filter(|forgotten| since < forgotten.newest);
            forgotten.is_some_and(|forgotten| {
                let mut parts = forgotten.parts.iter();
                since < forgotten.all
                    || parts.any(|(number, purge)| since < *number && concerns(purge, key, origin))
            })
        };
        since < self.floor
            || self.routes.get(&origin.route).is_some_and(|number| since < *number)
            || origin.account.as_ref().is_some_and(is_forgotten)
    }

    /// There was `purge`, with a number above all before.
    pub(super) fn note(&mut self, number: u64, purge: &Purge) {
        match purge {
            Purge::All => {
                self.floor = number;
                self.routes.clear();
                self.accounts.clear();
            }
            Purge::Route(route) => {
                self.routes.insert(Arc::clone(route), number);
                self.floor = self.floor.max(drop_older_half(&mut self.routes, |number| *number));
            }
            Purge::Account { account, allowed_models } => {
                let is_part = (1..=MOST_MODELS).contains(&allowed_models.len());
                self.account(account).note(number, is_part.then_some(purge));
                self.bound_accounts();
            }
            Purge::Key { account, key, allowed_models } => {
                let is_part = allowed_models.len() <= MOST_MODELS;
                let whole =
                    Purge::Key { account: account.clone(), key: *key, allowed_models: Box::default() };
                self.account(account).note(number, Some(if is_part { purge } else { &whole }));
                self.bound_accounts();
            }
        }
    }

    fn account(&mut self, account: &AccountId) -> &mut Forgotten {
        self.accounts.entry(account.clone()).or_default()
    }

    fn bound_accounts(&mut self) {
        self.floor = self.floor.max(drop_older_half(&mut self.accounts, |forgotten| forgotten.newest));
    }
}

impl Forgotten {
    /// `part`: of some of its answers; `None`: of all.
    fn note(&mut self, number: u64, part: Option<&Purge>) {
        self.newest = number;
        match part {
            Some(part) if self.parts.len() < MOST_PARTS => self.parts.push((number, part.clone())),
            _ => {
                self.all = number;
                self.parts.clear();
            }
        }
    }
}

/// Drops the older half of what is more than is told apart; the newest purge of those, or 0.
fn drop_older_half<K: Eq + std::hash::Hash, V>(names: &mut HashMap<K, V>, newest: impl Fn(&V) -> u64) -> u64 {
    if names.len() <= MOST_NAMES {
        return 0;
    }
    let mut numbers: Vec<u64> = names.values().map(&newest).collect();
    let (_, median, _) = numbers.select_nth_unstable(MOST_NAMES / 2);
    let median = *median;
    names.retain(|_, value| median < newest(value));
    median
}
