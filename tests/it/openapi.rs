//! The OpenAPI documents say what the code says, and are served as they are committed. That the gateway does what they
//! say is schemathesis' affair: `tools/clients schema`.

use std::collections::BTreeSet;
use std::path::Path;

use safecache::outcome::api_error::ApiError;
use safecache::outcome::rejection::Rejection;
use safecache::routing::route::ErrorShape;
use safecache::{admin, api};
use serde_json::Value;

use crate::support::admin::{TOKEN, ask};
use crate::support::gateway::{Gateway, key, secret};

/// Both documents: the file, what the code makes, and what is served.
fn documents() -> [(&'static str, utoipa::openapi::OpenApi, &'static str); 2] {
    [
        ("docs/openapi/data.json", api::openapi::document(), api::openapi::COMMITTED),
        ("docs/openapi/admin.json", admin::openapi::document(), admin::openapi::COMMITTED),
    ]
}

fn parsed() -> [Value; 2] {
    documents().map(|(_, document, _)| serde_json::to_value(&document).expect("JSON"))
}

/// Every value in a document, with the names on the way to it.
fn walk(value: &Value, at: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(at, value);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| walk(member, &format!("{at}/{name}"), visit));
        }
        Value::Array(elements) => elements.iter().for_each(|element| walk(element, at, visit)),
        _ => {}
    }
}

#[test]
fn the_committed_documents_are_the_codes() {
    for (path, document, compiled) in documents() {
        let made = document.to_pretty_json().expect("JSON") + "\n";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, &made).unwrap();
        } else {
            assert!(compiled == made, "{path} is not what the code says: UPDATE_EXPECT=1 writes it anew");
        }
    }
}

#[test]
fn each_listener_serves_its_document() {
    let gateway = Gateway::start(&format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys:\n{}",
        key("one", "")
    ));
    let data = gateway.connect().send("GET /api/v1/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n").answer();
    assert_eq!((data.status, data.header("content-type")), (200, Some("application/json")));
    assert_eq!(data.text(), api::openapi::COMMITTED);
    let line = "GET /admin/v1/openapi.json";
    let operators = ask(&gateway, line, Some(TOKEN));
    assert_eq!((operators.status, operators.header("content-type")), (200, Some("application/json")));
    assert_eq!(operators.text(), admin::openapi::COMMITTED);
    for token in [None, Some(secret("one"))] {
        assert_eq!(ask(&gateway, line, token.as_deref()).status, 401);
    }
    for document in parsed() {
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn every_reference_leads_somewhere_and_no_answer_is_left_open() {
    for document in parsed() {
        let mut references = 0;
        walk(&document, "", &mut |at, value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                references += 1;
                let pointer = reference.strip_prefix('#').expect("a reference into the document");
                assert!(document.pointer(pointer).is_some(), "{at}: {reference}");
            }
            assert!(!at.ends_with("/responses/default"), "{at}");
        });
        assert!(references > 20, "only {references}");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for (name, schema) in schemas.iter().filter(|(_, schema)| schema.get("properties").is_some()) {
            let is_open = schema.get("additionalProperties") != Some(&Value::Bool(false));
            // What clients send may hold more; so may what they stored.
            assert_eq!(is_open, name.ends_with("Request") || name == "HitMetadata", "{name}");
        }
    }
}

#[test]
fn every_example_of_a_hash_is_the_examples_messages() {
    let [data, _] = parsed();
    let messages = &data["paths"]["/api/v1/check"]["post"]["requestBody"]["content"]["application/json"]["examples"]
        ["request"]["value"]["messages"];
    // Its members are sorted, its text plain: it is its own canonical form.
    let hash =
        data_encoding::HEXLOWER.encode(&safecache::auth::token::digest(messages.to_string().as_bytes()));
    let mut hashes = BTreeSet::new();
    walk(&data, "", &mut |at, value| {
        if at.ends_with("/prompt_hash")
            && let Some(text) = value.as_str()
        {
            // A link says where in an answer one stands.
            if !text.starts_with("$response") {
                hashes.insert(text.to_owned());
            }
        }
    });
    assert_eq!(hashes, BTreeSet::from([hash]));
}

/// The members of a body, and those that its schema names and wants.
#[track_caller]
fn has_the_members_of(body: &Value, schema: &Value) {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let required = schema["required"].as_array().expect("required members");
    let required: BTreeSet<String> = required.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let body = names(body);
    assert!(body.is_subset(&names(&schema["properties"])), "{body:?}");
    assert!(required.is_subset(&body), "{body:?} lacks some of {required:?}");
}

#[test]
fn every_rejection_has_the_form_that_is_described() {
    let [data, _] = parsed();
    let schemas = &data["components"]["schemas"];
    for rejection in Rejection::ALL {
        let flat: Value = serde_json::from_str(&rejection.body(ErrorShape::Safecache)).expect("JSON");
        let name = if rejection.row().status == 429 { "FlatRateError" } else { "FlatError" };
        has_the_members_of(&flat, &schemas[name]);
        let nested = ApiError::of(rejection).body(safecache::clock::UnixTime::from_secs(1));
        let nested: Value = serde_json::from_str(&nested).expect("JSON");
        has_the_members_of(&nested, &schemas["NestedError"]);
        has_the_members_of(&nested["error"], &schemas["ErrorReason"]);
    }
}
