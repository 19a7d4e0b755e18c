//! What one key may pass, kept beside the replicas by one who sees everything.
//!
//! `excess` is the most that any interval that ends now has passed beyond its rate, less the leases that were outstanding
//! when it began: the bound of the contract says that it is never more than the burst. `truth` is the debt of a bucket
//! that never loses anything.

use std::num::NonZeroU32;

use safecache::limits::bucket::{Bucket, Rate};

use super::time;

/// Parts of the bound, in tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    /// Leases that were outstanding when Redis lost something.
    pub(crate) outstanding: u64,
    /// Granted by a server whose place another took that had not heard of it.
    pub(crate) in_lag: u64,
    /// Granted before all who knew more had said so.
    pub(crate) early: u64,
    /// Spent without Redis and never charged, as the share had filled since, while others were served.
    pub(crate) alone: u64,
    /// Spent without Redis by a replica that then crashed.
    pub(crate) crashed: u64,
    /// Beyond a share that cannot be less than one token.
    pub(crate) indivisible: u64,
    /// What nobody could tell any more, in nanoseconds: whoever knew it had crashed, or it ran out before it was told.
    pub(crate) forgotten: i128,
}

impl Parts {
    /// What may pass beyond the plan.
    pub(crate) fn allowed(&self) -> u64 {
        self.early + self.alone + self.crashed + self.indivisible
    }
}

pub(crate) struct Account {
    pub(crate) rate: Rate,
    pub(crate) interval: i128,
    pub(crate) tau: i128,
    excess: i128,
    truth: i128,
    at: u64,
    /// Tokens that were granted and are neither spent nor returned nor lost.
    out: i128,
    pub(crate) granted: u64,
    pub(crate) returned: u64,
    /// Granted and charged in answers that nobody heard.
    unheard: u64,
    /// The same in answers that are on their way.
    pub(crate) on_way: u64,
    /// Spent without Redis and not charged yet.
    pub(crate) uncharged: u64,
    /// As long as a charge is on its way Redis grants as if there were none. So much of that has not been paid back in
    /// time since, in nanoseconds.
    pending: i128,
    pub(crate) parts: Parts,
    /// Replicas that have yet to tell what they know.
    pub(crate) untold: u32,
    /// Something is known by nobody any more: whoever knew it crashed, or it was lost once more before all had told.
    pub(crate) is_blind: bool,
    pub(crate) lost_at: u64,
    pub(crate) most_beyond: u64,
    pub(crate) offered: u64,
    pub(crate) admitted: u64,
    /// What one bucket for all would have admitted.
    pub(crate) ideal: u64,
    bucket: Bucket,
}

impl Account {
    pub(crate) fn new(per_minute: u32, burst: u32) -> Self {
        let rate = Rate::new(NonZeroU32::new(per_minute).unwrap(), NonZeroU32::new(burst).unwrap());
        Self {
            rate,
            interval: rate.interval().as_nanos() as i128,
            tau: rate.fill_time().as_nanos() as i128,
            excess: 0,
            truth: 0,
            at: 0,
            out: 0,
            granted: 0,
            returned: 0,
            unheard: 0,
            on_way: 0,
            uncharged: 0,
            pending: 0,
            parts: Parts::default(),
            untold: 0,
            is_blind: false,
            lost_at: 0,
            most_beyond: 0,
            offered: 0,
            admitted: 0,
            ideal: 0,
            bucket: Bucket::full(),
        }
    }

    fn settle(&mut self, now: u64) {
        let passed = i128::from(now - self.at);
        self.at = now;
        self.excess = (self.excess - passed).max(-self.out * self.interval);
        self.truth = (self.truth - passed).max(0);
        self.pending = (self.pending - passed).max(i128::from(self.uncharged) * self.interval);
    }

    pub(crate) fn out(&self) -> i128 {
        self.out
    }

    pub(crate) fn offer(&mut self, now: u64) {
        self.offered += 1;
        let decision = self.bucket.take(self.rate, time(now)).expect("it has no successor");
        self.ideal += u64::from(decision.wait().is_none());
    }

    /// One token of a lease is spent.
    pub(crate) fn spend(&mut self, now: u64) {
        self.settle(now);
        self.out -= 1;
        self.pass();
    }

    /// One token of a share is spent.
    pub(crate) fn spend_alone(&mut self, now: u64) {
        self.settle(now);
        self.uncharged += 1;
        self.pending += self.interval;
        self.pass();
    }

    fn pass(&mut self) {
        self.admitted += 1;
        self.excess += self.interval;
        let beyond = (self.excess - self.tau).max(0);
        self.most_beyond = self.most_beyond.max((beyond as u64).div_ceil(self.interval as u64));
    }

    /// Nanoseconds beyond the bound of the plan and the parts that are known to come on top.
    pub(crate) fn beyond(&self) -> i128 {
        let forgotten = self.parts.forgotten;
        self.excess - self.tau - i128::from(self.parts.allowed()) * self.interval - forgotten
    }

    /// What is on its way to be charged, which Redis does not know yet.
    pub(crate) fn pending(&self) -> i128 {
        self.pending
    }

    pub(crate) fn grant(&mut self, tokens: u64, now: u64) {
        self.settle(now);
        self.granted += tokens;
        self.out += i128::from(tokens);
        self.truth += i128::from(tokens) * self.interval;
        if self.untold > 0 {
            self.parts.early += tokens;
        }
    }

    pub(crate) fn give_back(&mut self, tokens: u64, now: u64) {
        self.settle(now);
        self.returned += tokens;
        self.drop_out(tokens);
        self.truth = (self.truth - i128::from(tokens) * self.interval).max(0);
    }

    pub(crate) fn charge(&mut self, tokens: u64, now: u64) {
        self.settle(now);
        self.truth = (self.truth + i128::from(tokens) * self.interval).min(2 * self.tau);
    }

    /// Tokens that nobody will spend.
    pub(crate) fn lose(&mut self, tokens: u64, now: u64) {
        self.settle(now);
        self.drop_out(tokens);
    }

    /// An answer that granted and charged so many is heard by nobody.
    pub(crate) fn not_heard(&mut self, granted: u64, charged: u64, now: u64) {
        self.unheard += granted + charged;
        self.lose(granted, now);
    }

    fn drop_out(&mut self, tokens: u64) {
        self.out -= i128::from(tokens);
        self.excess = self.excess.max(-self.out * self.interval);
    }

    /// Everybody who knew something has told it: Redis knows all again that somebody was told, or what is missing is returned.
    pub(crate) fn all_told(&mut self, debt: i128, now: u64) -> Result<(), String> {
        self.settle(now);
        let missing = self.truth - debt;
        // A debt that has run out since the loss is told by nobody.
        let run_out = i128::from(now - self.lost_at);
        let is_known =
            self.is_blind || missing <= i128::from(self.unheard + self.on_way) * self.interval + run_out;
        self.parts.forgotten += missing.clamp(0, if self.is_blind { i128::MAX } else { run_out });
        self.is_blind = false;
        self.truth = self.truth.min(debt);
        if is_known {
            Ok(())
        } else {
            Err(format!("missing {missing} ns, unheard {} of {} ns", self.unheard, self.interval))
        }
    }

    /// From now on the bound is the plan's alone again.
    pub(crate) fn begin_anew(&mut self, now: u64) {
        self.settle(now);
        self.excess = -self.out * self.interval;
        self.parts = Parts::default();
        (self.offered, self.admitted, self.ideal, self.most_beyond) = (0, 0, 0, 0);
    }
}
