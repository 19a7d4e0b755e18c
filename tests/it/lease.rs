//! The laws of a lease: what it spends, when it asks, and what it tells Redis; and of the limiter that holds leases.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use safecache::clock::{Monotonic, Now, UnixTime};
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::bucket::{Decision, Rate};
use safecache::limits::lease::{Lease, Taken};
use safecache::limits::leases::Leased;
use safecache::limits::limiter::{Holder, Limiter, Undecided};
use safecache::limits::link::{Link, WhenDown};
use safecache::limits::plan::{Per, Plan};
use safecache::limits::question::{Answer, Asking, Due, Failure, Heard, Question};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn rate(per_minute: u32, burst: u32) -> Rate {
    Rate::new(count(per_minute), count(burst))
}

fn at(nanos: u64) -> Monotonic {
    Monotonic::from_nanos(1000 * SECOND + nanos)
}

fn now(nanos: u64) -> Now {
    Now { monotonic: at(nanos), unix: UnixTime::from_secs(1_700_000_000) }
}

fn up(replicas: u32) -> Link {
    Link::Up { replicas: count(replicas) }
}

fn down(since: u64, replicas: u32, policy: WhenDown) -> Link {
    Link::Down { since: at(since), replicas: count(replicas), policy }
}

fn span(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn granting(granted: u32, debt: u64) -> Answer {
    Answer { epoch: 7, sequence: 1, granted, debt: span(debt), wait: Duration::ZERO }
}

fn refusing(debt: u64, wait: u64) -> Answer {
    Answer { wait: span(wait), ..granting(0, debt) }
}

#[track_caller]
fn decided(taken: Taken) -> Decision {
    match taken {
        Taken::Decided(decision) | Taken::Low(decision) => decision,
        other => panic!("{other:?}"),
    }
}

fn passes(lease: &Lease, link: Link, nanos: u64) -> bool {
    decided(lease.take(link, at(nanos))).wait().is_none()
}

#[track_caller]
fn asked(lease: &Lease, nanos: u64) -> Question {
    match lease.ask(NonZeroU32::MIN, count(4), at(nanos)) {
        Asking::Mine(question) => question,
        other => panic!("{other:?}"),
    }
}

/// A lease of so many tokens at time 0.
fn leased(rate: Rate, granted: u32, debt: u64) -> Lease {
    let lease = Lease::new(rate);
    assert_eq!(lease.take(up(4), at(0)), Taken::Ask);
    let asking = lease.ask(count(granted), count(4), at(0));
    assert!(matches!(asking, Asking::Mine(ref question) if question.want == granted), "{asking:?}");
    assert_eq!(lease.answered(&granting(granted, debt), at(0)), Heard::Well);
    lease
}

#[test]
fn what_is_granted_is_spent_without_a_question_and_one_request_is_told_to_ask_ahead() {
    let lease = leased(rate(600, 100), 8, 8 * 100 * MS);
    let taken: Vec<_> = (0..8).map(|_| lease.take(up(4), at(0))).collect();
    let low: Vec<_> = taken.iter().map(|taken| matches!(taken, Taken::Low(_))).collect();
    assert_eq!(low, [false, false, false, true, false, false, false, false]);
    // 92 in Redis and those that are left here.
    let levels: Vec<_> = taken.into_iter().map(|taken| decided(taken).level()).collect();
    assert_eq!(levels, [99, 98, 97, 96, 95, 94, 93, 92]);
    assert_eq!(lease.take(up(4), at(0)), Taken::Ask);
}

#[test]
fn one_question_is_on_its_way_and_it_asks_for_half_a_second_of_what_was_spent() {
    let lease = leased(rate(6000, 1000), 40, 0);
    (0..40).for_each(|_| assert!(passes(&lease, up(4), 200 * MS)));
    let question = asked(&lease, 200 * MS);
    assert_eq!((question.want, question.epoch, question.sequence), (100, 7, 1), "40 in 0.2 s");
    assert_eq!(lease.ask(count(1), count(4), at(200 * MS)), Asking::Theirs);
    lease.answered(&granting(2000, 0), at(210 * MS));
    assert_eq!(lease.unspent(), 100, "no more than was asked for");
    assert_eq!(lease.ask(count(1), count(4), at(210 * MS)), Asking::Again);
    let many = leased(rate(6000, 1000), 1, 0);
    assert!(passes(&many, up(4), 0));
    let question = many.ask(count(5000), count(4), at(0));
    assert!(matches!(question, Asking::Mine(ref question) if question.want == 1024), "{question:?}");
}

#[test]
fn a_slow_key_asks_for_one_and_never_ahead() {
    let lease = leased(rate(60, 100), 1, SECOND);
    assert!(matches!(lease.take(up(4), at(0)), Taken::Decided(_)));
    assert_eq!(asked(&lease, 5 * SECOND).want, 1);
}

#[test]
fn an_empty_bucket_is_asked_once_until_a_token_is_due() {
    let lease = Lease::new(rate(60, 10));
    assert_eq!(lease.take(up(4), at(0)), Taken::Ask);
    asked(&lease, 0);
    lease.answered(&refusing(10 * SECOND, SECOND), at(0));
    for nanos in [0, 1, SECOND - 1] {
        let refused = decided(lease.take(up(4), at(nanos)));
        assert_eq!((refused.wait(), refused.level()), (Some(span(SECOND - nanos)), 0));
        assert_eq!(lease.ask(count(1), count(4), at(nanos)), Asking::Again);
    }
    assert_eq!(lease.take(up(4), at(SECOND)), Taken::Ask);
    assert_eq!(asked(&lease, SECOND).known, span(9 * SECOND));
}

#[test]
fn tokens_that_nobody_uses_go_back_once() {
    let lease = leased(rate(600, 100), 8, 0);
    assert!(passes(&lease, up(4), SECOND));
    assert_eq!(lease.due(up(4), at(2499 * MS)), Due::Later);
    let Due::Send(question) = lease.due(up(4), at(2500 * MS)) else { panic!("nothing is due") };
    assert_eq!((question.returned, question.want, question.charged), (7, 0, 0));
    assert_eq!(lease.take(up(4), at(2500 * MS)), Taken::Ask, "they are not here any more");
    assert_eq!(lease.due(up(4), at(9 * SECOND)), Due::Later, "it is on its way");
    lease.failed(Failure::Unheard);
    assert_eq!(lease.due(up(4), at(9 * SECOND)), Due::Nothing, "whether it was heard is unknown");
    assert_eq!(asked(&lease, 9 * SECOND).returned, 0);
}

#[test]
fn an_answer_behind_its_failure_is_spent_by_nobody() {
    let lease = Lease::new(rate(600, 100));
    asked(&lease, 0);
    lease.failed(Failure::Unheard);
    lease.answered(&granting(1, 0), at(60 * MS));
    assert_eq!(lease.unspent(), 0);
    assert_eq!(asked(&lease, 60 * MS).epoch, 0);
}

#[test]
fn without_redis_the_lease_is_spent_and_then_a_share_that_was_empty_at_the_loss() {
    // A token every four seconds for one of four.
    let (lease, away) = (leased(rate(60, 100), 2, 0), down(10 * SECOND, 4, WhenDown::Share));
    assert!(passes(&lease, away, 10 * SECOND) && passes(&lease, away, 10 * SECOND));
    let refused = decided(lease.take(away, at(11 * SECOND)));
    assert_eq!((refused.wait(), refused.level()), (Some(span(3 * SECOND)), 0));
    assert!(passes(&lease, away, 14 * SECOND) && !passes(&lease, away, 14 * SECOND));
    // It has filled since the loss, whether it was used or not, as far as a quarter of the burst.
    let passed = (0..100).filter(|_| passes(&lease, away, 300 * SECOND)).count();
    assert_eq!(passed, 25);
    // Back at 304 s: one of 25 has come back, so 24 are charged of 26.
    assert_eq!(lease.take(up(4), at(304 * SECOND)), Taken::Ask);
    let question = asked(&lease, 304 * SECOND);
    assert_eq!((question.charged, question.want), (24, 1));
    lease.failed(Failure::Unheard);
    // A charge whose answer never came is due again, with what time has paid back.
    let Due::Send(question) = lease.due(up(4), at(308 * SECOND)) else { panic!("nothing is due") };
    assert_eq!((question.charged, question.want), (23, 0));
    lease.answered(&granting(0, 0), at(308 * SECOND));
    assert_eq!(lease.due(up(4), at(309 * SECOND)), Due::Nothing);
    // Lost again: what has gathered is given up.
    assert!(!passes(&lease, down(400 * SECOND, 4, WhenDown::Share), 403 * SECOND));
    assert!(passes(&lease, down(400 * SECOND, 4, WhenDown::Share), 404 * SECOND));
}

#[test]
fn what_is_spent_while_a_charge_is_on_its_way_is_charged_next() {
    let (lease, away) = (Lease::new(rate(60, 100)), down(0, 1, WhenDown::Share));
    assert!((0..3).all(|_| passes(&lease, away, 3 * SECOND)));
    assert_eq!(asked(&lease, 3 * SECOND).charged, 3);
    assert!(passes(&lease, away, 4 * SECOND), "Redis was given up before it answered");
    lease.answered(&granting(0, 0), at(4 * SECOND));
    assert_eq!(asked(&lease, 4 * SECOND).charged, 1);
}

#[test]
fn a_share_keeps_its_ratio_when_there_are_more_replicas() {
    let lease = Lease::new(rate(60, 120));
    let away = |replicas| down(0, replicas, WhenDown::Share);
    assert!(passes(&lease, away(2), 60 * SECOND), "half full: thirty of sixty");
    let passed = (0..100).filter(|_| passes(&lease, away(4), 60 * SECOND)).count();
    assert_eq!(passed, 14, "29 of 60 are 14.5 of 30");
}

#[test]
fn open_passes_everything_and_closed_nothing_and_neither_touches_the_lease() {
    let lease = leased(rate(60, 100), 2, 0);
    assert!((0..500).all(|_| passes(&lease, down(0, 4, WhenDown::Open), 0)));
    let refused = decided(lease.take(down(0, 4, WhenDown::Closed), at(0)));
    assert_eq!(refused.wait(), Some(span(SECOND)));
    assert_eq!(lease.unspent(), 2);
    assert!(passes(&lease, up(4), 0) && passes(&lease, up(4), 0));
    assert_eq!(asked(&lease, 0).charged, 0);
}

#[test]
fn without_any_redis_a_share_begins_full() {
    let lease = Lease::new(rate(60, 100));
    let link = Link::Absent { replicas: count(4) };
    assert_eq!((0..100).filter(|_| passes(&lease, link, 0)).count(), 25);
    assert!(!passes(&lease, link, 3999 * MS) && passes(&lease, link, 4 * SECOND));
    let one = Lease::new(rate(60, 3));
    assert_eq!((0..100).filter(|_| passes(&one, link, 0)).count(), 1, "one at least");
}

#[test]
fn a_loss_is_noticed_by_whoever_knew_something() {
    let lease = leased(rate(60, 100), 1, 50 * SECOND);
    assert!(passes(&lease, up(4), 0));
    let told = lease.tell(count(4), at(10 * SECOND)).expect("it knows a debt");
    assert_eq!((told.known, told.want, told.epoch), (span(40 * SECOND), 0, 7));
    assert_eq!(lease.tell(count(4), at(10 * SECOND)), None, "it is on its way");
    let other = Answer { epoch: 8, ..granting(0, 0) };
    assert_eq!(lease.answered(&other, at(10 * SECOND)), Heard::Loss);
    assert_eq!(lease.tell(count(4), at(10 * SECOND)), None, "nothing is known any more");
    asked(&lease, 10 * SECOND);
    assert_eq!(
        lease.answered(&Answer { epoch: 9, ..granting(0, 0) }, at(10 * SECOND)),
        Heard::Well,
        "a full bucket was forgotten"
    );
}

#[test]
fn another_rate_is_another_lease_and_the_old_one_gives_back_what_it_holds() {
    let old = leased(rate(60, 100), 5, 50 * SECOND);
    let new = old.successor(rate(600, 200), at(0));
    assert_eq!(old.take(up(4), at(0)), Taken::Retired);
    let Due::Send(question) = old.due(up(4), at(0)) else { panic!("nothing is due") };
    assert_eq!((question.returned, question.rate), (5, rate(60, 100)));
    assert_eq!(new.take(up(4), at(0)), Taken::Ask, "it begins with nothing");
    let question = asked(&new, 0);
    assert_eq!((question.epoch, question.sequence), (7, 1));
    assert_eq!(question.known, span(10 * SECOND), "half of what fills in twenty seconds");
}

#[test]
fn a_share_goes_on_at_another_rate_and_what_was_spent_is_charged_once() {
    let (old, away) = (Lease::new(rate(60, 100)), down(0, 2, WhenDown::Share));
    assert!((0..50).all(|_| passes(&old, away, 100 * SECOND)));
    let new = old.successor(rate(600, 200), at(100 * SECOND));
    assert!(!passes(&new, away, 100 * SECOND), "as empty as it was");
    assert!(passes(&new, away, 100 * SECOND + 200 * MS));
    let Due::Send(question) = old.due(up(2), at(100 * SECOND)) else { panic!("nothing is due") };
    assert_eq!((question.charged, question.rate), (50, rate(60, 100)));
    assert_eq!(asked(&new, 100 * SECOND + 200 * MS).charged, 1);
}

proptest! {
    /// A lease never spends more than it was granted and its share let pass, whatever happens to it.
    #[test]
    fn no_more_is_spent_than_was_granted(events in vec((0_u8..8, 0_u64..3 * SECOND, 1_u32..40), 1..200)) {
        let (lease, mut time) = (Lease::new(rate(600, 100)), 0);
        let (mut flight, mut granted, mut spent, mut returned) = (None, 0_u64, 0_u64, 0_u64);
        for (event, later, number) in events {
            match event {
                0 => time += later,
                1 => if let Asking::Mine(question) = lease.ask(count(number), count(4), at(time)) {
                    prop_assert!(flight.is_none(), "two questions");
                    prop_assert!(question.want >= number.min(1024) && question.want <= 1024);
                    flight = Some(question);
                },
                2 => if let Some(question) = lease.ask_ahead(count(4), at(time)) {
                    prop_assert!(flight.is_none(), "two questions");
                    flight = Some(question);
                },
                3 => if let Due::Send(question) = lease.due(up(4), at(time)) {
                    prop_assert!(flight.is_none() && question.want == 0);
                    returned += u64::from(question.returned);
                    flight = Some(question);
                },
                4 => {
                    lease.failed(Failure::Unheard);
                    flight = None;
                }
                5 => if let Some(question) = flight.take() {
                    let some = question.want.min(number);
                    granted += u64::from(some);
                    lease.answered(&granting(some, later), at(time));
                },
                _ => for _ in 0..number {
                    match lease.take(up(4), at(time)) {
                        Taken::Decided(decision) | Taken::Low(decision) => spent += u64::from(decision.wait().is_none()),
                        _ => break,
                    }
                },
            }
            prop_assert_eq!(granted, spent + returned + u64::from(lease.unspent()));
        }
    }

    /// A share is the textbook's bucket at a part of the rate that was empty when Redis was lost.
    #[test]
    fn a_share_is_the_textbook_bucket(gaps in vec(0_u64..20 * SECOND, 1..200), replicas in 1_u32..12) {
        let (lease, rate) = (Lease::new(rate(60, 100)), rate(60, 100));
        lease.take(up(replicas), at(0));
        let interval = rate.interval().as_nanos() as u64 * u64::from(replicas);
        let most = rate.fill_time().as_nanos() as u64;
        let (mut shares, mut time, mut spent) = (0, 0, 0);
        for gap in gaps {
            time += gap;
            shares = (shares + gap).min(most);
            let is_enough = shares >= interval;
            let decision = decided(lease.take(down(0, replicas, WhenDown::Share), at(time)));
            prop_assert_eq!(decision.wait().is_none(), is_enough);
            shares -= if is_enough { interval } else { 0 };
            spent += u64::from(is_enough);
            prop_assert_eq!(decision.level(), shares / interval);
        }
        let charged = match lease.due(up(replicas), at(time)) {
            Due::Send(question) => u64::from(question.charged),
            _ => 0,
        };
        prop_assert_eq!(charged, spent.min((most - shares).div_ceil(interval)));
    }
}

// === the limiter ===

fn holder(per_minute: u32, burst: u32) -> Holder {
    let plan = Plan::new(PlanName::new("p"), count(per_minute), count(burst), Per::Key).unwrap();
    Holder::new(KeyId::new("k"), AccountId::new("a"), Arc::new(plan))
}

#[track_caller]
fn undecided(limiter: &Limiter, holder: &Holder, nanos: u64) -> Leased {
    match limiter.check(holder, now(nanos)) {
        Err(Undecided::Ask(leased)) => leased,
        other => panic!("{other:?}"),
    }
}

fn leasing(link: Link) -> (Limiter, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::clone(&woken);
    let wake = move || {
        wakes.fetch_add(1, Ordering::SeqCst);
    };
    (Limiter::leasing(link, WhenDown::Share, wake), woken)
}

/// Answers all that is due with a grant of what it wants.
fn settle(limiter: &Limiter, nanos: u64) -> Vec<Question> {
    let due = limiter.due(at(nanos), 100);
    for (leased, question) in &due {
        limiter.answered(leased, &granting(question.want, 0), at(nanos));
    }
    due.into_iter().map(|(_, question)| question).collect()
}

#[test]
fn a_limiter_that_leases_says_whom_to_ask_and_decides_from_then_on() {
    let (limiter, woken) = leasing(up(4));
    let holder = holder(600, 100);
    let leased = undecided(&limiter, &holder, 0);
    assert_eq!(leased.owner(), &holder.owner());
    let Asking::Mine(question) = limiter.ask(&leased, count(4), at(0)) else { panic!("not asked") };
    assert_eq!(question.rate, rate(600, 100));
    limiter.answered(&leased, &granting(4, 400 * MS), at(0));
    let levels: Vec<_> = (0..4).map(|_| limiter.check(&holder, now(0)).unwrap().level()).collect();
    assert_eq!(levels, [99, 98, 97, 96]);
    assert_eq!(woken.load(Ordering::SeqCst), 1, "half of it was spent");
    assert_eq!(undecided(&limiter, &holder, 0), leased);
    let due = settle(&limiter, 0);
    assert_eq!(due.len(), 1, "one question ahead");
    assert!(due[0].want > 0);
    assert!(limiter.check(&holder, now(0)).unwrap().is_admitted());
}

#[test]
fn the_list_of_what_is_due_holds_each_lease_once_and_forgets_those_that_are_empty() {
    let (limiter, _) = leasing(up(4));
    let holder = holder(600, 100);
    let leased = undecided(&limiter, &holder, 0);
    for round in 0..50 {
        let Asking::Mine(_) = limiter.ask(&leased, count(3), at(round)) else { panic!("not asked") };
        limiter.answered(&leased, &granting(3, 0), at(round));
        (0..3).for_each(|_| assert!(limiter.check(&holder, now(round)).unwrap().is_admitted()));
        assert_eq!(settle(&limiter, round).iter().filter(|question| question.want > 0).count(), 1);
        while limiter.check(&holder, now(round)).is_ok() {}
    }
    for (leased, _) in limiter.due(at(50), 100) {
        limiter.answered(&leased, &refusing(0, SECOND), at(50));
    }
    assert!(settle(&limiter, 1400 * MS).is_empty());
    assert!(settle(&limiter, 1600 * MS).is_empty(), "everything was spent");
    let Asking::Mine(question) = limiter.ask(&leased, count(3), at(2 * SECOND)) else { panic!("not asked") };
    limiter.answered(&leased, &granting(question.want, 0), at(2 * SECOND));
    limiter.set_link(down(2 * SECOND, 4, WhenDown::Share));
    assert!(settle(&limiter, 9 * SECOND).is_empty(), "there is nobody to tell");
    limiter.set_link(up(4));
    let due = settle(&limiter, 9 * SECOND);
    assert_eq!(due.iter().map(|question| question.returned).collect::<Vec<_>>(), [question.want]);
    assert!(settle(&limiter, 19 * SECOND).is_empty());
}

#[test]
fn what_was_spent_without_redis_is_charged_when_it_is_back_at_most_so_many_keys_at_once() {
    let (limiter, _) = leasing(down(0, 1, WhenDown::Share));
    let plan = Arc::new(Plan::new(PlanName::new("p"), count(60), count(100), Per::Key).unwrap());
    for key in 0..250 {
        let holder = Holder::new(KeyId::new(&format!("k{key}")), AccountId::new("a"), Arc::clone(&plan));
        assert!(limiter.check(&holder, now(SECOND)).unwrap().is_admitted());
        assert!(!limiter.check(&holder, now(SECOND)).unwrap().is_admitted());
    }
    limiter.set_link(up(1));
    let charged = [0; 4].map(|_| {
        let due = settle(&limiter, SECOND);
        due.iter().map(|question| question.charged).sum::<u32>()
    });
    assert_eq!(charged, [100, 100, 50, 0]);
    assert_eq!(limiter.knowing(at(SECOND)).len(), 0, "the bucket was told to be full");
}

#[test]
fn a_request_that_was_not_answered_is_decided_by_the_share() {
    let (limiter, _) = leasing(up(2));
    let holder = holder(60, 100);
    let leased = undecided(&limiter, &holder, 0);
    limiter.ask(&leased, count(1), at(0));
    limiter.failed(&leased, Failure::Unheard, at(50 * MS));
    assert!(!limiter.check_alone(&holder, at(50 * MS), now(50 * MS)).unwrap().is_admitted());
    assert!(limiter.check_alone(&holder, at(50 * MS), now(2050 * MS)).unwrap().is_admitted());
    let due = settle(&limiter, 2060 * MS);
    assert_eq!(due.iter().map(|question| question.charged).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_change_of_plan_gives_back_what_the_old_lease_holds() {
    let (limiter, _) = leasing(up(4));
    let (before, after) = (holder(600, 100), holder(60, 10));
    let leased = undecided(&limiter, &before, 0);
    limiter.ask(&leased, count(5), at(0));
    limiter.answered(&leased, &granting(5, 5 * SECOND), at(0));
    assert_eq!(limiter.knowing(at(0)), std::slice::from_ref(&leased));
    limiter.rescale([&after], at(0));
    let fresh = undecided(&limiter, &after, 0);
    assert_ne!(fresh, leased);
    let due = settle(&limiter, 0);
    assert_eq!(
        due.iter().map(|question| (question.returned, question.rate)).collect::<Vec<_>>(),
        [(5, rate(600, 100))]
    );
    assert_eq!(limiter.knowing(at(0)), [fresh]);
}

#[test]
fn buckets_in_redis_stay_there_when_a_process_leaves_and_shares_without_redis_move() {
    let (limiter, _) = leasing(up(4));
    let one = holder(60, 100);
    undecided(&limiter, &one, 0);
    assert!(limiter.move_out(at(0)).is_empty());
    undecided(&limiter, &one, 0);
    let absent = Link::Absent { replicas: count(2) };
    let ((old, _), (new, _)) = (leasing(absent), leasing(absent));
    let here = holder(60, 100);
    assert!((0..50).all(|_| old.check(&here, now(0)).unwrap().is_admitted()));
    let levels = old.move_out(at(0));
    assert_eq!(old.check(&here, now(0)).err(), Some(Undecided::Moved));
    new.take_in(levels, at(0));
    let there = holder(60, 100);
    assert!(!new.check(&there, now(1999 * MS)).unwrap().is_admitted());
    assert!(new.check(&there, now(2 * SECOND)).unwrap().is_admitted());
    assert!(
        new.charge(&there.owner(), rate(60, 100), at(4 * SECOND)).unwrap().wait().is_none(),
        "for who is left behind"
    );
    assert!(!new.check(&there, now(4 * SECOND)).unwrap().is_admitted());
}
