//! `safecache migrate`: a data folder that is moved into PostgreSQL, whole, once, and however often that breaks off.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use safecache::store::Store;
use safecache::store::answer::NewAnswer;
use safecache::store::sqlite::file::FileKind;
use safecache::units::ByteSize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use super::opening::YAML;
use super::{answer, later, postgres, put, question, run, sqlite};
use crate::people_command::{post, with_operator};
use crate::support::admin::public_id;
use crate::support::client::{Client, eventually};
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{Database, PASSWORD};
use crate::support::process::{Ended, Process, safecache, write_config};
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":4,"total_tokens":34}}"#;

/// How long each piece of a move is on its way that is to be met in the middle.
const SLOWLY: Duration = Duration::from_millis(5);

/// Rows of many pages, some of which older versions wrote; texts with U+0000, and sums that are as large as they get.
const MANY: [(FileKind, &str); 2] = [
    (
        FileKind::Accounts,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO audit (id, at, actor, action, account, subject, detail)
             SELECT i * 3, 1700000000000 + i, 'operator', 'key.make', 'acme', 'key_' || i, NULL FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO requests (maker, name, content, key, at)
             SELECT 'maker ' || (i % 7), 'odd' || char(0) || i, randomblob(32), 'key_' || i, i FROM n;",
    ),
    (
        FileKind::Answers,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO usage_hours SELECT 'acct_' || (i % 5), i % 700, 'key_' || (i % 3), 'm' || char(0) || i, 'miss',
             i, i, i, i, i, i, CASE i % 2 WHEN 0 THEN i END, NULL, NULL FROM n;
         INSERT INTO usage_days SELECT 'acme', i, 'k', 'm', 'miss', 9223372036854775807, 1, 1, 1, 1, 1, 1, 1, 1
             FROM (SELECT 1 AS i UNION SELECT 2 UNION SELECT 3);
         INSERT INTO key_uses VALUES ('acme', 'k', 5, NULL, NULL), ('acme', 'l', 6, 'name', 'staging');
         INSERT INTO usage_models VALUES ('acme', 'm' || char(0), 7);
         INSERT INTO usage_batches VALUES (x'0102', 8);
         UPDATE stored_answers SET crc = NULL WHERE id % 2 = 0;",
    ),
];

/// A folder with a configuration, and a store of `answers` in its `data`, each of `size` bytes.
fn house(answers: u32, size: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), YAML);
    run(async {
        let store = sqlite(&folder.path().join("data")).await;
        for number in 0..answers {
            let text = format!("{number}\0{}", "x".repeat(size));
            let metadata = Some("{\"a\":\"\\u0000\"}".into());
            let new = NewAnswer { quota: ByteSize::mib(1000), metadata, ..answer(number, Some("m"), &text) };
            put(&store, new).await;
        }
        store.close().await;
    });
    folder
}

/// One with all that is odd in it, too.
fn odd_house() -> TempDir {
    let folder = house(4, 100);
    for (kind, sql) in MANY {
        in_file(folder.path(), kind, sql);
    }
    folder
}

fn in_file(folder: &Path, kind: FileKind, sql: &'static str) {
    run(async {
        let options = SqliteConnectOptions::new().filename(kind.path(&folder.join("data")));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.expect(sql);
        connection.close().await.unwrap();
    });
}

fn in_database(database: &Database, sql: &str) {
    run(async {
        let mut connection = database.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect(sql);
        connection.close().await.unwrap();
    });
}

fn number(database: &Database, sql: &str) -> i64 {
    run(async {
        let mut connection = database.connect().await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect(sql)
    })
}

fn migrate(folder: &TempDir, to: &str) -> Ended {
    Process::run(folder.path(), &["migrate", "--to", to], "")
}

fn to(database: &Database) -> String {
    database.address().expose().to_owned()
}

/// What it prints where it is done.
#[track_caller]
fn done(ended: &Ended) -> Vec<&str> {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout.lines().collect()
}

/// The one line in which a command refuses.
#[track_caller]
fn refused(ended: &Ended) -> &str {
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.lines().count()),
        (Some(1), "", 1),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains(PASSWORD), "{ended:?}");
    &ended.stderr
}

/// A folder whose gateways are on the database.
fn clustered(database: &Database, yaml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), &format!("{yaml}cluster: {{postgres: '{}', replicas: 1}}\n", to(database)));
    folder
}

/// How far a move has come: the table, and the whole note.
fn progress(database: &Database) -> Option<(String, Value)> {
    let noted: Option<String> = run(async {
        let mut connection = database.connect().await;
        let noted = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'move'");
        // Before it has made its tables there is nothing to ask.
        noted.fetch_optional(&mut connection).await.unwrap_or_default()
    });
    let noted: Value = serde_json::from_str(&noted?).unwrap();
    Some((noted["table"].as_str().unwrap().to_owned(), noted))
}

/// A line to the database that is slow, and its address.
fn slow_line(database: &Database) -> (FaultProxy, String) {
    let address = to(database);
    let (login, place) = address.split_once('@').unwrap();
    let (server, name) = place.split_once('/').unwrap();
    let proxy = FaultProxy::before(server.parse().unwrap());
    proxy.slow(SLOWLY);
    let through = format!("{login}@{}/{name}", proxy.address());
    (proxy, through)
}

/// Begins to move a folder, and kills that in the middle of the sums of hours.
fn break_off(folder: &TempDir, database: &Database) {
    let (_proxy, through) = slow_line(database);
    let moving = Process::start(safecache(folder.path()).args(["migrate", "--to", &through]));
    eventually("the sums are being moved", || {
        progress(database).is_some_and(|(table, _)| table == "usage_hours")
    });
    assert_eq!(moving.end(Signal::KILL).signal, Some(9), "it was not done yet");
}

// === moved ===

#[test]
fn what_was_moved_is_served_as_it_was() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::empty());
    let yaml = format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{}}}}]\n",
        upstream.url()
    );
    let folder = TempDir::new().unwrap();
    assert_eq!(with_operator(&folder, "").end(Signal::TERM).code, Some(0));
    let keys = |folder: &TempDir, words: &[&str]| {
        let ended = Process::run(folder.path(), &[&["keys"], words].concat(), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.trim_end().to_owned()
    };
    let id = |key: &str| format!("key_{}", public_id(key));
    let [first, second, third] =
        [(); 3].map(|()| keys(&folder, &["create", "--account", "acme", "--name", "ä"]));
    let rotated = keys(&folder, &["rotate", &id(&second), "--overlap", "1h"]);
    keys(&folder, &["revoke", &id(&third)]);
    let stored = json!({"messages": [{"role": "user", "content": "q\u{0}"}], "answer": "a\u{0}b", "model": "m",
        "metadata": {"of": "\u{0}"}});
    let asked = json!({"messages": [{"role": "user", "content": "q\u{0}"}]}).to_string();
    let check = |gateway: &Process| gateway.connect().post("/api/v1/check", &first, &asked).json();
    let report = |gateway: &Process| gateway.connect().get("/api/v1/usage", &first).json();
    let of_model = |report: &Value| {
        let models = report["models"].as_array().unwrap();
        models.iter().find(|model| model["model"] == "gpt").cloned().unwrap_or_default()
    };

    let gateway = Process::serve(folder.path(), &yaml);
    let answered = gateway.connect().post("/api/v1/store", &first, &stored.to_string());
    assert_eq!(answered.status, 200, "{}", answered.text());
    for _ in 0..2 {
        check(&gateway);
    }
    for number in 0..3 {
        let chat = json!({"model": "gpt", "messages": [{"role": "user", "content": number.to_string()}]});
        assert_eq!(gateway.connect().post(CHAT, &rotated, &chat.to_string()).status, 200);
    }
    eventually("all is counted", || of_model(&report(&gateway))["prompt_tokens"] == 90);
    let (told, listed) = (report(&gateway), keys(&folder, &["list", "--json"]));
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    let moved = migrate(&folder, &to(&database));
    let lines = done(&moved);
    for line in ["accounts: 1", "keys: 3", "key_secrets: 4", "people: 1", "sessions: 1", "stored_answers: 1"]
    {
        assert!(lines.contains(&line), "{moved:?}");
    }
    let elsewhere = clustered(&database, &yaml);
    assert_eq!(keys(&elsewhere, &["list", "--json"]), listed);
    let people = Process::run(elsewhere.path(), &["people", "list"], "");
    assert!(people.stdout.contains("root"), "{people:?}");
    let gateway = Process::start(safecache(elsewhere.path()).arg("serve"));
    gateway.stderr().wait_for("admin: ");
    let status = |key: &str| gateway.connect().get("/api/v1/usage", key).status;
    assert_eq!([&first, &second, &rotated, &third].map(|key| status(key)), [200, 200, 200, 401]);
    let now = report(&gateway);
    assert_eq!(of_model(&now), of_model(&told));
    let hit = check(&gateway);
    assert_eq!((&hit["answer"], &hit["metadata"]["of"]), (&json!("a\u{0}b"), &json!("\u{0}")), "{hit}");
    assert_eq!(hit["metadata"]["usage_count"], 3, "{hit}");
    let entered = post(&gateway, "/log-in", "login=root&password=correct+horse+of+root");
    assert_eq!(entered.status, 303, "{}", entered.text());
    // What comes is numbered behind what came.
    keys(&elsewhere, &["create", "--account", "acme"]);
    let other = json!({"messages": [{"role": "user", "content": "other"}], "answer": "b"});
    assert_eq!(gateway.connect().post("/api/v1/store", &first, &other.to_string()).status, 200);
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
}

#[test]
fn everything_is_moved_in_pages() {
    let (folder, database) = (odd_house(), Database::empty());
    let ended = migrate(&folder, &to(&database));
    let lines = done(&ended);
    let label = to(&database);
    let (_, place) = label.split_once('@').unwrap();
    let expected = [
        "revisions: 2",
        "accounts: 0",
        "keys: 0",
        "key_secrets: 0",
        "requests: 1500",
        "audit: 2500",
        "people: 0",
        "sessions: 0",
        "links: 0",
        "stored_answers: 4",
        "stored_totals: 1",
        "usage_hours: 20000",
        "usage_days: 3",
        "key_uses: 2",
        "usage_models: 1",
        "usage_batches: 1",
        &format!(
            "./data: moved to PostgreSQL at {place}, but for the answers of upstreams in the cache: they are made anew"
        ),
        "next: name the database in `cluster.postgres` of gateway.yaml, and start the gateways",
    ];
    assert_eq!(lines, expected);
    for (table, pages) in [("audit", 3), ("requests", 2), ("usage_hours", 20), ("stored_answers", 1)] {
        let sql = format!("SELECT count(DISTINCT xmin::text) FROM {table}");
        assert_eq!(number(&database, &sql), pages, "{table}");
    }
    assert_eq!(
        number(&database, "SELECT count(*) FROM usage_hours WHERE position('\\x6d00'::bytea IN model) = 1"),
        20000
    );
    assert_eq!(number(&database, "SELECT sum(cost)::bigint FROM usage_hours"), 2 * (10000 * 10001 / 2));
    assert_eq!(number(&database, "SELECT nextval(pg_get_serial_sequence('audit', 'id'))"), 7501);
    run(async {
        let store = postgres(&database).await;
        for asked in 0..4 {
            let found = store.find_answer(question(asked), later(1)).await.unwrap();
            let text = found.answer.expect("whole, whether it had a checksum or not").answer;
            assert!(text.starts_with(&format!("{asked}\0x")), "{text}");
        }
        store.close().await;
    });
    // Large rows make pages of few.
    let (folder, database) = (house(5, 3 << 20), Database::empty());
    done(&migrate(&folder, &to(&database)));
    assert_eq!(number(&database, "SELECT count(DISTINCT xmin::text) FROM stored_answers"), 2);
}

#[test]
fn the_store_of_every_version_is_moved() {
    for version in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store")).unwrap() {
        let (folder, database) = (TempDir::new().unwrap(), Database::empty());
        write_config(folder.path(), YAML);
        fs::create_dir(folder.path().join("data")).unwrap();
        for kind in FileKind::ALL {
            let kept = kind.path(&version.as_ref().unwrap().path());
            fs::copy(kept, kind.path(&folder.path().join("data"))).unwrap();
        }
        let ended = migrate(&folder, &to(&database));
        let lines = done(&ended);
        assert!(lines.contains(&"stored_answers: 2") && lines.contains(&"usage_days: 1"), "{ended:?}");
        run(async {
            let store = postgres(&database).await;
            let found = store.find_answer(question(1), later(1)).await.unwrap().answer.unwrap();
            assert_eq!((&*found.answer, found.tokens, found.usage_count), ("a stored answer", Some(12), 2));
            store.close().await;
        });
    }
}

#[test]
fn a_move_that_breaks_off_goes_on_where_it_was() {
    let (folder, database) = (odd_house(), Database::empty());
    let (line, through) = slow_line(&database);
    let mut last = None;
    for round in 0..6 {
        let moving = Process::start(safecache(folder.path()).args(["migrate", "--to", &through]));
        let mut now = None;
        eventually("it has come further", || {
            now = progress(&database);
            now.is_some() && now != last
        });
        if round % 2 == 0 {
            line.stall();
            assert_eq!(moving.end(Signal::KILL).signal, Some(9));
            line.cut();
        } else {
            line.cut();
            let ended = moving.wait();
            assert!(refused(&ended).contains("cannot be reached"), "{ended:?}");
        }
        line.slow(SLOWLY);
        last = progress(&database);
        assert_eq!(last.as_ref().unwrap().1["done_at"], Value::Null, "round {round}: it was to break off");
    }
    let elsewhere = clustered(&database, YAML);
    for words in [&["serve"][..], &["keys", "list"], &["people", "list"]] {
        let ended = Process::run(elsewhere.path(), words, "");
        let why =
            "holds a move that is not done; run `safecache migrate` again, which goes on where it was\n";
        assert!(refused(&ended).ends_with(why), "{ended:?}");
    }
    done(&migrate(&folder, &to(&database)));
    assert_eq!(number(&database, "SELECT sum(id)::bigint FROM audit"), 3 * (2500 * 2501 / 2));
    assert_eq!(number(&database, "SELECT sum(requests)::bigint FROM usage_hours"), 20000 * 20001 / 2);
    assert_eq!(
        number(&database, "SELECT bytes FROM stored_totals"),
        number(&database, "SELECT sum(bytes)::bigint FROM stored_answers")
    );
    let again = migrate(&folder, &to(&database));
    assert!(done(&again)[0].ends_with(" already; nothing was changed"), "{again:?}");
}

#[test]
fn who_starts_on_a_folder_that_was_moved_is_told() {
    let (folder, database) = (house(1, 10), Database::empty());
    done(&migrate(&folder, &to(&database)));
    let gateway = Process::serve(folder.path(), YAML);
    let ended = gateway.end(Signal::TERM);
    assert_eq!(ended.code, Some(0));
    let line = ended.stderr.lines().find(|line| line.contains("this data folder was moved")).expect("a line");
    let address = to(&database);
    let (_, place) = address.split_once('@').unwrap();
    assert!(line.contains(&format!("PostgreSQL at {place}")) && line.contains(" WARN "), "{line}");
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
    let quiet = house(1, 10);
    let ended = Process::serve(quiet.path(), YAML).end(Signal::TERM);
    assert!(!ended.stderr.contains("moved"), "{}", ended.stderr);
}

// === refused ===

#[test]
fn a_database_that_holds_something_is_left_alone() {
    let folder = house(1, 10);
    let rows = "SELECT count(*) FROM stored_answers";
    for (table, sql) in [
        ("accounts", "INSERT INTO accounts VALUES ('a', 'a', 'free', 1, NULL)"),
        (
            "usage_hours",
            "INSERT INTO usage_hours VALUES ('a', 1, 'k', 'm', 'miss', 1, 1, 1, 1, 1, 1, 1, 1, 1)",
        ),
        (
            "proxied_answers",
            "INSERT INTO proxied_answers VALUES (1, 'k', 'json', 'a', '/v1/*', 'm', 1, 1, 1, 1, 'p')",
        ),
    ] {
        let database = Database::fresh();
        in_database(&database, sql);
        let ended = migrate(&folder, &to(&database));
        let why = format!(
            "is not empty ({table} has rows); a folder is moved into an empty database, or where its own move broke off\n"
        );
        assert!(refused(&ended).ends_with(&why), "{ended:?}");
        assert_eq!((number(&database, rows), progress(&database)), (0, None));
    }
    // The move of another folder, whether it is done or not.
    let (other, database) = (odd_house(), Database::empty());
    break_off(&other, &database);
    let half = progress(&database);
    for _ in 0..2 {
        let ended = migrate(&folder, &to(&database));
        assert!(refused(&ended).contains("holds the move of another data folder"), "{ended:?}");
        if progress(&database).unwrap().1["done_at"].is_null() {
            assert_eq!(progress(&database), half);
            done(&migrate(&other, &to(&database)));
        }
    }
    assert_eq!(number(&database, rows), 4);
}

#[test]
fn what_gateways_use_is_not_moved_nor_moved_to() {
    let (folder, database) = (house(1, 10), Database::empty());
    let gateway = Process::serve(folder.path(), YAML);
    let ended = migrate(&folder, &to(&database));
    let why = format!("./data: is in use by another safecache (process {}); one at a time\n", gateway.id());
    assert_eq!(refused(&ended), why);
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    let elsewhere = clustered(&database, YAML);
    let gateway = Process::start(safecache(elsewhere.path()).arg("serve"));
    gateway.stderr().wait_for("admin: ");
    eventually("it is on the roll", || number(&database, "SELECT count(*) FROM replicas") == 1);
    let ended = migrate(&folder, &to(&database));
    assert!(
        refused(&ended)
            .ends_with("is used by gateways that run; end them, and try again ten seconds later\n")
    );
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
}

#[test]
fn a_row_that_is_lost_on_the_way_is_noticed() {
    let (folder, database) = (odd_house(), Database::empty());
    break_off(&folder, &database);
    in_database(&database, "DELETE FROM audit WHERE id = 300");
    for _ in 0..2 {
        let ended = migrate(&folder, &to(&database));
        let why = "differs from the data folder in audit (2500 rows there, 2499 here, or other sums)";
        assert!(refused(&ended).contains(why), "{ended:?}");
        assert_eq!(progress(&database).unwrap().1["done_at"], Value::Null);
    }
    // As many rows, and another sum.
    in_database(&database, "INSERT INTO audit (id, at, actor, action) VALUES (301, 1, 'a', 'b')");
    let ended = migrate(&folder, &to(&database));
    assert!(refused(&ended).contains("in audit (2500 rows there, 2500 here, or other sums)"), "{ended:?}");
    in_database(&database, "UPDATE audit SET id = 300 WHERE id = 301");
    done(&migrate(&folder, &to(&database)));
}

#[test]
fn a_folder_that_was_changed_in_between_is_moved_anew() {
    let (folder, database) = (odd_house(), Database::empty());
    break_off(&folder, &database);
    let made = Process::run(folder.path(), &["keys", "create", "--account", "acme"], "");
    assert_eq!(made.code, Some(0), "{made:?}");
    let half = progress(&database);
    let ended = migrate(&folder, &to(&database));
    let why = "./data: was changed since its move began; empty the database, and move the folder anew\n";
    assert_eq!(refused(&ended), why);
    assert_eq!(progress(&database), half);
    let another = Database::empty();
    assert!(done(&migrate(&folder, &to(&another))).contains(&"keys: 1"));
}

#[test]
fn nobody_changes_a_folder_while_it_is_moved() {
    let (folder, database) = (odd_house(), Database::empty());
    let (_line, through) = slow_line(&database);
    let moving = Process::start(safecache(folder.path()).args(["migrate", "--to", &through]));
    eventually("it is under way", || progress(&database).is_some());
    for kind in FileKind::ALL {
        // As commands do that work beside a gateway.
        let error = run(async {
            let options = SqliteConnectOptions::new().filename(kind.path(&folder.path().join("data")));
            let mut connection = options.busy_timeout(Duration::ZERO).connect().await.unwrap();
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap_err()
        });
        assert!(error.to_string().contains("database is locked"), "{kind:?}: {error}");
    }
    let again = migrate(&folder, &to(&database));
    assert!(refused(&again).contains("is in use by another safecache"), "{again:?}");
    let half = progress(&database).unwrap();
    assert_eq!(half.1["done_at"], Value::Null, "it was under way all the time");
    let ended = moving.wait();
    assert!(done(&ended).contains(&"keys: 0"), "{ended:?}");
}

#[test]
fn the_command_says_what_it_lacks() {
    let (folder, database) = (house(0, 0), Database::empty());
    let run = |words: &[&str], variable: &str| {
        let mut command = safecache(folder.path());
        command.arg("migrate").args(words).env("SAFECACHE_POSTGRES", variable);
        Process::start(&mut command).wait()
    };
    let ended = run(&[], "");
    let why = "no database is named: give --to, or set cluster.postgres in the configuration\n";
    assert_eq!(refused(&ended), why);
    for (to, why) in [
        (
            "mysql://u:hunter2@h/d",
            "--to: the URL begins with another scheme (hint: such as postgres://host:5432/",
        ),
        ("postgres://u:hunter2@h", "--to: the URL names no database (hint: "),
        ("${NO_SUCH}", "--to: the variable NO_SUCH is not set (hint: "),
        ("${file:no-such}", "--to: cannot read the file `no-such`"),
    ] {
        let ended = run(&["--to", to], "");
        assert!(refused(&ended).starts_with(why) && !ended.stderr.contains("hunter2"), "{ended:?}");
    }
    let ended = run(&["--to", "${SAFECACHE_POSTGRES}"], &to(&database));
    done(&ended);
    // And from the configuration.
    let own = Database::empty();
    write_config(
        folder.path(),
        &format!("{YAML}cluster: {{postgres: '${{SAFECACHE_POSTGRES}}', replicas: 1}}\n"),
    );
    let ended = run(&[], &to(&own));
    let next = "next: start the gateways; gateway.yaml names the database in `cluster.postgres` already";
    assert_eq!(done(&ended).last(), Some(&next));
    let gateway = Process::start(safecache(folder.path()).arg("serve").env("SAFECACHE_POSTGRES", to(&own)));
    gateway.stderr().wait_for("admin: ");
    assert!(Client::connect(gateway.gateway()).get("/healthz", "").status < 500);
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));

    let empty = TempDir::new().unwrap();
    write_config(empty.path(), YAML);
    let ended = migrate(&empty, &to(&database));
    assert_eq!(refused(&ended), "./data/accounts.sqlite: is not there\n");
    assert!(!empty.path().join("data").exists(), "it makes no folder");
    let help = Process::run(empty.path(), &["migrate", "--help"], "");
    assert!(help.stdout.contains("is seen by all") && help.stdout.contains("--config"), "{}", help.stdout);
}
