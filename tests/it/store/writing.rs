//! How changes are written: in groups, within bounds, each told after its commit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use safecache::store::Store;
use safecache::store::answer::{NewAnswer, Put};
use safecache::store::failure::{StoreError, Trouble};
use safecache::store::folder::FolderLock;
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::file::FileKind;
use safecache::store::sqlite::writer::Bounds;
use safecache::units::ByteSize;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

use super::{answer, put, question, run, sqlite, text};

/// Another connection to the file of answers, as another process has it.
async fn stranger(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(FileKind::Answers.path(folder));
    options.connect().await.expect("a connection")
}

async fn tell(stranger: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(stranger).await.expect(sql);
}

/// Commits in the write-ahead log: frames whose header tells the size of the database. https://sqlite.org/fileformat2.html#walformat
fn commits(folder: &Path) -> usize {
    let log = std::fs::read(folder.join("answers.sqlite-wal")).expect("a log");
    let frames = log[32..].chunks_exact(24 + 4096);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

async fn bounded(folder: &Path, bounds: Bounds) -> SqliteStore {
    SqliteStore::open(FolderLock::take(folder).unwrap(), bounds).await.unwrap()
}

#[test]
fn what_gathers_is_committed_at_once() {
    let folder = TempDir::new().unwrap();
    run(async {
        let store = sqlite(folder.path()).await;
        let mut stranger = stranger(folder.path()).await;
        tell(&mut stranger, "BEGIN IMMEDIATE").await;
        let before = commits(folder.path());
        let puts = join_all((0..100).map(|number| store.put_answer(answer(number, None, "x"))));
        let release = tell(&mut stranger, "ROLLBACK");
        let (put, ()) = futures_util::future::join(puts, release).await;
        assert!(put.iter().all(|put| *put == Ok(Put::Kept)), "{put:?}");
        let commits = commits(folder.path()) - before;
        assert!((1..=3).contains(&commits), "{commits} commits");
        for number in 0..100 {
            assert_eq!(text(&store, question(number)).await.unwrap(), "x");
        }
        store.close().await;
    });
}

/// Puts `number` answers while nothing can be committed; how many were kept once it could.
fn kept_of(number: u32, text_bytes: usize, bounds: Bounds) -> usize {
    let folder = TempDir::new().unwrap();
    run(async {
        let store = bounded(folder.path(), bounds).await;
        let mut stranger = stranger(folder.path()).await;
        tell(&mut stranger, "BEGIN IMMEDIATE").await;
        let text = "x".repeat(text_bytes);
        let mut puts: FuturesUnordered<_> =
            (0..number).map(|number| store.put_answer(answer(number, None, &text))).collect();
        // Who finds no place is told within `wait`; that is the first one heard of.
        let first = puts.next().await.unwrap();
        assert_eq!(first.unwrap_err().trouble, Trouble::Busy);
        tell(&mut stranger, "ROLLBACK").await;
        let mut kept = 0;
        while let Some(put) = puts.next().await {
            match put {
                Ok(Put::Kept) => kept += 1,
                Err(StoreError { trouble: Trouble::Busy, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        let mut found = 0;
        for number in 0..number {
            found += usize::from(super::text(&store, question(number)).await.is_some());
        }
        assert_eq!(kept, found, "what was refused is not there");
        put(&store, answer(number, None, "later")).await;
        store.close().await;
        kept
    })
}

#[test]
fn the_queue_has_so_many_places() {
    let bounds = Bounds { queue: 4, wait: Duration::from_millis(50), ..Bounds::default() };
    // Those that are being committed, and those behind them.
    assert_eq!(kept_of(30, 1, bounds), 8);
}

#[test]
fn what_waits_has_so_much_room() {
    let bounds = Bounds { waiting: ByteSize::kib(64), wait: Duration::from_millis(50), ..Bounds::default() };
    // Each takes 17 KiB of the 64: its text and the rest of it.
    assert_eq!(kept_of(30, 16 * 1024, bounds), 3);
}

#[test]
fn what_is_larger_than_all_room_waits_until_it_is_alone() {
    let folder = TempDir::new().unwrap();
    run(async {
        let store = bounded(folder.path(), Bounds { waiting: ByteSize::kib(4), ..Bounds::default() }).await;
        let puts = (0..5).map(|number| store.put_answer(answer(number, None, &"x".repeat(100_000))));
        assert!(join_all(puts).await.iter().all(|put| *put == Ok(Put::Kept)));
        store.close().await;
    });
}

#[test]
fn who_holds_the_file_for_too_long_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    run(async {
        let bounds = Bounds { lock_wait: Duration::from_millis(50), ..Bounds::default() };
        let store = bounded(folder.path(), bounds).await;
        put(&store, answer(1, None, "before")).await;
        let mut stranger = stranger(folder.path()).await;
        tell(&mut stranger, "BEGIN IMMEDIATE").await;
        let puts = join_all((0..10).map(|number| store.put_answer(answer(number, None, "meanwhile"))));
        let refused = puts.await;
        assert!(refused.iter().all(|put| put.as_ref().is_err_and(|error| error.trouble == Trouble::Busy)));
        let found = store.find_answer(question(1), super::NOW).await.unwrap().answer.unwrap();
        assert_eq!(
            (&*found.answer, found.usage_count),
            ("before", 1),
            "it is given although it cannot be counted"
        );
        tell(&mut stranger, "ROLLBACK").await;
        put(&store, answer(1, None, "after")).await;
        store.close().await;
    });
}

#[test]
fn what_waits_is_committed_at_the_end() {
    let folder = TempDir::new().unwrap();
    let kept = run(async {
        let store = Arc::new(sqlite(folder.path()).await);
        let puts = join_all((0..600).map(|number| store.put_answer(answer(number, None, "x"))));
        let (puts, ()) = futures_util::future::join(puts, store.close()).await;
        for closed in puts.iter().filter_map(|put| put.as_ref().err()) {
            assert_eq!(closed.trouble, Trouble::Closed);
        }
        let late = store.put_answer(answer(1, None, "late")).await.unwrap_err();
        assert_eq!(late.trouble, Trouble::Closed);
        let late = store.find_answer(question(1), super::NOW).await.unwrap_err();
        assert_eq!(late.trouble, Trouble::Closed);
        puts.iter().zip(0..).filter_map(|(put, number)| put.is_ok().then_some(number)).collect::<Vec<u32>>()
    });
    assert!(kept.len() >= 256, "only {} were taken", kept.len());
    run(async {
        let store = sqlite(folder.path()).await;
        for number in kept {
            assert_eq!(text(&store, question(number)).await.unwrap(), "x");
        }
        store.close().await;
    });
}

#[test]
fn a_caller_that_leaves_takes_nothing_with_it() {
    let folder = TempDir::new().unwrap();
    run(async {
        let store = sqlite(folder.path()).await;
        for number in 0..50 {
            let new = NewAnswer { quota: ByteSize::mib(1), ..answer(number, None, "left") };
            drop(futures_util::poll!(std::pin::pin!(store.put_answer(new))));
        }
        put(&store, answer(50, None, "stayed")).await;
        assert_eq!(text(&store, question(49)).await.unwrap(), "left");
        store.close().await;
    });
}
