//! Sums added up over classes, as reports tell classes apart.

use crate::usage::record::{Class, Sums};

/// Requests by how they ended, and the sums of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summed {
    /// Answered from an entry with an equal key.
    pub exact: u64,
    /// Answered from an entry with a similar prompt.
    pub semantic: u64,
    /// Answered by another request's upstream call.
    pub collapsed: u64,
    /// Looked up and not found.
    pub misses: u64,
    /// Not looked up.
    pub uncached: u64,
    /// Answers that were put into the store.
    pub stores: u64,
    /// Refused by the bucket.
    pub rate_limited: u64,
    /// Answered with 400 or above otherwise, or left before an answer.
    pub errors: u64,
    /// Usage, listing, deleting.
    pub other: u64,
    /// All together.
    pub all: Sums,
}

impl Summed {
    /// Adds the sums of a class.
    pub fn add(&mut self, class: Class, sums: Sums) {
        let count = match class {
            Class::ExactHit => &mut self.exact,
            Class::SemanticHit => &mut self.semantic,
            Class::Collapsed => &mut self.collapsed,
            Class::Miss => &mut self.misses,
            Class::Uncached => &mut self.uncached,
            Class::Stored => &mut self.stores,
            Class::RateLimited => &mut self.rate_limited,
            Class::Error => &mut self.errors,
            Class::Other => &mut self.other,
        };
        *count = count.saturating_add(sums.requests);
        self.all += sums;
    }

    /// Requests that cost no upstream call.
    pub fn hits(&self) -> u64 {
        self.exact.saturating_add(self.semantic).saturating_add(self.collapsed)
    }

    /// Hits among hits and misses, from 0 to 1; `None`: there were none.
    pub fn hit_rate(&self) -> Option<f64> {
        let looked_up = self.hits().saturating_add(self.misses);
        (looked_up > 0).then(|| self.hits() as f64 / looked_up as f64)
    }
}
