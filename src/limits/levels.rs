//! The levels of all buckets, on their way from a process to the one that takes its place.
//!
//! A level that two processes had would be spent twice. So the buckets end in the one before they begin in the other,
//! and whoever still serves requests there has them charged where the buckets are now.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock::Monotonic;
use crate::limits::bucket::{Bucket, Decision, Rate};
use crate::limits::limiter::{Cell, Limiter, Moved, Owner};

/// How much one bucket lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whose it is.
    pub owner: Owner,
    /// The rate that it ran at.
    pub rate: Rate,
    /// The time after which it would be full.
    pub debt: Duration,
}

impl Limiter {
    /// Ends every bucket and returns its level. From here on nothing is charged here: [`Limiter::check`] says [`Moved`].
    pub fn move_out(&self, now: Monotonic) -> Vec<Level> {
        *self.has_moved.write().unwrap_or_else(PoisonError::into_inner) = true;
        let level = |(owner, cell): (Owner, Arc<Cell>)| {
            Some(Level { owner, rate: cell.rate, debt: cell.bucket.close(now)? })
        };
        self.cells.all().into_iter().filter_map(level).collect()
    }

    /// Takes back what [moved out](Limiter::move_out) at the time `then`: the buckets are as if they had stayed.
    pub fn put_back(&self, levels: Vec<Level>, then: Monotonic) {
        let mut has_moved = self.has_moved.write().unwrap_or_else(PoisonError::into_inner);
        self.fill(levels, then);
        *has_moved = false;
    }

    /// Takes over the levels of another process; to be called before anything is charged.
    pub fn take_in(&self, levels: Vec<Level>, now: Monotonic) {
        self.fill(levels, now);
    }

    /// Charges one request to the bucket of `owner`, for a process whose buckets these were.
    ///
    /// # Errors
    /// [`Moved`] on from here; nothing was charged.
    pub fn charge(&self, owner: &Owner, rate: Rate, now: Monotonic) -> Result<Decision, Moved> {
        loop {
            let cell = self.find(owner.clone(), rate, now)?;
            // Comes round again only if a request at another rate took the bucket.
            if let Ok(decision) = cell.bucket.take(rate, now) {
                return Ok(decision);
            }
        }
    }

    fn fill(&self, levels: Vec<Level>, then: Monotonic) {
        for Level { owner, rate, debt } in levels {
            let cell = Cell::new(Bucket::owing(debt, then), rate, then);
            self.cells.insert(owner, Arc::new(cell), then);
        }
    }
}
