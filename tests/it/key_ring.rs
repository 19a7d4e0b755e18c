//! The ring of keys: what a reload keeps, counts and revokes. Contract §2.1, design §4 "Key ring".

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::{any, prop_assert_eq, proptest};
use safecache::auth::cancellation::Cancellation;
use safecache::auth::key::{Digest, KeyEntry, KeyOptions};
use safecache::auth::key_record::KeyRecord;
use safecache::auth::key_ring::{KeyCounts, KeyRing, RingFault};
use safecache::auth::token::digest;
use safecache::clock::UnixTime;
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::plan::{Per, Plan};

use crate::support::plans::plans;

/// The entry of a plain key whose text is its id.
fn entry(id: &str) -> KeyEntry {
    KeyEntry {
        id: KeyId::new(id),
        account: AccountId::new("acme"),
        plan: PlanName::new("free"),
        digest: digest(id.as_bytes()),
        options: KeyOptions::default(),
    }
}

fn with_options(id: &str, options: KeyOptions) -> KeyEntry {
    KeyEntry { options, ..entry(id) }
}

fn found<'a>(ring: &'a KeyRing, id: &str) -> &'a Arc<KeyRecord> {
    ring.find(&entry(id).digest).unwrap()
}

proptest! {
    #[test]
    fn a_ring_finds_its_keys_and_no_others(
        inside in proptest::collection::hash_set(any::<Digest>(), 0..200),
        outside in proptest::collection::vec(any::<Digest>(), 0..200),
    ) {
        let entries = inside.iter().enumerate().map(|(n, digest)| KeyEntry {
            digest: *digest,
            ..entry(&n.to_string())
        });
        let ring = KeyRing::build(entries, &plans()).unwrap();
        prop_assert_eq!(ring.len(), inside.len());
        for digest in inside.iter().chain(&outside) {
            prop_assert_eq!(ring.find(digest).is_some(), inside.contains(digest));
        }
    }
}

#[test]
fn every_problem_of_a_ring_is_named() {
    let entries = vec![
        entry("a"),
        KeyEntry { plan: PlanName::new("gold"), ..entry("b") },
        KeyEntry { id: KeyId::new("c"), ..entry("a") },
        KeyEntry { id: KeyId::new("a"), ..entry("d") },
    ];
    let problems = KeyRing::build(entries, &plans()).unwrap_err();
    let named: Vec<_> = problems.iter().map(|p| (p.index, p.id.as_str(), p.fault.clone())).collect();
    let unknown = RingFault::UnknownPlan { plan: PlanName::new("gold") };
    let same_key = RingFault::DuplicateKey { first: KeyId::new("a") };
    let same_id = RingFault::DuplicateId { first: 0 };
    assert_eq!(named, [(1, "b", unknown), (2, "c", same_key), (3, "a", same_id)]);
    assert_eq!(problems[0].to_string(), "key `b`: no plan named `gold`");
}

#[test]
fn a_rebuilt_ring_shares_what_did_not_change() {
    let names: Vec<String> = (0..2000).map(|n| format!("k{n}")).collect();
    let before = KeyRing::build(names.iter().map(|id| entry(id)), &plans()).unwrap();
    let edited = names.iter().skip(1).map(|id| match id.as_str() {
        "k1" => KeyEntry { plan: PlanName::new("pro"), ..entry(id) },
        "k2" => with_options(id, KeyOptions { disabled: true, ..KeyOptions::default() }),
        _ => entry(id),
    });
    let after = before.rebuild(edited.chain([entry("new")]), &plans()).unwrap();
    let ids = |records: Vec<&Arc<KeyRecord>>| -> BTreeSet<String> {
        records.iter().map(|record| record.id().to_string()).collect()
    };
    assert_eq!(ids(after.changed_since(&before).collect()), ["k1", "k2", "new"].map(str::to_owned).into());
    assert_eq!(ids(before.revoked_by(&after).collect()), ["k0", "k2"].map(str::to_owned).into());
    assert_eq!(after.records().count(), 2000);
    assert!(Arc::ptr_eq(found(&before, "k3"), found(&after, "k3")));
    // A plan whose numbers changed changes its keys, and no others.
    let mut faster = plans();
    faster[1] = Arc::new(
        Plan::new(PlanName::new("pro"), NonZeroU32::new(601).unwrap(), NonZeroU32::MIN, Per::Key).unwrap(),
    );
    let kept = after.records().map(|record| KeyEntry {
        plan: record.plan().name().clone(),
        options: record.options().cloned().unwrap_or_default(),
        ..entry(record.id().as_str())
    });
    let later = after.rebuild(kept, &faster).unwrap();
    assert_eq!(ids(later.changed_since(&after).collect()), ["k1".to_owned()].into());
}

#[test]
fn keys_are_counted_by_state() {
    let at = UnixTime::from_secs;
    let expiring =
        |id, seconds| with_options(id, KeyOptions { expires_at: Some(at(seconds)), ..KeyOptions::default() });
    let mut both = expiring("e", 10);
    both.options.disabled = true;
    let entries = [entry("a"), expiring("b", 30), expiring("c", 10), expiring("d", 20), both];
    let ring = KeyRing::build(entries, &plans()).unwrap();
    let count = |seconds| {
        let KeyCounts { active, disabled, expired } = ring.counts(at(seconds));
        (active, disabled, expired)
    };
    assert_eq!([9, 10, 25, 30].map(count), [(4, 1, 0), (3, 1, 1), (2, 1, 2), (1, 1, 3)]);
    assert!(!ring.is_empty() && KeyRing::default().is_empty());
}

#[test]
fn a_ring_tells_nothing_of_its_keys() {
    let ring = KeyRing::build([entry("a")], &plans()).unwrap();
    assert_eq!(format!("{ring:?}"), "KeyRing { len: 1, .. }");
    let record = format!("{:?}", found(&ring, "a"));
    assert!(record.contains("Fingerprint(…)") && !record.contains(&format!("{:?}", entry("a").digest)));
}

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn cancelling_wakes_those_who_still_wait() {
    let cancellation = Arc::new(Cancellation::default());
    let wakers = [(); 2].map(|()| Arc::new(CountingWaker::default()));
    let mut waiting = pin!(cancellation.cancelled());
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
    // The last waker counts.
    let waker = Waker::from(Arc::clone(&wakers[0]));
    assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    {
        let waker = Waker::from(Arc::clone(&wakers[1]));
        let mut gone = pin!(cancellation.cancelled());
        assert_eq!(gone.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    }
    assert_eq!(Arc::strong_count(&wakers[1]), 1, "whoever leaves takes the waker along");
    assert!(!cancellation.is_cancelled());
    cancellation.cancel();
    cancellation.cancel();
    assert_eq!(wakers.map(|waker| waker.0.load(Ordering::SeqCst)), [1, 0]);
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(()));
    assert_eq!(pin!(cancellation.cancelled()).poll(&mut context), Poll::Ready(()));
}

#[test]
fn a_key_s_cancellation_outlives_its_changes_but_not_its_revocation() {
    let first = KeyRing::build([entry("k")], &plans()).unwrap();
    let handle = found(&first, "k").cancellation();
    let promoted = KeyEntry { plan: PlanName::new("pro"), ..entry("k") };
    let second = first.rebuild([promoted], &plans()).unwrap();
    assert!(Arc::ptr_eq(&found(&second, "k").cancellation(), &handle));
    handle.cancel();
    let third = second.rebuild([entry("k")], &plans()).unwrap();
    assert!(!found(&third, "k").cancellation().is_cancelled());
}
