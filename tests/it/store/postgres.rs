//! What is true of PostgreSQL alone: many open it at once and write at once, it goes away and comes back, and others may
//! have been there before.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use safecache::secret::Secret;
use safecache::store::Store;
use safecache::store::answer::{NewAnswer, Put, ROW_BYTES};
use safecache::store::failure::{StoreError, Trouble};
use safecache::store::migrations::POSTGRES;
use safecache::store::postgres::PostgresStore;
use safecache::store::postgres::connections::Bounds;
use safecache::store::proxied::{Found, Purge};
use safecache::store::usage::{MOST_MODELS, Step, UsageBatch};
use safecache::units::ByteSize;
use safecache::usage::record::{Class, UsageRow};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::proxied::{PLENTY, proxied, slot};
use super::usage::{row, usage};
use super::{NOW, account, answer, find, hash, postgres, put, question, run, text};
use crate::support::postgres::{Database, PASSWORD, Server};

/// What a database says to an administrator.
async fn tell(database: &Database, sql: &str) {
    let mut connection = database.connect().await;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect(sql);
    connection.close().await.expect("closed");
}

async fn refusal(address: &Secret) -> StoreError {
    PostgresStore::open(address, Bounds::default()).await.expect_err("a refusal")
}

async fn two(database: &Database) -> [PostgresStore; 2] {
    [postgres(database).await, postgres(database).await]
}

// === opening ===

#[test]
fn many_that_open_an_empty_database_at_once_make_its_tables_once() {
    let database = Database::empty();
    run(async {
        let stores = join_all((0..10).map(|_| postgres(&database))).await;
        let mut connection = database.connect().await;
        let steps: Vec<i64> = sqlx::query_scalar("SELECT version FROM steps ORDER BY version")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(steps, POSTGRES.iter().map(|step| step.version).collect::<Vec<_>>());
        put(&stores[0], answer(1, None, "for all")).await;
        for store in &stores {
            assert_eq!(text(store, question(1)).await.unwrap(), "for all");
            store.close().await;
        }
    });
}

#[test]
fn a_newer_major_version_is_refused() {
    let database = Database::fresh();
    run(async {
        tell(&database, "UPDATE meta SET value = '2' WHERE name = 'form'").await;
        tell(&database, "UPDATE meta SET value = '9.9.9' WHERE name = 'written_by'").await;
        let refused = refusal(&database.address()).await;
        assert_eq!(refused.trouble, Trouble::Newer(Some("9.9.9".into())));
        tell(&database, "DELETE FROM meta WHERE name = 'written_by'").await;
        assert_eq!(refusal(&database.address()).await.trouble, Trouble::Newer(None));
    });
}

/// Every table has a column more, and there is a table more, of a step that this version does not know.
#[test]
fn a_newer_minor_version_is_read() {
    let database = Database::fresh();
    run(async {
        tell(
            &database,
            "DO $$ DECLARE t text; BEGIN
                FOR t IN SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() LOOP
                    EXECUTE format('ALTER TABLE %I ADD COLUMN later TEXT', t);
                END LOOP;
            END $$;
            CREATE TABLE later (a TEXT);
            INSERT INTO steps (version, name, digest) VALUES (999, 'later', '\\x00')",
        )
        .await;
        let store = postgres(&database).await;
        put(&store, answer(1, None, "as ever")).await;
        assert_eq!(find(&store, question(1)).await.unwrap().usage_count, 1);
        store.put_proxied(vec![proxied(1, "as ever")], PLENTY).await.unwrap();
        assert!(matches!(store.find_proxied(slot(1), NOW).await, Ok(Found::Payload { .. })));
        store.close().await;
    });
}

#[test]
fn tables_of_something_else_are_left_alone() {
    let database = Database::empty();
    run(async {
        tell(&database, "CREATE TABLE accounts (id TEXT)").await;
        assert_eq!(refusal(&database.address()).await.trouble, Trouble::Foreign);
        tell(&database, "CREATE TABLE meta (name TEXT, value TEXT)").await;
        assert_eq!(refusal(&database.address()).await.trouble, Trouble::Foreign);
        // A schema of its own is as good as a database.
        tell(&database, "CREATE SCHEMA gateway").await;
        let own = Secret::new(format!("{}?options=-csearch_path%3Dgateway", database.address().expose()));
        let store = PostgresStore::open(&own, Bounds::default()).await.unwrap();
        put(&store, answer(1, None, "in its own")).await;
        store.close().await;
        tell(&database, "SELECT count(*) FROM gateway.stored_answers").await;
    });
}

#[test]
fn a_step_that_was_another_is_told() {
    let database = Database::fresh();
    run(async {
        tell(&database, "UPDATE steps SET digest = '\\x00' WHERE version = 2").await;
        let refused = refusal(&database.address()).await.trouble;
        assert!(matches!(&refused, Trouble::Failed(what) if what.contains("step 2")), "{refused}");
    });
}

/// Neither who logs in nor with what.
#[test]
fn no_error_tells_the_password() {
    let database = Database::fresh();
    let address = database.address();
    let text = address.expose();
    let wrong = [
        text.replace(PASSWORD, "sesame"),
        text.replace("safecache:", "somebody:").replace(PASSWORD, "sesame"),
        text.replace("postgres://", "mysql://").replace(PASSWORD, "sesame"),
        text.replace("@127.0.0.1", "@").replace(PASSWORD, "sesame"),
        text.replace(PASSWORD, "sesame") + "?passwort=sesame",
        text.replace(PASSWORD, "sesame") + "?sslmode=sesame",
        "postgres://sesame".to_owned(),
        "sesame".to_owned(),
    ];
    run(async {
        for address in wrong {
            let refused = refusal(&Secret::new(address.clone())).await;
            let told = format!("{refused} {refused:?}");
            for secret in ["sesame", "somebody"] {
                assert!(!told.contains(secret), "{address}: {told}");
            }
        }
        let store = postgres(&database).await;
        let told = format!("{store:?}");
        assert!(told.contains("PostgreSQL at 127.0.0.1:") && !told.contains(PASSWORD), "{told}");
        store.close().await;
    });
}

// === going away ===

#[test]
fn connections_that_are_cut_are_made_anew() {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        // More than one connection is open.
        join_all((0..20).map(|number| put(&store, answer(number, None, "before")))).await;
        for round in 0..3 {
            database.cut();
            let puts = (0..20).map(|number| put(&store, answer(number, None, "after")));
            join_all(puts).await;
            assert_eq!(find(&store, question(7)).await.unwrap().usage_count, 1, "round {round}");
        }
        store.close().await;
    });
}

#[test]
fn a_server_that_stops_is_told_of_and_all_is_well_when_it_is_back() {
    let server = Server::start();
    run(async {
        let bounds = Bounds { wait: Duration::from_millis(300), ..Bounds::default() };
        let store = PostgresStore::open(&server.address("postgres"), bounds).await.unwrap();
        put(&store, answer(1, None, "before")).await;
        server.stop();
        let refused = store.put_answer(answer(2, None, "meanwhile")).await.unwrap_err();
        assert!(matches!(refused.trouble, Trouble::Unreachable(_)), "{refused}");
        let refused = store.find_answer(question(1), NOW).await.unwrap_err();
        assert!(matches!(refused.trouble, Trouble::Unreachable(_)), "{refused}");
        let unopened = PostgresStore::open(&server.address("postgres"), bounds).await.unwrap_err();
        assert!(matches!(unopened.trouble, Trouble::Unreachable(_)), "{unopened}");
        server.again();
        assert_eq!(text(&store, question(1)).await.unwrap(), "before");
        assert_eq!(text(&store, question(2)).await, None);
        put(&store, answer(2, None, "after")).await;
        store.close().await;
        let closed = store.find_answer(question(1), NOW).await.unwrap_err();
        assert_eq!(closed.trouble, Trouble::Closed);
    });
    let folder = server.folder().to_owned();
    drop(server);
    assert!(!folder.exists(), "a server leaves nothing behind");
}

/// Each of PostgreSQL's errors is told as what somebody does about it; what passes is tried again, within a bound.
#[test]
fn errors_are_told_apart() {
    let database = Database::fresh();
    run(async {
        tell(
            &database,
            "CREATE SEQUENCE tries; CREATE TABLE failing (code TEXT);
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM nextval('tries');
                RAISE EXCEPTION 'fortytwo' USING ERRCODE = (SELECT code FROM failing);
            END; $$;
            CREATE TRIGGER failing BEFORE INSERT ON stored_answers FOR EACH ROW EXECUTE FUNCTION fail()",
        )
        .await;
        let store = postgres(&database).await;
        let unreachable = Trouble::Unreachable("fortytwo".into());
        let failed = |what: &str| Trouble::Failed(what.into());
        for (code, trouble, tries) in [
            ("53100", Trouble::Full, 1),
            ("25006", Trouble::ReadOnly, 1),
            ("42501", Trouble::Forbidden, 1),
            ("55P03", Trouble::Busy, 1),
            ("53200", Trouble::Busy, 1),
            ("40001", Trouble::Busy, 11),
            ("40P01", Trouble::Busy, 11),
            ("23505", failed("it refuses a value (SQLSTATE 23505)"), 11),
            ("22021", failed("it refuses a value (SQLSTATE 22021)"), 1),
            ("XX000", failed("fortytwo (SQLSTATE XX000)"), 1),
            ("53300", unreachable.clone(), 1),
            ("57P01", unreachable.clone(), 10),
            ("08006", unreachable, 10),
        ] {
            tell(&database, &format!("DELETE FROM failing; INSERT INTO failing VALUES ('{code}')")).await;
            tell(&database, "ALTER SEQUENCE tries RESTART").await;
            let error = store.put_answer(answer(1, None, "secret")).await.unwrap_err();
            let mut connection = database.connect().await;
            let tried: i64 =
                sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&mut connection).await.unwrap();
            assert_eq!((code, error.trouble, tried), (code, trouble, tries));
        }
        tell(&database, "DROP TRIGGER failing ON stored_answers").await;
        put(&store, answer(1, None, "well again")).await;
        store.close().await;
    });
}

/// The server itself ends what takes too long, and who stands still in the middle of something before others give up.
#[test]
fn sessions_keep_to_their_bounds() {
    let database = Database::fresh();
    run(async {
        tell(
            &database,
            "CREATE TABLE seen (name TEXT, value TEXT);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO seen SELECT name, setting FROM pg_settings;
                RETURN NULL;
            END; $$;
            CREATE TRIGGER seen AFTER INSERT ON stored_answers EXECUTE FUNCTION see()",
        )
        .await;
        let store = postgres(&database).await;
        put(&store, answer(1, None, "x")).await;
        let mut connection = database.connect().await;
        for (name, value) in [
            ("statement_timeout", "10000"),
            ("lock_timeout", "5000"),
            ("idle_in_transaction_session_timeout", "2500"),
            ("tcp_keepalives_idle", "10"),
            ("transaction_isolation", "read committed"),
            ("application_name", "safecache"),
        ] {
            let seen: String = sqlx::query_scalar("SELECT value FROM seen WHERE name = $1")
                .bind(name)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!((name, &*seen), (name, value));
        }
        store.close().await;
    });
}

#[test]
fn who_holds_a_lock_for_too_long_is_not_waited_for() {
    let database = Database::fresh();
    run(async {
        let bounds = Bounds { wait: Duration::from_millis(100), ..Bounds::default() };
        let store = PostgresStore::open(&database.address(), bounds).await.unwrap();
        put(&store, answer(1, None, "before")).await;
        let mut stranger = database.connect().await;
        let mut held = stranger.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM stored_totals FOR UPDATE").execute(&mut *held).await.unwrap();
        let refused = store.put_answer(answer(1, None, "meanwhile")).await.unwrap_err();
        assert_eq!(refused.trouble, Trouble::Busy);
        assert_eq!(text(&store, question(1)).await.unwrap(), "before", "readers wait for nobody");
        held.rollback().await.unwrap();
        put(&store, answer(1, None, "after")).await;
        store.close().await;
    });
}

// === two at once ===

#[test]
fn a_quota_holds_for_all_that_put_at_once() {
    let database = Database::fresh();
    run(async {
        let stores = two(&database).await;
        let new =
            |number| NewAnswer { quota: ByteSize::bytes(10 * (ROW_BYTES + 1)), ..answer(number, None, "x") };
        let puts = (0..60).map(|number| stores[number as usize % 2].put_answer(new(number)));
        let kept = join_all(puts).await.into_iter().filter(|put| *put == Ok(Put::Kept)).count();
        let used = stores[0].stored_bytes(&account("acme")).await.unwrap();
        assert_eq!((kept, used), (10, ByteSize::bytes(10 * (ROW_BYTES + 1))));
        for store in stores {
            store.close().await;
        }
    });
}

#[test]
fn uses_are_counted_exactly_by_all() {
    let database = Database::fresh();
    run(async {
        let stores = two(&database).await;
        put(&stores[0], answer(1, None, "asked often")).await;
        let finds = (0..100).map(|number| find(&stores[number % 2], question(1)));
        let mut uses: Vec<_> =
            join_all(finds).await.into_iter().map(|answer| answer.unwrap().usage_count).collect();
        uses.sort_unstable();
        assert_eq!(uses, (1..=100).collect::<Vec<_>>());
        for store in stores {
            store.close().await;
        }
    });
}

/// One slot holds one answer, and totals are what is there, however many put, delete and purge.
#[test]
fn totals_are_what_is_there_whoever_changes_it() {
    let database = Database::fresh();
    run(async {
        let stores = two(&database).await;
        let works = (0..40_u32).map(|number| {
            let stores = &stores;
            async move {
                let store = &stores[number as usize % 2];
                match number % 5 {
                    0 => drop(store.purge_proxied(Purge::Route("/v1/*".into())).await.unwrap()),
                    1 => store.delete_proxied(vec![slot(2), slot(1)]).await.unwrap(),
                    2 => drop(store.delete_answers(super::every(Some(hash(1)))).await.unwrap()),
                    _ => {
                        let batch = [number % 3, (number + 1) % 3].map(|slot| proxied(slot, "x"));
                        store.put_proxied(batch.into(), PLENTY).await.unwrap();
                        put(store, answer(number % 3, None, "x")).await;
                    }
                }
            }
        });
        join_all(works).await;
        let mut connection = database.connect().await;
        let sums = "SELECT (SELECT coalesce(sum(bytes), 0)::bigint FROM proxied_answers), \
                    (SELECT coalesce(sum(bytes), 0)::bigint FROM stored_answers)";
        let (proxied, stored): (i64, i64) = sqlx::query_as(sums).fetch_one(&mut connection).await.unwrap();
        assert_eq!(stores[0].proxied_bytes().await, Ok(ByteSize::bytes(proxied as u64)));
        assert_eq!(stores[1].stored_bytes(&account("acme")).await, Ok(ByteSize::bytes(stored as u64)));
        for store in stores {
            store.close().await;
        }
    });
}

/// What was begun before a purge is not behind it, whichever comes first.
#[test]
fn nothing_is_put_behind_a_purge_of_another() {
    let database = Database::fresh();
    run(async {
        let stores: [Arc<PostgresStore>; 2] = two(&database).await.map(Arc::new);
        for round in 0..30 {
            let seen = stores[0].proxied_purges().await.unwrap();
            let put = stores[0].put_unless_purged(vec![proxied(round, "x")], PLENTY, seen);
            let purge = stores[1].purge_proxied(Purge::All);
            let (put, purged) = futures_util::future::join(put, purge).await;
            let (put, purged) = (put.unwrap(), purged.unwrap());
            assert_eq!(put.is_some(), purged.contains(&slot(round)), "round {round}");
            assert_eq!(stores[0].find_proxied(slot(round), NOW).await, Ok(Found::Nothing), "round {round}");
        }
        assert_eq!(stores[1].proxied_purges().await, Ok(30));
        for store in stores {
            store.close().await;
        }
    });
}

// === usage ===

fn requests(number: u32, requests: u64) -> UsageRow {
    let mut row = row(&format!("k{}", number % 7), number % 5, Class::Miss, requests);
    row.cell.model = format!("m{}", number % 11).into();
    row
}

async fn all_requests(store: &PostgresStore) -> u64 {
    let models = usage(store, "acme", (0, 100), Step::Day).await.by_model;
    models.iter().map(|sum| sum.sums.requests).sum()
}

/// Every batch is sent twice, by two gateways, and all of them name the same rows in other orders.
#[test]
fn usage_of_many_sums_exactly_however_often_it_is_sent() {
    let database = Database::fresh();
    run(async {
        let stores = two(&database).await;
        let batches: Vec<_> = (0..30_u32)
            .map(|batch| {
                let rows = (0..200).map(|number| requests(number * (batch + 1) + batch, 1)).collect();
                UsageBatch::new(rows, NOW)
            })
            .collect();
        let adds = batches.iter().flat_map(|batch| stores.iter().map(|store| store.add_usage(batch.clone())));
        let added = join_all(adds).await;
        assert!(added.iter().all(Result::is_ok), "{added:?}");
        assert_eq!(all_requests(&stores[0]).await, 30 * 200);
        for store in stores {
            store.close().await;
        }
    });
}

#[test]
fn an_account_has_so_many_models_whoever_adds_them() {
    let database = Database::fresh();
    run(async {
        let stores = two(&database).await;
        let asked = |number: u32| {
            let mut row = row("a", 0, Class::Miss, 1);
            row.cell.model = format!("m{number}").into();
            row
        };
        let batch = |batch: u32| UsageBatch::new((0..20).map(|n| asked(batch * 10 + n)).collect(), NOW);
        let adds = (0..20).map(|number| stores[number as usize % 2].add_usage(batch(number)));
        let added = join_all(adds).await;
        assert!(added.iter().all(Result::is_ok), "{added:?}");
        let models = usage(&stores[0], "acme", (0, 9), Step::Day).await.by_model;
        assert_eq!(models.len(), MOST_MODELS as usize + 1, "and one for the rest");
        assert_eq!(all_requests(&stores[1]).await, 20 * 20);
        for store in stores {
            store.close().await;
        }
    });
}

/// What was lost before its commit is done again, and once.
#[test]
fn a_batch_that_is_cut_off_while_it_is_added_counts_once() {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        let mut stranger = database.connect().await;
        sqlx::raw_sql("BEGIN; LOCK TABLE usage_days").execute(&mut stranger).await.unwrap();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let cutting = async {
            let mut observer = database.connect().await;
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut observer).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
            database.cut();
        };
        let adding = store.add_usage(UsageBatch::new(vec![requests(1, 3)], NOW));
        let (added, ()) = futures_util::future::join(adding, cutting).await;
        assert_eq!(added, Ok(()));
        assert_eq!(all_requests(&store).await, 3);
        store.close().await;
    });
}

/// As much as one write of the books has.
#[test]
fn a_large_batch_is_a_few_statements() {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        let rows: Vec<_> =
            (0..4096).map(|number| row(&format!("k{number}"), number % 40, Class::Miss, 1)).collect();
        store.add_usage(UsageBatch::new(rows, NOW)).await.unwrap();
        assert_eq!(all_requests(&store).await, 4096);
        store.close().await;
    });
}
