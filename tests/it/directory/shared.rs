//! What many gateways share: what one changes the others are told; what a newer version has added is passed over, and what
//! it writes is not guessed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use safecache::ids::PersonId;
use safecache::store::Store;
use safecache::store::directory::edit::{Author, Edit, NewKey};
use safecache::store::directory::{Cursor, Directory};
use safecache::store::failure::Trouble;
use safecache::store::people::People;
use safecache::store::people::edit::{Actor, Denial, NewPerson, PeopleEdit};
use safecache::store::people::link::{NewLink, Purpose};
use safecache::store::people::person::{LoginName, PasswordHash, PeopleOf};
use safecache::store::postgres::PostgresStore;
use safecache::store::postgres::connections::Bounds;
use safecache::store::postgres::directory::PostgresDirectory;
use sqlx::AssertSqlSafe;

use super::{NOW, actions, digests, edit, follow, later, make, new_key, plan, postgres, run, suspend, which};
use crate::support::postgres::Database;

/// A gateway that was told nothing for so long is told nothing.
const PATIENCE: Duration = Duration::from_secs(20);

async fn told(directory: &PostgresDirectory) {
    tokio::time::timeout(PATIENCE, directory.changed()).await.expect("it is told");
}

/// Looks only when it is told, until it sees `revision`.
async fn sees(directory: &PostgresDirectory, revision: u64) {
    while {
        told(directory).await;
        directory.revisions().await.unwrap().keys < revision
    } {}
}

/// True if nobody has told anything so far.
async fn is_quiet(directory: &PostgresDirectory) -> bool {
    tokio::time::timeout(Duration::ZERO, directory.changed()).await.is_err()
}

async fn execute(database: &Database, sql: &str) {
    let mut connection = database.connect().await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
}

#[test]
fn what_one_changes_the_others_are_told() {
    let database = Database::fresh();
    run(async {
        let (one, other) = (postgres(&database).await, postgres(&database).await);
        told(other.directory()).await;
        assert!(is_quiet(other.directory()).await, "that it listens, and no more");
        for change in [
            Edit::CreateKey(new_key(1)),
            Edit::RenameKey { which: which(1), name: Some("another".into()) },
            suspend("acme"),
            Edit::ResumeAccount(super::account("acme")),
            Edit::RevokeKey(which(1)),
            Edit::DeleteKey(which(1)),
        ] {
            let edited = edit(&**one.directory(), change).await;
            told(other.directory()).await;
            assert_eq!(other.directory().revisions().await.unwrap().keys, edited.revision);
        }
        other.close().await;
        one.close().await;
    });
}

/// What was told while nobody listened is lost: whoever listens again looks by itself.
#[test]
fn who_was_cut_off_looks_again() {
    let database = Database::fresh();
    run(async {
        let (one, other) = (postgres(&database).await, postgres(&database).await);
        told(other.directory()).await;
        for number in 1..=3 {
            let cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                       WHERE query LIKE 'LISTEN%' AND datname = current_database()";
            execute(&database, cut).await;
            let edited = make(&**one.directory(), number).await;
            sees(other.directory(), edited.revision).await;
        }
        // All connections: what was begun over them is begun again.
        database.cut();
        let edited = make(&**one.directory(), 4).await;
        sees(other.directory(), edited.revision).await;
        other.close().await;
        one.close().await;
    });
}

/// Who is not told, as through a proxy that keeps nothing open, looks often enough for a key to be refused within 2 s.
#[test]
fn who_is_not_told_looks_every_second() {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        assert_eq!(store.directory().look_every(), Duration::from_secs(1));
        store.close().await;
    });
}

/// As if it was never there: otherwise an edit that holds the lock would have all others wait.
#[test]
fn an_edit_that_nobody_waits_for_holds_up_nobody() {
    let database = Database::fresh();
    run(async {
        let (one, other) = (postgres(&database).await, postgres(&database).await);
        let mut holder = database.connect().await;
        let hold = "BEGIN; SELECT revision FROM revisions WHERE of = 'keys' FOR UPDATE";
        sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
        for number in 1..=4 {
            let given_up =
                tokio::time::timeout(Duration::from_millis(20), make(&**one.directory(), number)).await;
            assert!(given_up.is_err(), "it waits for its turn");
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
        make(&**other.directory(), 9).await;
        make(&**one.directory(), 8).await;
        let keys = follow(&**other.directory(), &mut Cursor::default(), NOW).await;
        assert_eq!(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["key_009", "key_008"]);
        assert_eq!(actions(&**one.directory()).await, ["account.create", "key.create", "key.create"]);
        other.close().await;
        one.close().await;
    });
}

/// Requests are answered while somebody else's edit takes its time; who waits for it for too long is told so.
#[test]
fn edits_that_wait_hold_up_nobody_who_reads() {
    let database = Database::fresh();
    run(async {
        let bounds = Bounds { wait: Duration::from_secs(1), ..Bounds::default() };
        let store = PostgresStore::open(&database.address(), bounds).await.expect("a store");
        let directory = store.directory();
        make(&**directory, 1).await;
        let mut holder = database.connect().await;
        let hold = "BEGIN; SELECT revision FROM revisions WHERE of = 'keys' FOR UPDATE";
        sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
        let edits = (2..=40).map(|number| {
            directory.edit(Edit::CreateKey(NewKey { most: 99, ..new_key(number) }), Author::Operator, NOW)
        });
        let reads = async {
            // Others run in between, as far as they come.
            for _ in 0..50 {
                assert!(directory.key(&new_key(1).id).await.expect("it is read").is_some());
                assert_eq!(directory.revisions().await.expect("they are read").keys, 1);
            }
        };
        let (failed, ()) = join(join_all(edits), reads).await;
        let troubles: Vec<_> =
            failed.into_iter().map(|failed| failed.expect_err("it has no turn").trouble).collect();
        assert_eq!(troubles, [const { Trouble::Busy }; 39]);
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
        make(&**directory, 2).await;
        store.close().await;
    });
}

/// Its gateway may be paused, or out of reach, with the lock in its hands: the server lets go of it.
#[test]
fn an_edit_that_stands_still_holds_up_others_for_a_moment() {
    let database = Database::fresh();
    run(async {
        let bounds = Bounds { wait: Duration::from_secs(2), ..Bounds::default() };
        let one = PostgresStore::open(&database.address(), bounds).await.expect("a store");
        let other = PostgresStore::open(&database.address(), bounds).await.expect("a store");
        let mut watch = database.connect().await;
        let mut still = pin!(one.directory().edit(Edit::CreateKey(new_key(1)), Author::Operator, NOW));
        // Step by step, each looked at when it is done: what follows on BEGIN is the lock.
        let find = "SELECT coalesce(min(state), 'none'), coalesce(min(query), '') FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE ANY (ARRAY['BEGIN%', \
                    'SELECT revision FROM revisions%', 'SELECT count(*) FROM keys%', 'INSERT%', 'UPDATE%'])";
        let mut has_lock = false;
        while !has_lock {
            let moved = tokio::time::timeout(Duration::ZERO, &mut still).await;
            assert!(moved.is_err(), "it was made in one go");
            let mut state = "active".to_owned();
            while state == "active" {
                let query: String;
                (state, query) = sqlx::query_as(find).fetch_one(&mut watch).await.expect("it is seen");
                has_lock = state == "idle in transaction" && !query.starts_with("BEGIN");
            }
        }
        make(&**other.directory(), 2).await;
        // When it goes on, it is made anew.
        let edited = still.await.expect("the store works").expect("a key");
        assert_eq!((edited.is_new, edited.revision), (true, 2));
        assert_eq!(actions(&**other.directory()).await, ["account.create", "key.create", "key.create"]);
        other.close().await;
        one.close().await;
    });
}

async fn sign_up(people: &dyn People) -> Result<Option<PersonId>, Denial> {
    let owner = NewPerson {
        id: PersonId::new("prsn_1"),
        login: LoginName::new("acme").unwrap(),
        name: "Acme".into(),
        password: PasswordHash("a hash".into()),
    };
    let account = super::account("acct_1");
    let edit = PeopleEdit::SignUp { account, account_name: "Acme".into(), plan: plan("free"), owner };
    people.edit_people(edit, Actor::Visitor, NOW).await.expect("the store works")
}

/// Columns that a newer minor version has added: with values in every row, and in the place of none.
#[test]
fn what_a_newer_version_has_added_is_passed_over() {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        let directory: &Arc<PostgresDirectory> = store.directory();
        make(&**directory, 1).await;
        for table in [
            "accounts",
            "keys",
            "key_secrets",
            "revisions",
            "requests",
            "audit",
            "people",
            "sessions",
            "links",
        ] {
            let add = format!("ALTER TABLE {table} ADD COLUMN newer TEXT NOT NULL DEFAULT 'newer'");
            execute(&database, &add).await;
        }
        execute(&database, "INSERT INTO revisions (of, revision) VALUES ('newer', 5)").await;
        make(&**directory, 2).await;
        edit(&**directory, suspend("acme")).await;
        assert_eq!(sign_up(&**directory).await, Ok(Some(PersonId::new("prsn_1"))));
        assert_eq!(follow(&**directory, &mut Cursor::default(), NOW).await.len(), 2);
        let page = directory.people(PeopleOf { limit: 9, ..PeopleOf::default() }).await.unwrap();
        assert_eq!(page.len(), 1);
        assert_eq!(actions(&**directory).await.len(), 5);
        store.close().await;
    });
}

/// What it stands for is not guessed, as it could allow more than was meant: a key is refused, a person is not let in.
#[test]
fn what_a_newer_version_writes_is_not_guessed() {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        let directory = store.directory();
        make(&**directory, 1).await;
        make(&**directory, 2).await;
        sign_up(&**directory).await.expect("somebody");
        let link =
            NewLink { digest: [1; 32], id: "link_1".into(), purpose: Purpose::Operator, ends_at: later(9) };
        let made = directory.edit_people(PeopleEdit::MakeLink(link), Actor::Gateway, NOW).await.unwrap();
        made.expect("a link");
        execute(
            &database,
            "UPDATE keys SET environment = 'canary' WHERE id = 'key_001'; \
             UPDATE people SET role = 'auditor'; UPDATE links SET kind = 'badge'; \
             UPDATE audit SET action = 'key.mislay' WHERE id = 1",
        )
        .await;
        let names = |trouble: &Trouble, what: &str| {
            assert!(matches!(trouble, Trouble::Failed(text) if text.contains(what)), "{trouble:?}");
        };
        names(&directory.key(&new_key(1).id).await.unwrap_err().trouble, "\"canary\" is not understood");
        let keys = follow(&**directory, &mut Cursor::default(), NOW).await;
        assert_eq!(keys.iter().map(digests).collect::<Vec<_>>(), [(vec![], vec![1]), (vec![2], vec![])]);
        edit(&**directory, Edit::RevokeKey(which(1))).await;
        let failed = directory.credentials(&LoginName::new("acme").unwrap()).await.unwrap_err();
        names(&failed.trouble, "\"auditor\" is not understood");
        names(&directory.link(&[1; 32], NOW).await.unwrap_err().trouble, "\"badge\" is not understood");
        assert_eq!(actions(&**directory).await[0], "key.mislay", "the trail is shown as it is");
        store.close().await;
    });
}
