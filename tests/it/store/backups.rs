//! `safecache backup` and `safecache restore`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join;
use rustix::process::Signal;
use safecache::store::Store;
use safecache::store::answer::NewAnswer;
use safecache::store::failure::Trouble;
use safecache::store::folder::FolderLock;
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::backup::{backup, restore};
use safecache::store::sqlite::file::FileKind;
use safecache::store::sqlite::writer::Bounds;
use safecache::units::ByteSize;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use super::opening::YAML;
use super::{answer, put, question, run, sqlite, text};
use crate::support::process::{Ended, Process, write_config};

/// Answers that are longer than one piece of a backup together.
const LONG: usize = 3000;

async fn put_one(store: &dyn Store, number: u32) {
    let text = format!("{number} {}", "x".repeat(LONG));
    put(store, NewAnswer { quota: ByteSize::mib(1000), ..answer(number, None, &text) }).await;
}

fn command(folder: &Path, words: &[&str]) -> Ended {
    Process::run(folder, words, "")
}

fn done(ended: &Ended) {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
}

/// The one line in which a command refuses.
fn refused(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    &ended.stderr
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// A folder with a configuration, and a store of `answers` in its `data`.
fn house(answers: u32) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), YAML);
    run(async {
        let store = sqlite(&folder.path().join("data")).await;
        for number in 0..answers {
            put_one(&store, number).await;
        }
        store.close().await;
    });
    folder
}

async fn assert_there(folder: &Path, answers: u32) {
    let store = sqlite(folder).await;
    for number in 0..answers {
        let text = text(&store, question(number)).await.unwrap_or_else(|| panic!("{number} of {answers}"));
        assert!(text.starts_with(&format!("{number} ")) && text.len() > LONG);
    }
    store.close().await;
}

#[test]
fn a_backup_holds_what_was_acknowledged_before_it() {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), YAML);
    let data = folder.path().join("data");
    let acknowledged = AtomicU32::new(0);
    let before = run(async {
        let store = sqlite(&data).await;
        for number in 0..300 {
            put_one(&store, number).await;
            acknowledged.store(number + 1, Ordering::SeqCst);
        }
        // The command runs while more is put.
        let (told, ended) = tokio::sync::oneshot::channel();
        let at = folder.path().to_owned();
        let before = acknowledged.load(Ordering::SeqCst);
        let thread = std::thread::spawn(move || {
            let ended = command(&at, &["backup", "store.backup"]);
            told.send(()).unwrap();
            ended
        });
        let putting = async {
            let mut ended = ended;
            for number in 300.. {
                if ended.try_recv().is_ok() {
                    break;
                }
                put_one(&store, number).await;
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        };
        join(putting, async {}).await;
        done(&thread.join().unwrap());
        assert!(acknowledged.load(Ordering::SeqCst) > before, "nothing was put meanwhile");
        store.close().await;
        before
    });
    fs::rename(&data, folder.path().join("lost")).unwrap();
    let ended = command(folder.path(), &["restore", "store.backup"]);
    done(&ended);
    assert_eq!(ended.stdout, "store.backup: restored into ./data\n");
    run(assert_there(&data, before));
    assert_eq!(names(folder.path()), ["data", "gateway.yaml", "lost", "store.backup"]);
    assert_eq!(names(&data), ["accounts.sqlite", "answers.sqlite", "lock"]);
}

#[test]
fn a_backup_of_a_running_gateway_and_a_gateway_on_a_restored_one() {
    let folder = house(3);
    let gateway = Process::serve(folder.path(), YAML);
    let ended = command(folder.path(), &["backup", "store.backup"]);
    done(&ended);
    let made = fs::metadata(folder.path().join("store.backup")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    let size = made.len();
    assert_eq!(ended.stdout, format!("store.backup: {size} bytes, from ./data\n"));
    let line = command(folder.path(), &["restore", "store.backup"]);
    assert!(refused(&line).starts_with("./data: is in use by another safecache"), "{line:?}");
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    let line = command(folder.path(), &["restore", "store.backup"]);
    assert_eq!(refused(&line), "./data: is not empty; a restore wants an empty folder, or none\n");
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    done(&command(folder.path(), &["restore", "store.backup"]));
    let gateway = Process::serve(folder.path(), YAML);
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    run(assert_there(&folder.path().join("data"), 3));
}

#[test]
fn what_cannot_be_backed_up_leaves_nothing() {
    let folder = house(3);
    fs::write(folder.path().join("there"), "precious").unwrap();
    let line = command(folder.path(), &["backup", "there"]);
    assert_eq!(refused(&line), "there: is there already; name another file, or move it away\n");
    assert_eq!(fs::read(folder.path().join("there")).unwrap(), b"precious");
    let line = command(folder.path(), &["backup", "no/such/folder"]);
    assert!(refused(&line).starts_with("no/such/folder.partial: failed: No such file"), "{line:?}");
    fs::write(folder.path().join("data/answers.sqlite"), vec![b'x'; 100_000]).unwrap();
    let line = command(folder.path(), &["backup", "new"]);
    assert!(refused(&line).starts_with("./data/answers.sqlite: is damaged"), "{line:?}");
    fs::remove_file(folder.path().join("data/answers.sqlite")).unwrap();
    let line = command(folder.path(), &["backup", "new"]);
    assert_eq!(refused(&line), "./data/answers.sqlite: is not there\n");
    assert_eq!(names(folder.path()), ["data", "gateway.yaml", "there"]);
}

fn sql(path: &Path, sql: &'static str) {
    run(async {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    });
}

#[test]
fn a_backup_that_was_changed_is_not_restored() {
    let folder = house(1000);
    let (file, data) = (folder.path().join("store.backup"), folder.path().join("new"));
    let size = run(backup(&folder.path().join("data"), &file)).unwrap();
    let whole = fs::read(&file).unwrap();
    assert!(size > ByteSize::mib(2) && size.as_u64() == whole.len() as u64);
    let refused = |why: &str| {
        let refused = run(restore(&file, &data)).unwrap_err();
        assert!(matches!(refused.trouble, Trouble::BadBackup(_)), "{why}: {refused}");
        assert_eq!(names(&data), ["lock"], "{why}");
    };
    run(restore(&file, &data)).unwrap();
    let restored = FileKind::ALL.map(|kind| fs::read(kind.path(&data)).unwrap());
    fs::remove_dir_all(&data).unwrap();
    let mut told = 0;
    for at in (30..whole.len()).step_by(whole.len() / 50) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        fs::write(&file, changed).unwrap();
        if run(restore(&file, &data)).is_ok() {
            // A byte that means nothing.
            let again = FileKind::ALL.map(|kind| fs::read(kind.path(&data)).unwrap());
            assert!(again == restored, "byte {at} made a difference");
            fs::remove_dir_all(&data).unwrap();
        } else {
            refused(&format!("byte {at}"));
            told += 1;
        }
    }
    assert!(told > 40, "only {told} of 50 were noticed");
    for length in [100, whole.len() / 2, whole.len() - 4096] {
        fs::write(&file, &whole[..length]).unwrap();
        refused(&format!("{length} bytes of it"));
    }
    for change in [
        "DELETE FROM files WHERE name = 'accounts.sqlite'",
        "DELETE FROM pieces WHERE name = 'answers.sqlite' AND number = 1",
        "UPDATE pieces SET number = 7 WHERE name = 'answers.sqlite' AND number = 0",
        "UPDATE files SET bytes = bytes + 1",
    ] {
        fs::write(&file, &whole).unwrap();
        sql(&file, change);
        refused(change);
    }
    fs::copy(FileKind::Answers.path(&folder.path().join("data")), &file).unwrap();
    refused("a store is no backup");
    fs::write(&file, &whole).unwrap();
    run(restore(&file, &data)).unwrap();
    run(assert_there(&data, 1000));
}

#[test]
fn half_a_restore_is_not_used() {
    let folder = house(1);
    let (file, data) = (folder.path().join("store.backup"), folder.path().join("data"));
    run(backup(&data, &file)).unwrap();
    for kind in FileKind::ALL {
        let path = kind.path(&data);
        let restoring = path.with_added_extension("restoring");
        fs::rename(&path, &restoring).unwrap();
        let lock = FolderLock::take(&data).unwrap();
        let refused = run(SqliteStore::open(lock, Bounds::default())).unwrap_err();
        assert_eq!(refused.trouble, Trouble::HalfRestored);
        assert_eq!(run(restore(&file, &data)).unwrap_err().trouble, Trouble::NotEmpty);
        fs::rename(&restoring, &path).unwrap();
    }
    run(assert_there(&data, 1));
}

#[test]
fn the_commands_explain_themselves() {
    for (name, word) in [("backup", "also while the gateway runs"), ("restore", "into an empty data folder")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_safecache")).args([name, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains(word) && help.contains("<FILE>") && help.contains("--config"), "{help}");
        let output = Command::new(env!("CARGO_BIN_EXE_safecache")).arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}
