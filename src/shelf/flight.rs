//! One call for all gateways that are asked the same at the same time: who makes it holds a lock, which it renews while its
//! call runs, and which goes with the answer; the others look for that again and again, or for the lock to be gone.
//!
//! A gateway that ends with a lock keeps the others waiting for no longer than the lock holds by itself. The answer of one
//! that has lost its lock is not put over that of the next. Where nobody can be asked there is no lock: each calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cache::entries::Slot;
use crate::cache::flights::FlightKey;
use crate::clock::Waited;
use crate::ids::AccountId;
use crate::llm::translate::AnswerForm;
use crate::shelf::Shelf;
use crate::shelf::shared::{Boarded, Fence, Flight, Lock, Release, SharedAnswers};
use crate::shelf::sharing::Sharing;

/// Between two times that a lock is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(600);

/// Between two questions of one who waits: at first, and at most.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));

/// One gateway's part in a call that others may make.
pub struct SharedFlight {
    sharing: Arc<Sharing>,
    flight: Flight,
    /// What is in the slot and of no use.
    dead: Option<Fence>,
    /// `None`: nobody has been asked.
    pause: Option<Duration>,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// To make the call: alone with a hold, or as each for itself.
    Call(Option<Hold>),
    /// To look for the answer: another's has come.
    Look,
}

/// A hold on a call that others wait for. Dropped, one of them makes the next.
pub struct Hold {
    lock: Box<Lock>,
    ends: Option<oneshot::Sender<End>>,
}

/// Without what it says: that is a name that nobody needs.
impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hold")
    }
}

/// How a hold ends that is not dropped.
enum End {
    /// There will be no answer for others.
    Apart,
    /// The lock has been let go with the answer.
    Landed,
}

impl Shelf {
    /// The part of this gateway in the call for `key`, whose answer is `account`'s, or everybody's; `None` if there are no
    /// others, if they cannot be asked, or if the answer is a stream, of which each makes its own.
    pub fn flight(&self, key: &FlightKey, account: Option<&AccountId>) -> Option<SharedFlight> {
        let sharing = self.sharing().filter(|sharing| sharing.can_be_read())?;
        (key.slot.form == AnswerForm::Json).then(|| SharedFlight {
            sharing: Arc::clone(sharing),
            flight: Flight {
                account: account.cloned(),
                slot: key.slot,
                service_tier: key.service_tier.clone(),
            },
            dead: None,
            pause: None,
        })
    }
}

impl SharedFlight {
    /// Waits until there is something to do, for a request that has `waited` for what gateways share before. Whoever asks
    /// bounds how long it waits for another's call.
    pub async fn next(&mut self, waited: &Waited) -> Next {
        loop {
            let waits = Waited::default();
            // Who waits for another's call does not wait for who is asked about it.
            let waited = if self.pause.is_none() { waited } else { &waits };
            let boarded = self.sharing.answers.board(&self.flight, self.dead.as_ref(), waited).await;
            match boarded {
                Ok(Boarded::Lead(lock)) => {
                    self.sharing.led.inc();
                    return Next::Call(Some(Hold::keep(lock, Arc::clone(&self.sharing.answers))));
                }
                Ok(Boarded::Landed(fence)) => {
                    self.dead = Some(fence);
                    return Next::Look;
                }
                Ok(Boarded::Waits) => self.wait().await,
                // Who cannot ask need not wait for one who may be gone.
                Ok(Boarded::Unshared) | Err(_) => {
                    self.sharing.apart.inc();
                    return Next::Call(None);
                }
            }
        }
    }

    /// Where the answer is.
    pub fn slot(&self) -> Slot {
        self.flight.slot
    }

    /// Another's answer was found.
    pub fn landed(self) {
        self.sharing.answered.inc();
    }

    async fn wait(&mut self) {
        let (first, longest) = ASK_EVERY;
        let pause = self.pause.map_or(first, |pause| (pause * 2).min(longest));
        self.pause = Some(pause);
        tokio::time::sleep(pause).await;
    }
}

impl Hold {
    /// Keeps `lock` from here on.
    fn keep(lock: Lock, answers: Arc<dyn SharedAnswers>) -> Self {
        let (ends, ended) = oneshot::channel();
        tokio::spawn(renew(lock.clone(), answers, ended));
        Self { lock: Box::new(lock), ends: Some(ends) }
    }

    /// The lock, for what lets it go.
    pub(super) fn lock(&self) -> Lock {
        Lock::clone(&self.lock)
    }

    /// There will be no answer for others.
    pub fn apart(self) {
        self.end(End::Apart);
    }

    /// The lock has been let go with the answer.
    pub(super) fn landed(self) {
        self.end(End::Landed);
    }

    fn end(mut self, end: End) {
        if let Some(ends) = self.ends.take() {
            // Nobody renews it any more: it is lost, or the gateway ends.
            let _ = ends.send(end);
        }
    }
}

/// Renews a lock until its hold ends, and lets it go.
async fn renew(lock: Lock, answers: Arc<dyn SharedAnswers>, mut ended: oneshot::Receiver<End>) {
    let end = loop {
        match tokio::time::timeout(RENEW_EVERY, &mut ended).await {
            Ok(end) => break end,
            Err(_) if matches!(answers.renew(&lock).await, Ok(false)) => return,
            // What was not heard may be done with the next.
            Err(_) => {}
        }
    };
    let release = match end {
        Ok(End::Landed) => return,
        Ok(End::Apart) => Release::Apart,
        Err(_) => Release::Next,
    };
    // What is not let go now ends by itself.
    let _ = answers.release(&lock, release).await;
}
