//! Who sees what: accounts apart, and keys that may use some models only.

use serde_json::{Value, json};

use super::{CHECK, DELETE, JSON, LIST, STORE, Scene, answering, asking, with};

#[test]
fn accounts_see_nothing_of_each_other() {
    let scene = Scene::new();
    let hash = scene.post(STORE, &answering("x", "acme's"))["prompt_hash"].as_str().unwrap().to_owned();
    let asked = json!({"messages": asking("x")});
    assert_eq!(scene.found("globex", &asked), None);
    let (status, list) = scene.ask("globex", LIST, "", b"");
    assert_eq!((status, list), (200, json!({"account": "globex", "entries": [], "next": null})));
    assert_eq!(scene.ask("globex", &format!("{DELETE}/{hash}"), "", b"").0, 404);
    assert_eq!(scene.ask("globex", DELETE, "", b"").1, json!({"deleted": 0}));
    scene.post_as("globex", STORE, &answering("x", "globex's"));
    assert_eq!(scene.found("acme", &asked).unwrap(), "acme's");
    assert_eq!(scene.found("globex", &asked).unwrap(), "globex's");
}

#[track_caller]
fn denied(scene: &Scene, line: &str, body: &Value) {
    let expected = json!({
        "error": "Access denied",
        "message": "This API key may not use the requested model",
        "status": 403,
    });
    assert_eq!(scene.ask("bound", line, JSON, body.to_string().as_bytes()), (403, expected), "{body}");
}

#[test]
fn a_bound_key_sees_and_stores_allowed_models_alone() {
    let scene = Scene::new();
    let model = |model: &str| json!({"model": model});
    scene.post(STORE, &with(answering("x", "mini's"), model("gpt-4o-mini")));
    scene.post(STORE, &with(answering("x", "o1's"), model("o1")));
    scene.post(STORE, &answering("x", "no model's"));
    let asked = json!({"messages": asking("x")});
    assert_eq!(scene.found("acme", &asked).unwrap(), "no model's");
    assert_eq!(scene.found("bound", &asked).unwrap(), "mini's");
    assert_eq!(scene.found("bound", &with(asked.clone(), model("gpt-4o-mini"))).unwrap(), "mini's");
    assert_eq!(scene.found("bound", &with(asked.clone(), model("gpt-4o"))), None);
    denied(&scene, CHECK, &with(asked.clone(), model("o1")));
    denied(&scene, CHECK, &with(asked, json!({"model": "o1", "cache_types": ["semantic"]})));
    denied(&scene, STORE, &with(answering("x", "y"), model("o1")));
    denied(&scene, STORE, &with(answering("x", "y"), json!({"model": null})));
    denied(&scene, STORE, &answering("x", "y"));
    scene.post_as("bound", STORE, &with(answering("x", "4o's"), model("gpt-4o")));
    assert_eq!(scene.found("acme", &json!({"messages": asking("x"), "model": "gpt-4o"})).unwrap(), "4o's");
    let wrong = with(answering("x", "y"), json!({"model": "o1", "ttl": 0}));
    assert_eq!(
        scene.ask("bound", STORE, JSON, wrong.to_string().as_bytes()).0,
        400,
        "what is wrong comes first"
    );
}

#[test]
fn a_bound_key_lists_and_deletes_allowed_models_alone() {
    let scene = Scene::new();
    let mut hash = String::new();
    for model in [json!("gpt-4o"), json!("o1"), json!(null)] {
        let stored = scene.post(STORE, &with(answering("x", "y"), json!({"model": model})));
        hash = stored["prompt_hash"].as_str().unwrap().to_owned();
        scene.post(STORE, &with(answering("z", "y"), json!({"model": model})));
    }
    scene.put_proxied(1, Some("acme"), Some("gpt-4o-mini"));
    scene.put_proxied(2, Some("acme"), Some("o1"));
    scene.put_proxied(3, Some("acme"), Some("gpt-4o"));
    scene.put_proxied(4, Some("acme"), None);
    let models = || {
        let (status, page) = scene.ask("bound", LIST, "", b"");
        assert_eq!(status, 200);
        let entries = page["entries"].as_array().unwrap();
        let mut models: Vec<_> =
            entries.iter().map(|entry| entry["model"].as_str().unwrap().to_owned()).collect();
        models.sort();
        models
    };
    assert_eq!(models(), ["gpt-4o", "gpt-4o", "gpt-4o", "gpt-4o-mini"]);
    let delete = |rest: &str| scene.ask("bound", &format!("{DELETE}{rest}"), "", b"");
    assert_eq!(delete(&format!("/{hash}")), (200, json!({"deleted": 1})));
    assert_eq!(delete(&format!("/{hash}")).0, 404);
    assert_eq!(delete(&format!("/{}", "02".repeat(32))).0, 404);
    assert_eq!(delete(&format!("/{}", "04".repeat(32))).0, 404);
    assert_eq!(delete(&format!("/{}", "01".repeat(32))), (200, json!({"deleted": 1})));
    assert_eq!(models(), ["gpt-4o", "gpt-4o"]);
    assert_eq!(delete(""), (200, json!({"deleted": 2})));
    assert_eq!(models(), [""; 0]);
    assert_eq!(scene.get(LIST)["entries"].as_array().unwrap().len(), 6);
}
