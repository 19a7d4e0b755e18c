//! What a valid key stands for, and the fingerprint that finds it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use subtle::{Choice, ConstantTimeEq};

use crate::auth::cancellation::Cancellation;
use crate::auth::key::{Digest, KeyEntry, KeyOptions, Source};
use crate::ids::{AccountId, KeyId};
use crate::limits::limiter::Holder;
use crate::limits::plan::Plan;
use crate::memory::Pool;

/// What a valid key stands for.
#[derive(Debug)]
pub struct KeyRecord {
    fingerprint: Fingerprint,
    source: Source,
    holder: Holder,
    /// Boxed, as most keys have none.
    options: Option<Box<KeyOptions>>,
    /// Bytes held for its requests; made when first asked for.
    buffered: OnceLock<Pool>,
    /// Made when first asked for.
    cancellation: ArcSwapOption<Cancellation>,
}

/// A digest that is compared in constant time and hashed by its own bytes, which are random
/// enough.
#[derive(Clone, Copy)]
pub struct Fingerprint(Digest);

// === impl KeyRecord ===

impl KeyRecord {
    /// The record of `entry`, under its plan. A record that was `previously` made from the same key hands on its
    /// cancellation, unless the word has been said: a key that was revoked starts anew.
    pub fn new(source: Source, entry: KeyEntry, plan: Arc<Plan>, previously: Option<&Self>) -> Self {
        let cancellation = previously
            .filter(|record| *record.id() == entry.id)
            .map(|record| record.cancellation())
            .filter(|cancellation| !cancellation.is_cancelled());
        let buffered = previously
            .filter(|record| *record.id() == entry.id)
            .map_or_else(OnceLock::new, |record| OnceLock::from(record.buffered().clone()));
        let KeyEntry { id, account, plan: _, digest, options } = entry;
        let options = (options != KeyOptions::default()).then(|| Box::new(options));
        Self {
            fingerprint: Fingerprint(digest),
            source,
            holder: Holder::new(id, account, plan),
            options,
            buffered,
            cancellation: ArcSwapOption::new(cancellation),
        }
    }

    /// The same key under another plan.
    pub fn under(&self, plan: Arc<Plan>) -> Self {
        let entry = KeyEntry {
            id: self.id().clone(),
            account: self.account().clone(),
            plan: plan.name().clone(),
            digest: self.fingerprint.0,
            options: self.options().cloned().unwrap_or_default(),
        };
        Self::new(self.source, entry, plan, Some(self))
    }

    /// The same key, whose requests are held in the memory of `sibling`'s: another secret of it.
    pub fn beside(mut self, sibling: &Self) -> Self {
        self.buffered = OnceLock::from(sibling.buffered().clone());
        self
    }

    /// Where it is kept.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The key's id.
    pub fn id(&self) -> &KeyId {
        self.holder.key()
    }

    /// The key's owner.
    pub fn account(&self) -> &AccountId {
        self.holder.account()
    }

    /// The key's plan.
    pub fn plan(&self) -> &Arc<Plan> {
        self.holder.plan()
    }

    /// What the limiter charges.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The optional members; `None` if all are as by default.
    pub fn options(&self) -> Option<&KeyOptions> {
        self.options.as_deref()
    }

    /// True if it may ask for some models only.
    pub fn is_bound_to_models(&self) -> bool {
        self.options().is_some_and(|options| !options.allowed_models.is_empty())
    }

    /// Bytes held for its requests: its share of the memory for bodies and answers.
    pub fn buffered(&self) -> &Pool {
        self.buffered.get_or_init(Pool::default)
    }

    /// Said when the key is revoked. It outlives changes of the key's other members, so that requests admitted
    /// before such a change hear it too.
    pub fn cancellation(&self) -> Arc<Cancellation> {
        if let Some(made) = self.cancellation.load_full() {
            return made;
        }
        let fresh = Arc::default();
        let before = self.cancellation.compare_and_swap(&None::<Arc<_>>, Some(Arc::clone(&fresh)));
        before.as_ref().map_or(fresh, Arc::clone)
    }

    /// Forgets a word that was said: who comes from now on waits for the next one. For a key that passes again as it was.
    pub fn renew(&self) {
        if self.cancellation.load().as_ref().is_some_and(|cancellation| cancellation.is_cancelled()) {
            self.cancellation.store(None);
        }
    }

    /// What a ring finds it by.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// True if `entry` of `source`, under `plan`, is what this record was made from.
    pub fn is_made_from(&self, source: Source, entry: &KeyEntry, plan: &Arc<Plan>) -> bool {
        let is_default = entry.options == KeyOptions::default();
        self.source == source
            && *self.id() == entry.id
            && *self.account() == entry.account
            && self.plan() == plan
            && self.options().map_or(is_default, |options| *options == entry.options)
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of the key with this digest.
    pub fn new(digest: &Digest) -> Self {
        Self(*digest)
    }

    /// Which of `count` shards is its own; none of its other bytes chooses.
    pub fn shard(&self, count: u16) -> usize {
        let [high, low, ..] = self.0;
        usize::from(u16::from_be_bytes([high, low]) % count)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        // Eight bytes at a time: the trait's own way for arrays takes one.
        let (own, _) = self.0.as_chunks::<8>();
        let (others, _) = other.0.as_chunks::<8>();
        let words = own.iter().zip(others).map(|(a, b)| (u64::from_ne_bytes(*a), u64::from_ne_bytes(*b)));
        words.fold(Choice::from(1), |so_far, (a, b)| so_far & a.ct_eq(&b)).into()
    }
}

impl Eq for Fingerprint {}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Not the bytes that chose the shard: in there, they are all alike.
        let [_, _, a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    }
}
