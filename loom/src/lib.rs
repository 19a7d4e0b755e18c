//! The gateway's token bucket over loom's atomics, and the models that try its interleavings.
#![cfg(loom)]

#[path = "../../src/limits/bucket.rs"]
pub mod bucket;
#[path = "../../src/clock.rs"]
pub mod clock;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use loom::sync::Arc;
    use loom::thread;

    use crate::bucket::{Bucket, Rate};
    use crate::clock::Monotonic;

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
}
