//! What may stand in `messages`.

use serde_json::{Value, json};

use super::{CHECK, JSON, STORE, Scene};

const ROLES: &str = "one of system, developer, user, assistant, tool, function";
const CONTENT: &str = "string or array of content parts";

#[test]
fn the_array_is_required() {
    let scene = Scene::new();
    for line in [CHECK, STORE] {
        for body in ["{}", r#"{"answer":"y"}"#, r#"{"Messages":[]}"#] {
            let (status, code, message, details) = scene.refused(line, body);
            assert_eq!((status, code.as_str()), (400, "INVALID_INPUT"));
            assert_eq!(message, "The messages array is required");
            assert_eq!(details, ["messages", "array", "undefined"]);
        }
        let (status, _, message, details) = scene.refused(line, r#"{"messages":[]}"#);
        assert_eq!((status, message.as_str()), (400, "The messages array must not be empty"));
        assert_eq!(details, ["messages", "non-empty array", "empty array"]);
        for (value, received) in
            [("null", "null"), ("\"hi\"", "string"), ("1", "number"), ("{}", "object"), ("false", "boolean")]
        {
            scene.wrong(line, &format!(r#"{{"messages":{value}}}"#), ["messages", "array", received]);
        }
    }
}

#[test]
fn what_open_ai_takes_is_taken() {
    let scene = Scene::new();
    let parts = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]);
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for message in [
        json!({"role": "system", "content": "x"}),
        json!({"role": "developer", "content": "x", "name": "n"}),
        json!({"role": "user", "content": ""}),
        json!({"role": "user", "content": parts}),
        json!({"role": "assistant", "content": "x", "refusal": null}),
        json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
        json!({"role": "assistant", "content": null, "tool_calls": call}),
        json!({"role": "assistant", "tool_calls": call}),
        json!({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}),
        json!({"role": "assistant", "content": null, "refusal": "no"}),
        json!({"role": "assistant", "audio": {"id": "a"}}),
        json!({"role": "tool", "content": "x", "tool_call_id": "1"}),
        json!({"role": "tool", "content": [{"type": "text", "text": "a"}]}),
        json!({"role": "function", "name": "f", "content": "x"}),
        json!({"role": "function", "name": "f", "content": null}),
        json!({"role": "user", "content": "x", "unknown": [1, null, {"a": []}]}),
    ] {
        let (status, answer) =
            scene.ask("acme", CHECK, JSON, body(std::slice::from_ref(&message)).as_bytes());
        assert_eq!(status, 200, "{message}: {answer}");
    }
    let escaped = r#"{"messages":[{"role":"\u0075ser","\u0063ontent":"x"}]}"#;
    assert_eq!(scene.ask("acme", CHECK, JSON, escaped.as_bytes()).0, 200);
}

fn body(messages: &[Value]) -> String {
    json!({"messages": messages, "answer": "y"}).to_string()
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let scene = Scene::new();
    let good = json!({"role": "user", "content": "x"});
    for (message, member, expected, received) in [
        (json!("secret"), "", "object", "string"),
        (json!(null), "", "object", "null"),
        (json!([]), "", "object", "array"),
        (json!({"content": "x"}), ".role", ROLES, "undefined"),
        (json!({"role": null, "content": "x"}), ".role", ROLES, "null"),
        (json!({"role": 1, "content": "x"}), ".role", ROLES, "number"),
        (json!({"role": "User", "content": "x"}), ".role", ROLES, "User"),
        (json!({"role": "", "content": "x"}), ".role", ROLES, ""),
        (json!({"role": "é".repeat(65), "content": "x"}), ".role", ROLES, &"é".repeat(64)),
        (json!({"role": "user"}), ".content", CONTENT, "undefined"),
        (json!({"role": "user", "content": null}), ".content", CONTENT, "null"),
        (json!({"role": "user", "content": 5}), ".content", CONTENT, "number"),
        (json!({"role": "user", "content": {"type": "text"}}), ".content", CONTENT, "object"),
        (json!({"role": "system", "content": null, "refusal": "no"}), ".content", CONTENT, "null"),
        (json!({"role": "tool", "tool_call_id": "1"}), ".content", CONTENT, "undefined"),
        (json!({"role": "assistant"}), ".content", CONTENT, "undefined"),
        (json!({"role": "assistant", "content": null, "tool_calls": null}), ".content", CONTENT, "null"),
        (json!({"role": "assistant", "content": 1, "tool_calls": []}), ".content", CONTENT, "number"),
        (
            json!({"role": "user", "content": []}),
            ".content",
            "string or non-empty array of content parts",
            "empty array",
        ),
        (json!({"role": "user", "content": ["secret"]}), ".content[0]", "object", "string"),
        (
            json!({"role": "user", "content": [{"type": "text"}, {"text": "secret"}]}),
            ".content[1].type",
            "string",
            "undefined",
        ),
        (json!({"role": "user", "content": [{"type": 1}]}), ".content[0].type", "string", "number"),
    ] {
        for line in [CHECK, STORE] {
            let messages = [good.clone(), good.clone(), good.clone(), message.clone()];
            let field = format!("messages[3]{member}");
            scene.wrong(line, &body(&messages), [&field, expected, received]);
        }
    }
}
