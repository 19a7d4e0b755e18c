//! `POST /api/v1/check`: what is asked, and what is said.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use safecache::outcome::finished::Outcome;
use safecache::runtime::answerer::Answerer;
use safecache::usage::record::Class;
use serde_json::{Value, json};

use super::{CHECK, JSON, STORE, Scene, answering, asking, with};

#[test]
fn a_miss_says_what_to_do() {
    let scene = Scene::new();
    let asked = json!({"messages": asking("x"), "model": "m"});
    let stored = scene.post(STORE, &answering("x", "y"));
    let miss = json!({
        "cache_hit": false,
        "lookup_time_ms": 0.0,
        "message": "There is no stored answer to these messages. Call the model, then store its answer with POST /api/v1/store.",
        "prompt_hash": stored["prompt_hash"],
        "suggested_action": "call_llm_and_store",
        "search_results": {"exact_checked": true, "semantic_checked": false, "closest_match_score": null},
    });
    assert_eq!(scene.post(CHECK, &asked), miss);
    let told = scene.tell("acme", CHECK, JSON, asked.to_string().as_bytes()).unwrap();
    assert_eq!((told.outcome, told.class, told.tokens_saved), (Outcome::Forwarded, Class::Miss, 0));
    assert_eq!(told.model.as_deref(), Some("m"));
}

#[test]
fn a_hit_gives_the_answer_and_what_is_known_of_it() {
    let scene = Scene::new();
    let metadata = json!({"topic": "geography", "deep": {"a": [1, null]}, "usage_count": 99, "model": "lie"});
    let more = json!({"model": "gpt-4o", "tokens": 12, "metadata": metadata});
    scene.post(STORE, &with(answering("x", "Paris \u{0}\u{1f600}\"\n"), more));
    scene.advance(5);
    let asked = json!({"messages": asking("x")});
    for usage_count in 1..=3 {
        let expected = json!({
            "cache_hit": true,
            "answer": "Paris \u{0}\u{1f600}\"\n",
            "cache_type": "exact",
            "lookup_time_ms": 0.0,
            "tokens_saved": 12,
            "created_at": "2027-01-15T08:00:00Z",
            "similarity_score": null,
            "metadata": {
                "model": "gpt-4o",
                "original_tokens": 12,
                "usage_count": usage_count,
                "topic": "geography",
                "deep": {"a": [1, null]},
            },
        });
        assert_eq!(scene.post(CHECK, &asked), expected);
    }
    let told = scene.tell("acme", CHECK, JSON, asked.to_string().as_bytes()).unwrap();
    assert_eq!((told.outcome, told.class, told.tokens_saved), (Outcome::ExactHit, Class::ExactHit, 12));
    assert_eq!(told.model.as_deref(), Some("gpt-4o"), "though the check named none");
}

#[test]
fn a_look_up_is_timed() {
    let scene = Scene::new();
    scene.post(STORE, &answering("x", "y"));
    let body = json!({"messages": asking("x")}).to_string();
    let asked = scene.asked("acme", CHECK, JSON, body.as_bytes()).unwrap();
    let _inside = scene.runtime.enter();
    let mut answer = pin!(scene.api.answer(asked));
    let first = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending(), "a task counts the use, and none runs yet");
    scene.moved.advance(Duration::from_nanos(1_234_567));
    let told = scene.runtime.block_on(answer).unwrap();
    let document: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(document["lookup_time_ms"], json!(1.234));
}

#[test]
fn the_clients_metadata_comes_back_as_it_was_written() {
    let scene = Scene::new();
    let metadata = r#"{"id":123456789012345678901234567890,"f":1.50,"\u0061b":"\u00e9","original_tokens":1}"#;
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    let stored = format!("{{{messages},\"answer\":\"y\",\"metadata\":{metadata}}}");
    assert_eq!(scene.ask("acme", STORE, JSON, stored.as_bytes()).0, 200);
    let told = scene.tell("acme", CHECK, JSON, format!("{{{messages}}}").as_bytes()).unwrap();
    let own = r#""metadata":{"model":null,"original_tokens":null,"usage_count":1,"ab":"\u00e9","f":1.50,"id":123456789012345678901234567890}"#;
    assert!(told.body.contains(own), "{}", told.body);
}

#[test]
fn tokens_are_a_quarter_of_the_bytes_where_none_were_said() {
    let scene = Scene::new();
    for (answer, tokens, saved) in [
        ("a", None, 1_u64),
        ("abcd", None, 1),
        ("abcde", None, 2),
        ("éé", None, 1),
        ("ééé", None, 2),
        ("abcd", Some(0), 0),
        ("abcd", Some(9_007_199_254_740_991_u64), 9_007_199_254_740_991),
    ] {
        scene.post(STORE, &with(answering("x", answer), json!({"tokens": tokens})));
        let hit = scene.post(CHECK, &json!({"messages": asking("x")}));
        assert_eq!(hit["tokens_saved"], json!(saved), "{answer}");
        assert_eq!(hit["metadata"]["original_tokens"], json!(tokens), "{answer}");
    }
}

#[test]
fn a_model_narrows_and_without_one_the_newest_is_found() {
    let scene = Scene::new();
    scene.post(STORE, &with(answering("x", "m's"), json!({"model": "m"})));
    scene.post(STORE, &with(answering("x", "n's"), json!({"model": "n"})));
    scene.post(STORE, &answering("x", "no model's"));
    let found = |model: Value| scene.found("acme", &json!({"messages": asking("x"), "model": model}));
    assert_eq!(found(json!("m")).unwrap(), "m's");
    assert_eq!(found(json!("n")).unwrap(), "n's");
    assert_eq!(found(json!("M")), None);
    assert_eq!(found(json!(null)).unwrap(), "no model's");
    scene.post(STORE, &with(answering("x", "m's newest"), json!({"model": "m"})));
    assert_eq!(found(json!(null)).unwrap(), "m's newest");
    let hit = scene.post(CHECK, &json!({"messages": asking("x")}));
    assert_eq!(hit["metadata"]["model"], json!("m"));
}

#[test]
fn what_is_not_built_is_not_claimed() {
    let scene = Scene::new();
    scene.post(STORE, &answering("x", "y"));
    let asked = |types: Value| scene.post(CHECK, &json!({"messages": asking("x"), "cache_types": types}));
    let semantic = asked(json!(["semantic"]));
    assert_eq!(semantic["cache_hit"], json!(false));
    let nothing = json!({"exact_checked": false, "semantic_checked": false, "closest_match_score": null});
    assert_eq!(semantic["search_results"], nothing);
    for types in [json!(["exact"]), json!(["semantic", "exact"]), json!(["exact", "semantic"]), json!(null)] {
        assert_eq!(asked(types)["cache_type"], json!("exact"));
    }
}

#[test]
fn members_have_their_types_and_ranges() {
    let scene = Scene::new();
    let with = |member: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{member}}}"#);
    let threshold = "number from 0.0 to 1.0";
    let element = "exact or semantic";
    let long = "m".repeat(257);
    let quoted = format!("\"model\":\"{long}\"");
    let shown = format!("1{}", "0".repeat(63));
    let digits = format!("\"similarity_threshold\":1{}", "0".repeat(100));
    for (member, details) in [
        (r#""similarity_threshold":1.0001"#, ["similarity_threshold", threshold, "1.0001"]),
        (r#""similarity_threshold":-0.1"#, ["similarity_threshold", threshold, "-0.1"]),
        (r#""similarity_threshold":"0.5""#, ["similarity_threshold", threshold, "string"]),
        (r#""similarity_threshold":true"#, ["similarity_threshold", threshold, "boolean"]),
        (&digits, ["similarity_threshold", threshold, &shown]),
        (r#""cache_types":"exact""#, ["cache_types", "array", "string"]),
        (r#""cache_types":{}"#, ["cache_types", "array", "object"]),
        (r#""cache_types":[]"#, ["cache_types", "non-empty array of exact and semantic", "empty array"]),
        (r#""cache_types":["exact","fuzzy"]"#, ["cache_types[1]", element, "fuzzy"]),
        (r#""cache_types":["Exact"]"#, ["cache_types[0]", element, "Exact"]),
        (r#""cache_types":[null]"#, ["cache_types[0]", element, "null"]),
        (r#""cache_types":["exact","exact"]"#, ["cache_types[1]", "each type once", "exact twice"]),
        (r#""model":"""#, ["model", "string of 1 to 256 bytes", "empty string"]),
        (&quoted, ["model", "string of 1 to 256 bytes", "string of 257 bytes"]),
        (r#""model":["m"]"#, ["model", "string", "array"]),
    ] {
        scene.wrong(CHECK, &with(member), details);
    }
    let longest = format!("\"model\":\"{}\"", "é".repeat(128));
    for member in [
        r#""similarity_threshold":0.0"#,
        r#""similarity_threshold":-0.0"#,
        r#""similarity_threshold":0"#,
        r#""similarity_threshold":1.0"#,
        r#""similarity_threshold":1"#,
        r#""similarity_threshold":null,"cache_types":null,"model":null"#,
        r#""unknown":[{"a":1}],"ttl":"not looked at here""#,
        &longest,
    ] {
        assert_eq!(scene.ask("acme", CHECK, JSON, with(member).as_bytes()).0, 200, "{member}");
    }
}
