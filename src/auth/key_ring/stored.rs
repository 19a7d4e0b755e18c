//! A ring in which keys of the store have changed: only the shards that they are in are copied.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::auth::key::{Digest, KeyEntry, Source, StoredKey};
use crate::auth::key_record::{Fingerprint, KeyRecord};
use crate::auth::key_ring::{KeyRing, RingFault, RingProblem, SHARDS, Shard, Slot};
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::limits::plan::Plan;

/// A ring that changes.
struct Changing<'a> {
    ring: KeyRing,
    plans: HashMap<&'a PlanName, &'a Arc<Plan>>,
    /// One text per account, however many of the keys are its own.
    accounts: HashSet<AccountId>,
    /// Expiries that are in the ring no more, and those that are new there.
    gone: Vec<UnixTime>,
    come: Vec<UnixTime>,
    problems: Vec<RingProblem>,
}

impl KeyRing {
    /// The ring in which `keys` are as they are now; all others stay. A secret that cannot be in it, as its plan is
    /// unknown or the list has the same key, is not, and is told of.
    /// What is shared with another ring is copied; else nothing is.
    pub fn with_stored(self, keys: Vec<StoredKey>, plans: &[Arc<Plan>]) -> (Self, Vec<RingProblem>) {
        let mut changing = Changing {
            ring: self,
            plans: plans.iter().map(|plan| (plan.name(), plan)).collect(),
            accounts: HashSet::new(),
            gone: Vec::new(),
            come: Vec::new(),
            problems: Vec::new(),
        };
        keys.into_iter().for_each(|key| changing.replace(key));
        changing.finish()
    }
}

impl Changing<'_> {
    fn replace(&mut self, key: StoredKey) {
        let StoredKey { id, entries, ended } = key;
        let digests = entries.iter().map(|entry| &entry.digest).chain(&ended);
        let mut sibling = digests.filter_map(|digest| self.own(digest, &id)).next();
        ended.iter().for_each(|digest| self.remove(digest, &id));
        for entry in entries {
            let digest = entry.digest;
            if let Err(fault) = self.put(entry, sibling.as_deref()) {
                self.remove(&digest, &id);
                self.problems.push(RingProblem { index: None, id: id.clone(), fault });
            }
            sibling = sibling.or_else(|| self.own(&digest, &id));
        }
    }

    /// The record of this secret of this key, as the ring has it from the store.
    fn own(&self, digest: &Digest, id: &KeyId) -> Option<Arc<KeyRecord>> {
        let record = self.ring.find(digest)?;
        (record.source() == Source::Store && record.id() == id).then(|| Arc::clone(record))
    }

    fn put(&mut self, entry: KeyEntry, sibling: Option<&KeyRecord>) -> Result<(), RingFault> {
        let Some(plan) = self.plans.get(&entry.plan).map(|plan| Arc::clone(plan)) else {
            return Err(RingFault::UnknownPlan { plan: entry.plan });
        };
        let before = self.own(&entry.digest, &entry.id);
        if before.is_none()
            && let Some(other) = self.ring.find(&entry.digest)
        {
            return Err(RingFault::DuplicateKey { first: other.id().clone() });
        }
        if before.as_ref().is_some_and(|before| before.is_made_from(Source::Store, &entry, &plan)) {
            return Ok(());
        }
        let (digest, id) = (entry.digest, entry.id.clone());
        let account = self.one_text(&entry.account);
        let record = KeyRecord::new(Source::Store, KeyEntry { account, ..entry }, plan, before.as_deref());
        let record = match sibling {
            Some(sibling) if before.is_none() => record.beside(sibling),
            _ => record,
        };
        self.remove(&digest, &id);
        match expiry(&record) {
            Ok(expires_at) => self.come.extend(expires_at),
            Err(Disabled) => self.ring.disabled += 1,
        }
        if let Some(shard) = self.shard(record.fingerprint()) {
            shard.insert(Slot(Arc::new(record)));
            self.ring.len += 1;
            self.ring.stored += 1;
        }
        Ok(())
    }

    fn remove(&mut self, digest: &Digest, id: &KeyId) {
        let Some(record) = self.own(digest, id) else { return };
        match expiry(&record) {
            Ok(expires_at) => self.gone.extend(expires_at),
            Err(Disabled) => self.ring.disabled -= 1,
        }
        if let Some(shard) = self.shard(record.fingerprint()) {
            shard.remove(record.fingerprint());
            self.ring.len -= 1;
            self.ring.stored -= 1;
        }
    }

    /// The shard of its own, no matter who else has it as it was.
    fn shard(&mut self, fingerprint: &Fingerprint) -> Option<&mut Shard> {
        self.ring.shards.get_mut(fingerprint.shard(SHARDS)).map(Arc::make_mut)
    }

    fn one_text(&mut self, account: &AccountId) -> AccountId {
        if let Some(known) = self.accounts.get(account) {
            return known.clone();
        }
        self.accounts.insert(account.clone());
        account.clone()
    }

    fn finish(mut self) -> (KeyRing, Vec<RingProblem>) {
        if !self.gone.is_empty() || !self.come.is_empty() {
            self.gone.sort_unstable();
            self.ring.expiries = merged(&self.ring.expiries, &self.gone, self.come).into();
        }
        (self.ring, self.problems)
    }
}

/// It counts as disabled, expired or not.
struct Disabled;

fn expiry(record: &KeyRecord) -> Result<Option<UnixTime>, Disabled> {
    match record.options() {
        Some(options) if options.disabled => Err(Disabled),
        options => Ok(options.and_then(|options| options.expires_at)),
    }
}

/// `times` and `come`, without each of `gone`, which are among them; all of them in order.
fn merged(times: &[UnixTime], gone: &[UnixTime], come: Vec<UnixTime>) -> Vec<UnixTime> {
    let mut all: Vec<UnixTime> = times.iter().copied().chain(come).collect();
    all.sort();
    let mut gone = gone.iter().peekable();
    all.retain(|time| gone.next_if_eq(&time).is_none());
    all
}
