//! Every key's bucket, kept across reloads.
//!
//! A bounded cache would hand a fresh burst to whoever was evicted, and a map that only grows would keep every key
//! ever seen. So cells live in a [table](Cells) without a bound and leave it only after they have been idle for so long
//! that they are full again. Only a [`Holder`] can be charged, and only authenticated keys have one: what strangers
//! send makes no cell.
//!
//! A cell runs at one [`Rate`] for life. When a plan changes, the cell is retired and a successor with the same fill
//! ratio takes its place, under the table's lock; whoever still holds the old cell is told
//! so by the bucket itself and asks again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::clock::{Monotonic, Now};
use crate::ids::{AccountId, KeyId};
use crate::limits::bucket::{Bucket, Rate};
use crate::limits::cells::{Cells, Kind, Settled};
use crate::limits::leases::{Leased, Leases};
use crate::limits::plan::{Per, Plan};
use crate::limits::verdict::Verdict;

/// The buckets of all keys. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    pub(super) cells: Arc<Cells>,
    /// Whether the buckets have moved to another process. Read while a cell is looked for or made, so that none is made
    /// unseen; a request whose cell is remembered does not ask.
    pub(super) has_moved: Arc<RwLock<bool>>,
    /// There if the buckets are not here but in Redis: their cells hold leases.
    pub(super) leases: Option<Arc<Leases>>,
}

/// The buckets are another process's now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved;

/// Why nothing was decided here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// The buckets are another process's now.
    Moved,
    /// Redis is to be [asked](Limiter::ask).
    Ask(Leased),
}

impl From<Moved> for Undecided {
    fn from(_: Moved) -> Self {
        Self::Moved
    }
}

/// Who is charged and by which plan: the limiter's part of a key's record. It remembers its cell, so that the
/// usual request needs no look-up.
#[derive(Debug)]
pub struct Holder {
    key: KeyId,
    account: AccountId,
    plan: Arc<Plan>,
    cell: ArcSwapOption<Cell>,
}

/// Whose bucket it is. A key that moves to another account keeps its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A key's own.
    Key(KeyId),
    /// The one that all keys of an account share.
    Account(AccountId),
}

impl Owner {
    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Key(id) => id.as_str(),
            Self::Account(id) => id.as_str(),
        }
    }
}

/// A bucket, its rate for life, and when it was last noted that it is in use.
#[derive(Debug)]
pub(super) struct Cell {
    /// Retired from the beginning if the bucket is leased, so that the usual request does not have to ask.
    pub(super) bucket: Bucket,
    pub(super) leased: Option<Leased>,
    pub(super) rate: Rate,
    touched: AtomicU64,
}

/// Cells of plans that fill fast are kept this long nevertheless.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(3600);

/// An idle cell lives for this many times its fill time: it has long been full when it goes.
const FILL_TIMES: u32 = 3;

/// A cell in use is noted so often in a lifetime, which is every quarter of a fill time.
const TOUCHES: u32 = 12;

// === impl Limiter ===

impl Limiter {
    /// A limiter in which every bucket is full.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many buckets are kept; those that have been idle for long enough may be among them or not.
    pub fn kept(&self) -> usize {
        self.cells.len()
    }

    /// Charges `holder` one request, or refuses it and charges nothing. Takes no lock, except on the holder's
    /// first request, after a change of plan, and every quarter of the bucket's fill time.
    ///
    /// # Errors
    /// [`Undecided`]: nothing was charged here.
    pub fn check(&self, holder: &Holder, now: Now) -> Result<Verdict, Undecided> {
        let rate = holder.plan.rate();
        let remembered = holder.cell.load();
        let usual = remembered
            .as_ref()
            .filter(|cell| !cell.is_due_for_touch(now.monotonic))
            .and_then(|cell| cell.bucket.take(rate, now.monotonic).ok());
        let mut taken = usual;
        loop {
            if let Some(decision) = taken {
                return Ok(Verdict::new(decision, &holder.plan, now.unix));
            }
            if let Some(leases) = &self.leases {
                return self.check_leased(leases, holder, now);
            }
            // Comes round again only if a request of an older snapshot took the bucket back to its own rate.
            taken = self.settle(holder, now.monotonic)?.bucket.take(rate, now.monotonic).ok();
        }
    }

    /// Brings the live buckets of `holders` to their plans' rates, each at its fill ratio. To be called with the
    /// holders that are new in a snapshot, before that snapshot goes live: time until then counts at the old rate,
    /// time from then on at the new one. Makes no bucket. Requests of the old snapshot that still come are served
    /// at the old rate, from the same ratio. Buckets that have moved are not its business.
    pub fn rescale<'a>(&self, holders: impl IntoIterator<Item = &'a Holder>, now: Monotonic) {
        for holder in holders {
            let live = self.cells.get(&holder.owner());
            let is_due = live.is_some_and(|cell| cell.rate != holder.plan.rate());
            if is_due && self.settle(holder, now).is_err() {
                return;
            }
        }
    }

    /// Finds or makes the one cell that serves `holder` now, and makes the holder remember it.
    pub(super) fn settle(&self, holder: &Holder, now: Monotonic) -> Result<Arc<Cell>, Moved> {
        let remembered = holder.cell.load_full();
        let cell = self.find(holder.owner(), holder.plan.rate(), now)?;
        if !remembered.is_some_and(|old| Arc::ptr_eq(&old, &cell)) {
            holder.cell.store(Some(Arc::clone(&cell)));
        }
        Ok(cell)
    }

    /// Finds or makes the one cell of `owner` at `rate`, and marks it as used.
    pub(super) fn find(&self, owner: Owner, rate: Rate, now: Monotonic) -> Result<Arc<Cell>, Moved> {
        let has_moved = self.has_moved.read().unwrap_or_else(PoisonError::into_inner);
        if *has_moved {
            return Err(Moved);
        }
        let kind = if self.leases.is_some() { Kind::Leased } else { Kind::Own };
        let Settled { cell, replaced } = self.cells.settle(owner, rate, kind, now);
        if let (Some(leases), Some(leased)) = (&self.leases, replaced.and_then(|cell| cell.leased.clone())) {
            leases.list_retired(&leased);
        }
        Ok(cell)
    }
}

// === impl Holder ===

impl Holder {
    /// A holder that has yet to find its bucket.
    pub fn new(key: KeyId, account: AccountId, plan: Arc<Plan>) -> Self {
        Self { key, account, plan, cell: ArcSwapOption::empty() }
    }

    /// The key that is charged.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// The key's owner.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The plan that it is charged by.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The cell that it remembers, if that need not be noted as in use.
    pub(super) fn remembered(&self, now: Monotonic) -> Option<Arc<Cell>> {
        self.cell.load_full().filter(|cell| cell.rate == self.plan.rate() && !cell.is_due_for_touch(now))
    }

    /// Whose bucket it charges.
    pub fn owner(&self) -> Owner {
        match self.plan.per() {
            Per::Key => Owner::Key(self.key.clone()),
            Per::Account => Owner::Account(self.account.clone()),
        }
    }
}

// === impl Cell ===

impl Cell {
    pub(super) fn new(bucket: Bucket, rate: Rate, now: Monotonic) -> Self {
        Self { bucket, leased: None, rate, touched: AtomicU64::new(now.as_nanos()) }
    }

    pub(super) fn leasing(leased: Leased, rate: Rate, now: Monotonic) -> Self {
        Self { leased: Some(leased), ..Self::new(Bucket::retired(), rate, now) }
    }

    /// The cell that takes this one's place, at the rate `to`.
    pub(super) fn successor(&self, to: Rate, now: Monotonic) -> Self {
        match &self.leased {
            Some(leased) => Self::leasing(leased.successor(to, now), to, now),
            None => Self::new(self.bucket.retire(self.rate, to, now), to, now),
        }
    }

    /// Notes that it is in use.
    pub(super) fn touch(&self, now: Monotonic) {
        self.touched.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// True if it has not been used for its lifetime.
    pub(super) fn is_long_idle(&self, now: Monotonic) -> bool {
        self.idle(now) >= self.lifetime()
    }

    fn idle(&self, now: Monotonic) -> Duration {
        now.saturating_since(Monotonic::from_nanos(self.touched.load(Ordering::Relaxed)))
    }

    pub(super) fn serves(&self, rate: Rate) -> bool {
        let is_retired = match &self.leased {
            Some(leased) => leased.lease().is_retired(),
            None => self.bucket.is_retired(),
        };
        self.rate == rate && !is_retired
    }

    fn is_due_for_touch(&self, now: Monotonic) -> bool {
        self.idle(now) >= self.lifetime() / TOUCHES
    }

    fn lifetime(&self) -> Duration {
        self.rate.fill_time().saturating_mul(FILL_TIMES).max(SHORTEST_LIFETIME)
    }
}
