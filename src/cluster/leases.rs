//! Limits that hold for all gateways together: what a lease asks is asked here, over the link.
//!
//! A request whose lease is used up waits for Redis, and no longer than [`ANSWER_WAIT`](crate::cluster::link::ANSWER_WAIT)
//! in all; then it is decided without it. All else that leases have to say is said behind the requests: what is asked
//! ahead, what is given back, what was spent while Redis was away, and, if it has lost something, what is known of it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::Script;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{Clock, Monotonic, Waited};
use crate::cluster::bucket::{self, SCRIPT};
use crate::cluster::link::{Link, Unanswered};
use crate::cluster::roll::Roll;
use crate::cluster::turnstiles::Turnstiles;
use crate::limits::lease::IDLE;
use crate::limits::leases::Leased;
use crate::limits::limiter::{Holder, Limiter, Moved, Undecided};
use crate::limits::link::{Link as Standing, WhenDown};
use crate::limits::question::{Asking, Failure, Heard, Question};
use crate::limits::verdict::Verdict;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::counted::Counter;

/// Between two looks at what leases have to say.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Questions that are asked at the same time behind the requests.
const MOST_AT_ONCE: usize = 256;

/// How long a gateway that ends takes to give back what it has leased.
const LAST_RETURNS: Duration = Duration::from_millis(500);

/// The limiter of a gateway that is one of several, and the way to what they share.
pub struct Leases {
    limiter: Limiter,
    link: Arc<Link>,
    roll: Roll,
    policy: WhenDown,
    clock: Clock,
    script: Script,
    turnstiles: Turnstiles,
    wake: Arc<Notify>,
    loss: Notify,
    is_newer_told: AtomicBool,
    counts: Counts,
}

/// What leases are asked with.
pub struct Parts {
    /// The way to Redis.
    pub link: Arc<Link>,
    /// How many gateways there are.
    pub roll: Roll,
    /// What passes while Redis cannot be asked.
    pub policy: WhenDown,
    /// The clock that limits go by.
    pub clock: Clock,
    /// Where questions are counted.
    pub metrics: Arc<Metrics>,
}

impl Leases {
    /// Leases that are yet to be [kept](Leases::keep).
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { link, roll, policy, clock, metrics } = parts;
        let wake = Arc::new(Notify::new());
        let waking = Arc::clone(&wake);
        let down = Standing::Down { since: clock.monotonic(), replicas: roll.replicas(), policy };
        let limiter = Limiter::leasing(down, policy, move || waking.notify_one());
        Arc::new(Self {
            limiter,
            link,
            roll,
            policy,
            clock,
            script: Script::new(SCRIPT),
            turnstiles: Turnstiles::default(),
            wake,
            loss: Notify::new(),
            is_newer_told: AtomicBool::new(false),
            counts: Counts::new(&metrics),
        })
    }

    /// The limiter whose buckets they are.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Decides on a request of `holder` whose lease is used up, and which has `waited` for Redis before.
    ///
    /// # Errors
    /// [`Moved`]: the buckets are another process's.
    pub async fn decide(
        self: &Arc<Self>,
        holder: &Holder,
        leased: Leased,
        waited: &Waited,
    ) -> Result<Verdict, Moved> {
        let begun = self.clock.monotonic();
        let left = waited.left_of(self.link.wait());
        let decided = tokio::time::timeout(left, self.decide_together(holder, leased)).await;
        waited.add(self.clock.monotonic().saturating_since(begun));
        match decided {
            Ok(Some(decided)) => decided,
            // Not answered, or not in time.
            Ok(None) | Err(_) => {
                self.counts.alone.inc();
                self.limiter.check_alone(holder, begun, self.clock.now())
            }
        }
    }

    /// The same with Redis; `None`: it did not answer.
    async fn decide_together(
        self: &Arc<Self>,
        holder: &Holder,
        mut leased: Leased,
    ) -> Option<Result<Verdict, Moved>> {
        loop {
            let place = self.turnstiles.enter(leased.owner());
            let failures = place.failures();
            let mut ended = pin!(place.ended());
            // From here on no end is missed.
            ended.as_mut().enable();
            match self.limiter.ask(&leased, place.waiting(), self.clock.monotonic()) {
                Asking::Mine(question) => {
                    // It is heard to its end, even if whoever waits for it leaves.
                    tokio::spawn(Arc::clone(self).say(leased, question));
                    ended.await;
                }
                Asking::Theirs => ended.await,
                Asking::Again => {}
            }
            if place.failures() != failures {
                return None;
            }
            match self.limiter.check(holder, self.clock.now()) {
                Ok(verdict) => return Some(Ok(verdict)),
                Err(Undecided::Moved) => return Some(Err(Moved)),
                Err(Undecided::Ask(next)) => leased = next,
            }
        }
    }

    /// Asks a question, and has its lease hear what comes of it, also when that comes late: what is granted is lost otherwise.
    /// Whoever waits for it does so no longer then.
    async fn say(self: Arc<Self>, leased: Leased, question: Question) {
        let place = self.turnstiles.enter(leased.owner());
        let call = bucket::call(self.link.names(), leased.owner(), &question);
        let mut asking = self.script.key(call.key);
        for argument in call.arguments {
            asking.arg(argument);
        }
        let mut is_late = false;
        let late = || {
            is_late = true;
            self.counts.late.inc();
            place.fail();
            place.end();
        };
        let reply = self.link.hear::<Vec<i64>>(&asking, late).await;
        let answer = reply.and_then(|reply| {
            bucket::answer(&reply).map_err(|malformed| Unanswered::Failed(malformed.to_string()))
        });
        let now = self.clock.monotonic();
        match answer {
            Ok(answer) => {
                if !is_late {
                    self.counts.answered.inc();
                }
                if self.limiter.answered(&leased, &answer, now) == Heard::Loss {
                    self.loss.notify_one();
                }
            }
            Err(error) => {
                if !is_late {
                    self.counts.unanswered(&error);
                }
                self.limiter.failed(&leased, self.failure(&error), now);
                place.fail();
            }
        }
        place.end();
    }

    /// What an error means for the bucket.
    fn failure(&self, error: &Unanswered) -> Failure {
        match error {
            Unanswered::Failed(why) if why.starts_with(bucket::NEWER_BUCKET) => {
                self.tell_newer(why);
                Failure::Refused
            }
            _ => Failure::Unheard,
        }
    }

    /// Tells once that another gateway is of a newer version, whose buckets are not read: that is for people to mend.
    fn tell_newer(&self, why: &str) {
        if !self.is_newer_told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %why,
                "a newer safecache keeps limits in {}, which this one cannot read; it goes on with those as without it",
                self.link.label()
            );
        }
    }

    /// Says what leases have to say, for as long as it is polled.
    pub async fn keep(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut standing = self.link.subscribe();
        loop {
            standing.mark_unchanged();
            self.stand();
            tokio::select! {
                // An error means that the link is gone, and this with it.
                changed = standing.changed() => if changed.is_err() { return },
                () = self.wake.notified() => self.say_due(self.clock.monotonic()).await,
                () = self.loss.notified() => self.tell_all().await,
                _ = looks.tick() => self.say_due(self.clock.monotonic()).await,
            }
        }
    }

    /// Has the limiter know how Redis and the gateways stand.
    fn stand(&self) {
        let replicas = self.roll.replicas();
        self.limiter.set_link(match self.link.is_up() {
            true => Standing::Up { replicas },
            false => Standing::Down { since: self.link.failing_since(), replicas, policy: self.policy },
        });
    }

    async fn say_due(self: &Arc<Self>, now: Monotonic) {
        loop {
            let due = self.limiter.due(now, MOST_AT_ONCE);
            if due.is_empty() {
                return;
            }
            self.say_all(due).await;
        }
    }

    async fn say_all(self: &Arc<Self>, questions: Vec<(Leased, Question)>) {
        let saying = questions.into_iter().map(|(leased, question)| Arc::clone(self).say(leased, question));
        join_all(saying).await;
    }

    /// Redis has lost some of what it knew: it is told what is known here of every bucket.
    async fn tell_all(self: &Arc<Self>) {
        tracing::warn!(
            "{} has lost some of what it knew of limits, and is told what is known here",
            self.link.label()
        );
        let knowing = self.limiter.knowing(self.clock.monotonic());
        for some in knowing.chunks(MOST_AT_ONCE) {
            let (replicas, now) = (self.roll.replicas(), self.clock.monotonic());
            let told =
                some.iter().filter_map(|leased| Some((leased.clone(), leased.lease().tell(replicas, now)?)));
            self.say_all(told.collect()).await;
        }
    }

    /// Gives back what is leased and unspent, as far as there is time.
    pub async fn close(self: Arc<Self>) {
        let idle = self.clock.monotonic().saturating_add(IDLE);
        // What is not given back is lost, and never spent twice.
        let _ = tokio::time::timeout(LAST_RETURNS, self.say_due(idle)).await;
    }
}

/// The counters, resolved once.
struct Counts {
    answered: Counter,
    down: Counter,
    late: Counter,
    failed: Counter,
    alone: Counter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let questions = |how| metrics.cluster.limit_questions(how);
        Self {
            answered: questions("answered"),
            down: questions("down"),
            late: questions("late"),
            failed: questions("failed"),
            alone: metrics.cluster.limits_alone.clone(),
        }
    }

    fn unanswered(&self, why: &Unanswered) {
        match why {
            Unanswered::Down => self.down.inc(),
            Unanswered::Late => self.late.inc(),
            Unanswered::Failed(_) => self.failed.inc(),
        }
    }
}
