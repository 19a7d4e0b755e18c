//! The ids of a list as they come, to find those that come twice.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use ahash::RandomState;

use crate::auth::key_ring::OwnBytes;
use crate::ids::KeyId;

/// Finds ids that come twice. A list has a million, and seldom one of them twice: they are known by their hashes, side by
/// side, until two are alike.
#[derive(Default)]
pub(super) struct SeenIds {
    hasher: RandomState,
    hashes: HashSet<u64, BuildHasherDefault<OwnBytes>>,
    ids: Vec<KeyId>,
    /// Each id's place; once two hashes have been alike.
    places: Option<HashMap<KeyId, usize>>,
}

impl SeenIds {
    /// Nothing has been seen; there is room for `expected` ids.
    pub(super) fn with_capacity(expected: usize) -> Self {
        let mut seen = Self::default();
        seen.hashes.reserve(expected);
        seen.ids.reserve(expected);
        seen
    }

    /// Takes the next id; the place at which it came first, which is its own if it is new.
    pub(super) fn take(&mut self, id: &KeyId) -> usize {
        let place = self.ids.len();
        self.ids.push(id.clone());
        let is_new = self.hashes.insert(self.hasher.hash_one(id));
        if is_new && self.places.is_none() {
            return place;
        }
        let ids = &self.ids;
        let places = self.places.get_or_insert_with(|| {
            ids.iter().take(place).enumerate().map(|(place, id)| (id.clone(), place)).collect()
        });
        *places.entry(id.clone()).or_insert(place)
    }
}
