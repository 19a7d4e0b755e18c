//! The store in processes that end suddenly, and on disks that are full or cannot be written.
//!
//! A test that needs a process of its own runs itself again in one, told by a variable where to work.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use futures_util::future::join_all;
use rustix::process::Signal;
use safecache::store::Store;
use safecache::store::answer::{NewAnswer, Put};
use safecache::store::failure::Trouble;
use safecache::store::folder::FolderLock;
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use safecache::units::ByteSize;
use tempfile::TempDir;

use super::opening::YAML;
use super::{NOW, answer, every, put, question, run, sqlite, text};
use crate::support::mounted::{again, mounted, own_folder, passed};
use crate::support::process::{Process, safecache, write_config};

fn text_of(number: u32) -> String {
    format!("{number}:{}", "x".repeat(number as usize * 37 % 9000))
}

/// Puts answers from 64 tasks until it is killed, and prints each once it is acknowledged.
fn put_for_ever(folder: &Path) {
    run(async {
        let store = sqlite(folder).await;
        let one_task = |task: u32| {
            let store = &store;
            async move {
                for number in (task..u32::MAX).step_by(64) {
                    put(
                        store,
                        NewAnswer { quota: ByteSize::mib(1 << 20), ..answer(number, None, &text_of(number)) },
                    )
                    .await;
                    writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
                }
            }
        };
        join_all((0..64).map(one_task)).await;
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(folder) = own_folder() {
        return put_for_ever(&folder);
    }
    let folder = TempDir::new().unwrap();
    for round in 0..5 {
        let data = folder.path().join(format!("data-{round}"));
        let words = again("store::processes::what_was_acknowledged_survives_a_kill", &data);
        let process = Process::start(Command::new(&words[0]).args(&words[1..]));
        process.stdout().wait_for(&format!("acknowledged {}", 100 + round * 333));
        let ended = process.end(Signal::KILL);
        assert_eq!(ended.signal, Some(9), "{ended:?}");
        // The last line may have been cut.
        let (lines, _) = ended.stdout.rsplit_once('\n').unwrap();
        let acknowledged: Vec<u32> =
            lines.lines().filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).collect();
        assert!(acknowledged.len() > 20, "{}", acknowledged.len());
        run(async {
            let store = sqlite(&data).await;
            for number in acknowledged {
                assert_eq!(text(&store, question(number)).await, Some(text_of(number)));
            }
            store.close().await;
        });
    }
}

/// Fills a disk of 4 MiB and makes room again, twice.
fn fill(folder: &Path) {
    let large = "x".repeat(100_000);
    let new = |number: u32, text: &str| NewAnswer { quota: ByteSize::mib(100), ..answer(number, None, text) };
    let (ballast, more) = (folder.join("ballast"), folder.join("more"));
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    fs::write(&more, vec![1; 1 << 18]).unwrap();
    run(async {
        let store = sqlite(&folder.join("data")).await;
        let mut kept = 0;
        let full = loop {
            match store.put_answer(new(kept, &large)).await {
                Ok(Put::Kept) => kept += 1,
                Ok(over) => panic!("{over:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(full.trouble, Trouble::Full, "{full}");
        assert!(full.to_string().ends_with("answers.sqlite: no space left on its disk; make room"), "{full}");
        assert!(kept > 3, "only {kept} were kept");
        for number in 0..kept {
            let found = store.find_answer(question(number), NOW).await.unwrap().answer.unwrap();
            assert_eq!((found.answer.len(), found.usage_count), (100_000, 1), "found, counted or not");
        }
        fs::remove_file(&ballast).unwrap();
        // One that is too large for the disk fails; those that wait beside it do not.
        let giant = "x".repeat(5 << 20);
        let puts = (1000..1010).map(|number| {
            let text = if number == 1005 { &giant } else { "small" };
            store.put_answer(new(number, text))
        });
        let puts = join_all(puts).await;
        for (put, number) in puts.into_iter().zip(1000..) {
            match put {
                Ok(put) => assert!(put == Put::Kept && number != 1005, "{number}: {put:?}"),
                Err(error) => assert!(error.trouble == Trouble::Full && number == 1005, "{number}: {error}"),
            }
        }
        assert_eq!(store.delete_answers(every(None)).await, Ok(u64::from(kept) + 9));
        put(&store, new(1, "after")).await;
        store.close().await;
        drop(store);
        // What the giant wrote until it failed still takes all room: SQLite overwrites it, and shortens it at its leisure.
        fs::remove_file(&more).unwrap();
        let store = sqlite(&folder.join("data")).await;
        assert_eq!(text(&store, question(1)).await.unwrap(), "after");
        store.close().await;
    });
    fs::write(&ballast, []).unwrap();
    while fs::File::options().append(true).open(&ballast).unwrap().write_all(&[1; 1024]).is_ok() {}
    let data = folder.join("new");
    let refused = FolderLock::take(&data)
        .and_then(|lock| run(SqliteStore::open(lock, Bounds::default())).map(drop))
        .expect_err("there is no room for it");
    assert_eq!(refused.trouble, Trouble::Full, "{refused}");
}

#[test]
fn a_full_disk_is_told_and_passes() {
    if let Some(folder) = own_folder() {
        return fill(&folder);
    }
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let words = again("store::processes::a_full_disk_is_told_and_passes", &disk);
    let mount = "-t tmpfs -o size=4m tmpfs disk";
    passed(&Process::start(&mut mounted(mount, folder.path(), &words)).wait());
}

/// What `safecache serve` says where `mount` has been done: one line, and exit code 1.
fn refused_by_serve(mount: &str, folder: &Path) -> String {
    write_config(folder, YAML);
    let binary = safecache(folder).get_program().to_string_lossy().into_owned();
    let ended = Process::start(&mut mounted(mount, folder, &[binary, "serve".into()])).wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_gateway_says_what_is_wrong_with_its_disk() {
    let folder = TempDir::new().unwrap();
    run(async { sqlite(&folder.path().join("data")).await.close().await });
    let read_only = "--bind data data && mount -o remount,ro,bind data";
    assert_eq!(refused_by_serve(read_only, folder.path()), "./data: cannot be written: it is read-only\n");
    let small = "-t tmpfs -o size=16k tmpfs data";
    let line = refused_by_serve(small, folder.path());
    assert!(
        line.starts_with("./data/") && line.ends_with(": no space left on its disk; make room\n"),
        "{line}"
    );
    let whole = Process::serve(folder.path(), YAML);
    assert_eq!(whole.end(Signal::TERM).code, Some(0), "where nothing is mounted, all is well");
}
