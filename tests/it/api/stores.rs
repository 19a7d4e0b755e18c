//! `POST /api/v1/store`: what is kept, for how long, and how much of it.

use safecache::outcome::finished::Outcome;
use safecache::store::answer::ROW_BYTES;
use safecache::usage::record::Class;
use serde_json::{Value, json};

use super::{CHECK, JSON, LIST, QUOTA, STORE, Scene, answering, asking, error, with};

#[test]
fn what_is_kept_is_confirmed() {
    let scene = Scene::new();
    let miss = scene.post(CHECK, &json!({"messages": asking("x")}));
    let confirmed = |ttl: Value| scene.post(STORE, &with(answering("x", "y"), json!({"ttl": ttl})));
    let expected = |expires_at: &str| {
        json!({
            "stored": true,
            "prompt_hash": miss["prompt_hash"],
            "cache_types": ["exact"],
            "created_at": "2027-01-15T08:00:00Z",
            "expires_at": expires_at,
        })
    };
    assert_eq!(confirmed(json!(null)), expected("2027-02-14T08:00:00Z"));
    assert_eq!(confirmed(json!(1)), expected("2027-01-15T08:00:01Z"));
    assert_eq!(confirmed(json!(60.0)), expected("2027-01-15T08:01:00Z"));
    assert_eq!(confirmed(json!(31_536_000)), expected("2028-01-15T08:00:00Z"));
    let body = with(answering("x", "y"), json!({"model": "m", "tokens": 5}));
    let told = scene.tell("acme", STORE, JSON, body.to_string().as_bytes()).unwrap();
    assert_eq!((told.outcome, told.class, told.tokens_saved), (Outcome::Stored, Class::Stored, 0));
    assert_eq!(told.model.as_deref(), Some("m"));
}

#[test]
fn an_answer_ends_with_its_time() {
    let scene = Scene::new();
    scene.post(STORE, &with(answering("x", "passing"), json!({"ttl": 10})));
    let asked = json!({"messages": asking("x")});
    scene.advance(9);
    assert_eq!(scene.found("acme", &asked).unwrap(), "passing");
    scene.advance(1);
    assert_eq!(scene.found("acme", &asked), None);
    scene.post(STORE, &answering("x", "by default"));
    scene.advance(30 * 24 * 3600 - 1);
    assert_eq!(scene.found("acme", &asked).unwrap(), "by default");
    scene.advance(1);
    assert_eq!(scene.found("acme", &asked), None);
}

#[test]
fn storing_again_replaces() {
    let scene = Scene::new();
    let first = json!({"tokens": 1, "metadata": {"a": 1}, "model": "m"});
    scene.post(STORE, &with(answering("x", "first"), first));
    let asked = json!({"messages": asking("x")});
    assert_eq!(scene.post(CHECK, &asked)["metadata"]["usage_count"], json!(1));
    scene.advance(1);
    scene.post(STORE, &with(answering("x", "second"), json!({"model": "m"})));
    let hit = scene.post(CHECK, &asked);
    assert_eq!((&hit["answer"], &hit["created_at"]), (&json!("second"), &json!("2027-01-15T08:00:01Z")));
    assert_eq!(hit["metadata"], json!({"model": "m", "original_tokens": null, "usage_count": 1}));
    assert_eq!(scene.get(LIST)["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn members_have_their_types_and_ranges() {
    let scene = Scene::new();
    let with =
        |member: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}],"answer":"y",{member}}}"#);
    let tokens = "whole number from 0 to 9007199254740991";
    let ttl = "whole number of seconds from 1 to 31536000";
    let metadata = format!("\"metadata\":{}", object_of(4097));
    for (member, details) in [
        (r#""tokens":-1"#, ["tokens", tokens, "-1"]),
        (r#""tokens":1.5"#, ["tokens", tokens, "1.5"]),
        (r#""tokens":9007199254740992"#, ["tokens", tokens, "9007199254740992"]),
        (r#""tokens":9007199254740992.0"#, ["tokens", tokens, "9007199254740992.0"]),
        (r#""tokens":18446744073709551616"#, ["tokens", tokens, "18446744073709551616"]),
        (r#""tokens":"5""#, ["tokens", tokens, "string"]),
        (r#""ttl":0"#, ["ttl", ttl, "0"]),
        (r#""ttl":31536001"#, ["ttl", ttl, "31536001"]),
        (r#""ttl":0.5"#, ["ttl", ttl, "0.5"]),
        (r#""ttl":"1h""#, ["ttl", ttl, "string"]),
        (r#""ttl":[1]"#, ["ttl", ttl, "array"]),
        (r#""metadata":"secret""#, ["metadata", "object", "string"]),
        (r#""metadata":[]"#, ["metadata", "object", "array"]),
        (&metadata, ["metadata", "object of at most 4096 bytes of JSON", "4097 bytes"]),
        (r#""model":1"#, ["model", "string", "number"]),
        (r#""model":"""#, ["model", "string of 1 to 256 bytes", "empty string"]),
    ] {
        scene.wrong(STORE, &with(member), details);
    }
    assert_eq!(scene.get(LIST)["entries"], json!([]), "nothing was kept");
    let metadata = format!("\"metadata\":{}", object_of(4096));
    for member in [
        r#""tokens":0"#,
        r#""tokens":-0"#,
        r#""tokens":1e3"#,
        r#""tokens":9007199254740991"#,
        r#""ttl":1"#,
        r#""ttl":31536000"#,
        r#""metadata":{}"#,
        r#""tokens":null,"ttl":null,"metadata":null,"model":null"#,
        r#""unknown":1,"cache_types":"not looked at here""#,
        &metadata,
    ] {
        assert_eq!(scene.ask("acme", STORE, JSON, with(member).as_bytes()).0, 200, "{member}");
    }
}

/// An object whose text has so many bytes.
fn object_of(bytes: usize) -> String {
    let text = format!("{{ \"a\":\"{}\"}}", "x".repeat(bytes - 9));
    assert_eq!(text.len(), bytes);
    text
}

#[test]
fn an_answer_is_required() {
    let scene = Scene::new();
    let with = |member: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}]{member}}}"#);
    let (status, code, message, details) = scene.refused(STORE, &with(""));
    assert_eq!((status, code.as_str()), (400, "INVALID_INPUT"));
    assert_eq!(message, "The answer string is required");
    assert_eq!(details, ["answer", "string", "undefined"]);
    scene.wrong(STORE, &with(r#","answer":"""#), ["answer", "non-empty string", "empty string"]);
    scene.wrong(STORE, &with(r#","answer":null"#), ["answer", "string", "null"]);
    scene.wrong(STORE, &with(r#","answer":{"text":"secret"}"#), ["answer", "string", "object"]);
}

#[test]
fn a_quota_refuses_its_own_account_alone() {
    let scene = Scene::new();
    // What each counts: its bytes and those of its row.
    let half = "x".repeat((QUOTA / 2 - ROW_BYTES) as usize);
    scene.post(STORE, &answering("first", &half));
    scene.post(STORE, &answering("second", &half));
    let third = answering("third", "y").to_string();
    let (status, answer) = scene.ask("acme", STORE, JSON, third.as_bytes());
    let (_, code, message, details) = error(status, &answer);
    assert_eq!((status, code.as_str()), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(
        message,
        "The stored answers of this account may take 20000 bytes and take 20000; this one would add 257. \
         Delete some, or wait until some have expired."
    );
    assert_eq!(details, ["answer", "at most 0 bytes", "257 bytes"]);
    let found = |key, text| scene.found(key, &json!({"messages": asking(text)}));
    assert_eq!(found("acme", "third"), None);
    assert_eq!(
        (found("acme", "first").unwrap(), found("acme", "second").unwrap()),
        (half.clone(), half.clone())
    );
    scene.post(STORE, &answering("second", &half));
    let (status, answer) =
        scene.ask("acme", STORE, JSON, answering("second", &(half.clone() + "x")).to_string().as_bytes());
    assert_eq!((status, error(status, &answer).3[1].as_str()), (413, "at most 10000 bytes"));
    assert_eq!(found("acme", "second").unwrap(), half, "it is still there");
    scene.post_as("globex", STORE, &answering("third", "another's"));
    assert_eq!(found("globex", "third").unwrap(), "another's");
}

#[test]
fn what_has_expired_makes_room() {
    let scene = Scene::new();
    let all = "x".repeat((QUOTA - ROW_BYTES) as usize);
    scene.post(STORE, &with(answering("first", &all), json!({"ttl": 10})));
    scene.advance(9);
    let second = answering("second", &all);
    assert_eq!(scene.ask("acme", STORE, JSON, second.to_string().as_bytes()).0, 413);
    scene.advance(1);
    scene.post(STORE, &second);
}
