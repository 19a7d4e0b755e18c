//! A ring under construction: of another list, beside the keys of the store that the one before it has.

use std::collections::HashMap;
use std::sync::Arc;

use crate::auth::key::{KeyEntry, Source};
use crate::auth::key_record::{Fingerprint, KeyRecord};
use crate::auth::key_ring::listed::Counting;
use crate::auth::key_ring::seen_ids::SeenIds;
use crate::auth::key_ring::{KeyRing, RingFault, RingProblem, SHARDS, Shard, Slot};
use crate::clock::UnixTime;
use crate::ids::{KeyId, PlanName};
use crate::limits::plan::Plan;

/// A shard under construction.
struct Growing {
    slots: Shard,
    /// Whether all slots so far are the previous ring's.
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Previous,
    New,
}

/// A ring under construction.
pub(super) struct Building<'a> {
    previous: &'a KeyRing,
    plans: HashMap<&'a PlanName, &'a Arc<Plan>>,
    shards: Vec<Growing>,
    ids: SeenIds,
    /// Records that are in the store: their ids were seen first.
    kept: usize,
    accounts: Counting,
    problems: Vec<RingProblem>,
    disabled: usize,
    expiries: Vec<UnixTime>,
}

impl<'a> Building<'a> {
    /// Room is made for `expected` entries at once: growing would hash every key again, each a cache miss.
    pub(super) fn new(previous: &'a KeyRing, plans: &'a [Arc<Plan>], expected: usize) -> Self {
        let per_shard = expected / usize::from(SHARDS);
        Self {
            previous,
            plans: plans.iter().map(|plan| (plan.name(), plan)).collect(),
            shards: (0..SHARDS).map(|_| Growing::new(per_shard)).collect(),
            ids: SeenIds::with_capacity(expected),
            kept: 0,
            accounts: Counting::default(),
            problems: Vec::new(),
            disabled: 0,
            expiries: Vec::new(),
        }
    }

    /// Takes the keys of the store over, under the plans of now.
    pub(super) fn keep_stored(&mut self) {
        let stored = self.previous.records().filter(|record| record.source() == Source::Store);
        for record in stored {
            let id = record.id();
            // Several secrets of a key have its id.
            self.ids.take(id);
            self.kept += 1;
            let Some(plan) = self.plans.get(record.plan().name()).map(|plan| Arc::clone(plan)) else {
                let plan = record.plan().name().clone();
                self.refuse(None, id, RingFault::UnknownPlan { plan });
                continue;
            };
            match record.options() {
                Some(options) if options.disabled => self.disabled += 1,
                options => self.expiries.extend(options.and_then(|options| options.expires_at)),
            }
            let (record, origin) = match *record.plan() == plan {
                true => (Arc::clone(record), Origin::Previous),
                false => (Arc::new(record.under(plan)), Origin::New),
            };
            self.insert(record, origin);
        }
    }

    pub(super) fn add(&mut self, index: usize, entry: KeyEntry) {
        let KeyEntry { id, account, plan, digest, options } = &entry;
        let (id, fingerprint) = (id.clone(), Fingerprint::new(digest));
        let first = self.ids.take(&id);
        if first != index + self.kept {
            let fault = first.checked_sub(self.kept).map(|first| RingFault::DuplicateId { first });
            self.refuse(Some(index), &id, fault.unwrap_or(RingFault::StoredId));
        }
        let Some(plan) = self.plans.get(plan).map(|plan| Arc::clone(plan)) else {
            return self.refuse(Some(index), &id, RingFault::UnknownPlan { plan: plan.clone() });
        };
        if options.disabled || self.previous.suspended.holds(account.as_str()) {
            self.disabled += 1;
        } else {
            self.expiries.extend(options.expires_at);
        }
        let (record, origin) = self.record(entry, plan);
        self.accounts.count(record.account());
        let Some(shard) = self.shards.get(fingerprint.shard(SHARDS)) else { return };
        if let Some(Slot(first)) = shard.slots.get(&fingerprint) {
            let first = first.id().clone();
            return self.refuse(Some(index), &id, RingFault::DuplicateKey { first });
        }
        self.insert(record, origin);
    }

    fn insert(&mut self, record: Arc<KeyRecord>, origin: Origin) {
        let Some(shard) = self.shards.get_mut(record.fingerprint().shard(SHARDS)) else { return };
        shard.slots.insert(Slot(record));
        if origin == Origin::New {
            shard.origin = Origin::New;
        }
    }

    fn refuse(&mut self, index: Option<usize>, id: &KeyId, fault: RingFault) {
        self.problems.push(RingProblem { index, id: id.clone(), fault });
    }

    /// The record of `entry`: the previous one where nothing changed.
    fn record(&mut self, entry: KeyEntry, plan: Arc<Plan>) -> (Arc<KeyRecord>, Origin) {
        let previous = self.previous.find(&entry.digest);
        if let Some(same) = previous.filter(|record| record.is_made_from(Source::List, &entry, &plan)) {
            return (Arc::clone(same), Origin::Previous);
        }
        let account = self.accounts.one_text(entry.account.clone());
        let record = KeyRecord::new(
            Source::List,
            KeyEntry { account, ..entry },
            plan,
            previous.map(|record| &**record),
        );
        (Arc::new(record), Origin::New)
    }

    pub(super) fn finish(mut self) -> Result<KeyRing, Vec<RingProblem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        self.expiries.sort_unstable();
        let pairs = self.shards.into_iter().zip(&self.previous.shards);
        let shards: Box<[_]> = pairs.map(|(shard, before)| shard.finish(before)).collect();
        let len = shards.iter().map(|shard| shard.len()).sum();
        Ok(KeyRing {
            shards,
            len,
            stored: self.kept,
            disabled: self.disabled,
            expiries: self.expiries.into(),
            suspended: Arc::clone(&self.previous.suspended),
            listed: self.accounts.finish(),
        })
    }
}

impl Growing {
    fn new(capacity: usize) -> Self {
        Self { slots: Shard::with_capacity_and_hasher(capacity, <_>::default()), origin: Origin::Previous }
    }

    /// The previous ring's shard `before` if it would be the same, else the new one.
    fn finish(self, before: &Arc<Shard>) -> Arc<Shard> {
        let is_same = self.origin == Origin::Previous && self.slots.len() == before.len();
        if is_same { Arc::clone(before) } else { Arc::new(self.slots) }
    }
}
