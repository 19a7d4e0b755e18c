//! What clients are told when the store fails: never a path, never what it holds.

use std::path::Path;
use std::sync::Arc;

use safecache::store::failure::{StoreError, Trouble};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::{CHECK, DELETE, JSON, LIST, STORE, Scene, answering, asking, error, with};

/// Every call that touches the store, and what it could not do.
const CALLS: [(&str, &str); 4] = [
    (CHECK, "The cache could not be read"),
    (STORE, "The answer could not be stored"),
    (LIST, "The entries could not be listed"),
    (DELETE, "The entries could not be deleted"),
];

/// The answer to a call, in which nothing of the store's folder may be.
#[track_caller]
fn failure(scene: &Scene, line: &str) -> (u16, String, String) {
    let (status, answer) = scene.ask("acme", line, JSON, answering("x", "y").to_string().as_bytes());
    let text = answer.to_string();
    let folder = scene.folder.path().to_str().unwrap();
    assert!(!text.contains(folder) && !text.contains("sqlite") && !text.contains("stored_answers"), "{text}");
    let (status, code, message, _) = error(status, &answer);
    (status, code, message)
}

#[test]
fn a_store_that_has_ended_asks_for_patience() {
    let scene = Scene::new();
    scene.runtime.block_on(scene.store.close());
    for (line, what) in CALLS {
        let message = format!("{what} at the moment. Please try again later.");
        assert_eq!(failure(&scene, line), (503, "UNAVAILABLE".to_owned(), message), "{line}");
    }
}

#[test]
fn a_store_that_fails_is_an_internal_error() {
    let scene = Scene::new();
    let path = scene.folder.path().join("answers.sqlite");
    scene.runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::raw_sql("DROP TABLE stored_answers").execute(&mut connection).await.unwrap();
    });
    for (line, what) in CALLS {
        let expected = (500, "INTERNAL_ERROR".to_owned(), what.to_owned());
        assert_eq!(failure(&scene, line), expected, "{line}");
    }
}

/// An answer that is not what was stored is never served: the one before it is, or none.
#[test]
fn an_answer_that_is_damaged_is_deleted_and_passed_over() {
    for damage in ["answer = 'another'", "metadata = '{'", "metadata = NULL", "answer = answer || ' '"] {
        let scene = Scene::new();
        scene.post(STORE, &with(answering("x", "the older"), json!({"model": "m"})));
        scene.advance(1);
        scene.post(STORE, &with(answering("x", "the newer"), json!({"metadata": {"a": 1}})));
        let path = scene.folder.path().join("answers.sqlite");
        scene.runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            let update = format!("UPDATE stored_answers SET {damage} WHERE model IS NULL");
            sqlx::raw_sql(sqlx::AssertSqlSafe(update)).execute(&mut connection).await.unwrap();
        });
        let question = json!({"messages": asking("x")});
        for _ in 0..2 {
            assert_eq!(scene.found("acme", &question).as_deref(), Some("the older"), "{damage}");
        }
        assert_eq!(scene.get(LIST)["entries"].as_array().unwrap().len(), 1, "{damage}");
    }
}

#[test]
fn a_purger_that_fails_is_told() {
    for (trouble, status) in [(Trouble::Full, 500), (Trouble::Busy, 503)] {
        let scene = Scene::purging(|_| {
            Arc::new(move |_| {
                let trouble = trouble.clone();
                Box::pin(async move { Err(StoreError::new(Path::new("/secret"), trouble)) })
            })
        });
        for line in [DELETE.to_owned(), format!("{DELETE}/{}", "0".repeat(64))] {
            let (found, answer): (u16, Value) = scene.ask("acme", &line, "", b"");
            assert_eq!(found, status, "{answer}");
            assert!(!answer.to_string().contains("secret"), "{answer}");
        }
    }
}
