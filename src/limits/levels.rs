//! The levels of all buckets, on their way from a process to the one that takes its place.
//!
//! A level that two processes had would be spent twice. So the buckets end in the one before they begin in the other,
//! and whoever still serves requests there has them charged where the buckets are now.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock::Monotonic;
use crate::limits::bucket::{Bucket, Decision, Rate};
use crate::limits::lease::{Lease, Taken};
use crate::limits::leases::Leased;
use crate::limits::limiter::{Cell, Limiter, Moved, Owner};
use crate::limits::link::Link;

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
    /// Ends every bucket and returns its level. From here on nothing is charged here: [`Limiter::check`] says that they have
    /// moved. Buckets that are in Redis stay there: a process that leaves goes on to lease from them.
    pub fn move_out(&self, now: Monotonic) -> Vec<Level> {
        if self.leases.as_ref().is_some_and(|leases| !matches!(leases.link(), Link::Absent { .. })) {
            return Vec::new();
        }
        *self.has_moved.write().unwrap_or_else(PoisonError::into_inner) = true;
        let level = |(owner, cell): (Owner, Arc<Cell>)| {
            let debt = match &cell.leased {
                Some(leased) => leased.lease().close(now),
                None => cell.bucket.close(now),
            };
            Some(Level { owner, rate: cell.rate, debt: debt? })
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
            if let Some(decision) = self.take(&cell, rate, now) {
                return Ok(decision);
            }
        }
    }

    /// `None`: the cell has a successor. A lease is not asked for: nobody charges what is in Redis for another.
    fn take(&self, cell: &Cell, rate: Rate, now: Monotonic) -> Option<Decision> {
        let (Some(leased), Some(leases)) = (&cell.leased, &self.leases) else {
            return cell.bucket.take(rate, now).ok();
        };
        match leased.lease().take(leases.link_alone(now), now) {
            Taken::Decided(decision) | Taken::Low(decision) => Some(decision),
            Taken::Ask | Taken::Retired => None,
        }
    }

    fn fill(&self, levels: Vec<Level>, then: Monotonic) {
        for Level { owner, rate, debt } in levels {
            let cell = match &self.leases {
                Some(_) => {
                    let lease = Lease::owing(rate, debt, then);
                    Cell::leasing(Leased::new(owner.clone(), lease), rate, then)
                }
                None => Cell::new(Bucket::owing(debt, then), rate, then),
            };
            self.cells.insert(owner, Arc::new(cell), then);
        }
    }
}
