//! Promises about answers of upstreams.

use std::sync::Arc;

use safecache::auth::model_glob::ModelGlob;
use safecache::cache::entries::Slot;
use safecache::cache::key::EntryKey;
use safecache::llm::translate::AnswerForm;
use safecache::store::Store;
use safecache::store::proxied::{Found, KeyPage, MOST_EVICTED, MOST_PURGED, NewProxied, Purge, ROW_BYTES};
use safecache::units::ByteSize;

use super::{NOW, account, hash, later};

/// Room for all that these tests put.
pub(super) const PLENTY: ByteSize = ByteSize::mib(100);

pub(super) fn slot(number: u32) -> Slot {
    Slot { key: EntryKey::from_bytes(hash(number).0), form: AnswerForm::Json }
}

/// An answer of account acme to question `number`, which lives for an hour.
pub(super) fn proxied(number: u32, payload: &str) -> NewProxied {
    NewProxied {
        slot: slot(number),
        account: Some(account("acme")),
        route: "/v1/*".into(),
        model: None,
        created_at: NOW,
        expires_at: later(3600),
        payload: payload.into(),
    }
}

/// An answer that counts `bytes`.
fn sized(number: u32, bytes: u64) -> NewProxied {
    proxied(number, &"x".repeat((bytes - ROW_BYTES) as usize))
}

async fn payload(store: &dyn Store, slot: Slot) -> Option<String> {
    match store.find_proxied(slot, NOW).await.unwrap() {
        Found::Payload { payload, .. } => Some(String::from_utf8(payload).unwrap()),
        Found::Nothing => None,
        Found::Damaged => panic!("damaged"),
    }
}

/// Which of the questions 0 to 9 have an answer.
async fn answered(store: &dyn Store) -> Vec<u32> {
    let mut answered = Vec::new();
    for number in 0..10 {
        if payload(store, slot(number)).await.is_some() {
            answered.push(number);
        }
    }
    answered
}

pub(super) async fn what_was_put_is_found_in_its_form(store: Arc<dyn Store>) {
    let forms = AnswerForm::ALL
        .map(|form| NewProxied { slot: Slot { form, ..slot(1) }, ..proxied(1, &format!("{form:?}")) });
    assert_eq!(store.put_proxied(forms.into(), PLENTY).await, Ok(vec![]));
    for form in AnswerForm::ALL {
        let found = payload(&*store, Slot { form, ..slot(1) }).await;
        assert_eq!(found.unwrap(), format!("{form:?}"));
    }
    let found = store.find_proxied(slot(1), later(3599)).await.unwrap();
    let Found::Payload { created_at, expires_at, .. } = found else { panic!("{found:?}") };
    assert_eq!((created_at, expires_at), (NOW, later(3600)));
    assert_eq!(store.find_proxied(slot(1), later(3600)).await, Ok(Found::Nothing));
    assert_eq!(store.find_proxied(slot(2), NOW).await, Ok(Found::Nothing));
}

pub(super) async fn a_slot_holds_the_newest(store: Arc<dyn Store>) {
    let batch = vec![proxied(1, "first"), proxied(2, "other"), proxied(1, "second")];
    assert_eq!(store.put_proxied(batch, PLENTY).await, Ok(vec![]));
    assert_eq!(payload(&*store, slot(1)).await.unwrap(), "second");
    assert_eq!(store.put_proxied(vec![proxied(1, "third")], PLENTY).await, Ok(vec![]));
    assert_eq!(payload(&*store, slot(1)).await.unwrap(), "third");
    assert_eq!(store.purge_proxied(Purge::All).await.unwrap().len(), 2);
}

pub(super) async fn the_oldest_make_room(store: Arc<dyn Store>) {
    let bound = ByteSize::bytes(5000);
    let batch = (0..5).map(|number| sized(number, 1000)).collect();
    assert_eq!(store.put_proxied(batch, bound).await, Ok(vec![]));
    assert_eq!(store.put_proxied(vec![sized(0, 1000)], bound).await, Ok(vec![]), "it was there already");
    assert_eq!(store.put_proxied(vec![sized(5, 1001)], bound).await, Ok(vec![slot(1), slot(2)]));
    assert_eq!(answered(&*store).await, [0, 3, 4, 5]);
}

pub(super) async fn an_answer_that_does_not_fit_is_not_kept(store: Arc<dyn Store>) {
    let bound = ByteSize::bytes(2000);
    store.put_proxied(vec![sized(1, 1000)], bound).await.unwrap();
    assert_eq!(store.put_proxied(vec![sized(2, 2001)], bound).await, Ok(vec![slot(1), slot(2)]));
    assert_eq!(answered(&*store).await, [0; 0]);
}

pub(super) async fn a_lower_bound_is_reached_step_by_step(store: Arc<dyn Store>) {
    let many = MOST_EVICTED + 200;
    let batch = (0..many).map(|number| proxied(number, "x")).collect();
    assert_eq!(store.put_proxied(batch, PLENTY).await, Ok(vec![]));
    let bound = ByteSize::bytes(ROW_BYTES + 1);
    let mut evicted = Vec::new();
    loop {
        let more = store.put_proxied(Vec::new(), bound).await.unwrap();
        assert!(more.len() < many as usize, "all at once");
        if more.is_empty() {
            break;
        }
        evicted.extend(more);
    }
    assert_eq!(evicted, (0..many - 1).map(slot).collect::<Vec<_>>());
    assert_eq!(payload(&*store, slot(many - 1)).await.unwrap(), "x");
}

pub(super) async fn answers_are_purged(store: Arc<dyn Store>) {
    let batch = vec![
        proxied(0, "kept for the last"),
        NewProxied { slot: Slot { form: AnswerForm::ALL[0], ..slot(1) }, ..proxied(1, "as a stream") },
        proxied(1, "as JSON"),
        NewProxied { route: "/other/*".into(), ..proxied(2, "of another route") },
        NewProxied { account: None, ..proxied(3, "everybody's") },
        NewProxied { account: Some(account("globex")), ..proxied(4, "another's") },
        NewProxied { model: Some("gpt-4o".into()), ..proxied(5, "a model's") },
        NewProxied { model: Some("o1".into()), ..proxied(6, "another model's") },
    ];
    store.put_proxied(batch, PLENTY).await.unwrap();
    let purge = async |purge| store.purge_proxied(purge).await.unwrap().len();
    let key = |number, name| Purge::Key {
        account: account(name),
        key: slot(number).key,
        allowed_models: [].into(),
    };
    assert_eq!(purge(key(1, "globex")).await, 0, "another's");
    assert_eq!(purge(key(3, "acme")).await, 0, "everybody's");
    assert_eq!(purge(key(1, "acme")).await, 2);
    assert_eq!(answered(&*store).await, [0, 2, 3, 4, 5, 6]);
    assert_eq!(purge(Purge::Route("/other/*".into())).await, 1);
    assert_eq!(answered(&*store).await, [0, 3, 4, 5, 6]);
    let gpt = [ModelGlob::new("gpt*").unwrap()];
    assert_eq!(purge(Purge::Account { account: account("acme"), allowed_models: gpt.into() }).await, 1);
    assert_eq!(answered(&*store).await, [0, 3, 4, 6]);
    assert_eq!(purge(Purge::Account { account: account("acme"), allowed_models: [].into() }).await, 2);
    assert_eq!(answered(&*store).await, [3, 4]);
    assert_eq!(purge(Purge::All).await, 2);
    assert_eq!(answered(&*store).await, [0; 0]);
}

pub(super) async fn an_answer_is_purged_for_its_owner_alone(store: Arc<dyn Store>) {
    let batch = vec![
        NewProxied { model: Some("gpt-4o".into()), ..proxied(0, "a model's") },
        NewProxied { model: Some("o1".into()), ..proxied(1, "another model's") },
        NewProxied { account: Some(account("globex")), ..proxied(2, "another's") },
        NewProxied { account: None, ..proxied(3, "everybody's") },
        proxied(4, "no model's"),
    ];
    store.put_proxied(batch, PLENTY).await.unwrap();
    let purge = async |number, patterns: &[&str]| {
        let allowed_models = patterns.iter().map(|pattern| ModelGlob::new(pattern).unwrap()).collect();
        let owned = Purge::Key { account: account("acme"), key: slot(number).key, allowed_models };
        store.purge_proxied(owned).await.unwrap().len()
    };
    for number in 1..=4 {
        assert_eq!(purge(number, &["gpt*"]).await, 0, "{number}");
    }
    assert_eq!((purge(2, &[]).await, purge(3, &[]).await, purge(9, &[]).await), (0, 0, 0));
    assert_eq!(answered(&*store).await, [0, 1, 2, 3, 4]);
    assert_eq!((purge(0, &["gpt*"]).await, purge(1, &[]).await, purge(4, &[]).await), (1, 1, 1));
    assert_eq!(answered(&*store).await, [2, 3]);
}

pub(super) async fn a_purge_goes_on_until_none_is_left(store: Arc<dyn Store>) {
    let models = |number: u32| Some(if number.is_multiple_of(2) { "gpt-4o" } else { "gpt-5" }.into());
    let batch = |number| NewProxied { model: models(number), ..proxied(number, "x") };
    let of = |globs: &[&str]| Purge::Account {
        account: account("acme"),
        allowed_models: globs.iter().map(|glob| ModelGlob::new(glob).unwrap()).collect(),
    };
    for purge in [of(&[]), of(&["gpt*"]), Purge::Route("/v1/*".into()), Purge::All] {
        store.put_proxied((0..MOST_PURGED + 3).map(batch).collect(), PLENTY).await.unwrap();
        let counts = [
            store.purge_proxied(purge.clone()).await.unwrap().len(),
            store.purge_proxied(purge.clone()).await.unwrap().len(),
            store.purge_proxied(purge.clone()).await.unwrap().len(),
        ];
        assert_eq!(counts, [MOST_PURGED as usize, 3, 0], "{purge:?}");
    }
}

pub(super) async fn slots_are_emptied(store: Arc<dyn Store>) {
    store.put_proxied((0..4).map(|number| proxied(number, "x")).collect(), PLENTY).await.unwrap();
    assert_eq!(store.proxied_bytes().await, Ok(ByteSize::bytes(4 * (ROW_BYTES + 1))));
    store.delete_proxied(vec![slot(1), slot(3), slot(9)]).await.unwrap();
    assert_eq!(answered(&*store).await, [0, 2]);
    assert_eq!(store.proxied_bytes().await, Ok(ByteSize::bytes(2 * (ROW_BYTES + 1))));
}

pub(super) async fn slots_are_listed_page_after_page(store: Arc<dyn Store>) {
    store.put_proxied((0..25).map(|number| proxied(number, "x")).collect(), PLENTY).await.unwrap();
    let (mut listed, mut page, mut pages) = (Vec::new(), KeyPage { after: 0, limit: 10 }, 0);
    loop {
        let of = store.proxied_slots(page).await.unwrap();
        assert!(of.slots.len() <= 10);
        listed.extend(of.slots);
        (page.after, pages) = (of.last, pages + 1);
        if !of.goes_on {
            break;
        }
    }
    assert_eq!((listed, pages), ((0..25).map(slot).collect(), 3));
    let behind = store.proxied_slots(page).await.unwrap();
    assert_eq!((behind.slots, behind.last, behind.goes_on), (vec![], page.after, false));
    store.put_proxied(vec![proxied(30, "x")], PLENTY).await.unwrap();
    assert_eq!(store.proxied_slots(page).await.unwrap().slots, [slot(30)], "what came since");
}

pub(super) async fn nothing_is_put_behind_a_purge_that_was_not_seen(store: Arc<dyn Store>) {
    let put = async |number, purges| {
        store.put_unless_purged(vec![proxied(number, "x")], PLENTY, purges).await.unwrap()
    };
    let seen = store.proxied_purges().await.unwrap();
    assert_eq!(put(0, seen).await, Some(vec![]));
    store.purge_proxied(Purge::Route("/no/*".into())).await.unwrap();
    assert_eq!(store.proxied_purges().await, Ok(seen + 1), "one that finds nothing counts as well");
    assert_eq!(put(1, seen).await, None);
    assert_eq!(answered(&*store).await, [0]);
    assert_eq!(put(1, seen + 1).await, Some(vec![]));
    assert_eq!(answered(&*store).await, [0, 1]);
}
