//! Promises about stored answers.

use std::sync::Arc;

use safecache::auth::model_glob::ModelGlob;
use safecache::clock::UnixTime;
use safecache::store::Store;
use safecache::store::answer::{NewAnswer, Put, Question, ROW_BYTES, Which};
use safecache::units::ByteSize;

use super::{NOW, account, answer, every, find, hash, later, put, question, text};

fn of_model(number: u32, model: &str) -> Question {
    Question { model: Some(model.into()), ..question(number) }
}

fn globs(patterns: &[&str]) -> Box<[ModelGlob]> {
    patterns.iter().map(|pattern| ModelGlob::new(pattern).unwrap()).collect()
}

pub(super) async fn a_question_finds_its_answer(store: Arc<dyn Store>) {
    let new = NewAnswer {
        tokens: Some(12),
        metadata: Some(r#"{"topic":"é"}"#.to_owned()),
        ..answer(1, Some("m"), "fortytwo \u{0}\u{1f600}")
    };
    put(&*store, new).await;
    let found = find(&*store, question(1)).await.unwrap();
    assert_eq!(found.answer, "fortytwo \u{0}\u{1f600}");
    assert_eq!((found.model.as_deref(), found.tokens), (Some("m"), Some(12)));
    assert_eq!(found.metadata.as_deref(), Some(r#"{"topic":"é"}"#));
    assert_eq!((found.created_at, found.expires_at), (NOW, later(3600)));
    assert_eq!(find(&*store, question(2)).await, None);
    let other = Question { account: account("globex"), ..question(1) };
    assert_eq!(find(&*store, other).await, None);
}

pub(super) async fn a_put_replaces(store: Arc<dyn Store>) {
    put(&*store, answer(1, Some("m"), "first")).await;
    put(&*store, answer(1, Some("n"), "another model's")).await;
    put(&*store, answer(1, None, "no model's")).await;
    put(&*store, answer(1, Some("m"), "second")).await;
    assert_eq!(text(&*store, of_model(1, "m")).await.unwrap(), "second");
    assert_eq!(text(&*store, of_model(1, "n")).await.unwrap(), "another model's");
    put(&*store, answer(1, None, "no model's, again")).await;
    assert_eq!(store.delete_answers(every(None)).await, Ok(3));
}

pub(super) async fn without_a_model_the_newest_is_found(store: Arc<dyn Store>) {
    put(&*store, answer(1, Some("m"), "m's")).await;
    put(&*store, answer(1, None, "no model's")).await;
    assert_eq!(text(&*store, question(1)).await.unwrap(), "no model's");
    // The clock was set back: what was put last is the newest all the same.
    let earlier = UnixTime::from_secs(NOW.as_secs() - 10);
    put(&*store, NewAnswer { created_at: earlier, ..answer(1, Some("m"), "m's new") }).await;
    assert_eq!(text(&*store, question(1)).await.unwrap(), "m's new");
    assert_eq!(text(&*store, of_model(1, "o")).await, None);
}

pub(super) async fn only_allowed_models_are_found(store: Arc<dyn Store>) {
    put(&*store, answer(1, Some("gpt-4o-mini"), "mini's")).await;
    put(&*store, answer(1, Some("o1"), "o1's")).await;
    put(&*store, answer(1, None, "no model's")).await;
    let asking = |patterns: &[&str]| Question { allowed_models: globs(patterns), ..question(1) };
    assert_eq!(text(&*store, asking(&["gpt-*"])).await.unwrap(), "mini's");
    assert_eq!(text(&*store, asking(&["gpt-*", "o1"])).await.unwrap(), "o1's");
    assert_eq!(text(&*store, asking(&["claude*"])).await, None);
    let forbidden = Question { allowed_models: globs(&["gpt-*"]), ..of_model(1, "o1") };
    assert_eq!(text(&*store, forbidden).await, None);
}

pub(super) async fn what_has_expired_is_not_found(store: Arc<dyn Store>) {
    put(&*store, answer(1, Some("m"), "lasting")).await;
    put(&*store, NewAnswer { expires_at: later(10), ..answer(1, None, "passing") }).await;
    let at = async |seconds| {
        let found = store.find_answer(question(1), later(seconds)).await.unwrap();
        found.answer.map(|answer| answer.answer)
    };
    assert_eq!(at(9).await.unwrap(), "passing");
    assert_eq!(at(10).await.unwrap(), "lasting");
    assert_eq!(at(3600).await, None);
}

pub(super) async fn uses_are_counted_exactly(store: Arc<dyn Store>) {
    put(&*store, answer(1, None, "asked often")).await;
    let finds = (0..100).map(|_| find(&*store, question(1)));
    let found = futures_util::future::join_all(finds).await;
    let mut uses: Vec<_> = found.into_iter().map(|answer| answer.unwrap().usage_count).collect();
    uses.sort_unstable();
    assert_eq!(uses, (1..=100).collect::<Vec<_>>());
}

pub(super) async fn an_answer_that_was_replaced_begins_anew(store: Arc<dyn Store>) {
    put(&*store, answer(1, None, "first")).await;
    assert_eq!(find(&*store, question(1)).await.unwrap().usage_count, 1);
    assert_eq!(find(&*store, question(1)).await.unwrap().usage_count, 2);
    put(&*store, answer(1, None, "second")).await;
    assert_eq!(find(&*store, question(1)).await.unwrap().usage_count, 1);
}

/// An answer to question `number` that counts `bytes`, under a quota of 10,000.
fn sized(number: u32, bytes: u64) -> NewAnswer {
    let text = "x".repeat((bytes - ROW_BYTES) as usize);
    NewAnswer { quota: ByteSize::bytes(10_000), ..answer(number, None, &text) }
}

async fn used(store: &dyn Store) -> u64 {
    store.stored_bytes(&account("acme")).await.unwrap().as_u64()
}

pub(super) async fn the_quota_is_the_accounts(store: Arc<dyn Store>) {
    assert_eq!(used(&*store).await, 0);
    put(&*store, sized(1, 6000)).await;
    put(&*store, sized(2, 4000)).await;
    assert_eq!(used(&*store).await, 10_000);
    let over = Put::OverQuota { used: ByteSize::bytes(10_000) };
    assert_eq!(store.put_answer(sized(3, ROW_BYTES + 1)).await, Ok(over));
    assert_eq!(text(&*store, question(3)).await, None);
    put(&*store, NewAnswer { account: account("globex"), ..sized(3, 10_000) }).await;
    assert_eq!(used(&*store).await, 10_000, "another's answers do not count");
    assert_eq!(store.delete_answers(every(Some(hash(2)))).await, Ok(1));
    assert_eq!(used(&*store).await, 6000);
    put(&*store, sized(3, 4000)).await;
    assert_eq!(store.delete_answers(every(None)).await, Ok(2));
    assert_eq!(used(&*store).await, 0);
    let over = Put::OverQuota { used: ByteSize::bytes(0) };
    assert_eq!(store.put_answer(sized(1, 10_001)).await, Ok(over), "larger than the quota itself");
    let texts = NewAnswer { metadata: Some("{}".into()), ..answer(1, Some("model"), "answer") };
    put(&*store, texts).await;
    assert_eq!(used(&*store).await, ROW_BYTES + 2 + 5 + 6);
}

pub(super) async fn what_has_expired_makes_room(store: Arc<dyn Store>) {
    put(&*store, NewAnswer { expires_at: later(10), ..sized(1, 6000) }).await;
    put(&*store, sized(2, 4000)).await;
    let early = NewAnswer { created_at: later(9), ..sized(3, 6000) };
    assert_eq!(store.put_answer(early).await, Ok(Put::OverQuota { used: ByteSize::bytes(10_000) }));
    put(&*store, NewAnswer { created_at: later(10), ..sized(3, 6000) }).await;
    assert_eq!(used(&*store).await, 10_000);
}

pub(super) async fn a_quota_counts_what_is_replaced_only_once(store: Arc<dyn Store>) {
    put(&*store, sized(1, 10_000)).await;
    put(&*store, sized(1, 10_000)).await;
    put(&*store, sized(1, 5000)).await;
    put(&*store, sized(2, 5000)).await;
    let over = Put::OverQuota { used: ByteSize::bytes(5000) };
    assert_eq!(store.put_answer(sized(2, 5001)).await, Ok(over));
    assert_eq!(find(&*store, question(2)).await.unwrap().answer.len() as u64, 5000 - ROW_BYTES);
}

pub(super) async fn answers_are_deleted_by_question_and_by_account(store: Arc<dyn Store>) {
    put(&*store, answer(1, Some("m"), "a")).await;
    put(&*store, answer(1, None, "b")).await;
    put(&*store, answer(2, None, "c")).await;
    put(&*store, NewAnswer { account: account("globex"), ..answer(1, None, "d") }).await;
    assert_eq!(store.delete_answers(every(Some(hash(1)))).await, Ok(2));
    assert_eq!(text(&*store, question(1)).await, None);
    assert_eq!(text(&*store, question(2)).await.unwrap(), "c");
    assert_eq!(store.delete_answers(every(Some(hash(1)))).await, Ok(0));
    assert_eq!(store.delete_answers(every(None)).await, Ok(1));
    let other = Question { account: account("globex"), ..question(1) };
    assert_eq!(text(&*store, other).await.unwrap(), "d");
}

pub(super) async fn only_allowed_models_are_deleted(store: Arc<dyn Store>) {
    for (number, model) in [(1, Some("gpt-4o")), (1, Some("o1")), (1, None), (2, Some("gpt-4o"))] {
        put(&*store, answer(number, model, "a")).await;
    }
    let which = Which { allowed_models: globs(&["gpt-*"]), ..every(Some(hash(1))) };
    assert_eq!(store.delete_answers(which).await, Ok(1));
    let which = Which { allowed_models: globs(&["gpt-*"]), ..every(None) };
    assert_eq!(store.delete_answers(which).await, Ok(1));
    assert_eq!(store.delete_answers(every(None)).await, Ok(2));
}
