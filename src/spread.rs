//! What every request writes, once for each worker: cores that write one cache line wait for each other.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The calling thread is the worker with this number, counted from 0. A thread that is none uses what the first has.
pub fn begin_worker(number: usize) {
    NUMBER.set(number);
}

/// Values of one kind, of which each worker uses one. With as many as there are workers, no two use the same; with fewer
/// they share, and nothing is wrong but the cost.
#[derive(Debug)]
pub struct Spread<T> {
    first: Line<T>,
    others: Box<[Line<T>]>,
}

/// Two cache lines, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// A value that requests hold on to. Each worker lends it from a count of its own: who holds it writes nothing that
/// others write.
#[derive(Debug)]
pub struct Lending<T>(Spread<Arc<Lent<T>>>);

/// What is lent.
#[derive(Debug)]
#[repr(align(128))]
pub struct Lent<T>(Arc<T>);

impl<T: Default> Spread<T> {
    /// So many of them.
    pub fn new(count: NonZeroUsize) -> Self {
        Self::from_fn(count, |_| T::default())
    }
}

impl<T: Default> Default for Spread<T> {
    /// One for each core.
    fn default() -> Self {
        Self::new(cores())
    }
}

impl<T> Spread<T> {
    /// So many of them, each made of its worker's number.
    pub fn from_fn(count: NonZeroUsize, mut make: impl FnMut(usize) -> T) -> Self {
        let first = Line(make(0));
        Self { first, others: (1..count.get()).map(|number| Line(make(number))).collect() }
    }

    /// One for each core, each made of its worker's number.
    pub fn for_cores(make: impl FnMut(usize) -> T) -> Self {
        Self::from_fn(cores(), make)
    }

    /// The calling worker's.
    pub fn mine(&self) -> &T {
        let mut place = NUMBER.get();
        if place > self.others.len() {
            place %= self.others.len() + 1;
        }
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

impl<T> Lending<T> {
    /// Lends `value`, at each core.
    pub fn new(value: Arc<T>) -> Self {
        Self(Spread::for_cores(|_| Arc::new(Lent(Arc::clone(&value)))))
    }

    /// The value, to be held by cloning it.
    pub fn lend(&self) -> &Arc<Lent<T>> {
        self.0.mine()
    }
}

impl<T: Default> Default for Lending<T> {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// How many threads can run at once.
pub fn cores() -> NonZeroUsize {
    static CORES: OnceLock<NonZeroUsize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Lending, Spread, begin_worker};

    #[test]
    fn each_worker_has_its_own_and_keeps_it() {
        let spread: Spread<AtomicUsize> = Spread::new(NonZeroUsize::new(8).expect("not zero"));
        let mine = |number| {
            begin_worker(number);
            let mine = std::ptr::from_ref(spread.mine()) as usize;
            assert_eq!(std::ptr::from_ref(spread.mine()) as usize, mine);
            spread.mine().fetch_add(1, Ordering::Relaxed);
            mine
        };
        let on_threads = |numbers: std::ops::Range<usize>| -> BTreeSet<usize> {
            std::thread::scope(|scope| {
                let threads: Vec<_> = numbers.map(|number| scope.spawn(move || mine(number))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            })
        };
        let places = on_threads(0..8);
        assert_eq!(places.len(), 8, "eight workers have eight of them");
        assert_eq!(on_threads(8..16), places, "more than there are share them");
        assert_eq!((spread.count(), spread.all().count()), (8, 8));
        assert_eq!(spread.all().map(|one| one.load(Ordering::Relaxed)).sum::<usize>(), 16);
        let no_worker = std::thread::scope(|scope| {
            let thread = scope.spawn(|| std::ptr::from_ref(spread.mine()) as usize);
            thread.join().expect("no panic")
        });
        assert!(places.contains(&no_worker), "a thread that is no worker has one, too");
    }

    #[test]
    fn who_holds_what_is_lent_is_counted_by_one_worker_alone() {
        let value = Arc::new(7);
        let lending = Lending::new(Arc::clone(&value));
        let lenders = Arc::strong_count(&value) - 1;
        let held = Arc::clone(lending.lend());
        assert_eq!(
            (**held, Arc::strong_count(lending.lend()), Arc::strong_count(&value)),
            (7, 2, lenders + 1)
        );
        drop(lending);
        assert_eq!(
            (Arc::strong_count(&held), Arc::strong_count(&value)),
            (1, 2),
            "it is there for as long as it is held"
        );
    }
}
