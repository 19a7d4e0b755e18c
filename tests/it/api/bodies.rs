//! Which bodies are read at all.

use serde_json::json;

use super::{CHECK, JSON, STORE, Scene, answering, asking, error};

#[test]
fn only_json_in_utf_8_is_read() {
    let scene = Scene::new();
    let body = json!({"messages": asking("x")}).to_string();
    let status = |headers: &str| scene.ask("acme", CHECK, headers, body.as_bytes()).0;
    for content_type in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; Charset=\"UTF-8\"",
        "application/json; profile=\"a;charset=latin1;\\\"b\"",
        "application/json;",
        "application/problem+json",
        "text/x+JSON; v=1",
    ] {
        assert_eq!(status(&format!("Content-Type: {content_type}\r\n")), 200, "{content_type}");
    }
    for content_type in [
        "",
        "json",
        "text/json",
        "text/plain",
        "application/jsonl",
        "application/+json",
        "/json",
        "+json",
        "application/json, application/json",
        "application /json",
        "application/json; charset=latin1",
        "application/json; charset",
        "application/json; charset=utf-8; charset=utf-16",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=+json",
        "\u{e9}/x+json",
    ] {
        assert_eq!(status(&format!("Content-Type: {content_type}\r\n")), 415, "{content_type}");
    }
    let said = |headers: &str| {
        let (status, answer) = scene.ask("acme", STORE, headers, b"not looked at");
        error(status, &answer)
    };
    let expected = |received: &str| {
        let message = "The Content-Type header must be application/json".to_owned();
        let details = ["Content-Type", "application/json", received].map(str::to_owned);
        (415, "UNSUPPORTED_MEDIA_TYPE".to_owned(), message, details)
    };
    assert_eq!(said(""), expected("undefined"));
    let long = format!("text/{}", "x".repeat(100));
    assert_eq!(said(&format!("Content-Type: {long}\r\n")), expected(&format!("text/{}", "x".repeat(59))));
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    let scene = Scene::new();
    for line in [CHECK, STORE] {
        for (body, message, details) in [
            ("", "A JSON body is required", ["body", "object", "undefined"]),
            (" ", "The body is not valid JSON in UTF-8", ["body", "object", "invalid JSON"]),
            ("{", "The body is not valid JSON in UTF-8", ["body", "object", "invalid JSON"]),
            ("{} {}", "The body is not valid JSON in UTF-8", ["body", "object", "invalid JSON"]),
            ("{'a':1}", "The body is not valid JSON in UTF-8", ["body", "object", "invalid JSON"]),
        ] {
            let details = details.map(str::to_owned);
            let expected = (400, "INVALID_INPUT".to_owned(), message.to_owned(), details);
            assert_eq!(scene.refused(line, body), expected, "{body}");
        }
        for (body, received) in [
            ("[]", "array"),
            ("\"secret\"", "string"),
            ("12", "number"),
            ("null", "null"),
            ("true", "boolean"),
        ] {
            scene.wrong(line, body, ["body", "object", received]);
        }
        let (status, answer) = scene.ask("acme", line, JSON, b"{\"a\":\"\xff\"}");
        assert_eq!(error(status, &answer).3[2], "invalid JSON");
    }
}

/// Two readers could see two requests in each of these.
#[test]
fn a_body_without_a_canonical_form_is_refused_wherever_the_fault_is() {
    let scene = Scene::new();
    let whole = answering("x", "y").to_string();
    let rest = whole.strip_prefix('{').unwrap();
    for (fault, received) in [
        (r#""a":{"b":1,"b":1}"#, "duplicate member name"),
        (r#""a":{"b":1,"\u0062":2}"#, "duplicate member name"),
        (r#""messages":[]"#, "duplicate member name"),
        (r#""\u0061nswer":"z""#, "duplicate member name"),
        (r#""a":"\ud800""#, "lone surrogate"),
        (r#""\udc00":1"#, "lone surrogate"),
        (r#""a":[1e999]"#, "number out of range"),
    ] {
        for line in [CHECK, STORE] {
            let found = scene.refused(line, &format!("{{{fault},{rest}"));
            assert_eq!((found.0, found.1.as_str(), found.3[0].as_str()), (400, "INVALID_INPUT", "body"));
            assert_eq!(found.3[2], received, "{fault}");
        }
    }
    let inside = r#"{"messages":[{"role":"user","content":"x","a":{"b":1,"b":1}}],"answer":"y"}"#;
    assert_eq!(scene.refused(STORE, inside).3[2], "duplicate member name");
    assert_eq!(scene.found("acme", &json!({"messages": asking("x")})), None, "nothing was stored");
}

#[test]
fn depth_and_values_are_bounded() {
    let scene = Scene::new();
    // The outermost object is the first level.
    let nested = |depth: usize| {
        let rest = json!({"messages": asking("x")}).to_string();
        format!(
            "{{\"a\":{}{},{}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1),
            rest.strip_prefix('{').unwrap()
        )
    };
    assert_eq!(scene.ask("acme", CHECK, JSON, nested(128).as_bytes()).0, 200);
    let (status, code, message, details) = scene.refused(CHECK, &nested(129));
    assert_eq!((status, code.as_str()), (400, "INVALID_INPUT"));
    assert_eq!(message, "The body is nested deeper than 128 levels");
    assert_eq!(details, ["body", "at most 128 levels of arrays and objects", "more"]);
    let within = |depth: usize| {
        let value = "{\"a\":".repeat(depth - 3) + "1" + &"}".repeat(depth - 3);
        format!(r#"{{"messages":[{{"role":"user","content":"x","a":{value}}}]}}"#)
    };
    assert_eq!(scene.ask("acme", CHECK, JSON, within(128).as_bytes()).0, 200);
    assert_eq!(scene.refused(CHECK, &within(129)).3[2], "more");
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(1 << 21));
    let (status, code, message, _) = scene.refused(CHECK, &many);
    assert_eq!((status, code.as_str()), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(message, "The body holds too many values");
}

#[test]
fn large_prompts_are_taken() {
    let scene = Scene::new();
    let messages: Vec<_> = (0..10_000)
        .map(|number| json!({"role": "user", "content": format!("message {number}"), "n": u64::MAX}))
        .collect();
    let body = json!({"messages": messages, "answer": "of ten thousand", "model": "m"});
    scene.post(STORE, &body);
    assert_eq!(scene.found("acme", &body).unwrap(), "of ten thousand");
    let long = "x".repeat(8 << 20);
    scene.post(STORE, &answering(&long, "of a long one"));
    assert_eq!(scene.found("acme", &json!({"messages": asking(&long)})).unwrap(), "of a long one");
}
