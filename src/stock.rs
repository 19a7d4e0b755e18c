//! Units that there is a bound for, such as bytes or places, counted where they are used.
//!
//! A worker that takes some takes more at once, as far as the bound is large, and keeps to spare what comes back: so the
//! count that all share is seldom written. What is spare counts as taken, so the bound holds exactly; and before a unit is
//! refused what all workers have to spare goes back.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::spread::Spread;

/// A worker takes no more than this part of the bound at once beyond what it needs, and all workers together no more than
/// a quarter of it: half of that at once, and as much again that has come back.
const PART: u64 = 8;

/// What a worker takes at once, at most.
const MOST: u64 = 1 << 32;

/// Units of one kind.
#[derive(Debug, Default)]
pub struct Stock {
    common: Common,
    spare: Spread<AtomicU64>,
}

/// What workers look at with each request, and seldom write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Common {
    /// In use, or spare.
    out: AtomicU64,
    /// What is taken beyond need.
    batch: AtomicU64,
}

impl Stock {
    /// Takes so many, unless there would be more than `max` of them then.
    #[must_use]
    pub fn take(&self, units: u64, max: u64) -> bool {
        let spare = self.spare.mine();
        // There may have been a higher bound before.
        if self.common.out.load(SeqCst) <= max && draw(spare, units) {
            return true;
        }
        let batch = self.batch(max);
        if batch > 0 && self.take_out(units.saturating_add(batch), max) {
            spare.fetch_add(batch, SeqCst);
            return true;
        }
        self.take_out(units, max) || {
            self.gather();
            self.take_out(units, max)
        }
    }

    /// Counts so many that are there already, whatever their bound is.
    pub fn add(&self, units: u64) {
        self.common.out.fetch_add(units, SeqCst);
    }

    /// Gives so many back.
    pub fn give(&self, units: u64) {
        let batch = self.common.batch.load(SeqCst);
        if batch == 0 {
            self.common.out.fetch_sub(units, SeqCst);
            return;
        }
        let spare = self.spare.mine();
        let has = spare.fetch_add(units, SeqCst).saturating_add(units);
        let surplus = has.saturating_sub(batch);
        if surplus > batch && draw(spare, surplus) {
            self.common.out.fetch_sub(surplus, SeqCst);
        }
    }

    /// How many are in use.
    pub fn used(&self) -> u64 {
        let spare = self.spare.all().fold(0, |sum: u64, spare| sum.saturating_add(spare.load(SeqCst)));
        self.common.out.load(SeqCst).saturating_sub(spare)
    }

    /// What a worker takes at once beyond its need, where there are at most `max`.
    fn batch(&self, max: u64) -> u64 {
        let batch = (max / PART / self.spare.count() as u64).min(MOST);
        if self.common.batch.load(SeqCst) != batch {
            self.common.batch.store(batch, SeqCst);
        }
        batch
    }

    fn take_out(&self, units: u64, max: u64) -> bool {
        let more = |out: u64| out.checked_add(units).filter(|sum| *sum <= max);
        self.common.out.try_update(SeqCst, SeqCst, more).is_ok()
    }

    /// Brings back all that is spare.
    fn gather(&self) {
        for spare in self.spare.all() {
            let units = spare.swap(0, SeqCst);
            self.common.out.fetch_sub(units, SeqCst);
        }
    }
}

fn draw(spare: &AtomicU64, units: u64) -> bool {
    spare.try_update(SeqCst, SeqCst, |there| there.checked_sub(units)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Stock;
    use crate::spread::{begin_worker, cores};

    /// How many are out that nobody uses.
    fn spare(stock: &Stock) -> u64 {
        stock.common.out.load(Ordering::SeqCst) - stock.used()
    }

    #[test]
    fn of_few_each_is_taken_and_given_alone() {
        let stock = Stock::default();
        assert!(stock.take(1, 2) && stock.take(1, 2) && !stock.take(1, 2));
        assert_eq!((stock.used(), spare(&stock)), (2, 0));
        stock.give(1);
        assert!(stock.take(1, 2) && !stock.take(1, 2));
        stock.give(2);
        assert_eq!((stock.used(), spare(&stock)), (0, 0));
    }

    #[test]
    fn of_many_all_can_be_used_whoever_has_them_to_spare() {
        let (stock, workers) = (Stock::default(), cores().get());
        let max = 1000 * workers as u64;
        let on = |number, work: &(dyn Fn() + Sync)| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    begin_worker(number);
                    work();
                });
            });
        };
        for number in 0..workers {
            on(number, &|| assert!(stock.take(10, max)));
        }
        assert_eq!(stock.used(), 10 * workers as u64);
        assert!(spare(&stock) >= 100 * workers as u64, "each keeps some");
        on(0, &|| assert!((stock.used()..max).all(|_| stock.take(1, max))));
        assert_eq!((stock.used(), spare(&stock)), (max, 0));
        for number in 0..workers {
            on(number, &|| assert!(!stock.take(1, max)));
        }
        on(workers - 1, &|| stock.give(1));
        on(0, &|| {
            assert!(stock.take(1, max) && !stock.take(1, max), "what another has to spare is there for all")
        });
        on(0, &|| stock.give(max));
        assert_eq!(stock.used(), 0);
        assert!(spare(&stock) <= max / 4, "not all is kept");
    }

    #[test]
    fn a_lower_bound_holds_at_once_and_what_is_there_already_counts() {
        let stock = Stock::default();
        assert!(stock.take(10, 100_000));
        assert!(spare(&stock) > 0);
        assert!(!stock.take(1, 10), "what is spare is of the higher bound");
        assert!(stock.take(1, 11) && !stock.take(1, 11));
        stock.add(100);
        assert_eq!(stock.used(), 111);
        assert!(!stock.take(1, 111) && stock.take(1, 112));
        stock.give(112);
        assert_eq!(stock.used(), 0);
    }

    #[test]
    fn never_are_more_in_use_than_there_may_be() {
        let (stock, in_use, refused) = (Stock::default(), AtomicU64::new(0), AtomicU64::new(0));
        let max = 400 * cores().get() as u64;
        let work = |number: usize| {
            begin_worker(number);
            let mut held = Vec::new();
            for round in 0..20_000_u64 {
                let units = round * 7 % 61 + 1;
                if stock.take(units, max) {
                    let now = in_use.fetch_add(units, Ordering::SeqCst) + units;
                    assert!(now <= max, "{now} of {max}");
                    held.push(units);
                } else {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                if held.len() > 40 || round % 3 == 0 {
                    let units = held.pop().unwrap_or_default();
                    in_use.fetch_sub(units, Ordering::SeqCst);
                    stock.give(units);
                }
            }
            for units in held {
                in_use.fetch_sub(units, Ordering::SeqCst);
                stock.give(units);
            }
        };
        std::thread::scope(|scope| {
            let work = &work;
            (0..4).for_each(|number| _ = scope.spawn(move || work(number)));
        });
        assert!(refused.into_inner() > 0, "the bound was met");
        assert_eq!(stock.used(), 0);
    }
}
