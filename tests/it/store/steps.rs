//! The steps that made the files what they are only add, and stay what they were; every store ever written opens.

use std::fs;
use std::path::{Path, PathBuf};

use safecache::cache::key::EntryKey;
use safecache::ids::KeyId;
use safecache::store::Store;
use safecache::store::answer::NewAnswer;
use safecache::store::migrations::{ACCOUNTS, ANSWERS, Migration, POSTGRES};
use safecache::store::proxied::{Found, NewProxied};
use safecache::store::sqlite::file::FileKind;
use safecache::store::usage::{Period, Step, UsageBatch, UsageOf};
use safecache::units::ByteSize;
use safecache::usage::record::{Cell, Class, Hour, KeyLabel, Line, Sums, UsageRow};
use tempfile::TempDir;

use super::proxied::{proxied, slot};
use super::{NOW, account, answer, later, put, question, run, sqlite};

/// What may begin a statement of a step, and what it may not hold. Whatever is not here is refused.
const ADDING: [(&str, &[&str]); 7] = [
    ("CREATE TABLE ", &[]),
    ("CREATE INDEX ", &[]),
    ("CREATE UNIQUE INDEX ", &[]),
    ("CREATE TRIGGER ", &[]),
    // Not `OR REPLACE`: older builds count on what it did.
    ("CREATE FUNCTION ", &[]),
    // A column that rows of before cannot have, or that an older build would have to fill, narrows what may be there.
    (
        "ALTER TABLE ",
        &[" DROP ", " RENAME ", " NOT NULL", " CHECK", " UNIQUE", " REFERENCES ", " PRIMARY KEY"],
    ),
    ("INSERT INTO ", &[]),
];

/// The statements of a step, in capitals, without comments and with single spaces; the body of a trigger or a function is
/// part of it.
fn statements(sql: &str) -> Vec<String> {
    let text: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let words: Vec<_> = text.join(" ").split_whitespace().map(str::to_uppercase).collect();
    let (mut found, mut open, mut quotes) = (Vec::new(), Vec::<String>::new(), 0);
    for word in words {
        let is_end = word.ends_with(';');
        quotes += word.matches("$$").count();
        open.push(word);
        // SQLite's triggers have a body, PostgreSQL's functions have one in quotes.
        let is_trigger = open.get(1).is_some_and(|word| word == "TRIGGER");
        let is_body = is_trigger && open.iter().any(|word| word == "BEGIN");
        let is_in_body = quotes % 2 == 1 || is_body && open.last().is_some_and(|word| word != "END;");
        if is_end && !is_in_body {
            found.push(open.join(" "));
            open.clear();
        }
    }
    if !open.is_empty() {
        found.push(open.join(" "));
    }
    found
}

/// What is wrong with a list of steps.
fn problems(steps: &[Migration]) -> Vec<String> {
    let (mut found, mut earlier) = (Vec::new(), Vec::<String>::new());
    for (step, version) in steps.iter().zip(1..) {
        if step.version != version {
            found.push(format!("step {version} is numbered {}", step.version));
        }
        let mut new = Vec::new();
        for statement in statements(step.sql) {
            let kind = ADDING.iter().find(|(begin, _)| statement.starts_with(begin));
            let holds = kind.and_then(|(_, never)| never.iter().find(|never| statement.contains(*never)));
            let table =
                |mark: &str| statement.split_once(mark).and_then(|(_, rest)| rest.split([' ', '(']).next());
            let narrows = statement.starts_with("CREATE UNIQUE INDEX ")
                && table(" ON ").is_some_and(|table| earlier.iter().any(|known| known == table));
            if kind.is_none() || holds.is_some() || narrows {
                found.push(format!("step {version} does more than add: {statement}"));
            }
            if statement.starts_with("ALTER TABLE ") && !statement.contains(" ADD COLUMN ") {
                found.push(format!("step {version} does more than add: {statement}"));
            }
            new.extend(table("CREATE TABLE ").map(str::to_owned));
        }
        earlier.extend(new);
    }
    found
}

#[test]
fn the_steps_only_add() {
    for steps in [ACCOUNTS, ANSWERS, POSTGRES] {
        assert_eq!(problems(steps), Vec::<String>::new());
    }
    for steps in [ANSWERS, POSTGRES] {
        assert!(steps.iter().flat_map(|step| statements(step.sql)).count() > 15);
    }
}

#[track_caller]
fn planted(sql: &'static str) -> Vec<String> {
    let first = Migration { version: 1, name: "first", sql: "CREATE TABLE t (a INTEGER);" };
    problems(&[first, Migration { version: 2, name: "planted", sql }])
}

#[test]
fn a_step_that_takes_away_is_refused() {
    for sql in [
        "DROP TABLE t;",
        "drop index i;",
        "-- all is well\nCREATE TABLE u (a);\n  Drop  Table t;",
        "ALTER TABLE t RENAME TO u;",
        "ALTER TABLE t RENAME COLUMN a TO b;",
        "ALTER TABLE t DROP COLUMN a;",
        "ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT '';",
        "ALTER TABLE t ADD COLUMN b INTEGER CHECK (b > 0);",
        "ALTER TABLE t ADD COLUMN b INTEGER REFERENCES u (a);",
        "CREATE UNIQUE INDEX i ON t (a);",
        "CREATE UNIQUE INDEX i ON t(a)",
        "DELETE FROM t;",
        "DROP FUNCTION f;",
        "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END; $$;",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END; $$; DROP TABLE t;",
        "UPDATE t SET a = 1;",
        "REPLACE INTO t VALUES (1);",
        "PRAGMA writable_schema = 1;",
        "CREATE VIEW v AS SELECT 1;",
        "ATTACH 'x' AS y;",
    ] {
        assert!(!planted(sql).is_empty(), "{sql}");
    }
    for sql in [
        "CREATE TABLE u (a INTEGER NOT NULL CHECK (a > 0)); CREATE UNIQUE INDEX i ON u (a);",
        "ALTER TABLE t ADD COLUMN b TEXT; -- DROP TABLE t;",
        "CREATE INDEX i ON t (a);",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n DELETE FROM u;\n RETURN NULL;\nEND;\n$$; \
         CREATE TRIGGER g AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION f(); CREATE INDEX i ON t (a);",
        "CREATE TRIGGER g AFTER DELETE ON t BEGIN\n DELETE FROM u WHERE a = old.a; UPDATE u SET a = 1;\nEND;",
    ] {
        assert_eq!(planted(sql), Vec::<String>::new(), "{sql}");
    }
    let second = Migration { version: 2, name: "second", sql: "" };
    assert_eq!(problems(&[second]).len(), 1);
}

#[test]
fn every_step_of_the_folder_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
    for (folder, steps) in [("accounts", ACCOUNTS), ("answers", ANSWERS), ("postgres", POSTGRES)] {
        let mut there: Vec<_> = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let taken: Vec<_> =
            steps.iter().map(|step| format!("{:04}_{}.sql", step.version, step.name)).collect();
        assert_eq!(there, taken);
    }
}

// === what earlier versions wrote ===

fn versions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store")
}

fn usage() -> UsageRow {
    let cell = Cell {
        hour: Hour::of(NOW),
        account: account("acme"),
        key: KeyId::new("one"),
        model: "m".into(),
        class: Class::ExactHit,
    };
    let sums = Sums { requests: 3, saved_completion_tokens: 30, ..Sums::default() };
    UsageRow { cell, line: Line { sums, last_at: NOW, label: KeyLabel::default() } }
}

/// One of everything, as each version's store holds it.
async fn fill(folder: &Path) {
    let store = sqlite(folder).await;
    let new = answer(1, Some("m"), "a stored answer");
    put(&store, NewAnswer { tokens: Some(12), metadata: Some("{}".into()), ..new }).await;
    put(&store, answer(2, None, "another")).await;
    assert_eq!(store.find_answer(question(1), NOW).await.unwrap().answer.unwrap().usage_count, 1);
    let new = NewProxied { model: Some("m".into()), ..proxied(3, "a proxied answer") };
    store.put_proxied(vec![new], ByteSize::mib(1)).await.unwrap();
    store.add_usage(UsageBatch::new(vec![usage()], NOW)).await.unwrap();
    store.close().await;
}

async fn check(folder: &Path) {
    let store = sqlite(folder).await;
    let found = store.find_answer(question(1), NOW).await.unwrap().answer.unwrap();
    assert_eq!(
        (&*found.answer, found.model.as_deref(), found.usage_count),
        ("a stored answer", Some("m"), 2)
    );
    assert_eq!((found.tokens, found.metadata.as_deref()), (Some(12), Some("{}")));
    assert_eq!((found.created_at, found.expires_at), (NOW, later(3600)));
    assert_eq!(store.find_answer(question(2), NOW).await.unwrap().answer.unwrap().model, None);
    assert_eq!(slot(3).key, EntryKey::from_bytes(super::hash(3).0));
    let found = store.find_proxied(slot(3), NOW).await.unwrap();
    assert!(matches!(&found, Found::Payload { payload, .. } if payload == b"a proxied answer"), "{found:?}");
    let period = Period { from: Hour::of(NOW), to: Hour::from_number(Hour::of(NOW).number() + 1) };
    let of = UsageOf { account: account("acme"), period, step: Step::Hour, offset: 0, limit: 1 };
    let series = store.usage(of).await.unwrap().by_time;
    assert_eq!((series[0].class, series[0].sums), (Class::ExactHit, usage().line.sums));
    assert!(store.stored_bytes(&account("acme")).await.unwrap() > ByteSize::bytes(0));
    put(&store, answer(4, None, "new")).await;
    store.close().await;
}

/// A version's store is written once, by that version (`UPDATE_EXPECT=1`, where its folder is not there yet), and then
/// stays as it is.
#[test]
fn the_store_of_every_version_opens() {
    let ours = versions().join(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("UPDATE_EXPECT").is_some() && !ours.exists() {
        let folder = TempDir::new().unwrap();
        run(fill(folder.path()));
        fs::create_dir_all(&ours).unwrap();
        for kind in FileKind::ALL {
            fs::copy(kind.path(folder.path()), kind.path(&ours)).unwrap();
        }
    }
    let all: Vec<_> = fs::read_dir(versions()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(all.contains(&ours), "{} is not there: UPDATE_EXPECT=1 writes it", ours.display());
    for version in all {
        let folder = TempDir::new().unwrap();
        for kind in FileKind::ALL {
            fs::copy(kind.path(&version), kind.path(folder.path())).unwrap();
        }
        run(check(folder.path()));
    }
}
