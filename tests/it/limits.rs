//! The laws of the rate limits: contract §3 step 5, design §4 "Bucket".

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};
use safecache::clock::{Monotonic, Now, UnixTime};
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::bucket::{Bucket, Rate};
use safecache::limits::limiter::{Holder, Limiter};
use safecache::limits::plan::{Per, Plan, PlanError};
use safecache::limits::verdict::Verdict;

const START: u64 = 1_000_000_000_000;
const BUILT_IN: [(u32, u32); 3] = [(60, 100), (600, 1000), (6000, 10_000)];

fn rate(per_minute: u32, burst: u32) -> Rate {
    Rate::new(NonZeroU32::new(per_minute).unwrap(), NonZeroU32::new(burst).unwrap())
}

fn at(nanos: u64) -> Monotonic {
    Monotonic::from_nanos(START + nanos)
}

fn now(nanos: u64) -> Now {
    Now { monotonic: at(nanos), unix: UnixTime::from_nanos(1_700_000_000_000_000_000 + nanos) }
}

fn plan(name: &str, per_minute: u32, burst: u32, per: Per) -> Arc<Plan> {
    let per_minute = NonZeroU32::new(per_minute).unwrap();
    let burst = NonZeroU32::new(burst).unwrap();
    Arc::new(Plan::new(PlanName::new(name), per_minute, burst, per).unwrap())
}

fn holder(key: &str, account: &str, plan: &Arc<Plan>) -> Holder {
    Holder::new(KeyId::new(key), AccountId::new(account), Arc::clone(plan))
}

fn headers(verdict: &Verdict) -> HeaderMap {
    let mut map = HeaderMap::new();
    verdict.put_headers(|name: HeaderName, value| {
        assert!(map.insert(name, value).is_none(), "a header twice");
    });
    map
}

/// One request, where the buckets are.
fn check(limiter: &Limiter, holder: &Holder, now: Now) -> Verdict {
    limiter.check(holder, now).expect("the buckets are here")
}

/// How many requests in a row `holder` passes at `nanos`, and the refusal that ends them.
fn exhaust(limiter: &Limiter, holder: &Holder, nanos: u64) -> (u64, Verdict) {
    let mut passed = 0;
    loop {
        let verdict = check(limiter, holder, now(nanos));
        if !verdict.is_admitted() {
            return (passed, verdict);
        }
        passed += 1;
    }
}

/// A token bucket as a textbook has it: tokens are counted in `1/T` shares, refilled at each look.
struct NaiveBucket {
    shares: u128,
    seen: u64,
}

impl NaiveBucket {
    fn take(&mut self, rate: Rate, nanos: u64) -> bool {
        let most = rate.fill_time().as_nanos();
        self.shares = (self.shares + u128::from(nanos - self.seen)).min(most);
        self.seen = nanos;
        let is_enough = self.shares >= rate.interval().as_nanos();
        if is_enough {
            self.shares -= rate.interval().as_nanos();
        }
        is_enough
    }
}

/// A rate, and gaps between requests of up to three intervals of it.
fn rate_and_gaps() -> impl Strategy<Value = (Rate, Vec<u64>)> {
    (1_u32..100_000, 1_u32..50).prop_flat_map(|(per_minute, burst)| {
        let rate = rate(per_minute, burst);
        let longest = u64::try_from(rate.interval().as_nanos()).unwrap() * 3;
        let gaps = proptest::collection::vec(proptest::prop_oneof![Just(0), 0..longest], 1..200);
        (Just(rate), gaps)
    })
}

proptest! {
    #[test]
    fn a_bucket_is_the_textbook_bucket((rate, gaps) in rate_and_gaps()) {
        let bucket = Bucket::full();
        let mut naive = NaiveBucket { shares: rate.fill_time().as_nanos(), seen: 0 };
        let mut time = 0;
        for gap in gaps {
            time += gap;
            let decision = bucket.take(rate, at(time)).unwrap();
            prop_assert_eq!(decision.wait().is_none(), naive.take(rate, time));
            prop_assert_eq!(u128::from(decision.level()), naive.shares / rate.interval().as_nanos());
            let to_full = rate.fill_time().as_nanos() - naive.shares;
            prop_assert_eq!(decision.time_to_full().as_nanos(), to_full);
        }
    }

    #[test]
    fn no_window_passes_more_than_burst_and_refill((rate, gaps) in rate_and_gaps()) {
        let bucket = Bucket::full();
        let mut time = 0;
        let mut passed = Vec::new();
        for gap in gaps {
            time += gap;
            if bucket.take(rate, at(time)).unwrap().wait().is_none() {
                passed.push(time);
            }
        }
        let burst = rate.fill_time().as_nanos() / rate.interval().as_nanos();
        for (i, from) in passed.iter().enumerate() {
            for (n, to) in passed.iter().skip(i).enumerate() {
                let due = burst + u128::from(to - from) / rate.interval().as_nanos();
                prop_assert!(u128::try_from(n).unwrap() < due, "{} in {} ns", n + 1, to - from);
            }
        }
    }

    #[test]
    fn the_wait_is_exact((rate, gaps) in rate_and_gaps()) {
        let bucket = Bucket::full();
        let mut time = 0;
        for gap in gaps {
            time += gap;
            let Some(wait) = bucket.take(rate, at(time)).unwrap().wait() else { continue };
            let passes_at = time + u64::try_from(wait.as_nanos()).unwrap();
            prop_assert!(bucket.take(rate, at(passes_at - 1)).unwrap().wait().is_some());
            prop_assert!(bucket.take(rate, at(passes_at)).unwrap().wait().is_none());
            time = passes_at;
        }
    }

    #[test]
    fn a_successor_keeps_the_fill_ratio(
        from in (1_u32..100_000, 1_u32..1000),
        to in (1_u32..100_000, 1_u32..1000),
        takes in 0_u32..1000,
        later in 0_u64..1_000_000_000,
    ) {
        let (from, to) = (rate(from.0, from.1), rate(to.0, to.1));
        let bucket = Bucket::full();
        let mut left = from.fill_time();
        for _ in 0..takes {
            left = from.fill_time() - bucket.take(from, at(0)).unwrap().time_to_full();
        }
        left = (left + Duration::from_nanos(later)).min(from.fill_time());
        let successor = bucket.retire(from, to, at(later));
        prop_assert!(bucket.take(from, at(later)).is_err());
        // Emptied, the successor yields what the ratio allows: rounded down, and not one below.
        let due = left.as_nanos() * to.fill_time().as_nanos()
            / from.fill_time().as_nanos() / to.interval().as_nanos();
        let passed = (0..1001).take_while(|_| successor.take(to, at(later)).unwrap().wait().is_none()).count();
        prop_assert_eq!(u128::try_from(passed).unwrap(), due);
    }
}

#[test]
fn a_full_bucket_passes_exactly_its_burst_at_once() {
    for (per_minute, burst) in BUILT_IN {
        let limiter = Limiter::new();
        let holder = holder("k", "a", &plan("p", per_minute, burst, Per::Key));
        let (passed, refusal) = exhaust(&limiter, &holder, 0);
        assert_eq!(passed, u64::from(burst));
        assert!(!check(&limiter, &holder, now(0)).is_admitted(), "a refusal takes nothing and gives nothing");
        assert_eq!(refusal.level(), 0);
    }
}

#[test]
fn a_free_key_passes_160_in_its_first_minute() {
    let limiter = Limiter::new();
    let holder = holder("k", "a", &plan("free", 60, 100, Per::Key));
    let passed =
        (0..60_000_u64).filter(|ms| check(&limiter, &holder, now(ms * 1_000_000)).is_admitted()).count();
    assert_eq!(passed, 159, "the 160th is due at the minute's end");
    assert!(check(&limiter, &holder, now(60_000_000_000)).is_admitted());
}

#[test]
fn retry_after_ms_is_enough_and_not_one_too_many() {
    for (per_minute, burst) in [(60, 100), (600, 1000), (7, 3), (6000, 10_000), (59_999, 2)] {
        let limiter = Limiter::new();
        let holder = holder("k", "a", &plan("p", per_minute, burst, Per::Key));
        let (_, refusal) = exhaust(&limiter, &holder, 0);
        let wait: u64 = headers(&refusal)["retry-after-ms"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1);
        assert!(!check(&limiter, &holder, now((wait - 1) * 1_000_000)).is_admitted());
        assert!(check(&limiter, &holder, now(wait * 1_000_000)).is_admitted());
    }
}

#[test]
fn a_refund_makes_up_for_one_take_and_never_overfills() {
    let (bucket, rate) = (Bucket::full(), rate(60, 2));
    bucket.refund(rate).unwrap();
    let passed = (0..4).filter(|_| bucket.take(rate, at(0)).unwrap().wait().is_none()).count();
    assert_eq!(passed, 2);
    bucket.refund(rate).unwrap();
    assert!(bucket.take(rate, at(0)).unwrap().wait().is_none());
    assert!(bucket.take(rate, at(0)).unwrap().wait().is_some());
    let successor = bucket.retire(rate, rate, at(0));
    assert!(bucket.refund(rate).is_err());
    assert!(successor.refund(rate).is_ok());
}

#[test]
fn a_reload_keeps_levels_and_ratios() {
    let limiter = Limiter::new();
    let free = plan("free", 60, 100, Per::Key);
    let pro = plan("pro", 600, 1000, Per::Key);
    let before = holder("k", "a", &free);
    for _ in 0..50 {
        assert!(check(&limiter, &before, now(0)).is_admitted());
    }
    // The same plan in a new record, and a new account: the same bucket.
    let moved = holder("k", "b", &free);
    assert_eq!(check(&limiter, &moved, now(0)).level(), 49);
    assert!(check(&limiter, &moved, now(0)).is_admitted());
    // 48 of 100 are 480 of 1000; the request takes one of them.
    let promoted = holder("k", "b", &pro);
    limiter.rescale([&promoted], at(0));
    assert_eq!(check(&limiter, &promoted, now(0)).level(), 479);
    // A late request of the old snapshot is served from the same ratio, and so is the next of the new one.
    assert_eq!(check(&limiter, &before, now(0)).level(), 46);
    assert_eq!(check(&limiter, &promoted, now(0)).level(), 468);
}

#[test]
fn time_before_a_change_of_plan_counts_at_the_old_rate() {
    let limiter = Limiter::new();
    let fast = plan("p", 6000, 100, Per::Key);
    let slow = plan("p", 60, 100, Per::Key);
    let before = holder("k", "a", &fast);
    exhaust(&limiter, &before, 0);
    let after = holder("k", "a", &slow);
    limiter.rescale([&after], at(500_000_000));
    // Half full at the change; ten seconds on, ten more.
    assert_eq!(exhaust(&limiter, &after, 10_500_000_000).0, 60);
}

#[test]
fn an_empty_bucket_stays_empty_whoever_else_comes() {
    let limiter = Limiter::new();
    let free = plan("free", 60, 100, Per::Key);
    exhaust(&limiter, &holder("mine", "a", &free), 0);
    for n in 0..100_000 {
        let other = holder(&format!("other-{n}"), "b", &free);
        assert!(check(&limiter, &other, now(0)).is_admitted());
    }
    assert!(!check(&limiter, &holder("mine", "a", &free), now(0)).is_admitted());
}

#[test]
fn buckets_that_have_long_been_full_are_not_kept() {
    const TWO_HOURS: u64 = 7_200_000_000_000;
    let limiter = Limiter::new();
    let free = plan("free", 60, 100, Per::Key);
    for round in 0..10 {
        for n in 0..50_000 {
            let passing = holder(&format!("{round}-{n}"), "a", &free);
            assert!(check(&limiter, &passing, now(round * TWO_HOURS)).is_admitted());
        }
        exhaust(&limiter, &holder(&format!("last-{round}"), "a", &free), round * TWO_HOURS);
    }
    let kept = limiter.kept();
    assert!((50_000..150_000).contains(&kept), "{kept}");
    assert!(!check(&limiter, &holder("last-9", "a", &free), now(9 * TWO_HOURS)).is_admitted());
}

#[test]
fn all_who_remember_a_bucket_that_is_not_kept_share_the_next_one() {
    const TWO_HOURS: u64 = 7_200_000_000_000;
    let limiter = Limiter::new();
    let free = plan("free", 60, 100, Per::Key);
    let (first, second) = (holder("k", "a", &free), holder("k", "b", &free));
    assert_eq!([&first, &second].map(|holder| check(&limiter, holder, now(0)).level()), [99, 98]);
    for n in 0..100_000 {
        check(&limiter, &holder(&format!("other-{n}"), "a", &free), now(TWO_HOURS));
    }
    assert_eq!(exhaust(&limiter, &first, TWO_HOURS).0, 100);
    assert!(!check(&limiter, &second, now(TWO_HOURS)).is_admitted());
}

#[test]
fn keys_of_an_account_share_its_bucket_if_the_plan_says_so() {
    let limiter = Limiter::new();
    let shared = plan("team", 60, 10, Per::Account);
    let (first, second) = (holder("k1", "a", &shared), holder("k2", "a", &shared));
    for n in 0..5 {
        assert_eq!(check(&limiter, &first, now(0)).level(), 9 - 2 * n);
        assert_eq!(check(&limiter, &second, now(0)).level(), 8 - 2 * n);
    }
    assert!(!check(&limiter, &first, now(0)).is_admitted());
    assert!(check(&limiter, &holder("k3", "other", &shared), now(0)).is_admitted());
    // A key named as the account is no part of it.
    assert!(check(&limiter, &holder("a", "a", &plan("p", 60, 10, Per::Key)), now(0)).is_admitted());
}

#[test]
fn a_bucket_used_for_days_is_remembered_by_every_record() {
    let limiter = Limiter::new();
    let daily = plan("daily", 1, 1000, Per::Key);
    let record = holder("k", "a", &daily);
    let mut hours = 0;
    while hours < 72 {
        exhaust(&limiter, &record, hours * 3_600_000_000_000);
        hours += 1;
    }
    let reloaded = holder("k", "a", &daily);
    assert_eq!(exhaust(&limiter, &reloaded, hours * 3_600_000_000_000).0, 60);
}

#[test]
fn racing_plans_never_share_out_more_than_one_bucket() {
    let limiter = Limiter::new();
    let plans = [plan("p", 60, 100, Per::Key), plan("p", 600, 2000, Per::Key), plan("p", 90, 400, Per::Key)];
    let holders: Vec<_> = plans.iter().map(|plan| holder("k", "a", plan)).collect();
    let shares = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4_usize)
            .map(|racer| {
                let (limiter, holders) = (&limiter, &holders);
                scope.spawn(move || {
                    let mut shares = 0;
                    for n in 0..5000 {
                        let holder = &holders[(racer + n / 7) % holders.len()];
                        if check(limiter, holder, now(0)).is_admitted() {
                            shares += 2000 / holder.plan().burst().get();
                        }
                    }
                    shares
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum::<u32>()
    });
    assert!(shares <= 2000, "{shares} of 2000 shares");
    assert!(shares > 1900, "{shares} of 2000 shares");
}

#[test]
fn headers_of_an_admitted_request() {
    let limiter = Limiter::new();
    let free = holder("k", "a", &plan("free", 60, 100, Per::Key));
    let first = headers(&check(&limiter, &free, now(0)));
    assert_eq!(first["x-ratelimit-limit"], "60");
    assert_eq!(first["x-ratelimit-remaining"], "60", "99 are left, but the limit is 60 a minute");
    assert_eq!(first["x-ratelimit-reset"], "1700000000", "it is there already");
    assert_eq!(first["ratelimit-policy"], "\"free\";q=100;w=100");
    assert_eq!(first["ratelimit"], "\"free\";r=99;t=1");
    assert!(!first.contains_key("retry-after"));
    assert_eq!(first.len(), 5);
    for _ in 0..40 {
        check(&limiter, &free, now(0));
    }
    let later = headers(&check(&limiter, &free, now(300_000_000)));
    assert_eq!(later["x-ratelimit-remaining"], "58", "58.3 are left");
    assert_eq!(later["x-ratelimit-reset"], "1700000002", "1.7 s from 0.3 s on");
    assert_eq!(later["ratelimit"], "\"free\";r=58;t=1");
}

#[test]
fn headers_of_a_refused_request() {
    let limiter = Limiter::new();
    let slow = holder("k", "a", &plan("slow", 1, 2, Per::Key));
    exhaust(&limiter, &slow, 0);
    let soon = check(&limiter, &slow, now(100));
    assert_eq!(soon.retry_after(), Some(60));
    let soon = headers(&soon);
    assert_eq!(soon["retry-after"], "60");
    assert_eq!(soon["retry-after-ms"], "60000");
    assert_eq!(soon["x-ratelimit-remaining"], "0");
    assert_eq!(soon["x-ratelimit-reset"], "1700000060");
    assert_eq!(soon["ratelimit-policy"], "\"slow\";q=2;w=120");
    assert_eq!(soon["ratelimit"], "\"slow\";r=0;t=60");
    assert!(!soon.contains_key("x-should-retry"));
}

#[test]
fn a_wait_of_over_a_minute_is_not_worth_a_retry() {
    let limiter = Limiter::new();
    let behind = holder("k", "a", &plan("slow", 1, 1, Per::Key));
    exhaust(&limiter, &behind, 1);
    // A request whose clock was read a nanosecond before the one that emptied the bucket.
    let refusal = headers(&check(&limiter, &behind, now(0)));
    assert_eq!(refusal["retry-after"], "61");
    assert_eq!(refusal["retry-after-ms"], "60001");
    assert_eq!(refusal["x-should-retry"], "false");
}

#[test]
fn a_plan_s_name_must_fit_its_headers() {
    let one = NonZeroU32::MIN;
    let named = |name: &str| Plan::new(PlanName::new(name), one, one, Per::Key).map(|_| ());
    assert_eq!(named("a\"b"), Err(PlanError::Name));
    assert_eq!(named(&"x".repeat(33)), Err(PlanError::Name));
    assert_eq!(named(&"x".repeat(32)), Ok(()));
}
