//! Promises about sums of usage.

use std::sync::Arc;

use safecache::clock::UnixTime;
use safecache::ids::KeyId;
use safecache::store::Store;
use safecache::store::usage::{KeyPageOf, KeyUsage, ModelSum, Period, Step, TimeSum, UsageRow};
use safecache::usage::record::{Cell, Class, Hour, Sums};

use super::{NOW, account, later};

/// Hours after the one that [`NOW`] lies in, and begins.
fn hour(number: u32) -> Hour {
    Hour::from_number(Hour::of(NOW).number() + number)
}

fn sums(requests: u64) -> Sums {
    Sums {
        requests,
        prompt_tokens: 2 * requests,
        cached_tokens: 3 * requests,
        completion_tokens: 5 * requests,
        saved_prompt_tokens: 7 * requests,
        saved_completion_tokens: 11 * requests,
    }
}

/// So many requests of acme's key `key`, `after` hours after the first.
fn row(key: &str, after: u32, class: Class, requests: u64) -> UsageRow {
    let cell =
        Cell { hour: hour(after), account: account("acme"), key: KeyId::new(key), model: "m".into(), class };
    UsageRow { cell, sums: sums(requests), last_at: later(u64::from(after) * 3600) }
}

fn period(from: u32, to: u32) -> Period {
    Period { from: hour(from), to: hour(to) }
}

fn time_sum(start: u32, class: Class, requests: u64) -> TimeSum {
    TimeSum { start: hour(start), class, sums: sums(requests) }
}

pub(super) async fn sums_add_up(store: Arc<dyn Store>) {
    let first =
        vec![row("a", 0, Class::Miss, 3), row("b", 0, Class::Miss, 4), row("a", 0, Class::ExactHit, 5)];
    store.add_usage(first).await.unwrap();
    store.add_usage(vec![row("a", 0, Class::Miss, 10), row("a", 0, Class::Miss, 20)]).await.unwrap();
    let series = store.usage_by_time(&account("acme"), period(0, 1), Step::Hour).await.unwrap();
    assert_eq!(series, [time_sum(0, Class::ExactHit, 5), time_sum(0, Class::Miss, 37)]);
    let models = store.usage_by_model(&account("acme"), period(0, 1)).await.unwrap();
    let model = |class, requests| ModelSum { model: "m".into(), class, sums: sums(requests) };
    assert_eq!(models, [model(Class::ExactHit, 5), model(Class::Miss, 37)]);
    assert_eq!(store.usage_by_time(&account("globex"), period(0, 1), Step::Hour).await, Ok(vec![]));
}

pub(super) async fn a_period_has_a_beginning_and_an_end(store: Arc<dyn Store>) {
    // NOW is 08:00: the hours 0 to 15 are the rest of its day.
    let rows = [0, 1, 15, 16, 39, 40].map(|after| row("a", after, Class::Miss, 1 << after.min(20)));
    store.add_usage(rows.to_vec()).await.unwrap();
    let hours = store.usage_by_time(&account("acme"), period(1, 40), Step::Hour).await.unwrap();
    let expected = [(1, 2), (15, 1 << 15), (16, 1 << 16), (39, 1 << 20)];
    assert_eq!(hours, expected.map(|(start, requests)| time_sum(start, Class::Miss, requests)));
    let days = store.usage_by_time(&account("acme"), period(1, 40), Step::Day).await.unwrap();
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
    store.add_usage(rows).await.unwrap();
    // Told late, and used before.
    store.add_usage(vec![row("a", 1, Class::Miss, 8)]).await.unwrap();
    let page = |offset| KeyPageOf { account: account("acme"), offset, limit: 2 };
    let usage = |key: &str, after: u64, sums: &[(Class, Sums)]| KeyUsage {
        key: KeyId::new(key),
        last_used_at: later(after * 3600),
        sums: sums.to_vec(),
    };
    let (keys, total) = store.usage_by_key(page(0), period(0, 6)).await.unwrap();
    let of_a = [(Class::Miss, sums(10)), (Class::RateLimited, sums(3))];
    assert_eq!(keys, [usage("a", 5, &of_a), usage("b", 9, &[])]);
    assert_eq!(total, 3);
    let (keys, total) = store.usage_by_key(page(2), period(0, 6)).await.unwrap();
    assert_eq!((keys, total), (vec![usage("c", 0, &[(Class::Miss, sums(1))])], 3));
    assert_eq!(store.usage_by_key(page(3), period(0, 6)).await, Ok((vec![], 3)));
}

pub(super) async fn old_hours_are_forgotten(store: Arc<dyn Store>) {
    store.add_usage((0..10).map(|after| row("a", after, Class::Miss, 1)).collect()).await.unwrap();
    assert_eq!(store.delete_usage(hour(7)).await, Ok(7));
    let left = store.usage_by_time(&account("acme"), period(0, 10), Step::Hour).await.unwrap();
    assert_eq!(left, [7, 8, 9].map(|after| time_sum(after, Class::Miss, 1)));
    assert_eq!(store.delete_usage(hour(7)).await, Ok(0));
}

/// Every class keeps its own name; so do keys and models that differ in case or white space.
pub(super) async fn names_are_told_apart(store: Arc<dyn Store>) {
    let rows = Class::ALL.into_iter().zip(1..).map(|(class, requests)| row("a", 0, class, requests));
    store.add_usage(rows.collect()).await.unwrap();
    let mut found = store.usage_by_time(&account("acme"), period(0, 1), Step::Hour).await.unwrap();
    found.sort_by_key(|sum| sum.class);
    let expected: Vec<_> =
        Class::ALL.into_iter().zip(1..).map(|(class, requests)| time_sum(0, class, requests)).collect();
    assert_eq!(found, expected);
    for model in ["M", "m ", "", "é"] {
        let mut row = row("b", 1, Class::Miss, 1);
        row.cell.model = model.into();
        store.add_usage(vec![row]).await.unwrap();
    }
    let models = store.usage_by_model(&account("acme"), period(1, 2)).await.unwrap();
    let names: Vec<_> = models.iter().map(|sum| &*sum.model).collect();
    assert_eq!(names, ["", "M", "m ", "é"]);
}
