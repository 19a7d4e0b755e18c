//! The gateway's token bucket and lease over loom's atomics, and the models that try their interleavings.
#![cfg(loom)]

#[path = "../../src/clock.rs"]
pub mod clock;

/// As much of it as is lock-free.
#[path = "../../src/limits"]
pub mod limits {
    pub mod bucket;
    pub mod lease;
    pub mod link;
    pub mod question;
    mod share;
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use loom::sync::Arc;
    use loom::thread;

    use crate::clock::Monotonic;
    use crate::limits::bucket::{Bucket, Decision, Rate};
    use crate::limits::lease::{Lease, Taken};
    use crate::limits::link::{Link, WhenDown};
    use crate::limits::question::{Answer, Asking, Due};

    const NOW: Monotonic = Monotonic::from_nanos(1_000_000_000_000);

    fn rate(per_minute: u32, burst: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_minute).unwrap(), NonZeroU32::new(burst).unwrap())
    }

    /// 1 if a token was there; a retired bucket has none.
    fn take(bucket: &Bucket, rate: Rate) -> usize {
        usize::from(bucket.take(rate, NOW).is_ok_and(|decision| decision.wait().is_none()))
    }

    #[test]
    fn three_takers_share_a_burst_of_two() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::full());
            let takers = [(); 2].map(|()| {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || take(&bucket, rate(60, 2)))
            });
            let mine = take(&bucket, rate(60, 2));
            let theirs: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
            assert_eq!(mine + theirs, 2);
        });
    }

    #[test]
    fn a_refund_is_worth_one_take() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::full());
            assert_eq!(take(&bucket, rate(60, 2)), 1);
            let taker = {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || take(&bucket, rate(60, 2)))
            };
            bucket.refund(rate(60, 2)).unwrap();
            assert_eq!(taker.join().unwrap(), 1);
            assert_eq!(take(&bucket, rate(60, 2)) + take(&bucket, rate(60, 2)), 1);
        });
    }

    #[test]
    fn a_successor_holds_what_its_bucket_still_held() {
        loom::model(|| {
            let bucket = Arc::new(Bucket::full());
            let takers = [(); 2].map(|()| {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || take(&bucket, rate(60, 2)))
            });
            // Ten times as fast with the same burst: the tokens left are as many.
            let successor = bucket.retire(rate(60, 2), rate(600, 2), NOW);
            let before: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
            let after = (0..3).map(|_| take(&successor, rate(600, 2))).sum::<usize>();
            assert_eq!(before + after, 2);
        });
    }

    const ONE: NonZeroU32 = NonZeroU32::MIN;
    const UP: Link = Link::Up { replicas: ONE };
    const AWAY: Link = Link::Down { since: NOW, replicas: ONE, policy: WhenDown::Share };

    fn granting(granted: u32) -> Answer {
        Answer { epoch: 1, sequence: 1, granted, debt: Duration::ZERO, wait: Duration::ZERO }
    }

    /// A lease of so many tokens.
    fn leased(granted: u32) -> Arc<Lease> {
        let lease = Lease::new(rate(60, 10));
        assert!(matches!(lease.ask(NonZeroU32::new(granted).unwrap(), ONE, NOW), Asking::Mine(_)));
        lease.answered(&granting(granted), NOW);
        Arc::new(lease)
    }

    fn is_admitted(taken: Taken) -> usize {
        let passes = |decision: Decision| usize::from(decision.wait().is_none());
        match taken {
            Taken::Decided(decision) | Taken::Low(decision) => passes(decision),
            Taken::Ask | Taken::Retired => 0,
        }
    }

    fn spawn<T: 'static>(
        lease: &Arc<Lease>,
        act: impl FnOnce(&Lease) -> T + 'static,
    ) -> thread::JoinHandle<T> {
        let lease = Arc::clone(lease);
        thread::spawn(move || act(&lease))
    }

    #[test]
    fn a_token_that_goes_back_is_not_spent() {
        loom::model(|| {
            let lease = leased(2);
            let taker = spawn(&lease, |lease| is_admitted(lease.take(UP, NOW)));
            let mine = is_admitted(lease.take(UP, NOW));
            let later = NOW.saturating_add(Duration::from_secs(2));
            let returned = match lease.due(UP, later) {
                Due::Send(question) => question.returned as usize,
                Due::Later | Due::Nothing => 0,
            };
            let spent = mine + taker.join().unwrap();
            assert_eq!(spent + returned + lease.unspent() as usize, 2);
        });
    }

    #[test]
    fn one_of_two_asks_and_what_it_is_granted_is_there_for_both() {
        loom::model(|| {
            let lease = Arc::new(Lease::new(rate(60, 10)));
            let ask = |lease: &Lease| match lease.ask(ONE, ONE, NOW) {
                Asking::Mine(question) => {
                    lease.answered(&granting(question.want), NOW);
                    (question.want as usize, is_admitted(lease.take(UP, NOW)))
                }
                Asking::Theirs | Asking::Again => (0, is_admitted(lease.take(UP, NOW))),
            };
            let other = spawn(&lease, ask);
            let (mine, theirs) = (ask(&lease), other.join().unwrap());
            assert_eq!(mine.0 + theirs.0, mine.1 + theirs.1 + lease.unspent() as usize);
            assert!(mine.0 + theirs.0 > 0);
        });
    }

    #[test]
    fn one_request_is_told_to_ask_ahead() {
        loom::model(|| {
            let lease = leased(2);
            let taker = spawn(&lease, |lease| lease.take(UP, NOW));
            let taken = [lease.take(UP, NOW), taker.join().unwrap()];
            assert_eq!(taken.iter().filter(|taken| matches!(taken, Taken::Low(_))).count(), 1);
        });
    }

    #[test]
    fn a_lease_with_a_successor_gives_back_all_that_was_not_spent() {
        loom::model(|| {
            let lease = leased(2);
            let taker = spawn(&lease, |lease| is_admitted(lease.take(UP, NOW)));
            let successor = lease.successor(rate(600, 10), NOW);
            let left = match lease.due(UP, NOW) {
                Due::Send(question) => question.returned as usize,
                Due::Later | Due::Nothing => 0,
            };
            assert_eq!(taker.join().unwrap() + left, 2);
            assert_eq!(successor.take(UP, NOW), Taken::Ask);
        });
    }

    #[test]
    fn what_a_share_passed_while_it_was_settled_is_charged_then_or_later() {
        loom::model(|| {
            let lease = Arc::new(Lease::new(rate(60, 10)));
            let later = NOW.saturating_add(Duration::from_secs(3));
            let mut spent = is_admitted(lease.take(AWAY, later));
            let taker = spawn(&lease, move |lease| is_admitted(lease.take(AWAY, later)));
            let mut charged = 0;
            if let Due::Send(question) = lease.due(UP, later) {
                charged += question.charged as usize;
                lease.answered(&granting(0), later);
            }
            spent += taker.join().unwrap();
            if let Due::Send(question) = lease.due(UP, later) {
                charged += question.charged as usize;
            }
            assert_eq!(charged, spent);
        });
    }
}
