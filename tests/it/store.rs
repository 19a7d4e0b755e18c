//! The store: promises of the trait, kept by every implementation, and those of the files that SQLite keeps it in.
//!
//! - `answers`, `proxied`, `entries`, `usage` hold the promises of the trait. Each gets an empty store and knows nothing
//!   of what is behind it; the list below runs all of them against each implementation.
//! - `people` holds those of the trait about who may log in.
//! - `postgres`: what is true of PostgreSQL alone.
//! - `moves`: a folder that is moved into PostgreSQL.
//! - `writing`, `opening`, `processes`, `backups`, `steps`: what is true of the files alone.

mod answers;
mod backups;
mod entries;
mod moves;
mod opening;
mod people;
mod postgres;
mod processes;
mod proxied;
mod steps;
mod usage;
mod writing;

use std::path::Path;
use std::sync::Arc;

use safecache::clock::UnixTime;
use safecache::ids::AccountId;
use safecache::store::Store;
use safecache::store::answer::{Answer, NewAnswer, PromptHash, Put, Question, Which};
use safecache::store::folder::FolderLock;
use safecache::store::postgres::{PostgresStore, connections};
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use safecache::units::ByteSize;
use tempfile::TempDir;

use crate::support::postgres::Database;

/// 2027-01-15T08:00:00Z.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// So many seconds later.
fn later(seconds: u64) -> UnixTime {
    UnixTime::from_secs(NOW.as_secs() + seconds)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Every promise of the trait, against the implementation that `$run` hands a fresh store of.
macro_rules! promises {
    ($run:path) => {
        $crate::store::promises!($run:
            answers: a_question_finds_its_answer, a_put_replaces, without_a_model_the_newest_is_found,
            only_allowed_models_are_found, what_has_expired_is_not_found, uses_are_counted_exactly,
            an_answer_that_was_replaced_begins_anew, the_quota_is_the_accounts,
            what_has_expired_makes_room, a_quota_counts_what_is_replaced_only_once,
            answers_are_deleted_by_question_and_by_account, only_allowed_models_are_deleted;
            proxied: what_was_put_is_found_in_its_form, a_slot_holds_the_newest, the_oldest_make_room,
            an_answer_that_does_not_fit_is_not_kept, a_lower_bound_is_reached_step_by_step,
            answers_are_purged, nothing_is_put_behind_a_purge_that_was_not_seen, an_answer_is_purged_for_its_owner_alone, a_purge_goes_on_until_none_is_left,
            slots_are_emptied, slots_are_listed_page_after_page;
            entries: both_kinds_are_listed_the_newest_first, the_list_goes_on_where_it_ended,
            entries_of_one_key_are_told_apart, one_kind_is_listed_alone,
            a_place_names_nothing_that_is_not_allowed, what_a_hash_finds_is_listed,
            only_allowed_models_are_listed, the_expired_are_deleted_and_not_listed,
            the_longest_expired_are_deleted_first;
            usage: sums_add_up, a_period_has_a_beginning_and_an_end, keys_come_in_pages_with_their_last_use,
            old_hours_are_forgotten, names_are_told_apart, an_account_has_so_many_models,
            a_span_is_the_sum_of_its_hours, sums_that_are_too_large_stay_at_the_most,
            a_batch_that_comes_again_counts_once, two_batches_with_equal_rows_count_each,
            a_batch_is_known_for_two_days;
        );
    };
    ($run:path: $($area:ident: $($promise:ident),+;)+) => {
        $(mod $area { $(
            #[test]
            fn $promise() {
                $run(crate::store::$area::$promise);
            }
        )+ })+
    };
}
use promises;

mod on_sqlite {
    super::promises!(crate::store::with_sqlite);
}

mod on_postgres {
    super::promises!(crate::store::with_postgres);
}

/// The same of those about people.
macro_rules! people_promises {
    ($run:path) => {
        $crate::store::promises!($run:
            people: a_sign_up_makes_an_account_and_its_owner, a_taken_name_makes_nothing_and_leaves_a_trail,
            a_session_is_known_until_its_end, one_session_too_many_ends_the_oldest,
            a_session_is_ended_by_its_person_alone, a_new_password_ends_other_sessions_and_resets,
            a_link_lets_one_in_once_until_its_end, a_reset_sets_a_password_once_and_ends_what_was_begun,
            links_are_listed_and_ended_within_their_account, there_is_one_first_operator,
            links_that_wait_have_a_bound_by_their_maker, an_account_and_the_operators_have_a_bound,
            the_last_owner_stays, the_last_operator_stays, who_may_do_less_takes_their_links_along,
            people_come_in_pages, people_are_named_and_counted, every_edit_leaves_a_trail, what_has_ended_is_forgotten;
        );
    };
}
use people_promises;

mod people_on_sqlite {
    super::people_promises!(crate::store::people::with_sqlite);
}

mod people_on_postgres {
    super::people_promises!(crate::store::people::with_postgres);
}

fn with_sqlite<F: Future<Output = ()>>(promise: impl FnOnce(Arc<dyn Store>) -> F) {
    let folder = TempDir::new().expect("a temporary folder");
    run(async {
        let store: Arc<dyn Store> = Arc::new(sqlite(folder.path()).await);
        promise(Arc::clone(&store)).await;
        store.close().await;
    });
}

fn with_postgres<F: Future<Output = ()>>(promise: impl FnOnce(Arc<dyn Store>) -> F) {
    let database = Database::fresh();
    run(async {
        let store: Arc<dyn Store> = Arc::new(postgres(&database).await);
        promise(Arc::clone(&store)).await;
        store.close().await;
    });
}

async fn postgres(database: &Database) -> PostgresStore {
    let store = PostgresStore::open(&database.address(), connections::Bounds::default()).await;
    store.unwrap_or_else(|error| panic!("{error}"))
}

async fn sqlite(folder: &Path) -> SqliteStore {
    let lock = FolderLock::take(folder).unwrap_or_else(|error| panic!("{error}"));
    SqliteStore::open(lock, Bounds::default()).await.unwrap_or_else(|error| panic!("{error}"))
}

fn account(name: &str) -> AccountId {
    AccountId::new(name)
}

fn hash(number: u32) -> PromptHash {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PromptHash(bytes)
}

/// An answer of account acme to question `number`, which lives for an hour.
fn answer(number: u32, model: Option<&str>, text: &str) -> NewAnswer {
    NewAnswer {
        account: account("acme"),
        prompt_hash: hash(number),
        model: model.map(Into::into),
        answer: text.to_owned(),
        tokens: None,
        metadata: None,
        created_at: NOW,
        expires_at: later(3600),
        quota: ByteSize::mib(1),
    }
}

/// Question `number` of account acme, to any model.
fn question(number: u32) -> Question {
    Question { account: account("acme"), prompt_hash: hash(number), model: None, allowed_models: [].into() }
}

async fn put(store: &dyn Store, answer: NewAnswer) {
    assert_eq!(store.put_answer(answer).await, Ok(Put::Kept));
}

async fn find(store: &dyn Store, question: Question) -> Option<Answer> {
    store.find_answer(question, NOW).await.expect("a look-up").answer
}

/// The text that is found.
async fn text(store: &dyn Store, question: Question) -> Option<String> {
    find(store, question).await.map(|answer| answer.answer)
}

/// All of acme's answers to `prompt`, or to any.
fn every(prompt: Option<PromptHash>) -> Which {
    Which { account: account("acme"), prompt_hash: prompt, allowed_models: [].into() }
}
