//! Promises about the list of what is kept, and about what has expired.

use std::sync::Arc;

use safecache::auth::model_glob::ModelGlob;
use safecache::cache::entries::Slot;
use safecache::llm::translate::AnswerForm;
use safecache::store::Store;
use safecache::store::answer::{NewAnswer, ROW_BYTES};
use safecache::store::entries::{
    EntryKind, Expired, ListedEntry, ListedKey, MOST_EXPIRED, MOST_SEEN, Page, Place,
};
use safecache::store::proxied::{self, NewProxied};
use safecache::units::ByteSize;

use super::proxied::{proxied, slot};
use super::{NOW, account, answer, hash, later, put};

const PLENTY: ByteSize = ByteSize::mib(100);

fn first_page(limit: u32) -> Page {
    Page { account: account("acme"), allowed_models: [].into(), hash: None, kind: None, after: None, limit }
}

/// The keys of all pages.
async fn all(store: &dyn Store, mut page: Page) -> (Vec<ListedKey>, usize) {
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let found = store.list_entries(page.clone(), NOW).await.unwrap();
        assert!(found.entries.len() <= page.limit as usize);
        keys.extend(found.entries.iter().map(|entry| entry.key));
        pages += 1;
        match found.next {
            Some(next) => page.after = Some(next),
            None => return (keys, pages),
        }
    }
}

pub(super) async fn both_kinds_are_listed_the_newest_first(store: Arc<dyn Store>) {
    put(&*store, NewAnswer { created_at: later(1), ..answer(1, Some("m"), "stored") }).await;
    put(&*store, NewAnswer { created_at: later(3), ..answer(3, None, "stored, too") }).await;
    put(&*store, NewAnswer { account: account("globex"), ..answer(4, None, "another's") }).await;
    let batch = vec![
        NewProxied { created_at: later(2), model: Some("n".into()), ..proxied(2, "proxied") },
        NewProxied { account: None, ..proxied(5, "everybody's") },
    ];
    store.put_proxied(batch, PLENTY).await.unwrap();
    let found = store.list_entries(first_page(10), NOW).await.unwrap();
    let entry = |key, model: Option<&str>, size, second| ListedEntry {
        key,
        model: model.map(Into::into),
        size: ByteSize::bytes(size),
        created_at: later(second),
        expires_at: later(3600),
    };
    let expected = vec![
        entry(ListedKey::Stored(hash(3)), None, ROW_BYTES + 11, 3),
        entry(ListedKey::Proxied(slot(2).key), Some("n"), proxied::ROW_BYTES + 7, 2),
        entry(ListedKey::Stored(hash(1)), Some("m"), ROW_BYTES + 7, 1),
    ];
    assert_eq!((found.entries, found.next), (expected, None));
}

pub(super) async fn the_list_goes_on_where_it_ended(store: Arc<dyn Store>) {
    // All within one millisecond.
    store.put_proxied((0..12).map(|number| proxied(number, "x")).collect(), PLENTY).await.unwrap();
    for number in 0..13 {
        put(&*store, answer(number, None, "x")).await;
    }
    let (at_once, pages) = all(&*store, first_page(100)).await;
    assert_eq!((at_once.len(), pages), (25, 1));
    for limit in [1, 4, 5, 24, 25] {
        let (keys, pages) = all(&*store, first_page(limit)).await;
        assert_eq!((keys, pages), (at_once.clone(), 25_usize.div_ceil(limit as usize)), "{limit} a page");
    }
    let page = store.list_entries(first_page(5), NOW).await.unwrap();
    store.put_proxied(vec![NewProxied { created_at: later(1), ..proxied(99, "x") }], PLENTY).await.unwrap();
    let rest = all(&*store, Page { after: page.next, ..first_page(100) }).await.0;
    assert_eq!(rest, at_once[5..], "what came meanwhile shifts nothing");
}

/// What one key finds may be several entries, which come in one millisecond here: a page may end between any two.
pub(super) async fn entries_of_one_key_are_told_apart(store: Arc<dyn Store>) {
    let forms = AnswerForm::ALL.map(|form| NewProxied { slot: Slot { form, ..slot(1) }, ..proxied(1, "x") });
    store.put_proxied(forms.into(), PLENTY).await.unwrap();
    for model in [None, Some("m"), Some("n"), Some("\u{1f600}")] {
        put(&*store, answer(1, model, "x")).await;
    }
    let (keys, pages) = all(&*store, first_page(1)).await;
    let proxied = [ListedKey::Proxied(slot(1).key); 3];
    assert_eq!(keys, [&proxied[..], &[ListedKey::Stored(hash(1)); 4]].concat());
    assert_eq!(pages, 7);
}

pub(super) async fn one_kind_is_listed_alone(store: Arc<dyn Store>) {
    store.put_proxied((0..3).map(|number| proxied(number, "x")).collect(), PLENTY).await.unwrap();
    for number in 0..3 {
        put(&*store, answer(number, None, "x")).await;
    }
    let listed = async |kind, limit| all(&*store, Page { kind: Some(kind), ..first_page(limit) }).await;
    for limit in [1, 2, 3] {
        let (keys, pages) = listed(EntryKind::Stored, limit).await;
        assert_eq!(keys, [2, 1, 0].map(|number| ListedKey::Stored(hash(number))));
        assert_eq!(pages, 3_usize.div_ceil(limit as usize));
        let (keys, pages) = listed(EntryKind::Proxied, limit).await;
        assert_eq!(keys, [2, 1, 0].map(|number| ListedKey::Proxied(slot(number).key)));
        assert_eq!(pages, 3_usize.div_ceil(limit as usize));
    }
}

pub(super) async fn only_allowed_models_are_listed(store: Arc<dyn Store>) {
    let batch = (0..MOST_SEEN + 10).map(|number| {
        let model = if number < 3 { "gpt-4o" } else { "o1" };
        NewProxied { model: Some(model.into()), ..proxied(number, "x") }
    });
    store.put_proxied(batch.collect(), PLENTY).await.unwrap();
    put(&*store, answer(1, None, "x")).await;
    let gpt = [ModelGlob::new("gpt*").unwrap()];
    let (keys, pages) = all(&*store, Page { allowed_models: gpt.into(), ..first_page(2) }).await;
    assert_eq!(keys, [2, 1, 0].map(|number| ListedKey::Proxied(slot(number).key)));
    assert_eq!(pages, 3, "one of them is empty: so many others stand before");
}

pub(super) async fn what_a_hash_finds_is_listed(store: Arc<dyn Store>) {
    put(&*store, answer(1, Some("m"), "x")).await;
    put(&*store, answer(1, Some("n"), "x")).await;
    put(&*store, answer(2, None, "x")).await;
    put(&*store, NewAnswer { account: account("globex"), ..answer(1, None, "x") }).await;
    let form = |form| NewProxied { slot: Slot { form, ..slot(11) }, ..proxied(11, "x") };
    store.put_proxied(AnswerForm::ALL.map(form).into(), PLENTY).await.unwrap();
    let stored = Page { hash: Some(hash(1).0), ..first_page(1) };
    assert_eq!(all(&*store, stored.clone()).await, (vec![ListedKey::Stored(hash(1)); 2], 2));
    let proxied = Page { hash: Some(*slot(11).key.as_bytes()), ..first_page(10) };
    assert_eq!(all(&*store, proxied.clone()).await.0, [ListedKey::Proxied(slot(11).key); 3]);
    let other = |page: &Page| Page { account: account("acme2"), ..page.clone() };
    for page in [other(&stored), other(&proxied), Page { hash: Some([7; 32]), ..first_page(10) }] {
        assert_eq!(all(&*store, page).await, (Vec::new(), 1));
    }
}

pub(super) async fn a_place_names_nothing_that_is_not_allowed(store: Arc<dyn Store>) {
    let other = |number, second| NewProxied {
        model: Some("o1".into()),
        created_at: later(second),
        ..proxied(number, "x")
    };
    let newer = (0..MOST_SEEN - 5).map(|number| other(number, 2));
    let older = (MOST_SEEN..MOST_SEEN + 10).map(|number| other(number, 1));
    let allowed = NewProxied { model: Some("gpt-4o".into()), ..proxied(5000, "x") };
    store.put_proxied(newer.chain(older).chain([allowed]).collect(), PLENTY).await.unwrap();
    let gpt = [ModelGlob::new("gpt*").unwrap()];
    let page = Page { allowed_models: gpt.into(), ..first_page(2) };
    let found = store.list_entries(page.clone(), NOW).await.unwrap();
    let place = Place::behind(later(2).as_millis());
    assert_eq!((found.entries.len(), found.next), (0, Some(place)), "the page ended among those of second 1");
    assert_eq!(all(&*store, page).await, (vec![ListedKey::Proxied(slot(5000).key)], 2));
}

pub(super) async fn the_expired_are_deleted_and_not_listed(store: Arc<dyn Store>) {
    put(&*store, NewAnswer { expires_at: later(10), ..answer(1, None, "passing") }).await;
    put(&*store, answer(2, None, "lasting")).await;
    let batch = vec![NewProxied { expires_at: later(10), ..proxied(1, "passing") }, proxied(2, "lasting")];
    store.put_proxied(batch, PLENTY).await.unwrap();
    assert_eq!(store.delete_expired(later(9)).await, Ok(Expired::default()));
    let listed =
        async |second| store.list_entries(first_page(10), later(second)).await.unwrap().entries.len();
    assert_eq!((listed(9).await, listed(10).await), (4, 2));
    let expired = Expired { stored: 1, proxied: vec![slot(1)] };
    assert_eq!(store.delete_expired(later(10)).await, Ok(expired));
    assert_eq!(listed(0).await, 2);
    let lasting = ByteSize::bytes(ROW_BYTES + 7);
    assert_eq!(store.stored_bytes(&account("acme")).await, Ok(lasting));
}

pub(super) async fn the_longest_expired_are_deleted_first(store: Arc<dyn Store>) {
    let batch = (0..MOST_EXPIRED + 5).map(|number| {
        let seconds = u64::from(MOST_EXPIRED + 5 - number);
        NewProxied { expires_at: later(seconds), ..proxied(number, "x") }
    });
    store.put_proxied(batch.collect(), PLENTY).await.unwrap();
    let expired = store.delete_expired(later(3600)).await.unwrap();
    assert_eq!((expired.stored, expired.proxied.len()), (0, MOST_EXPIRED as usize));
    let (keys, _) = all(&*store, first_page(10)).await;
    assert_eq!(keys, [4, 3, 2, 1, 0].map(|number| ListedKey::Proxied(slot(number).key)));
    assert_eq!(store.delete_expired(later(3600)).await.unwrap().proxied.len(), 5);
}
