//! `GET /api/v1/cache`: what is kept, page after page.

use safecache::outcome::finished::Outcome;
use safecache::store::answer::ROW_BYTES;
use safecache::store::proxied;
use safecache::usage::record::Class;
use serde_json::{Value, json};

use super::{LIST, STORE, Scene, answering, error, with};

#[test]
fn both_kinds_are_listed_the_newest_first() {
    let scene = Scene::new();
    let stored = scene.post(STORE, &with(answering("x", "yy"), json!({"model": "m", "ttl": 60})));
    scene.advance(1);
    scene.put_proxied(0xab, Some("acme"), Some("n"));
    scene.advance(1);
    let newest = scene.post(STORE, &answering("z", "y"));
    let expected = json!({
        "account": "acme",
        "entries": [
            {
                "kind": "stored",
                "prompt_hash": newest["prompt_hash"],
                "model": null,
                "bytes": ROW_BYTES + 1,
                "created_at": "2027-01-15T08:00:02Z",
                "expires_at": "2027-02-14T08:00:02Z",
            },
            {
                "kind": "proxied",
                "prompt_hash": "ab".repeat(32),
                "model": "n",
                "bytes": proxied::ROW_BYTES + 7,
                "created_at": "2027-01-15T08:00:01Z",
                "expires_at": "2027-01-15T09:00:01Z",
            },
            {
                "kind": "stored",
                "prompt_hash": stored["prompt_hash"],
                "model": "m",
                "bytes": ROW_BYTES + 3,
                "created_at": "2027-01-15T08:00:00Z",
                "expires_at": "2027-01-15T08:01:00Z",
            },
        ],
        "next": null,
    });
    assert_eq!(scene.get(LIST), expected);
    let kind = |kind: &str| scene.get(&format!("{LIST}?kind={kind}"))["entries"].clone();
    assert_eq!(kind("stored"), json!([expected["entries"][0], expected["entries"][2]]));
    assert_eq!(kind("proxied"), json!([expected["entries"][1]]));
    scene.advance(58);
    assert_eq!(kind("stored"), json!([expected["entries"][0]]), "the other has expired");
    let told = scene.tell("acme", LIST, "", b"").unwrap();
    assert_eq!((told.outcome, told.class), (Outcome::Forwarded, Class::Other));
}

fn hashes(page: &Value) -> Vec<Value> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["prompt_hash"].clone()).collect()
}

#[test]
fn pages_follow_each_other() {
    let scene = Scene::new();
    // All in one millisecond, some of them under one hash.
    for number in 0..20 {
        scene.put_proxied(number, Some("acme"), None);
        let model = json!({"model": format!("modèle {number} / {}", "x".repeat(200))});
        scene.post(STORE, &with(answering("x", "y"), model));
    }
    scene.post(STORE, &answering("x", "y"));
    let whole = hashes(&scene.get(&format!("{LIST}?limit=100")));
    assert_eq!(whole.len(), 41);
    assert_eq!(hashes(&scene.get(LIST)), whole[..20]);
    for limit in [1, 7, 40, 41] {
        let (mut listed, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = scene.get(&format!("{LIST}?limit={limit}{after}"));
            listed.extend(hashes(&page));
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            assert!(next.bytes().all(is_plain), "{next} can stand in a query as it is");
            after = format!("&after={next}");
        }
        assert_eq!((listed.len(), pages), (41, 41_usize.div_ceil(limit)), "{limit} a page");
        assert_eq!(listed, whole, "{limit} a page");
    }
}

#[test]
fn a_cursor_tells_nothing_of_others() {
    let (quiet, busy) = (Scene::new(), Scene::new());
    for number in 0..50 {
        busy.post_as("globex", STORE, &answering(&format!("other {number}"), "y"));
    }
    let cursor = |scene: &Scene| {
        scene.post(STORE, &answering("a", "y"));
        scene.post(STORE, &answering("b", "y"));
        scene.get(&format!("{LIST}?limit=1"))["next"].clone()
    };
    let alone = cursor(&quiet);
    assert!(alone.is_string());
    assert_eq!(alone, cursor(&busy));
}

#[test]
fn parameters_are_checked() {
    let scene = Scene::new();
    scene.post(STORE, &answering("a", "y"));
    scene.post(STORE, &answering("b", "y"));
    let next = scene.get(&format!("{LIST}?limit=1"))["next"].as_str().unwrap().to_owned();
    let limit = "whole number from 1 to 100";
    let after = "next of the page before";
    let cut = format!("after={}", next.split_at(next.len() - 4).0);
    let padded = format!("after={next}==");
    for (query, details) in [
        ("limit=0", ["limit", limit, "0"]),
        ("limit=101", ["limit", limit, "101"]),
        ("limit=-1", ["limit", limit, "-1"]),
        ("limit=%2B5", ["limit", limit, "+5"]),
        ("limit=1.0", ["limit", limit, "1.0"]),
        ("limit=", ["limit", limit, "empty string"]),
        ("limit", ["limit", limit, "empty string"]),
        ("limit=99999999999999999999999", ["limit", limit, "99999999999999999999999"]),
        ("kind=all", ["kind", "stored or proxied", "all"]),
        ("kind=Stored", ["kind", "stored or proxied", "Stored"]),
        ("kind=%ff", ["kind", "UTF-8 text", "other bytes"]),
        ("after=", ["after", after, "something else"]),
        ("after=abc", ["after", after, "something else"]),
        (&cut, ["after", after, "something else"]),
        (&padded, ["after", after, "something else"]),
    ] {
        let (status, answer) = scene.ask("acme", &format!("{LIST}?{query}"), "", b"");
        let (_, code, message, found) = error(status, &answer);
        assert_eq!(
            (status, code.as_str(), found),
            (400, "INVALID_INPUT", details.map(str::to_owned)),
            "{query}"
        );
        assert_eq!(
            message,
            format!("Invalid {}: expected {}, received {}", details[0], details[1], details[2])
        );
    }
    for (query, message, details) in [
        ("page=2", "Unknown query parameter page", ["query", "none but limit, after, kind", "page"]),
        ("Limit=2", "Unknown query parameter Limit", ["query", "none but limit, after, kind", "Limit"]),
        (
            "limit=1&%6cimit=1",
            "The query parameter limit stands twice",
            ["limit", "one value", "several values"],
        ),
    ] {
        let (status, answer) = scene.ask("acme", &format!("{LIST}?{query}"), "", b"");
        let expected = (400, "INVALID_INPUT".to_owned(), message.to_owned(), details.map(str::to_owned));
        assert_eq!(error(status, &answer), expected, "{query}");
    }
    for query in ["", "limit=1", "limit=100", "limit=007", "&limit=2&", "k%69nd=stored"] {
        assert_eq!(scene.ask("acme", &format!("{LIST}?{query}"), "", b"").0, 200, "{query}");
    }
}
