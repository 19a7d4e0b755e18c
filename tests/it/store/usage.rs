//! Promises about sums of usage.

use std::sync::Arc;

use safecache::clock::UnixTime;
use safecache::ids::{AccountId, KeyId};
use safecache::money::Money;
use safecache::store::Store;
use safecache::store::usage::{
    BATCH_KNOWN, KeyUsage, MOST_MODELS, ModelSum, Period, Step, TimeSum, UsageBatch, UsageOf, UsageSums,
};
use safecache::usage::record::{Cell, Class, Hour, KeyLabel, Line, Sums, UsageRow};

use super::{NOW, account, later};

/// Hours after the one that [`NOW`] lies in, and begins.
fn hour(number: u32) -> Hour {
    Hour::from_number(Hour::of(NOW).number() + number)
}

pub(super) fn sums(requests: u64) -> Sums {
    Sums {
        requests,
        prompt_tokens: 2 * requests,
        cached_tokens: 3 * requests,
        completion_tokens: 5 * requests,
        saved_prompt_tokens: 7 * requests,
        saved_cached_tokens: 4 * requests,
        saved_completion_tokens: 11 * requests,
        cost: Money::from_units(13_000_001 * u128::from(requests)),
        cost_saved: Money::from_units(999_999 * u128::from(requests)),
    }
}

/// How people know the key `key`.
fn label(key: &str) -> KeyLabel {
    KeyLabel { name: Some(format!("key {key}").into()), environment: (key == "a").then(|| "staging".into()) }
}

/// So many requests of acme's key `key`, `after` hours after the first.
pub(super) fn row(key: &str, after: u32, class: Class, requests: u64) -> UsageRow {
    let cell =
        Cell { hour: hour(after), account: account("acme"), key: KeyId::new(key), model: "m".into(), class };
    UsageRow {
        cell,
        line: Line { sums: sums(requests), last_at: later(u64::from(after) * 3600), label: label(key) },
    }
}

/// The usage of an account from hour to hour.
fn of(name: &str, (from, to): (u32, u32), step: Step) -> UsageOf {
    let period = Period { from: hour(from), to: hour(to) };
    UsageOf { account: account(name), period, step, offset: 0, limit: 2 }
}

pub(super) async fn usage(store: &dyn Store, name: &str, period: (u32, u32), step: Step) -> UsageSums {
    store.usage(of(name, period, step)).await.unwrap()
}

/// Adds rows, as a batch of their own.
async fn add(store: &dyn Store, rows: Vec<UsageRow>) {
    store.add_usage(UsageBatch::new(rows, NOW)).await.unwrap();
}

fn time_sum(start: u32, class: Class, requests: u64) -> TimeSum {
    TimeSum { start: hour(start), class, sums: sums(requests) }
}

pub(super) async fn sums_add_up(store: Arc<dyn Store>) {
    let first =
        vec![row("a", 0, Class::Miss, 3), row("b", 0, Class::Miss, 4), row("a", 0, Class::ExactHit, 5)];
    add(&*store, first).await;
    add(&*store, vec![row("a", 0, Class::Miss, 10), row("a", 0, Class::Miss, 20)]).await;
    let series = usage(&*store, "acme", (0, 1), Step::Hour).await.by_time;
    assert_eq!(series, [time_sum(0, Class::ExactHit, 5), time_sum(0, Class::Miss, 37)]);
    let models = usage(&*store, "acme", (0, 1), Step::Day).await.by_model;
    let model = |class, requests| ModelSum { model: "m".into(), class, sums: sums(requests) };
    assert_eq!(models, [model(Class::ExactHit, 5), model(Class::Miss, 37)]);
    assert_eq!(usage(&*store, "globex", (0, 1), Step::Hour).await, UsageSums::default());
}

pub(super) async fn a_period_has_a_beginning_and_an_end(store: Arc<dyn Store>) {
    // NOW is 08:00: the hours 0 to 15 are the rest of its day.
    let rows = [0, 1, 15, 16, 39, 40].map(|after| row("a", after, Class::Miss, 1 << after.min(20)));
    add(&*store, rows.to_vec()).await;
    let hours = usage(&*store, "acme", (1, 40), Step::Hour).await.by_time;
    let expected = [(1, 2), (15, 1 << 15), (16, 1 << 16), (39, 1 << 20)];
    assert_eq!(hours, expected.map(|(start, requests)| time_sum(start, Class::Miss, requests)));
    let days = usage(&*store, "acme", (1, 40), Step::Day).await.by_time;
    let today = TimeSum { start: hour(0).day(), class: Class::Miss, sums: sums(2 + (1 << 15)) };
    assert_eq!(days, [today, time_sum(16, Class::Miss, (1 << 16) + (1 << 20))]);
    assert_eq!(hour(0).day().start(), UnixTime::from_secs(NOW.as_secs() - 8 * 3600));
}

pub(super) async fn keys_come_in_pages_with_their_last_use(store: Arc<dyn Store>) {
    let rows = vec![
        row("c", 0, Class::Miss, 1),
        row("a", 0, Class::Miss, 2),
        row("a", 5, Class::RateLimited, 3),
        row("b", 9, Class::Other, 4),
    ];
    add(&*store, rows).await;
    // Told late, and used before, under another name.
    let mut late = row("a", 1, Class::Miss, 8);
    late.line.label.name = Some("an older name".into());
    add(&*store, vec![late]).await;
    let page = async |offset| {
        let of = UsageOf { offset, ..of("acme", (0, 6), Step::Hour) };
        let UsageSums { by_key, keys, .. } = store.usage(of).await.unwrap();
        (by_key, keys)
    };
    let usage = |key: &str, after: u64, sums: &[(Class, Sums)]| KeyUsage {
        key: KeyId::new(key),
        label: label(key),
        last_used_at: later(after * 3600),
        sums: sums.to_vec(),
    };
    let (keys, total) = page(0).await;
    let of_a = [(Class::Miss, sums(10)), (Class::RateLimited, sums(3))];
    assert_eq!(keys, [usage("a", 5, &of_a), usage("b", 9, &[])]);
    assert_eq!(total, 3);
    let (keys, total) = page(2).await;
    assert_eq!((keys, total), (vec![usage("c", 0, &[(Class::Miss, sums(1))])], 3));
    assert_eq!(page(3).await, (vec![], 3));
}

pub(super) async fn old_hours_are_forgotten(store: Arc<dyn Store>) {
    add(&*store, (0..10).map(|after| row("a", after, Class::Miss, 1)).collect()).await;
    assert_eq!(store.delete_usage(hour(7)).await, Ok(7));
    let left = usage(&*store, "acme", (0, 10), Step::Hour).await.by_time;
    assert_eq!(left, [7, 8, 9].map(|after| time_sum(after, Class::Miss, 1)));
    assert_eq!(store.delete_usage(hour(7)).await, Ok(0));
    // More than are deleted at once.
    let many = 5001;
    add(&*store, (0..many).map(|n| row(&format!("k{n}"), 16, Class::Miss, 1)).collect()).await;
    assert_eq!(usage(&*store, "acme", (16, 40), Step::Day).await.by_time[0].sums.requests, many);
    assert_eq!(store.delete_usage(hour(40)).await, Ok(3 + many));
    assert_eq!(usage(&*store, "acme", (0, 40), Step::Day).await, UsageSums::default());
}

/// Every class keeps its own name; so do keys and models that differ in case or white space.
pub(super) async fn names_are_told_apart(store: Arc<dyn Store>) {
    let rows = Class::ALL.into_iter().zip(1..).map(|(class, requests)| row("a", 0, class, requests));
    add(&*store, rows.collect()).await;
    let mut found = usage(&*store, "acme", (0, 1), Step::Hour).await.by_time;
    found.sort_by_key(|sum| sum.class);
    let expected: Vec<_> =
        Class::ALL.into_iter().zip(1..).map(|(class, requests)| time_sum(0, class, requests)).collect();
    assert_eq!(found, expected);
    for model in ["M", "m ", "", "é"] {
        let mut row = row("b", 1, Class::Miss, 1);
        row.cell.model = model.into();
        add(&*store, vec![row]).await;
    }
    let models = usage(&*store, "acme", (1, 2), Step::Day).await.by_model;
    let names: Vec<_> = models.iter().map(|sum| &*sum.model).collect();
    assert_eq!(names, ["", "M", "m ", "é"]);
}

/// Nobody's names fill the file, nor anybody else's report.
pub(super) async fn an_account_has_so_many_models(store: Arc<dyn Store>) {
    let asked = |account: &str, model: String, after: u32| {
        let mut row = row("a", after, Class::Miss, 1);
        (row.cell.account, row.cell.model) = (AccountId::new(account), model.into());
        row
    };
    let many = MOST_MODELS + 20;
    add(&*store, (0..many).map(|n| asked("acme", format!("m{n:03}"), 0)).collect()).await;
    add(&*store, vec![asked("globex", "m119".into(), 0), asked("acme", "m000".into(), 1)]).await;
    let of = async |name: &str| {
        let models = usage(&*store, name, (0, 9), Step::Day).await.by_model;
        models.into_iter().map(|sum| (sum.model.to_string(), sum.sums.requests)).collect::<Vec<_>>()
    };
    let acme = of("acme").await;
    assert_eq!(acme.len(), MOST_MODELS as usize + 1);
    assert_eq!((&acme[0], &acme[100]), (&("m000".into(), 2), &("other".into(), 20)));
    assert_eq!(of("globex").await, [("m119".to_owned(), 1)]);
    // What was last used before what is kept makes room.
    store.delete_usage(hour(1)).await.unwrap();
    add(&*store, vec![asked("acme", "new".into(), 2)]).await;
    assert_eq!(of("acme").await, [("m000".to_owned(), 1), ("new".to_owned(), 1)]);
}

/// Whole days and the hours before and behind them make up any span.
pub(super) async fn a_span_is_the_sum_of_its_hours(store: Arc<dyn Store>) {
    // NOW is 08:00. Every hour of four days has another number of requests.
    let requests = |after: u32| 1 + u64::from(after * after % 97);
    add(&*store, (0..96).map(|after| row("a", after, Class::Miss, requests(after))).collect()).await;
    for (from, to) in (0..96).step_by(5).flat_map(|from| (from + 1..=96).step_by(3).map(move |to| (from, to)))
    {
        let due: u64 = (from..to).map(requests).sum();
        let models = usage(&*store, "acme", (from, to), Step::Day).await.by_model;
        assert_eq!(models[0].sums, sums(due), "{from} to {to}");
        let keys = usage(&*store, "acme", (from, to), Step::Day).await.by_key;
        assert_eq!(keys[0].sums, [(Class::Miss, sums(due))], "{from} to {to}");
        for step in [Step::Hour, Step::Day] {
            let series = usage(&*store, "acme", (from, to), step).await.by_time;
            assert_eq!(series.iter().map(|sum| sum.sums.requests).sum::<u64>(), due, "{from} to {to}");
        }
    }
}

/// What no longer fits stays at the most that does, and harms nothing else.
pub(super) async fn sums_that_are_too_large_stay_at_the_most(store: Arc<dyn Store>) {
    let mut large = row("a", 0, Class::ExactHit, 1);
    large.line.sums.saved_completion_tokens = u64::MAX;
    large.line.sums.cost_saved = Money::from_units(u128::MAX);
    for after in [0, 0, 0, 1, 30] {
        large.cell.hour = hour(after);
        add(&*store, vec![large.clone()]).await;
    }
    add(&*store, vec![row("a", 0, Class::Miss, 7)]).await;
    for (from, to) in [(0, 1), (0, 9), (0, 60)] {
        let models = usage(&*store, "acme", (from, to), Step::Day).await.by_model;
        let (hits, misses) = (models[0].sums, models[1].sums);
        assert!(i64::MAX as u64 <= hits.saved_completion_tokens, "{hits:?}");
        assert!(Money::from_units(i64::MAX as u128) <= hits.cost_saved, "{hits:?}");
        assert_eq!(misses, sums(7));
    }
    let series = usage(&*store, "acme", (0, 60), Step::Day).await.by_time;
    assert_eq!(series.len(), 3);
}

/// Whoever does not know whether a batch was added sends it again.
pub(super) async fn a_batch_that_comes_again_counts_once(store: Arc<dyn Store>) {
    let batch = |requests| UsageBatch::new(vec![row("a", 0, Class::Miss, requests)], NOW);
    let requests = async || {
        let series = usage(&*store, "acme", (0, 1), Step::Hour).await.by_time;
        series.iter().map(|sum| sum.sums.requests).sum::<u64>()
    };
    let first = batch(1);
    store.add_usage(first.clone()).await.unwrap();
    store.add_usage(first.clone()).await.unwrap();
    assert_eq!(requests().await, 1);
    let second = batch(10);
    let adds = (0..20).map(|_| store.add_usage(second.clone()));
    assert!(futures_util::future::join_all(adds).await.iter().all(Result::is_ok));
    store.add_usage(first).await.unwrap();
    assert_eq!(requests().await, 11);
}

pub(super) async fn two_batches_with_equal_rows_count_each(store: Arc<dyn Store>) {
    let batches: Vec<_> = (0..20).map(|_| UsageBatch::new(vec![row("a", 0, Class::Miss, 1)], NOW)).collect();
    let adds = batches.into_iter().map(|batch| store.add_usage(batch));
    assert!(futures_util::future::join_all(adds).await.iter().all(Result::is_ok));
    let series = usage(&*store, "acme", (0, 1), Step::Hour).await.by_time;
    assert_eq!(series, [time_sum(0, Class::Miss, 20)]);
}

/// Ids do not gather for ever.
pub(super) async fn a_batch_is_known_for_two_days(store: Arc<dyn Store>) {
    let at = |seconds| UsageBatch::new(vec![row("a", 0, Class::Miss, 1)], later(seconds));
    let (first, known) = (at(0), BATCH_KNOWN.as_secs());
    let mut requests = Vec::new();
    for batch in [first.clone(), at(known), first.clone(), at(known + 1), first.clone()] {
        store.add_usage(batch).await.unwrap();
        requests.push(usage(&*store, "acme", (0, 1), Step::Hour).await.by_time[0].sums.requests);
    }
    assert_eq!(requests, [1, 2, 2, 3, 4]);
    store.delete_usage(hour(0)).await.unwrap();
    store.add_usage(first.clone()).await.unwrap();
    store.delete_usage(hour(1)).await.unwrap();
    store.add_usage(first).await.unwrap();
    let series = usage(&*store, "acme", (0, 1), Step::Hour).await.by_time;
    assert_eq!(series, [time_sum(0, Class::Miss, 1)], "what was forgotten of it is its id as well");
}
