//! `DELETE /api/v1/cache` and `DELETE /api/v1/cache/{prompt_hash}`.

use safecache::outcome::finished::Outcome;
use safecache::usage::record::Class;
use serde_json::{Value, json};

use super::{CHECK, DELETE, JSON, LIST, STORE, Scene, answering, asking, error, with};

type Refused = Box<(u16, String, String, [String; 3])>;

fn nothing() -> Refused {
    let message = "Nothing is kept under this prompt_hash".to_owned();
    Box::new((404, "NOT_FOUND".to_owned(), message, Default::default()))
}

#[track_caller]
fn deleted(scene: &Scene, hash: &str) -> Result<Value, Refused> {
    let (status, answer) = scene.ask("acme", &format!("{DELETE}/{hash}"), "", b"");
    if status == 200 { Ok(answer) } else { Err(Box::new(error(status, &answer))) }
}

#[test]
fn a_hash_deletes_the_answers_of_every_model() {
    let scene = Scene::new();
    for model in [json!("m"), json!("n"), json!(null)] {
        scene.post(STORE, &with(answering("x", "y"), json!({"model": model})));
    }
    scene.post(STORE, &answering("other", "y"));
    let hash =
        scene.post(CHECK, &json!({"messages": asking("gone")}))["prompt_hash"].as_str().unwrap().to_owned();
    assert_eq!(deleted(&scene, &hash), Err(nothing()));
    let hash = scene.post(STORE, &answering("x", "y"))["prompt_hash"].as_str().unwrap().to_owned();
    assert_eq!(deleted(&scene, &hash.to_uppercase()), Ok(json!({"deleted": 3})));
    assert_eq!(scene.found("acme", &json!({"messages": asking("x")})), None);
    assert_eq!(scene.found("acme", &json!({"messages": asking("other")})).unwrap(), "y");
    assert_eq!(deleted(&scene, &hash), Err(nothing()));
}

#[test]
fn a_hash_deletes_a_proxied_answer_of_the_same_account_alone() {
    let scene = Scene::new();
    scene.put_proxied(1, Some("acme"), Some("m"));
    scene.put_proxied(2, Some("globex"), None);
    scene.put_proxied(3, None, None);
    assert_eq!(deleted(&scene, &"02".repeat(32)), Err(nothing()), "another account's");
    assert_eq!(deleted(&scene, &"03".repeat(32)), Err(nothing()), "everybody's");
    let listed = scene.get(LIST)["entries"][0]["prompt_hash"].as_str().unwrap().to_owned();
    assert_eq!(listed, "01".repeat(32));
    assert_eq!(deleted(&scene, &listed), Ok(json!({"deleted": 1})));
    assert_eq!(deleted(&scene, &listed), Err(nothing()));
    assert_eq!(scene.purge_all(), 2);
}

#[test]
fn what_is_no_hash_is_refused() {
    let scene = Scene::new();
    for hash in
        ["0", "x".repeat(64).as_str(), &"0".repeat(63), &"0".repeat(65), &"%30".repeat(64), &"0".repeat(200)]
    {
        let (status, code, _, details) = *deleted(&scene, hash).unwrap_err();
        assert_eq!((status, code.as_str()), (400, "INVALID_INPUT"), "{hash}");
        let shown = hash.chars().take(64).collect::<String>();
        assert_eq!(details, ["prompt_hash", "64 hexadecimal digits", &shown]);
    }
}

#[test]
fn all_of_an_account_is_deleted() {
    let scene = Scene::new();
    assert_eq!(scene.get(DELETE), json!({"deleted": 0}));
    for text in ["x", "z"] {
        scene.post(STORE, &answering(text, "y"));
        scene.post_as("globex", STORE, &answering(text, "theirs"));
    }
    scene.put_proxied(1, Some("acme"), None);
    scene.put_proxied(2, Some("globex"), None);
    scene.put_proxied(3, None, None);
    let told = scene.tell("acme", DELETE, JSON, b"{not read").unwrap();
    assert_eq!(
        (told.body.as_str(), told.outcome, told.class),
        (r#"{"deleted":3}"#, Outcome::Forwarded, Class::Other)
    );
    assert_eq!(scene.get(LIST)["entries"], json!([]));
    assert_eq!(scene.found("globex", &json!({"messages": asking("x")})).unwrap(), "theirs");
    assert_eq!(scene.purge_all(), 2);
    assert_eq!(scene.get(DELETE), json!({"deleted": 0}));
}

/// A parameter that narrows would delete more than was meant if it were ignored.
#[test]
fn parameters_are_refused() {
    let scene = Scene::new();
    let hash = scene.post(STORE, &answering("x", "y"))["prompt_hash"].as_str().unwrap().to_owned();
    let body = answering("x", "y").to_string();
    for (line, headers) in [
        (format!("{DELETE}?kind=proxied"), ""),
        (format!("{DELETE}/{hash}?kind=proxied"), ""),
        (format!("{CHECK}?kind=proxied"), JSON),
        (format!("{STORE}?kind=proxied"), JSON),
    ] {
        let (status, answer) = scene.ask("acme", &line, headers, body.as_bytes());
        let expected = ["query", "no query parameters", "kind"].map(str::to_owned);
        assert_eq!((status, error(status, &answer).3), (400, expected), "{line}");
    }
    assert_eq!(scene.get(LIST)["entries"].as_array().unwrap().len(), 1);
}
