//! Which slots the disk has something in, as far as can be told without asking it.
//!
//! A set of 64 bits a slot, cut from its key, which is a hash already: two slots share them once in 2^60 questions, and
//! then one may be forgotten for the other. A slot takes 9 bytes and its share of the room that a set has to spare: 10
//! bytes at best, 21 just after it has grown. A disk of 1 GiB holds two million answers at most, of 512 bytes and more.
//!
//! A set that knew only what is added would need no such care, but answers go as fast as they come.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::cache::entries::Slot;
use crate::cache::key::EntryKey;
use crate::llm::translate::{AnswerForm, StreamUsage};

/// Sets that are locked apart: one that grows holds up nobody for long.
const SHARDS: usize = 256;

/// The bits that stand for the form.
const FORM: u64 = 0b11;

/// The slots. Nothing is known until all have been [loaded](Filter::loaded).
#[derive(Debug)]
pub(super) struct Filter {
    shards: Box<[Shard]>,
    is_loaded: AtomicBool,
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<HashSet<u64, BuildHasherDefault<Itself>>>);

/// In which forms there may be an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which([bool; 3]);

/// A hash of what is one.
#[derive(Debug, Default)]
struct Itself(u64);

impl Default for Filter {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), is_loaded: AtomicBool::new(false) }
    }
}

impl Filter {
    /// In which forms there may be an answer to `key`: in all of them while nothing is known, or while the set is being
    /// changed. Never waits.
    pub(super) fn which(&self, key: &EntryKey) -> Which {
        if !self.is_loaded.load(Ordering::Acquire) {
            return Which([true; 3]);
        }
        let Some(set) = self.shard(key).and_then(|shard| shard.0.try_read().ok()) else {
            return Which([true; 3]);
        };
        Which(AnswerForm::ALL.map(|form| set.contains(&bits(key, form))))
    }

    /// True if there may be something in `slot`.
    pub(super) fn may_have(&self, slot: &Slot) -> bool {
        self.which(&slot.key).has(slot.form)
    }

    /// There is something in these slots now.
    pub(super) fn add(&self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            if let Some(shard) = self.shard(&slot.key) {
                let mut set = shard.0.write().unwrap_or_else(PoisonError::into_inner);
                set.insert(bits(&slot.key, slot.form));
            }
        }
    }

    /// There is nothing in these slots any more.
    pub(super) fn remove(&self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            if let Some(shard) = self.shard(&slot.key) {
                let mut set = shard.0.write().unwrap_or_else(PoisonError::into_inner);
                set.remove(&bits(&slot.key, slot.form));
            }
        }
    }

    /// Begins anew: nothing is known.
    pub(super) fn clear(&self) {
        self.is_loaded.store(false, Ordering::Release);
        for shard in &self.shards {
            *shard.0.write().unwrap_or_else(PoisonError::into_inner) = HashSet::default();
        }
    }

    /// All have been added: what has not is not there.
    pub(super) fn loaded(&self) {
        self.is_loaded.store(true, Ordering::Release);
    }

    /// How many slots there are.
    pub(super) fn count(&self) -> u64 {
        let read = |shard: &Shard| shard.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64;
        self.shards.iter().map(read).sum()
    }

    /// `None` cannot come up: there are as many as a byte can name.
    fn shard(&self, key: &EntryKey) -> Option<&Shard> {
        let [.., last] = key.as_bytes();
        self.shards.get(usize::from(*last))
    }
}

impl Which {
    /// True if there may be one in `form`.
    pub(super) fn has(self, form: AnswerForm) -> bool {
        AnswerForm::ALL.iter().zip(self.0).any(|(one, is_there)| *one == form && is_there)
    }

    /// True if there may be one in any form.
    pub(super) fn is_any(self) -> bool {
        self.0.contains(&true)
    }
}

fn bits(key: &EntryKey, form: AnswerForm) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    let form = match form {
        AnswerForm::Json => 0,
        AnswerForm::Stream(StreamUsage::Omitted) => 1,
        AnswerForm::Stream(StreamUsage::Included) => 2,
    };
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) & !FORM | form
}

impl Hasher for Itself {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::cache::entries::Slot;
    use crate::cache::key::EntryKey;
    use crate::llm::translate::AnswerForm;

    /// So many slots, their keys as evenly spread as hashes.
    fn slots(count: u64) -> impl Iterator<Item = Slot> {
        (0..count).map(|number| {
            let mut key = [0; 32];
            let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            key[..8].copy_from_slice(&spread.to_le_bytes());
            key[31] = (number % 251) as u8;
            let form = AnswerForm::ALL[(number % 3) as usize];
            Slot { key: EntryKey::from_bytes(key), form }
        })
    }

    #[test]
    fn what_was_added_is_there_in_its_form_alone() {
        let filter = Filter::default();
        filter.add(slots(10_000));
        filter.loaded();
        assert_eq!(filter.count(), 10_000);
        for slot in slots(10_000) {
            assert!(filter.may_have(&slot), "{slot:?}");
            assert!(slot.others().all(|other| !filter.may_have(&other)), "{slot:?}");
        }
        filter.remove(slots(5_000));
        let there = slots(10_000).filter(|slot| filter.may_have(slot)).count();
        assert_eq!((there, filter.count()), (5_000, 5_000));
    }

    #[test]
    fn nothing_is_ruled_out_before_all_is_known() {
        let filter = Filter::default();
        let slot = slots(1).next().expect("one");
        assert!(filter.may_have(&slot) && filter.which(&slot.key).is_any());
        filter.loaded();
        assert!(!filter.may_have(&slot) && !filter.which(&slot.key).is_any());
        filter.add(slots(1));
        filter.clear();
        assert!(filter.may_have(&slot));
        filter.loaded();
        assert!(!filter.may_have(&slot), "it began anew");
    }

    #[test]
    fn who_asks_while_it_is_changed_does_not_wait() {
        let filter = Filter::default();
        filter.loaded();
        let slot = slots(1).next().expect("one");
        let changing = filter.shard(&slot.key).expect("a shard").0.write().expect("nobody panicked");
        assert!(filter.may_have(&slot));
        drop(changing);
        assert!(!filter.may_have(&slot));
    }
}
