//! What every request writes, once for each worker: cores that write one cache line wait for each other.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads have a number.
static NUMBERED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's number: the next one, when it first asks.
    static NUMBER: usize = NUMBERED.fetch_add(1, Ordering::Relaxed);
}

/// Values of one kind, of which each thread uses one. With as many as there are threads that use them, no two use the
/// same; with fewer they share, and nothing is wrong but the cost.
#[derive(Debug)]
pub struct Spread<T> {
    first: Line<T>,
    others: Box<[Line<T>]>,
}

/// Two cache lines, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

impl<T: Default> Spread<T> {
    /// So many of them.
    pub fn new(count: NonZeroUsize) -> Self {
        let others = std::iter::repeat_with(Line::default).take(count.get() - 1).collect();
        Self { first: Line::default(), others }
    }
}

impl<T> Spread<T> {
    /// The calling thread's.
    pub fn mine(&self) -> &T {
        let place = NUMBER.with(|number| number % (self.others.len() + 1));
        let other = place.checked_sub(1).and_then(|other| self.others.get(other));
        &other.unwrap_or(&self.first).0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others).map(|line| &line.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Spread;

    #[test]
    fn each_thread_has_its_own_and_keeps_it() {
        let spread: Spread<AtomicUsize> = Spread::new(NonZeroUsize::new(64).expect("not zero"));
        let mine = || {
            let mine = std::ptr::from_ref(spread.mine()) as usize;
            assert_eq!(std::ptr::from_ref(spread.mine()) as usize, mine);
            spread.mine().fetch_add(1, Ordering::Relaxed);
            mine
        };
        let places: BTreeSet<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(mine)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(places.len(), 8, "eight threads that come one after another have eight of them");
        assert_eq!((spread.count(), spread.all().count()), (64, 64));
        assert_eq!(spread.all().map(|one| one.load(Ordering::Relaxed)).sum::<usize>(), 8);
        let few: Spread<AtomicUsize> = Spread::new(NonZeroUsize::MIN);
        assert!(std::ptr::eq(few.mine(), few.all().next().expect("one")), "all share the only one");
    }
}
