//! The hash of a prompt. Golden vectors: a change of any of them would lose what clients have stored.

use serde_json::{Value, json};

use super::{CHECK, JSON, STORE, Scene, answering};

/// Messages as they are sent, and their hash: SHA-256 of the canonical text, made with other tools.
const GOLDEN: &[(&str, &str)] = &[
    (
        r#"[{"role":"user","content":"What is the capital of France?"}]"#,
        "c2b4eb703a59f9d6cbeaf9722527f2ccbc14741c6a1d28e586185ede184c18d3",
    ),
    (
        r#"[ {"role":"system","content":"Be brief."},   {"role":"user","content":"Hi"} ]"#,
        "158ab9a5f9ffbe1efbdc525dc9e734555520397d1507d42ac3a99b025a6507d4",
    ),
    (
        r#"[{"role":"user","content":"caf\u00e9 \ud83d\ude00 \/ \u000a"}]"#,
        "9834b42cf16799d1c02492e13ba884a44d089c315dd59eb720b760d40e12a0bc",
    ),
    (
        r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]"#,
        "82772ed4668197d74cc2682706ace0728a9bebfd3b9056bef6930b76e2835c75",
    ),
    (
        r#"[{"role":"user","content":"n","seed":123456789012345678901234567890,"t":1.50,"u":1E2,"z":-0}]"#,
        "4bd5fe2d9c8fef5cf4137e1a94bd22ae1ac61fee4b16b30a3fcc73691698ba5a",
    ),
    (
        r#"[{"role":"user","content":"o","\ufb33":1,"\ud83d\ude00":2,"\u20ac":3}]"#,
        "19e4e10449b4721704b31526e378d86a88f438003a0cbaa2b6c9386ac5741b35",
    ),
    (
        r#"[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]}]"#,
        "c17e8fd4e561ed740577902cfef3510de2259f1058dc84032f24211834ba8cae",
    ),
];

/// The hash that a check of such messages names.
#[track_caller]
fn hash(scene: &Scene, messages: &str) -> String {
    let body = format!("{{\"messages\":{messages}}}");
    let (status, answer) = scene.ask("acme", CHECK, JSON, body.as_bytes());
    assert_eq!(status, 200, "{body}: {answer}");
    answer["prompt_hash"].as_str().expect("a hash").to_owned()
}

#[test]
fn golden_vectors() {
    let scene = Scene::new();
    for (messages, expected) in GOLDEN {
        assert_eq!(hash(&scene, messages), *expected, "{messages}");
    }
}

#[test]
fn spelling_makes_no_difference() {
    let scene = Scene::new();
    let plain = hash(&scene, r#"[{"content":"aé/","n":1,"role":"user"}]"#);
    for other in [
        r#" [ { "content" : "aé/" , "n" : 1 , "role" : "user" } ] "#,
        r#"[{"role":"user","n":1.0,"content":"a\u00e9\/"}]"#,
        r#"[{"r\u006fle":"us\u0065r","n":10e-1,"content":"\u0061é/"}]"#,
    ] {
        assert_eq!(hash(&scene, other), plain, "{other}");
    }
}

#[test]
fn everything_within_the_messages_counts() {
    let scene = Scene::new();
    let prompts = [
        r#"[{"role":"user","content":"a"}]"#,
        r#"[{"role":"user","content":"A"}]"#,
        r#"[{"role":"user","content":"a "}]"#,
        r#"[{"role":"system","content":"a"}]"#,
        r#"[{"role":"user","content":"a","name":null}]"#,
        r#"[{"role":"user","content":[{"type":"text","text":"a"}]}]"#,
        r#"[{"role":"user","content":"a"},{"role":"user","content":"a"}]"#,
        r#"[{"role":"user","content":"a","seed":9007199254740992}]"#,
        r#"[{"role":"user","content":"a","seed":9007199254740993}]"#,
        r#"[{"role":"user","content":"é"}]"#,
        r#"[{"role":"user","content":"e\u0301"}]"#,
    ];
    let mut hashes: Vec<_> = prompts.iter().map(|messages| hash(&scene, messages)).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), prompts.len());
}

#[test]
fn nothing_but_the_messages_counts() {
    let scene = Scene::new();
    let stored = scene.post(STORE, &answering("x", "y"))["prompt_hash"].clone();
    let long =
        json!({"messages": answering("x", "")["messages"], "model": "m", "x": {"messages": [1]}, "a": "é\n"});
    let miss = scene.post(CHECK, &long);
    assert_eq!(miss["cache_hit"], Value::Bool(false));
    assert_eq!(miss["prompt_hash"], stored);
}
