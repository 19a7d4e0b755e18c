//! Buckets that are leased from Redis, of a [`Limiter`]: what its cells hold then, and what there is to ask and to tell.
//!
//! The limiter decides what it can and never waits. What is to be sent it hands out: to a request that has to wait
//! ([`Undecided::Ask`]), and to whoever calls [`Limiter::due`] a few times a second. For that it lists the leases that may
//! hold something that belongs in Redis, each once; one that does not is off the list at the next look. So a look costs as
//! much as there is on the list, however many idle cells there are.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::clock::{Monotonic, Now};
use crate::limits::bucket::Rate;
use crate::limits::lease::{IDLE, Lease, Taken};
use crate::limits::limiter::{Holder, Limiter, Moved, Owner, Undecided};
use crate::limits::link::{Link, WhenDown};
use crate::limits::question::{Answer, Asking, Due, Failure, Heard, Question};
use crate::limits::verdict::Verdict;

/// A bucket that is leased from Redis. Clones are the same lease.
#[derive(Clone)]
pub struct Leased(Arc<Leasehold>);

struct Leasehold {
    owner: Owner,
    lease: Lease,
    is_idle_listed: AtomicBool,
    is_alone_listed: AtomicBool,
}

/// What all leases share.
pub(super) struct Leases {
    link: ArcSwap<Link>,
    policy: WhenDown,
    /// Leases that may hold tokens that nobody uses, in the order in which they are to be looked at.
    idle: Mutex<VecDeque<(Monotonic, Leased)>>,
    /// Leases of which something was spent without Redis.
    alone: Mutex<VecDeque<Leased>>,
    /// Leases that are to ask ahead.
    low: Mutex<VecDeque<Leased>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

// === impl Limiter ===

impl Limiter {
    /// A limiter whose buckets are in Redis, or each replica's share if there is none. While Redis does not answer, what
    /// passes is up to `policy`. `wake` is called when a lease is to ask ahead, on the request's thread: [`Limiter::due`]
    /// says which.
    pub fn leasing(link: Link, policy: WhenDown, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let leases = Leases {
            link: ArcSwap::from_pointee(link),
            policy,
            idle: Mutex::default(),
            alone: Mutex::default(),
            low: Mutex::default(),
            wake: Box::new(wake),
        };
        Self { leases: Some(Arc::new(leases)), ..Self::default() }
    }

    /// From now on Redis is as `link` says. Does nothing for a limiter that leases nothing.
    pub fn set_link(&self, link: Link) {
        if let Some(leases) = self.leases.as_ref().filter(|leases| leases.link() != link) {
            leases.link.store(Arc::new(link));
        }
    }

    /// Decides on a request that was not answered by Redis, which was given up at `since`, as [`Limiter::check`] does while
    /// it is down.
    ///
    /// # Errors
    /// [`Moved`]: nothing was charged here.
    pub fn check_alone(&self, holder: &Holder, since: Monotonic, now: Now) -> Result<Verdict, Moved> {
        loop {
            let decided = match &self.leases {
                Some(leases) => {
                    self.take_leased(leases, leases.link().alone(since, leases.policy), holder, now)
                }
                None => self.check(holder, now),
            };
            match decided {
                Ok(verdict) => return Ok(verdict),
                Err(Undecided::Moved) => return Err(Moved),
                // Only if its share was settled in between.
                Err(Undecided::Ask(_)) => {}
            }
        }
    }

    /// [`Limiter::check`] for a limiter that leases.
    pub(super) fn check_leased(
        &self,
        leases: &Leases,
        holder: &Holder,
        now: Now,
    ) -> Result<Verdict, Undecided> {
        self.take_leased(leases, leases.link(), holder, now)
    }

    fn take_leased(
        &self,
        leases: &Leases,
        link: Link,
        holder: &Holder,
        now: Now,
    ) -> Result<Verdict, Undecided> {
        let mut cell = match holder.remembered(now.monotonic) {
            Some(cell) => cell,
            None => self.settle(holder, now.monotonic)?,
        };
        loop {
            let Some(leased) = &cell.leased else { return Err(Undecided::Moved) };
            let decision = match leased.lease().take(link, now.monotonic) {
                Taken::Decided(decision) => decision,
                Taken::Low(decision) => {
                    locked(&leases.low).push_back(leased.clone());
                    (leases.wake)();
                    decision
                }
                Taken::Ask => return Err(Undecided::Ask(leased.clone())),
                Taken::Retired => {
                    cell = self.settle(holder, now.monotonic)?;
                    continue;
                }
            };
            let verdict = Verdict::new(decision, holder.plan(), now.unix);
            return Ok(match link {
                Link::Down { policy, .. } => {
                    leases.list_alone(leased);
                    verdict.alone(policy)
                }
                Link::Up { .. } | Link::Absent { .. } => verdict,
            });
        }
    }

    /// Asks Redis for tokens, for as many requests as are `waiting` for them.
    pub fn ask(&self, leased: &Leased, waiting: NonZeroU32, now: Monotonic) -> Asking {
        match self.link() {
            Some(Link::Up { replicas }) => leased.lease().ask(waiting, replicas, now),
            _ => Asking::Again,
        }
    }

    /// A question of this lease was answered; `now` is when that was heard.
    pub fn answered(&self, leased: &Leased, answer: &Answer, now: Monotonic) -> Heard {
        let heard = leased.lease().answered(answer, now);
        if let Some(leases) = self.leases.as_ref().filter(|_| leased.lease().unspent() > 0) {
            leases.list_idle(leased, now);
        }
        heard
    }

    /// A question of this lease failed, or was not answered in time.
    pub fn failed(&self, leased: &Leased, why: Failure, now: Monotonic) {
        leased.lease().failed(why);
        if let Some(leases) = &self.leases {
            // A charge is still due; what was to be returned is gone.
            leases.list_alone(leased);
            leases.list_idle(leased, now);
        }
    }

    /// What is to be sent to Redis without any request that waits for it, at most so many: what to ask ahead, what to
    /// charge, what to give back. Each is to be [`answered`](Limiter::answered) or [`failed`](Limiter::failed). Nothing
    /// while Redis does not answer.
    pub fn due(&self, now: Monotonic, at_most: usize) -> Vec<(Leased, Question)> {
        let mut due = Vec::new();
        if let (Some(leases), Some(link @ Link::Up { replicas })) = (&self.leases, self.link()) {
            leases.due_low(replicas, now, at_most, &mut due);
            leases.due_alone(link, now, at_most, &mut due);
            leases.due_idle(link, now, at_most, &mut due);
        }
        due
    }

    /// All leases that know of a debt: if Redis has lost something each is to [tell](Lease::tell) what it knows. Looks at
    /// every cell.
    pub fn knowing(&self, now: Monotonic) -> Vec<Leased> {
        let mut knowing = Vec::new();
        self.cells.each(|cell| {
            knowing.extend(cell.leased.iter().filter(|leased| !leased.lease().known(now).is_zero()).cloned());
        });
        knowing
    }

    fn link(&self) -> Option<Link> {
        self.leases.as_ref().map(|leases| leases.link())
    }
}

// === impl Leases ===

impl Leases {
    pub(super) fn link(&self) -> Link {
        **self.link.load()
    }

    /// The link for whoever cannot wait.
    pub(super) fn link_alone(&self, now: Monotonic) -> Link {
        self.link().alone(now, self.policy)
    }

    /// What a lease that has a successor holds goes back at once.
    pub(super) fn list_retired(&self, leased: &Leased) {
        if !leased.0.is_idle_listed.swap(true, Ordering::AcqRel) {
            locked(&self.idle).push_front((Monotonic::default(), leased.clone()));
        }
        self.list_alone(leased);
    }

    fn list_idle(&self, leased: &Leased, now: Monotonic) {
        if !leased.0.is_idle_listed.swap(true, Ordering::AcqRel) {
            locked(&self.idle).push_back((now.saturating_add(IDLE), leased.clone()));
        }
    }

    fn list_alone(&self, leased: &Leased) {
        let is_listed = &leased.0.is_alone_listed;
        if !is_listed.load(Ordering::Relaxed) && !is_listed.swap(true, Ordering::AcqRel) {
            locked(&self.alone).push_back(leased.clone());
        }
    }

    fn due_low(
        &self,
        replicas: NonZeroU32,
        now: Monotonic,
        at_most: usize,
        due: &mut Vec<(Leased, Question)>,
    ) {
        while due.len() < at_most {
            let Some(leased) = locked(&self.low).pop_front() else { return };
            if let Some(question) = leased.lease().ask_ahead(replicas, now) {
                due.push((leased, question));
            }
        }
    }

    fn due_alone(&self, link: Link, now: Monotonic, at_most: usize, due: &mut Vec<(Leased, Question)>) {
        // Those that are put back are for the next time.
        let mut looks = locked(&self.alone).len();
        while due.len() < at_most && looks > 0 {
            looks -= 1;
            let Some(leased) = locked(&self.alone).pop_front() else { return };
            leased.0.is_alone_listed.store(false, Ordering::Release);
            match leased.lease().due(link, now) {
                Due::Nothing => {}
                // A question is on its way.
                Due::Later => {
                    self.list_alone(&leased);
                    self.list_idle(&leased, now);
                }
                Due::Send(question) => due.push((leased, question)),
            }
        }
    }

    fn due_idle(&self, link: Link, now: Monotonic, at_most: usize, due: &mut Vec<(Leased, Question)>) {
        while due.len() < at_most {
            let leased = {
                let mut idle = locked(&self.idle);
                match idle.front() {
                    Some((at, _)) if *at <= now => idle.pop_front(),
                    _ => None,
                }
            };
            let Some((_, leased)) = leased else { return };
            leased.0.is_idle_listed.store(false, Ordering::Release);
            match leased.lease().due(link, now) {
                Due::Nothing => {}
                Due::Later => self.list_idle(&leased, now),
                Due::Send(question) => due.push((leased, question)),
            }
        }
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases")
            .field("link", &self.link())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

// === impl Leased ===

impl Leased {
    pub(super) fn new(owner: Owner, lease: Lease) -> Self {
        let listed = || AtomicBool::new(false);
        Self(Arc::new(Leasehold { owner, lease, is_idle_listed: listed(), is_alone_listed: listed() }))
    }

    /// The lease of the same bucket at the rate `to`.
    pub(super) fn successor(&self, to: Rate, now: Monotonic) -> Self {
        Self::new(self.0.owner.clone(), self.lease().successor(to, now))
    }

    /// Whose bucket it is.
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.0.lease
    }
}

impl PartialEq for Leased {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Leased {}

impl fmt::Debug for Leased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leased").field(&self.owner()).finish()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
