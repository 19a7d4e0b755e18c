//! The laws of buckets that move from one process to another: contract §7, "a hand-over does not".

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use safecache::clock::{Monotonic, Now, UnixTime};
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::bucket::Decision;
use safecache::limits::levels::Level;
use safecache::limits::limiter::{Holder, Limiter, Undecided};
use safecache::limits::plan::{Per, Plan};

const START: u64 = 1_000_000_000_000;

fn now(nanos: u64) -> Now {
    Now { monotonic: Monotonic::from_nanos(START + nanos), unix: UnixTime::from_secs(1_700_000_000) }
}

fn holder(key: &str, per_minute: u32, burst: u32, per: Per) -> Holder {
    let number = |number| NonZeroU32::new(number).unwrap();
    let plan = Plan::new(PlanName::new("p"), number(per_minute), number(burst), per).unwrap();
    Holder::new(KeyId::new(key), AccountId::new("a"), Arc::new(plan))
}

/// What happens to a bucket.
#[derive(Clone, Copy, Debug)]
enum Event {
    Request,
    Wait(u64),
    /// It moves to another process, whose clock began elsewhere.
    Move(u64),
    /// It is on its way to another process, which then fails.
    ComeBack,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Request),
        2 => (0..3_000_000_000_u64).prop_map(Event::Wait),
        1 => any::<u32>().prop_map(|origin| Event::Move(u64::from(origin))),
        1 => Just(Event::ComeBack),
    ]
}

fn passes(limiter: &Limiter, holder: &Holder, nanos: u64) -> bool {
    limiter.check(holder, now(nanos)).expect("the bucket is here").is_admitted()
}

proptest! {
    /// A bucket that moves about admits exactly what one that stays admits.
    #[test]
    fn a_bucket_that_moves_is_the_same_bucket(events in vec(event(), 1..60), burst in 1..8_u32) {
        let (stays, mut moves) = (Limiter::new(), Limiter::new());
        let (one, mut other) = (holder("k", 60, burst, Per::Key), holder("k", 60, burst, Per::Key));
        let (mut nanos, mut origin) = (0, 0);
        for event in events {
            match event {
                Event::Request => {
                    let here = passes(&moves, &other, nanos + origin);
                    prop_assert_eq!(passes(&stays, &one, nanos), here);
                }
                Event::Wait(span) => nanos += span,
                Event::Move(elsewhere) => {
                    let levels = moves.move_out(now(nanos + origin).monotonic);
                    prop_assert_eq!(moves.check(&other, now(nanos + origin)).err(), Some(Undecided::Moved));
                    origin = elsewhere;
                    moves = Limiter::new();
                    other = holder("k", 60, burst, Per::Key);
                    moves.take_in(levels, now(nanos + origin).monotonic);
                }
                Event::ComeBack => {
                    let then = now(nanos + origin).monotonic;
                    let levels = moves.move_out(then);
                    nanos += 1_000_000;
                    moves.put_back(levels, then);
                }
            }
        }
    }
}

#[test]
fn what_is_charged_from_afar_is_what_the_key_itself_would_be() {
    let limiter = Limiter::new();
    let (own, shared) = (holder("k", 60, 10, Per::Key), holder("k2", 60, 10, Per::Account));
    for here in [&own, &shared] {
        assert!(passes(&limiter, here, 0));
        let afar = limiter.charge(&here.owner(), here.plan().rate(), now(0).monotonic).unwrap();
        let told = Decision::told(here.plan().rate(), afar.time_to_full(), afar.wait());
        assert_eq!((told, told.level()), (afar, 8));
        for _ in 0..8 {
            assert!(passes(&limiter, here, 0));
        }
        let refused = limiter.charge(&here.owner(), here.plan().rate(), now(0).monotonic).unwrap();
        assert_eq!(refused.wait(), Some(Duration::from_secs(1)));
        assert_eq!(Decision::told(here.plan().rate(), refused.time_to_full(), refused.wait()), refused);
    }
}

#[test]
fn a_plan_that_changes_with_the_process_keeps_the_fill_ratio() {
    let (old, new) = (Limiter::new(), Limiter::new());
    let (slow, fast) = (holder("k", 60, 100, Per::Key), holder("k", 600, 1000, Per::Key));
    (0..50).for_each(|_| assert!(passes(&old, &slow, 0)));
    new.take_in(old.move_out(now(0).monotonic), now(0).monotonic);
    assert_eq!(new.check(&fast, now(0)).unwrap().level(), 499);
}

#[test]
fn no_request_is_charged_while_the_buckets_move() {
    const KEYS: usize = 64;
    const RACERS: usize = 4;
    for _ in 0..20 {
        let (old, new) = (Limiter::new(), Limiter::new());
        let holders: Vec<_> = (0..KEYS).map(|n| holder(&format!("k{n}"), 1, 1000, Per::Key)).collect();
        let (passed, levels) = std::thread::scope(|scope| {
            let race = |racer: usize| {
                let (old, holders) = (&old, &holders);
                // Begins with another key each, so that cells are made while they move. Takes no bucket's last token.
                let keys = (0..).map(move |n| &holders[(n * 7 + racer * 16) % KEYS]);
                scope
                    .spawn(move || keys.take_while(|key| old.check(key, now(0)).is_ok()).take(15_000).count())
            };
            let racers: Vec<_> = (0..RACERS).map(race).collect();
            let levels = old.move_out(now(0).monotonic);
            (racers.into_iter().map(|racer| racer.join().unwrap()).sum::<usize>(), levels)
        });
        let one = holders[0].plan().rate().interval();
        let tokens = |level: &Level| (level.debt.as_nanos() / one.as_nanos()) as usize;
        // A request that was refused took nothing; none is, with so much in each bucket.
        assert_eq!(levels.iter().map(tokens).sum::<usize>(), passed);
        new.take_in(levels, now(0).monotonic);
        for holder in &holders {
            assert_eq!(old.check(holder, now(0)).err(), Some(Undecided::Moved));
        }
    }
}
