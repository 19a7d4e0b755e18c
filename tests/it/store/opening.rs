//! What a store is opened from: what is there is recognised and whole, or it is refused in a line that says what to do.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use safecache::store::Store;
use safecache::store::answer::NewAnswer;
use safecache::store::entries::MOST_EXPIRED;
use safecache::store::failure::{StoreError, Trouble};
use safecache::store::folder::FolderLock;
use safecache::store::proxied::Found;
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::file::FileKind;
use safecache::store::sqlite::writer::Bounds;
use safecache::units::ByteSize;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::proxied::{proxied, slot};
use super::{NOW, answer, put, question, run, sqlite, text};
use crate::support::gateway::Gateway;
use crate::support::process::{Process, write_config};

pub(super) const YAML: &str = "upstreams: {llm: {servers: [\"http://127.0.0.1:9\"]}}\n\
                    routes: [{path: /v1/*, upstream: llm}]\nkeys: []\n";

/// A closed store with `answers` answers.
fn filled(folder: &Path, answers: u32) {
    run(async {
        let store = sqlite(folder).await;
        for number in 0..answers {
            put(&store, answer(number, None, &format!("answer {number}, {}", "x".repeat(1000)))).await;
        }
        store.close().await;
    });
}

fn refusal(folder: &Path) -> StoreError {
    let lock = FolderLock::take(folder).unwrap();
    run(SqliteStore::open(lock, Bounds::default())).expect_err("it is refused")
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn run_sql(path: &Path, sql: &'static str) {
    run(async {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    });
}

/// What `safecache serve` says in `folder`, which it must refuse: one line.
fn refused_by_serve(folder: &Path) -> String {
    write_config(folder, YAML);
    let ended = Process::run(folder, &["serve"], "");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_store_opened_again_has_all_of_it() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 10);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
    for entry in &names {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{entry:?}");
    }
    assert_eq!(names.len(), 3, "two files and the lock: {names:?}");
    run(async {
        let store = sqlite(folder.path()).await;
        assert!(text(&store, question(9)).await.unwrap().starts_with("answer 9"));
        assert_eq!(store.find_answer(question(9), NOW).await.unwrap().answer.unwrap().usage_count, 2);
        store.close().await;
        drop(store);
        let store = sqlite(folder.path()).await;
        assert_eq!(store.find_answer(question(9), NOW).await.unwrap().answer.unwrap().usage_count, 3);
        store.close().await;
    });
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do() {
    for kind in FileKind::ALL {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        filled(&data, 200);
        let path = kind.path(&data);
        let whole = fs::read(&path).unwrap();
        // No header; a page in the middle of nowhere; an end that is missing.
        let half = whole.len() as u64 / 2 / 4096 * 4096;
        overwrite(&path, 0, b"this is no database at all");
        assert!(matches!(refusal(&data).trouble, Trouble::Damaged(_)), "{}", refusal(&data));
        fs::write(&path, &whole).unwrap();
        overwrite(&path, half, &[0xa5; 4096]);
        let refused = refusal(&data);
        assert!(matches!(&refused.trouble, Trouble::Damaged(what) if !what.is_empty()), "{refused}");
        fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
        assert!(matches!(refusal(&data).trouble, Trouble::Damaged(_)), "{}", refusal(&data));
        let line = refused_by_serve(folder.path());
        assert!(
            line.starts_with(&format!("./data/{} is damaged", kind.file_name()).replace(" is", ": is")),
            "{line}"
        );
        assert!(line.contains("restore a backup into an empty folder, or move the file away"), "{line}");
        fs::write(&path, &whole).unwrap();
        filled(&data, 1);
    }
}

#[test]
fn a_file_of_a_newer_major_version_is_refused() {
    for kind in FileKind::ALL {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        filled(&data, 1);
        let path = kind.path(&data);
        run_sql(&path, "PRAGMA user_version = 2; UPDATE meta SET value = '9.9.9' WHERE name = 'written_by'");
        let before = fs::read(&path).unwrap();
        assert_eq!(refusal(&data), StoreError::new(&path, Trouble::Newer(Some("9.9.9".into()))));
        let line = refused_by_serve(folder.path());
        assert!(line.contains("was written by a newer safecache (9.9.9)"), "{line}");
        run_sql(&path, "DROP TABLE meta");
        assert_eq!(refusal(&data).trouble, Trouble::Newer(None), "wherever that one keeps its name");
        assert_ne!(before, fs::read(&path).unwrap());
    }
}

#[test]
fn a_file_of_a_newer_minor_version_is_as_good_as_any() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 1);
    let path = FileKind::Answers.path(folder.path());
    run_sql(
        &path,
        "ALTER TABLE stored_answers ADD COLUMN newer TEXT; CREATE TABLE newer (id INTEGER); \
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'newer', TRUE, x'00', 0)",
    );
    run(async {
        let store = sqlite(folder.path()).await;
        assert!(text(&store, question(0)).await.is_some());
        put(&store, answer(1, None, "new")).await;
        store.close().await;
    });
}

#[test]
fn a_file_that_is_none_of_ours_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = FileKind::Accounts.path(folder.path());
    run_sql(&path, "CREATE TABLE precious (id INTEGER)");
    let before = fs::read(&path).unwrap();
    assert_eq!(refusal(folder.path()), StoreError::new(&path, Trouble::Foreign));
    assert_eq!(before, fs::read(&path).unwrap());
    fs::remove_file(&path).unwrap();
    filled(folder.path(), 1);
    fs::rename(FileKind::Answers.path(folder.path()), &path).unwrap();
    assert_eq!(refusal(folder.path()), StoreError::new(&path, Trouble::Foreign), "one in the other's place");
}

#[test]
fn an_opening_that_broke_off_is_begun_again() {
    let folder = TempDir::new().unwrap();
    // A file was made, and nothing came of it.
    File::create(FileKind::Accounts.path(folder.path())).unwrap();
    run_sql(&FileKind::Answers.path(folder.path()), "PRAGMA journal_mode = WAL");
    filled(folder.path(), 1);
}

#[test]
fn a_second_gateway_is_refused_in_one_line() {
    let folder = TempDir::new().unwrap();
    let first = Process::serve(folder.path(), YAML);
    let line = refused_by_serve(folder.path());
    let expected =
        format!("./data: is in use by another safecache (process {}); one at a time\n", first.id());
    assert_eq!(line, expected);
    let ended = first.end(rustix::process::Signal::KILL);
    assert_eq!(ended.signal, Some(9));
    let third = Process::serve(folder.path(), YAML);
    assert_eq!(third.end(rustix::process::Signal::TERM).code, Some(0), "the lock ended with its process");
    let mut names: Vec<_> = fs::read_dir(folder.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["accounts.sqlite", "answers.sqlite", "lock"], "closed, not left open");
}

#[test]
fn a_gateway_deletes_what_has_expired() {
    let folder = TempDir::new().unwrap();
    run(async {
        let store = sqlite(&folder.path().join("data")).await;
        let passing = |number| NewAnswer { expires_at: NOW, ..answer(number, None, "passing") };
        for number in 0..MOST_EXPIRED + 5 {
            put(&store, passing(number)).await;
        }
        put(&store, answer(1, Some("m"), "lasting")).await;
        store.close().await;
    });
    let gateway = Gateway::start_in(folder, YAML);
    let path = FileKind::Answers.path(&gateway.folder.path().join("data"));
    let count = || {
        run(async {
            let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
            let count = sqlx::query_scalar("SELECT count(*) FROM stored_answers").fetch_one(&mut connection);
            let count: i64 = count.await.unwrap();
            count
        })
    };
    gateway.eventually("only what lasts is left", |_| count() == 1);
}

#[test]
fn a_lock_is_handed_over_without_a_gap() {
    let folder = TempDir::new().unwrap();
    let old = FolderLock::take(folder.path()).unwrap();
    let refused = || FolderLock::take(folder.path()).expect_err("it is taken");
    let us = Some(std::process::id());
    assert_eq!(refused().trouble, Trouble::InUse(us));
    let new = FolderLock::take_over(folder.path(), old.share().unwrap()).unwrap();
    assert_eq!(refused().trouble, Trouble::InUse(us));
    drop(old);
    assert_eq!(refused().trouble, Trouble::InUse(us), "the new one holds it alone");
    let elsewhere = TempDir::new().unwrap();
    let other = FolderLock::take(elsewhere.path()).unwrap();
    assert!(FolderLock::take_over(folder.path(), other.share().unwrap()).is_err(), "another folder's lock");
    drop(new);
    FolderLock::take(folder.path()).unwrap();
}

#[test]
fn both_gateways_of_a_hand_over_write() {
    let folder = TempDir::new().unwrap();
    run(async {
        let old = sqlite(folder.path()).await;
        put(&old, answer(1, None, "old")).await;
        let lock = FolderLock::take_over(folder.path(), old.lock().unwrap().share().unwrap()).unwrap();
        let new = SqliteStore::open(lock, Bounds::default()).await.unwrap();
        let puts = (0..50).flat_map(|number| {
            [
                old.put_answer(answer(2 * number, None, "old")),
                new.put_answer(answer(2 * number + 1, None, "new")),
            ]
        });
        let puts = futures_util::future::join_all(puts).await;
        assert!(puts.iter().all(Result::is_ok), "{puts:?}");
        old.close().await;
        drop(old);
        assert_eq!(text(&new, question(98)).await.unwrap(), "old");
        assert_eq!(text(&new, question(99)).await.unwrap(), "new");
        new.close().await;
    });
}

#[test]
fn a_row_that_is_not_what_was_put_is_never_given() {
    let folder = TempDir::new().unwrap();
    run(async {
        let store = sqlite(folder.path()).await;
        let batch = (1..4).map(|number| proxied(number, "as it was put")).collect();
        store.put_proxied(batch, ByteSize::mib(1)).await.unwrap();
        let options = SqliteConnectOptions::new().filename(FileKind::Answers.path(folder.path()));
        let mut connection = options.connect().await.unwrap();
        for change in [
            "UPDATE proxied_answers SET payload = CAST('as it was Put' AS BLOB) WHERE id = 1",
            "UPDATE proxied_answers SET checksum = 0 WHERE id = 2",
        ] {
            sqlx::raw_sql(change).execute(&mut connection).await.unwrap();
        }
        for number in [1, 2] {
            assert_eq!(store.find_proxied(slot(number), NOW).await, Ok(Found::Damaged));
            assert_eq!(store.find_proxied(slot(number), NOW).await, Ok(Found::Nothing), "it is gone");
        }
        let found = store.find_proxied(slot(3), NOW).await.unwrap();
        assert!(matches!(&found, Found::Payload { payload, .. } if payload == b"as it was put"), "{found:?}");
        store.close().await;
    });
}
