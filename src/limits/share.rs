//! A replica's own share of a bucket, while there is no Redis to ask: a GCRA at a replica's part of the rate.
//!
//! With R replicas a share runs at `rate / R`: a token every `T * R`, and as long to fill as the whole bucket, so that it
//! holds `burst / R` of them, rounded down, and one at least. It is **empty when Redis is lost**, for whatever Redis had left
//! the other replicas may have been granted; it begins to fill then, whenever it is used first. So all shares together pass
//! `rate * time` while Redis is away, beside the leases that were deducted before. Where `burst < R` each holds one token
//! all the same, which are `R - burst` more than the plan has at once, and never more than its rate in the end.
//!
//! **Coming back**, Redis' own level has grown by `rate * time` too, so what shares passed is charged there: each what it
//! spent, but not more than what it lacks by then. Not capped, Redis' debt is as if it had admitted all of it. Capped, all
//! that shares lack is all that any interval that ends now can have passed beyond its rate: whoever spent earlier has paid
//! with time in which the share was as slow as a share is.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::{Monotonic, nanos};
use crate::limits::bucket::{Decision, Rate};

/// One bucket's share. It belongs to a bucket that runs at one rate, which every call names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    tat: u64,
    replicas: NonZeroU32,
    since: Monotonic,
    spent: u64,
}

impl Share {
    /// One that was empty at `since`.
    pub(super) fn empty(rate: Rate, replicas: NonZeroU32, since: Monotonic) -> Self {
        let tat = since.saturating_add(share_of(rate, replicas).fill_time()).as_nanos();
        Self { tat, replicas, since, spent: 0 }
    }

    /// A full one.
    pub(super) fn full(replicas: NonZeroU32) -> Self {
        Self { tat: 0, replicas, since: Monotonic::default(), spent: 0 }
    }

    /// One that is full once `debt` has passed from `now` on.
    pub(super) fn owing(debt: Duration, now: Monotonic) -> Self {
        Self { tat: now.saturating_add(debt).as_nanos(), ..Self::full(NonZeroU32::MIN) }
    }

    /// Takes one token if there is one.
    pub(super) fn take(&mut self, rate: Rate, replicas: NonZeroU32, now: Monotonic) -> Decision {
        self.run_as_one_of(replicas, rate, now);
        let share = share_of(rate, replicas);
        let debt = self.debt(now);
        let after = debt.saturating_add(nanos(share.interval()));
        let most = nanos(share.fill_time());
        if after > most {
            let wait = Duration::from_nanos(after - most);
            return Decision::told(share, Duration::from_nanos(debt), Some(wait));
        }
        self.tat = now.as_nanos().saturating_add(after);
        self.spent = self.spent.saturating_add(1);
        Decision::told(share, Duration::from_nanos(after), None)
    }

    /// Redis is lost once more, at `since`: what has gathered in the meantime is given up.
    pub(super) fn lose_again(&mut self, rate: Rate, since: Monotonic) {
        if since > self.since {
            self.since = since;
            self.tat =
                self.tat.max(since.saturating_add(share_of(rate, self.replicas).fill_time()).as_nanos());
        }
    }

    /// The tokens to charge at Redis, were it back now.
    pub(super) fn owed(&self, rate: Rate, now: Monotonic) -> u64 {
        let interval = nanos(share_of(rate, self.replicas).interval());
        self.spent.min(self.debt(now).div_ceil(interval.max(1)))
    }

    /// Tokens spent and not settled.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// What was spent until there were `spent` is settled.
    pub(super) fn settle(&mut self, spent: u64) {
        self.spent = self.spent.saturating_sub(spent);
    }

    /// The share of the bucket's successor: as full as this one, with nothing spent.
    pub(super) fn successor(&self, from: Rate, to: Rate, now: Monotonic) -> Self {
        let (from, to) = (share_of(from, self.replicas), share_of(to, self.replicas));
        let debt = scaled(self.debt(now), from.fill_time(), to.fill_time());
        Self { tat: now.as_nanos().saturating_add(debt), spent: 0, ..*self }
    }

    /// The time until it is full, in nanoseconds.
    pub(super) fn debt(&self, now: Monotonic) -> u64 {
        self.tat.saturating_sub(now.as_nanos())
    }

    /// There are as many `replicas` now: the share keeps the ratio to which it is filled.
    fn run_as_one_of(&mut self, replicas: NonZeroU32, rate: Rate, now: Monotonic) {
        if replicas != self.replicas {
            let (from, to) = (share_of(rate, self.replicas), share_of(rate, replicas));
            let debt = scaled(self.debt(now), from.fill_time(), to.fill_time());
            self.tat = now.as_nanos().saturating_add(debt);
            self.replicas = replicas;
        }
    }
}

/// What one of as many replicas has of `rate`.
fn share_of(rate: Rate, replicas: NonZeroU32) -> Rate {
    let interval = rate.interval().saturating_mul(replicas.get());
    // A span that no clock can tell is as good as the longest that one can.
    Rate::of_spans(interval, rate.fill_time().max(interval)).unwrap_or(rate)
}

/// `debt` of a bucket that fills in `from`, for one that fills in `to`, rounded up.
pub(super) fn scaled(debt: u64, from: Duration, to: Duration) -> u64 {
    let scaled = (u128::from(debt) * u128::from(nanos(to))).div_ceil(u128::from(nanos(from).max(1)));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
