//! The ring of keys: what a reload keeps, counts and revokes. Contract §2.1, design §4 "Key ring".

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use safecache::auth::cancellation::Cancellation;
use safecache::auth::key::{Digest, KeyEntry, KeyOptions, Source, StoredKey};
use safecache::auth::key_record::KeyRecord;
use safecache::auth::key_ring::{KeyCounts, KeyRing, RingFault};
use safecache::auth::token::digest;
use safecache::clock::UnixTime;
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::plan::{Per, Plan};
use safecache::memory::{self, Buffers, Permit};

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
    assert_eq!(named, [(Some(1), "b", unknown), (Some(2), "c", same_key), (Some(3), "a", same_id)]);
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

/// Key `number` of the store: `live` secrets that may be used, and some that may not any more.
fn stored(number: u8, live: u8, options: &KeyOptions) -> StoredKey {
    let id = KeyId::new(&format!("key_{number}"));
    let digest = |secret: u8| [100 + number * 8 + secret; 32];
    let entry = |secret| KeyEntry {
        id: id.clone(),
        digest: digest(secret),
        options: options.clone(),
        ..entry("of the store")
    };
    StoredKey { entries: (0..live).map(entry).collect(), ended: (live..4).map(digest).collect(), id }
}

/// One change of a ring.
#[derive(Clone, Debug)]
enum Turn {
    /// The list is another: of these keys, each disabled or not.
    List(Vec<(u8, bool)>),
    /// Keys of the store are as they are said to be: which, how many secrets, disabled, when it expires.
    Stored(BTreeMap<u8, (u8, bool, Option<u64>)>),
}

fn turn() -> impl Strategy<Value = Turn> {
    let listed = proptest::collection::btree_map(0..20_u8, any::<bool>(), 0..12);
    let state = (0..4_u8, any::<bool>(), proptest::option::of(1..9_u64));
    prop_oneof![
        listed.prop_map(|keys| Turn::List(keys.into_iter().collect())),
        proptest::collection::btree_map(0..6_u8, state, 0..5).prop_map(Turn::Stored),
    ]
}

fn options((disabled, expires): (bool, Option<u64>)) -> KeyOptions {
    KeyOptions { disabled, expires_at: expires.map(UnixTime::from_secs), ..KeyOptions::default() }
}

proptest! {
    /// Whatever changes of either, the ring is what the newest list and the newest state of each stored key make it.
    #[test]
    fn a_ring_is_the_list_and_the_store(turns in proptest::collection::vec(turn(), 0..12)) {
        let mut ring = KeyRing::default();
        let (mut listed, mut kept) = (Vec::new(), BTreeMap::new());
        for turn in turns {
            let before = ring.clone();
            match turn {
                Turn::List(keys) => {
                    let entries = keys.iter().map(|(number, disabled)| {
                        with_options(&format!("listed {number}"), options((*disabled, None)))
                    });
                    ring = ring.rebuild(entries, &plans()).unwrap();
                    listed = keys;
                }
                Turn::Stored(keys) => {
                    let now = keys.iter().map(|(number, (live, disabled, expires))| {
                        stored(*number, *live, &options((*disabled, *expires)))
                    });
                    let (next, problems) = ring.with_stored(now.collect(), &plans());
                    prop_assert!(problems.is_empty());
                    ring = next;
                    kept.extend(keys);
                }
            }
            let mut expected = BTreeMap::new();
            for (number, disabled) in &listed {
                let one = with_options(&format!("listed {number}"), options((*disabled, None)));
                expected.insert(one.digest, (one.id, Source::List, *disabled, None));
            }
            for (number, (live, disabled, expires)) in &kept {
                for one in stored(*number, *live, &options((*disabled, *expires))).entries {
                    expected.insert(one.digest, (one.id, Source::Store, *disabled, *expires));
                }
            }
            let found: BTreeMap<_, _> = expected
                .keys()
                .filter_map(|digest| Some((*digest, ring.find(digest)?)))
                .map(|(digest, record)| {
                    let options = record.options();
                    let disabled = options.is_some_and(|options| options.disabled);
                    let expires = options.and_then(|options| Some(options.expires_at?.as_secs()));
                    (digest, (record.id().clone(), record.source(), disabled, expires))
                })
                .collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(ring.len(), expected.len());
            let of_store = expected.values().filter(|(_, source, ..)| *source == Source::Store);
            prop_assert_eq!(ring.stored(), of_store.count());
            let gone = |(_, _, disabled, expires): &&(_, _, bool, Option<u64>)| !disabled && expires.is_some_and(|at| at <= 5);
            let counts = ring.counts(UnixTime::from_secs(5));
            prop_assert_eq!(counts.disabled, expected.values().filter(|(_, _, disabled, _)| *disabled).count());
            prop_assert_eq!(counts.expired, expected.values().filter(gone).count());
            // What did not change is the very record that it was.
            for digest in expected.keys() {
                if let (Some(old), Some(new)) = (before.find(digest), ring.find(digest)) {
                    let is_equal = old.options() == new.options() && old.plan() == new.plan();
                    prop_assert_eq!(Arc::ptr_eq(old, new), is_equal && old.source() == new.source());
                }
            }
        }
    }
}

#[test]
fn a_stored_key_that_cannot_be_in_the_ring_is_not_and_the_others_are() {
    let listed = KeyRing::build([entry("a")], &plans()).unwrap();
    let mut same = stored(1, 2, &KeyOptions::default());
    same.entries[1].digest = entry("a").digest;
    let mut unknown = stored(2, 1, &KeyOptions::default());
    unknown.entries[0].plan = PlanName::new("gold");
    let (ring, problems) =
        listed.with_stored(vec![same, unknown, stored(3, 1, &KeyOptions::default())], &plans());
    let named: Vec<_> = problems.iter().map(|p| (p.index, p.id.as_str(), p.fault.clone())).collect();
    let same_key = RingFault::DuplicateKey { first: KeyId::new("a") };
    let no_plan = RingFault::UnknownPlan { plan: PlanName::new("gold") };
    assert_eq!(named, [(None, "key_1", same_key), (None, "key_2", no_plan)]);
    assert_eq!((ring.len(), ring.stored()), (3, 2));
    assert_eq!(found(&ring, "a").source(), Source::List);
    // A plan that becomes unknown takes the key out.
    let mut later = stored(3, 1, &KeyOptions::default());
    later.entries[0].plan = PlanName::new("gold");
    let (ring, problems) = ring.with_stored(vec![later], &plans());
    assert_eq!((ring.len(), ring.stored(), problems.len()), (2, 1, 1));
}

#[test]
fn a_list_cannot_have_what_the_store_has() {
    let (ring, _) = KeyRing::default().with_stored(vec![stored(1, 2, &KeyOptions::default())], &plans());
    let same_id = KeyEntry { id: KeyId::new("key_1"), ..entry("a") };
    let same_key = KeyEntry { digest: [108; 32], ..entry("b") };
    let problems = ring.rebuild([entry("c"), same_id, same_key], &plans()).unwrap_err();
    let named: Vec<_> = problems.iter().map(|p| (p.index, p.fault.clone())).collect();
    let first = KeyId::new("key_1");
    assert_eq!(named, [(Some(1), RingFault::StoredId), (Some(2), RingFault::DuplicateKey { first })]);
}

/// What is held for a key's requests is bounded for the key, whichever of its secrets they come with.
#[test]
fn both_secrets_of_a_key_share_its_memory() {
    let at_once = |ring: &KeyRing, secrets| {
        ring.clone().with_stored(vec![stored(1, secrets, &KeyOptions::default())], &plans()).0
    };
    for ring in [at_once(&KeyRing::default(), 2), at_once(&at_once(&KeyRing::default(), 1), 2)] {
        let pool = |secret: u8| ring.find(&[108 + secret; 32]).unwrap().buffered();
        let bounds = memory::Bounds { total: 1 << 20, share: 1 << 20 };
        let mut permit = Permit::new(&Buffers::default(), pool(0), bounds);
        assert!(permit.try_grow(1000));
        assert_eq!((pool(0).used(), pool(1).used()), (1000, 1000));
    }
}
