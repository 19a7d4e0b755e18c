//! Tokens that a replica has leased from a bucket in Redis, and spends by itself.
//!
//! Tokens are deducted in Redis before they are here, so spending one asks nobody: a load, a compare-and-swap and a store.
//! A lease that is used up asks for more. One question is on its way at a time and all who come meanwhile wait for it; a key
//! that is fast asks ahead once half of what it had is spent, and never waits. It asks for what it spends in half a second,
//! and gives back what it has not touched for a second and a half. While Redis is known to have nothing a request is
//! refused here, until the instant at which a token is due: a flood on an empty bucket is none on Redis.
//!
//! **What is unknown counts against us.** A grant whose answer never came is spent by nobody. A return whose answer never
//! came is not sent again. A charge whose answer never came is: at worst it is charged twice.
//!
//! **Without Redis** the lease is spent first and then a [share](crate::limits::share), which was empty when Redis was lost;
//! so is it for a bucket of which Redis alone refuses to say anything, from the first question on that it refused.
//! When it is back, the first question charges what the share passed; what the share still held is given up.
//!
//! **Another rate** makes another lease ([`Lease::successor`]), which begins with nothing. What the old one holds it
//! returns itself, at its own rate; so does what is granted to it later. The script keeps the ratio.
//!
//! The caller's duties: every question is followed by [`Lease::answered`] or [`Lease::failed`], once; an answer that comes
//! behind `failed` is dropped. Whether Redis answers is to be found out otherwise than by a lease's questions, as each
//! that is carried out unheard may charge once more. The package in `loom/` compiles this very file.

use std::num::NonZeroU32;
use std::time::Duration;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

use crate::clock::{Monotonic, nanos};
use crate::limits::bucket::{Decision, Rate};
use crate::limits::link::{Link, WhenDown};
use crate::limits::question::{Answer, Asking, Due, Failure, Heard, Question};
use crate::limits::share::{Share, scaled};

/// Most tokens that are asked for at once.
pub const MOST: u32 = 1024;

/// Tokens that have not been touched for so long go back.
pub const IDLE: Duration = Duration::from_millis(1500);

/// A lease is to last for so long at the pace at which the one before was spent.
const AHEAD: Duration = Duration::from_millis(500);

/// The pace is told from no less time than this.
const SHORTEST_PACE: Duration = Duration::from_millis(100);

/// Who is refused because there is no Redis is to come back no sooner than this.
const CLOSED_WAIT: Duration = Duration::from_secs(1);

/// What became of a request at a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is admitted or refused.
    Decided(Decision),
    /// It is admitted, and whoever is told so asks [ahead](Lease::ask_ahead). One request in a lease is.
    Low(Decision),
    /// Nothing is decided: [ask](Lease::ask).
    Ask,
    /// The lease has a successor; ask for that one.
    Retired,
}

/// One bucket's lease, at one rate for life.
#[derive(Debug)]
pub struct Lease {
    rate: Rate,
    /// Bits 0 to 15: unspent tokens; 16 to 31: how many there were after the last grant; then the marks.
    word: AtomicU64,
    /// Until then Redis has nothing.
    refused_until: AtomicU64,
    /// The bucket's theoretical arrival time on this replica's clock, as it was told last.
    tat: AtomicU64,
    used: AtomicU64,
    rest: Mutex<Rest>,
}

/// What is not looked at as long as there are tokens.
#[derive(Debug, Default)]
struct Rest {
    epoch: u64,
    sequence: u64,
    answered: Monotonic,
    /// Unspent tokens behind that answer.
    held: u32,
    asked: Option<Asked>,
    /// When the first question was asked that was refused, as all were since.
    refused_since: Option<Monotonic>,
    share: Option<Share>,
}

/// The question that is on its way.
#[derive(Debug)]
struct Asked {
    at: Monotonic,
    want: u32,
    knew: bool,
    /// What the share had spent: its charge settles that.
    spent: u64,
}

/// Tokens in the word.
const TOKENS: u64 = 0xffff;
/// Somebody has been told that the lease is low.
const TOLD: u64 = 1 << 32;
/// The lease has a successor.
const RETIRED: u64 = 1 << 33;

impl Rest {
    /// Since when nothing that was asked has been answered, if something was.
    fn unanswered_since(&self) -> Option<Monotonic> {
        self.refused_since.or(self.asked.as_ref().map(|asked| asked.at))
    }
}

impl Lease {
    /// A lease of nothing, of a bucket of which nothing is known.
    pub fn new(rate: Rate) -> Self {
        Self::with(rate, 0, Rest::default())
    }

    /// A lease without Redis whose share is full once `debt` has passed from `now` on.
    pub fn owing(rate: Rate, debt: Duration, now: Monotonic) -> Self {
        Self::with(rate, 0, Rest { share: Some(Share::owing(debt, now)), ..Rest::default() })
    }

    fn with(rate: Rate, tat: u64, rest: Rest) -> Self {
        let number = AtomicU64::new;
        let (word, refused_until, tat, used) = (number(0), number(0), number(tat), number(0));
        Self { rate, word, refused_until, tat, used, rest: Mutex::new(rest) }
    }

    /// Takes a token for one request. Takes no lock as long as there is one, or Redis is known to have none.
    pub fn take(&self, link: Link, now: Monotonic) -> Taken {
        let mut word = self.word.load(Ordering::Relaxed);
        while link.spends() && word & RETIRED == 0 && word & TOKENS > 0 {
            let left = word - 1;
            let is_low = is_low(left) && word & TOLD == 0;
            let next = if is_low { left | TOLD } else { left };
            // Tokens are in this word alone, so its own modification order is order enough.
            match self.word.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.used.store(now.as_nanos(), Ordering::Relaxed);
                    let decision = self.decision(left & TOKENS, None, now);
                    return if is_low { Taken::Low(decision) } else { Taken::Decided(decision) };
                }
                Err(seen) => word = seen,
            }
        }
        if word & RETIRED > 0 {
            return Taken::Retired;
        }
        match link {
            Link::Up { .. } => {
                let until = self.refused_until.load(Ordering::Relaxed);
                let wait = Monotonic::from_nanos(until).saturating_since(now);
                if wait.is_zero() { Taken::Ask } else { Taken::Decided(self.decision(0, Some(wait), now)) }
            }
            Link::Down { policy: WhenDown::Open, .. } => {
                Taken::Decided(Decision::told(self.rate, Duration::ZERO, None))
            }
            Link::Down { policy: WhenDown::Closed, .. } => {
                let wait = self.rate.interval().max(CLOSED_WAIT);
                Taken::Decided(Decision::told(self.rate, self.rate.fill_time(), Some(wait)))
            }
            Link::Down { since, replicas, policy: WhenDown::Share } => {
                let rate = self.rate;
                self.take_alone(replicas, now, |rest| {
                    let since = rest.unanswered_since().map_or(since, |own| own.min(since));
                    match &mut rest.share {
                        Some(share) => share.lose_again(rate, since),
                        None => rest.share = Some(Share::empty(rate, replicas, since)),
                    }
                })
            }
            Link::Absent { replicas } => self.take_alone(replicas, now, |rest| {
                rest.share.get_or_insert(Share::full(replicas));
            }),
        }
    }

    fn take_alone(&self, replicas: NonZeroU32, now: Monotonic, prepare: impl FnOnce(&mut Rest)) -> Taken {
        let mut rest = self.rest();
        // A successor takes the share's level along, under this lock.
        if self.is_retired() {
            return Taken::Retired;
        }
        prepare(&mut rest);
        self.refused_until.store(0, Ordering::Relaxed);
        let Some(share) = &mut rest.share else { return Taken::Ask };
        Taken::Decided(share.take(self.rate, replicas, now))
    }

    /// Asks for tokens, for as many requests as are `waiting` for them.
    pub fn ask(&self, waiting: NonZeroU32, replicas: NonZeroU32, now: Monotonic) -> Asking {
        let mut rest = self.rest();
        if rest.asked.is_some() {
            return Asking::Theirs;
        }
        let is_refused = now.as_nanos() < self.refused_until.load(Ordering::Relaxed);
        if is_refused || self.unspent() > 0 || self.is_retired() {
            return Asking::Again;
        }
        let want = self.pace(&rest, now).max(waiting.get()).min(MOST);
        Asking::Mine(self.question(&mut rest, replicas, now, (0, want)))
    }

    /// Asks for tokens before there are none.
    pub fn ask_ahead(&self, replicas: NonZeroU32, now: Monotonic) -> Option<Question> {
        let mut rest = self.rest();
        let is_refused = now.as_nanos() < self.refused_until.load(Ordering::Relaxed);
        let is_low = is_low(self.word.load(Ordering::Relaxed));
        if rest.asked.is_some() || is_refused || !is_low || self.is_retired() {
            return None;
        }
        let want = self.pace(&rest, now).clamp(1, MOST);
        Some(self.question(&mut rest, replicas, now, (0, want)))
    }

    /// What is to be told to Redis of this lease: tokens that nobody uses, and what was spent while Redis was away.
    pub fn due(&self, link: Link, now: Monotonic) -> Due {
        let mut rest = self.rest();
        if rest.asked.is_some() {
            return Due::Later;
        }
        let owed = rest.share.is_some_and(|share| share.owed(self.rate, now) > 0);
        if !owed && matches!(link, Link::Up { .. }) {
            rest.share = None;
        }
        if rest.share.is_none() && self.unspent() == 0 {
            return Due::Nothing;
        }
        let Link::Up { replicas } = link else { return Due::Later };
        let idle = now.saturating_since(Monotonic::from_nanos(self.used.load(Ordering::Relaxed)));
        let mut returned = 0;
        if idle >= IDLE || self.is_retired() {
            let all = |word: u64| Some(word & !TOKENS);
            let before = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, all).unwrap_or(0);
            returned = tokens(before);
        }
        if returned == 0 && !owed {
            return Due::Later;
        }
        Due::Send(self.question(&mut rest, replicas, now, (returned, 0)))
    }

    /// Tells Redis what this lease was told of the bucket; `None` if that is nothing any more, or is being told.
    pub fn tell(&self, replicas: NonZeroU32, now: Monotonic) -> Option<Question> {
        let mut rest = self.rest();
        let is_worth_it = rest.asked.is_none() && !self.known(now).is_zero();
        is_worth_it.then(|| self.question(&mut rest, replicas, now, (0, 0)))
    }

    /// The question was answered; `now` is when that was heard.
    pub fn answered(&self, answer: &Answer, now: Monotonic) -> Heard {
        let mut rest = self.rest();
        let Some(asked) = rest.asked.take() else { return Heard::Well };
        rest.refused_since = None;
        let is_loss = asked.knew && answer.epoch != rest.epoch;
        (rest.epoch, rest.sequence, rest.answered) = (answer.epoch, answer.sequence, now);
        if let Some(share) = &mut rest.share {
            share.settle(asked.spent);
        }
        rest.share = rest.share.filter(|share| share.spent() > 0);
        self.tat.store(now.saturating_add(answer.debt).as_nanos(), Ordering::Relaxed);
        let granted = u64::from(answer.granted.min(asked.want));
        let until = if granted == 0 && !answer.wait.is_zero() {
            now.saturating_add(answer.wait)
        } else {
            Monotonic::default()
        };
        self.refused_until.store(until.as_nanos(), Ordering::Relaxed);
        let more = |word: u64| {
            let held = ((word & TOKENS) + granted).min(TOKENS);
            Some(if granted == 0 { word } else { word & RETIRED | held << 16 | held })
        };
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        rest.held = self.unspent();
        if is_loss { Heard::Loss } else { Heard::Well }
    }

    /// The question failed, or was not answered in time.
    pub fn failed(&self, why: Failure) {
        let mut rest = self.rest();
        let asked = rest.asked.take();
        rest.refused_since = match why {
            Failure::Refused => rest.refused_since.or(asked.map(|asked| asked.at)),
            Failure::Unheard => None,
        };
        self.word.fetch_and(!TOLD, Ordering::Relaxed);
    }

    /// Ends this lease, and returns the one of the same bucket at the rate `to`. What this one holds is
    /// [due](Lease::due) to go back.
    pub fn successor(&self, to: Rate, now: Monotonic) -> Self {
        let rest = self.rest();
        self.word.fetch_or(RETIRED, Ordering::Relaxed);
        let known = scaled(nanos(self.known(now)), self.rate.fill_time(), to.fill_time());
        let tat = now.as_nanos().saturating_add(known);
        let share = rest.share.map(|share| share.successor(self.rate, to, now));
        Self::with(to, tat, Rest { epoch: rest.epoch, sequence: rest.sequence, share, ..Rest::default() })
    }

    /// Ends a lease without Redis, and returns the time after which its share would have been full.
    pub fn close(&self, now: Monotonic) -> Option<Duration> {
        let rest = self.rest();
        let is_first = self.word.fetch_or(RETIRED, Ordering::Relaxed) & RETIRED == 0;
        let debt = rest.share.map_or(0, |share| share.debt(now));
        is_first.then(|| Duration::from_nanos(debt))
    }

    /// True once the lease has a successor.
    pub fn is_retired(&self) -> bool {
        self.word.load(Ordering::Relaxed) & RETIRED > 0
    }

    /// Tokens that are leased and not spent.
    pub fn unspent(&self) -> u32 {
        tokens(self.word.load(Ordering::Relaxed))
    }

    /// The bucket's debt as it was told last, less the time since.
    pub fn known(&self, now: Monotonic) -> Duration {
        Monotonic::from_nanos(self.tat.load(Ordering::Relaxed)).saturating_since(now)
    }

    /// A decision by what is known of Redis and what is here.
    fn decision(&self, unspent: u64, wait: Option<Duration>, now: Monotonic) -> Decision {
        let known = nanos(self.known(now).min(self.rate.fill_time()));
        let here = unspent.saturating_mul(nanos(self.rate.interval()));
        Decision::told(self.rate, Duration::from_nanos(known.saturating_sub(here)), wait)
    }

    /// What is spent in [`AHEAD`], as it was since the last answer.
    fn pace(&self, rest: &Rest, now: Monotonic) -> u32 {
        let spent = u128::from(rest.held.saturating_sub(self.unspent()));
        let time = now.saturating_since(rest.answered).max(SHORTEST_PACE);
        u32::try_from(spent * AHEAD.as_nanos() / time.as_nanos()).unwrap_or(MOST)
    }

    fn question(
        &self,
        rest: &mut Rest,
        replicas: NonZeroU32,
        now: Monotonic,
        tokens: (u32, u32),
    ) -> Question {
        let (returned, want) = tokens;
        let known = self.known(now);
        let charged = rest.share.map_or(0, |share| share.owed(self.rate, now));
        let spent = rest.share.map_or(0, |share| share.spent());
        rest.asked = Some(Asked { at: now, want, knew: !known.is_zero(), spent });
        Question {
            rate: self.rate,
            replicas,
            epoch: rest.epoch,
            sequence: rest.sequence,
            known,
            returned,
            charged: u32::try_from(charged).unwrap_or(u32::MAX),
            want,
        }
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn tokens(word: u64) -> u32 {
    u32::try_from(word & TOKENS).unwrap_or(0)
}

/// At least half of two or more is spent. A lease of one is of a slow key, which asks when it comes again.
fn is_low(word: u64) -> bool {
    let held = word >> 16 & TOKENS;
    held > 1 && (word & TOKENS) * 2 <= held
}
