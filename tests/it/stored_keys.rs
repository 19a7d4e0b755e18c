//! Keys in the store as people meet them: made, rotated and revoked over the operator's API, used at the data port.

use std::net::SocketAddr;
use std::time::Duration;

use safecache::clock::UnixTime;
use serde_json::{Value, json};

use crate::support::admin::{TOKEN, public_id};
use crate::support::client::{Answer, Client};
use crate::support::disk::accounts_sql;
use crate::support::gateway::{Gateway, START, key, secret, sha256};
use crate::support::upstream::{Upstream, gate};

pub(crate) const UNKNOWN: &str = r#"{"error":"Invalid API key","message":"The provided API key is invalid or has been revoked","status":401}"#;

/// A configuration before nobody, with `more` lines.
pub(crate) fn yaml(more: &str) -> String {
    format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nupstreams: {{llm: {{servers: [\"http://127.0.0.1:9\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm}}]\n{more}"
    )
}

pub(crate) fn start(more: &str) -> Gateway {
    Gateway::start(&yaml(more))
}

/// Asks the operator's API.
pub(crate) fn ask(gateway: &Gateway, line: &str, body: &Value) -> Answer {
    ask_with(gateway, line, "", body)
}

fn ask_with(gateway: &Gateway, line: &str, headers: &str, body: &Value) -> Answer {
    ask_at(gateway.running().admin_address(), line, headers, body)
}

/// Asks the operator's API at this address.
pub(crate) fn ask_at(admin: SocketAddr, line: &str, headers: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{line} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    Client::connect(admin).send(request).answer()
}

#[track_caller]
pub(crate) fn done(gateway: &Gateway, line: &str, body: &Value) -> Value {
    let answer = ask(gateway, line, body);
    assert!(matches!(answer.status, 200 | 201), "{line}: {} {}", answer.status, answer.text());
    answer.json()
}

/// The id and the whole of a key that was just made.
#[track_caller]
pub(crate) fn make(gateway: &Gateway, more: &Value) -> (String, String) {
    let mut new = json!({"account": "acme", "create_account": true});
    new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = done(gateway, "POST /admin/v1/keys", &new);
    assert_eq!(made["live"], true);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&made["key"]["id"]), text(&made["secret"]))
}

/// What the data port says to a key.
pub(crate) fn status(gateway: &Gateway, key: &str) -> u16 {
    usage(gateway, key).status
}

pub(crate) fn usage(gateway: &Gateway, key: &str) -> Answer {
    gateway.connect().get("/api/v1/usage", key)
}

#[test]
fn a_key_works_from_the_answer_on_and_a_revoked_one_is_unknown_from_its_on() {
    let gateway = start("");
    let (id, key) = make(&gateway, &json!({"name": "first", "environment": "production"}));
    assert_eq!(id, format!("key_{}", public_id(&key)), "the public id of its first secret");
    let told = usage(&gateway, &key).json();
    assert_eq!((&told["account"], &told["plan"]), (&json!("acme"), &json!("free")));
    let shown = done(&gateway, &format!("GET /admin/v1/keys/{id}"), &Value::Null);
    assert_eq!((&shown["state"], &shown["name"]), (&json!("active"), &json!("first")));
    assert!(!shown.to_string().contains(key.split('_').nth(1).unwrap()), "but its secret");
    done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
    let refused = usage(&gateway, &key);
    assert_eq!((refused.status, refused.text().as_str()), (401, UNKNOWN));
    let shown = done(&gateway, &format!("GET /admin/v1/keys/{id}"), &Value::Null);
    assert_eq!(shown["state"], "revoked");
    assert_eq!(ask(&gateway, &format!("POST /admin/v1/keys/{id}/rotate"), &Value::Null).status, 409);
    let removed = done(&gateway, &format!("DELETE /admin/v1/keys/{id}"), &Value::Null);
    assert_eq!(removed["key"], Value::Null);
    assert_eq!(ask(&gateway, &format!("GET /admin/v1/keys/{id}"), &Value::Null).status, 404);
}

/// Connections stay with the worker that they were given to.
#[test]
fn a_change_is_in_force_on_every_worker_when_its_call_returns() {
    let gateway = start("threads: 4");
    let mut clients: Vec<Client> = (0..12).map(|_| gateway.connect()).collect();
    let mut statuses = |key: &str| -> Vec<u16> {
        clients.iter_mut().map(|client| client.get("/api/v1/usage", key).status).collect()
    };
    for _ in 0..20 {
        let (id, key) = make(&gateway, &json!({}));
        assert_eq!(statuses(&key), [200; 12]);
        done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
        assert_eq!(statuses(&key), [401; 12]);
    }
}

#[test]
fn both_secrets_of_a_rotated_key_work_until_the_overlap_ends() {
    let gateway = start("");
    let (id, first) = make(&gateway, &json!({}));
    let rotate = |overlap: &str| {
        let line = format!("POST /admin/v1/keys/{id}/rotate");
        let made = done(&gateway, &line, &json!({"overlap": overlap}));
        assert_eq!(made["key"]["id"], json!(id), "the key is the same");
        made["secret"].as_str().unwrap().to_owned()
    };
    let second = rotate("1h");
    assert_eq!([&first, &second].map(|key| status(&gateway, key)), [200, 200]);
    gateway.clock.advance(Duration::from_secs(3599));
    assert_eq!(status(&gateway, &first), 200);
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(usage(&gateway, &first).text(), UNKNOWN);
    let third = rotate("24h");
    assert_eq!([&second, &third].map(|key| status(&gateway, key)), [200, 200]);
    done(&gateway, &format!("POST /admin/v1/keys/{id}/end-overlap"), &Value::Null);
    assert_eq!([&second, &third].map(|key| status(&gateway, key)), [401, 200]);
    let fourth = rotate("0s");
    assert_eq!([&third, &fourth].map(|key| status(&gateway, key)), [401, 200]);
    let told = usage(&gateway, &fourth).json();
    assert_eq!(told["keys"]["total"], 1, "usage is the key's, not the secret's");
}

/// Otherwise who rotates has twice the plan.
#[test]
fn both_secrets_of_a_key_draw_from_one_bucket() {
    let gateway = start("plans: {few: {requests_per_minute: 1, burst: 3}}");
    let (id, first) = make(&gateway, &json!({"plan": "few"}));
    assert_eq!([0; 2].map(|_| status(&gateway, &first)), [200; 2]);
    let made = done(&gateway, &format!("POST /admin/v1/keys/{id}/rotate"), &Value::Null);
    let second = made["secret"].as_str().unwrap();
    assert_eq!(status(&gateway, second), 200);
    assert_eq!([first.as_str(), second].map(|key| status(&gateway, key)), [429; 2]);
}

#[test]
fn a_suspended_account_has_all_its_keys_refused_until_it_is_resumed() {
    let gateway = start("");
    let (_, key) = make(&gateway, &json!({}));
    let other = done(&gateway, "POST /admin/v1/keys", &json!({"account": "globex", "create_account": true}));
    let other = other["secret"].as_str().unwrap();
    let suspended = done(&gateway, "POST /admin/v1/accounts/acme/suspend", &Value::Null);
    assert_eq!(suspended["account"]["suspended_at"], "2027-01-15T08:00:00Z");
    assert_eq!((usage(&gateway, &key).text().as_str(), status(&gateway, other)), (UNKNOWN, 200));
    assert_eq!(gateway.metric("safecache_keys{state=\"disabled\"}"), 1.0);
    done(&gateway, "POST /admin/v1/accounts/acme/resume", &Value::Null);
    assert_eq!(status(&gateway, &key), 200);
    done(&gateway, "POST /admin/v1/accounts", &json!({"id": "without-keys"}));
    let suspended = done(&gateway, "POST /admin/v1/accounts/without-keys/suspend", &Value::Null);
    assert_eq!(suspended["live"], true);
}

#[test]
fn an_accounts_plan_is_that_of_its_keys_without_one() {
    let gateway = start("");
    let (_, plain) = make(&gateway, &json!({}));
    let (_, own) = make(&gateway, &json!({"plan": "enterprise"}));
    let plan = |key: &str| usage(&gateway, key).json()["plan"].clone();
    assert_eq!([plan(&plain), plan(&own)], [json!("free"), json!("enterprise")]);
    let changed = done(&gateway, "PATCH /admin/v1/accounts/acme", &json!({"plan": "pro"}));
    assert_eq!((&changed["live"], &changed["account"]["plan"]), (&json!(true), &json!("pro")));
    assert_eq!([plan(&plain), plan(&own)], [json!("pro"), json!("enterprise")]);
}

#[test]
fn what_was_decided_of_a_key_holds() {
    let gateway = start("");
    let (id, key) = make(&gateway, &json!({"expires": "90d", "allowed_ips": ["127.0.0.1"]}));
    let (_, foreign) = make(&gateway, &json!({"allowed_ips": ["192.0.2.0/24"]}));
    let (_, bound) = make(&gateway, &json!({"allowed_models": ["gpt-*"]}));
    assert_eq!((status(&gateway, &key), status(&gateway, &foreign)), (200, 403));
    // A report has all usage written that was counted before it.
    assert_eq!(status(&gateway, &bound), 200);
    let store = json!({"messages": [{"role": "user", "content": "a"}], "answer": "b", "model": "claude"});
    assert_eq!(gateway.connect().post("/api/v1/store", &bound, &store.to_string()).status, 403);
    let shown = done(&gateway, &format!("GET /admin/v1/keys/{id}"), &Value::Null);
    assert_eq!(shown["allowed_ips"], json!(["127.0.0.1/32"]));
    assert_eq!(shown["expires_at"], "2027-04-15T08:00:00Z");
    assert_eq!(shown["last_used_at"], "2027-01-15T08:00:00Z");
    gateway.clock.advance(Duration::from_secs(90 * 24 * 3600));
    assert_eq!(usage(&gateway, &key).text(), UNKNOWN);
    let shown = done(&gateway, &format!("GET /admin/v1/keys/{id}"), &Value::Null);
    assert_eq!(shown["state"], "expired");
}

#[test]
fn keys_of_list_and_store_are_one_ring() {
    let listed = format!("keys:\n{}", key("listed", ""));
    let gateway = start(&listed);
    let (id, stored) = make(&gateway, &json!({}));
    let both = |gateway: &Gateway| [secret("listed"), stored.clone()].map(|key| status(gateway, &key));
    assert_eq!(both(&gateway), [200, 200]);
    assert_eq!(usage(&gateway, &secret("listed")).json()["keys"]["total"], 2, "one account");
    gateway.rewrite(&yaml(&format!("{listed}{}", key("another", ""))));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(both(&gateway), [200, 200], "a reload of the list leaves the store's");
    // The same id, and the same key, in the list: the reload is refused and says so.
    let hash = sha256(&stored);
    for (entry, why) in [
        (format!("  - {{id: other, account: acme, plan: pro, sha256: {hash}}}\n"), "it is the same key as"),
        (key(&id, ""), "the store has a key with the same id"),
    ] {
        gateway.rewrite(&yaml(&format!("{listed}{entry}")));
        let refused = ask(&gateway, "POST /admin/v1/reload", &Value::Null);
        assert_eq!(refused.status, 422);
        assert!(refused.text().contains(why), "{}", refused.text());
        assert_eq!(both(&gateway), [200, 200]);
    }
    // What is revoked stays so, whatever the list says of it.
    let (revoked, gone) = make(&gateway, &json!({}));
    done(&gateway, &format!("POST /admin/v1/keys/{revoked}/revoke"), &Value::Null);
    let entry = format!("  - {{id: other, account: acme, plan: pro, sha256: {}}}\n", sha256(&gone));
    gateway.rewrite(&yaml(&format!("{listed}{entry}")));
    assert_eq!(ask(&gateway, "POST /admin/v1/reload", &Value::Null).status, 422);
    assert_eq!(status(&gateway, &gone), 401);
    gateway.rewrite(&yaml(&listed));
    let gateway = gateway.restarted();
    assert_eq!(both(&gateway), [200, 200], "and so does a restart");
    assert_eq!(gateway.metric("safecache_keys{state=\"active\"}"), 2.0);
}

/// A reload may take the plan away while a key is being made; the key is in the ring as soon as it can be.
#[test]
fn a_key_without_a_plan_is_told_of_and_tried_again() {
    // Nobody counts how often is looked.
    let limits = "limits: {auth_failures: off}\n";
    let gateway = start(limits);
    let (id, key) = make(&gateway, &json!({}));
    let plan = |to: &str| {
        let change = format!(
            "UPDATE keys SET plan = '{to}', revision = (SELECT revision + 1 FROM revisions) WHERE id = '{id}'; \
                              UPDATE revisions SET revision = revision + 1"
        );
        accounts_sql(gateway.folder.path(), change);
    };
    let problems =
        |gateway: &Gateway| done(gateway, "GET /admin/v1/config", &Value::Null)["problems"].clone();
    plan("later");
    gateway.eventually("it is refused", |gateway| problems(gateway) != json!([]));
    assert_eq!(status(&gateway, &key), 401);
    let told = problems(&gateway);
    assert_eq!(told[0]["source"], "stored_keys");
    assert!(
        told[0]["message"].as_str().unwrap().contains(&format!("key `{id}`: no plan named `later`")),
        "{told}"
    );
    gateway.rewrite(&yaml(&format!("{limits}plans: {{later: {{requests_per_minute: 9, burst: 9}}}}")));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    gateway.eventually("it is taken", |gateway| status(gateway, &key) == 200);
    assert_eq!(problems(&gateway), json!([]));
    // One that is not understood is refused by itself, and keeps nobody else's from being followed.
    accounts_sql(
        gateway.folder.path(),
        format!(
            "UPDATE keys SET environment = 'space', revision = (SELECT revision + 1 FROM revisions) WHERE id = '{id}'; \
                 UPDATE revisions SET revision = revision + 1"
        ),
    );
    gateway.eventually("it is refused", |gateway| status(gateway, &key) == 401);
    let (_, other) = make(&gateway, &json!({}));
    assert_eq!(status(&gateway, &other), 200);
}

#[test]
fn a_plan_that_a_stored_key_has_cannot_go() {
    let gateway = start("plans: {mine: {requests_per_minute: 9, burst: 9}}");
    let (id, key) = make(&gateway, &json!({"plan": "mine"}));
    gateway.rewrite(&yaml(""));
    let refused = ask(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains(&format!("key `{id}`: no plan named `mine`")), "{}", refused.text());
    assert_eq!(usage(&gateway, &key).json()["plan"], "mine");
    gateway.rewrite(&yaml("plans: {mine: {requests_per_minute: 12, burst: 9}}"));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(usage(&gateway, &key).header("x-ratelimit-limit"), Some("12"));
}

#[test]
fn an_account_has_as_many_keys_as_its_plan_allows() {
    let gateway = start("plans: {free: {max_keys: 2}}");
    make(&gateway, &json!({}));
    let (id, _) = make(&gateway, &json!({}));
    let refused = ask(&gateway, "POST /admin/v1/keys", &json!({"account": "acme"}));
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("max_keys"), "{}", refused.text());
    done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
    make(&gateway, &json!({}));
    done(&gateway, "PATCH /admin/v1/accounts/acme", &json!({"plan": "pro"}));
    make(&gateway, &json!({}));
}

#[test]
fn a_request_that_is_sent_again_makes_no_second_key() {
    let gateway = start("");
    let new = json!({"account": "acme", "create_account": true});
    let again = || ask_with(&gateway, "POST /admin/v1/keys", "Idempotency-Key: deploy-7\r\n", &new);
    let (first, second) = (again(), again());
    assert_eq!((first.status, second.status), (201, 200));
    let (first, second) = (first.json(), second.json());
    assert!(first["secret"].is_string() && second["secret"].is_null(), "it is shown once");
    assert_eq!(first["key"]["id"], second["key"]["id"]);
    let list = done(&gateway, "GET /admin/v1/keys", &Value::Null);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[test]
fn another_request_of_the_same_name_is_refused() {
    let gateway = start("");
    let named = "Idempotency-Key: deploy-7\r\n";
    let new = json!({"account": "acme", "create_account": true, "name": "a", "expires": "90d"});
    assert_eq!(ask_with(&gateway, "POST /admin/v1/keys", named, &new).status, 201);
    gateway.clock.advance(Duration::from_secs(60));
    for (member, value) in [
        ("account", json!("globex")),
        ("create_account", json!(false)),
        ("name", json!("b")),
        ("name", Value::Null),
        ("environment", json!("staging")),
        ("plan", json!("pro")),
        ("expires", json!("91d")),
        ("allowed_ips", json!(["127.0.0.1"])),
        ("allowed_models", json!(["127.0.0.1"])),
    ] {
        let mut other = new.clone();
        other[member] = value;
        let refused = ask_with(&gateway, "POST /admin/v1/keys", named, &other);
        assert_eq!(refused.status, 422, "{other}: {}", refused.text());
        let told = refused.json();
        assert!(told["message"].as_str().unwrap().starts_with("idempotency-key: "), "{told}");
    }
    // The span of an expiry is the same request whenever it comes.
    assert_eq!(ask_with(&gateway, "POST /admin/v1/keys", named, &new).status, 200);
    let list = done(&gateway, "GET /admin/v1/keys", &Value::Null);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&gateway, "GET /admin/v1/accounts/globex", &Value::Null).status, 404);
}

#[test]
fn a_rotation_that_is_sent_again_makes_no_second_secret() {
    let gateway = start("");
    let (id, first) = make(&gateway, &json!({}));
    let line = format!("POST /admin/v1/keys/{id}/rotate");
    let rotate =
        |name: &str, body: &Value| ask_with(&gateway, &line, &format!("Idempotency-Key: {name}\r\n"), body);
    let body = json!({"overlap": "1h"});
    let (rotated, again) = (rotate("r-1", &body), rotate("r-1", &body));
    assert_eq!((rotated.status, again.status), (200, 200));
    let (rotated, again) = (rotated.json(), again.json());
    let second = rotated["secret"].as_str().expect("it is shown once");
    assert_eq!((&again["secret"], &again["live"]), (&Value::Null, &json!(true)));
    assert_eq!(rotated["key"]["secrets"], again["key"]["secrets"]);
    assert_eq!([&first, second].map(|key| status(&gateway, key)), [200, 200]);
    // With what is left out or written otherwise, it may be the same request; with another overlap it is not.
    assert_eq!(rotate("r-1", &json!({"overlap": "60m"})).json()["secret"], Value::Null);
    assert_eq!(rotate("r-1", &json!({})).status, 422);
    assert_eq!(rotate("", &body).status, 422);
    assert_eq!(rotate(&"x".repeat(129), &body).status, 422);
    assert_eq!(rotate("\u{e4}", &body).status, 400);
    let third = rotate("r-2", &body).json();
    assert!(third["secret"].is_string());
    let trail = done(&gateway, "GET /admin/v1/audit", &Value::Null);
    let rotations = trail["items"].as_array().unwrap().iter().filter(|row| row["action"] == "key.rotate");
    assert_eq!(rotations.count(), 2);
}

#[test]
fn keys_are_listed_by_account_state_and_environment() {
    let gateway = start("plans: {free: {max_keys: 100}}");
    let mut made: Vec<(String, &str, &str, &str)> = Vec::new();
    for (account, environment) in [("acme", "staging"), ("globex", "staging"), ("acme", "production")] {
        for state in ["active", "revoked", "expired", "active"] {
            let expires = if state == "active" { "90d" } else { "1h" };
            let more = json!({"account": account, "environment": environment, "expires": expires});
            let (id, _) = make(&gateway, &more);
            if state == "revoked" {
                done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
            }
            made.push((id, account, environment, state));
        }
    }
    let (id, _) = make(&gateway, &json!({"account": "initech"}));
    made.push((id, "initech", "none", "suspended"));
    gateway.clock.advance(Duration::from_secs(3600));
    done(&gateway, "POST /admin/v1/accounts/initech/suspend", &Value::Null);
    made.sort();
    let listed = |query: &str| {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page =
                done(&gateway, &format!("GET /admin/v1/keys?limit=2&after={after}{query}"), &Value::Null);
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return seen,
            }
        }
    };
    let all = |name: &'static str, values: &[&'static str]| {
        let filter = move |value: &&'static str| (format!("&{name}={value}"), *value);
        std::iter::once((String::new(), "")).chain(values.iter().map(filter)).collect::<Vec<_>>()
    };
    let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
    for (of_account, account) in all("account", &["acme", "globex", "initech", "nobody"]) {
        for (of_environment, environment) in all("environment", &["staging", "production", "development"]) {
            for (in_state, state) in all("state", &["active", "revoked", "expired", "suspended"]) {
                let expected = made
                    .iter()
                    .filter(|(_, of, at, now)| is(account, of) && is(environment, at) && is(state, now));
                let expected: Vec<_> = expected.map(|(id, ..)| id.clone()).collect();
                let query = format!("{of_account}{of_environment}{in_state}");
                assert_eq!(listed(&query), expected, "{query}");
            }
        }
    }
}

#[test]
fn lists_come_in_pages() {
    let gateway = start("plans: {free: {max_keys: 100}}");
    let mut made: Vec<String> = (0..5).map(|_| make(&gateway, &json!({})).0).collect();
    made.sort();
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page =
            done(&gateway, &format!("GET /admin/v1/keys?account=acme&limit=2&after={after}"), &Value::Null);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, made);
    let none = done(&gateway, "GET /admin/v1/keys?account=globex", &Value::Null);
    assert_eq!(none, json!({"items": [], "next": null}));
    let accounts = done(&gateway, "GET /admin/v1/accounts", &Value::Null);
    assert_eq!((&accounts["items"][0]["id"], &accounts["items"][0]["keys"]), (&json!("acme"), &json!(5)));
    let trail = done(&gateway, "GET /admin/v1/audit?limit=1", &Value::Null);
    assert_eq!(trail["items"][0]["action"], "key.create");
    let before = trail["next"].as_u64().unwrap();
    let older = done(&gateway, &format!("GET /admin/v1/audit?limit=100&before={before}"), &Value::Null);
    let older: Vec<_> = older["items"].as_array().unwrap().iter().map(|row| &row["action"]).collect();
    assert_eq!(older, ["key.create", "key.create", "key.create", "key.create", "account.create"]);
}

/// However many keys have to be looked at to find few: nobody else waits for that.
#[test]
fn a_page_of_some_keys_looks_at_ten_thousand_at_most() {
    let gateway = start("");
    make(&gateway, &json!({}));
    let many = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000) \
                INSERT INTO keys (id, account, allowed_ips, allowed_models, created_at, revision, environment) \
                SELECT printf('many_%05d', n), 'acme', '[]', '[]', 0, 0, \
                CASE WHEN n IN (3, 24999) THEN 'staging' END FROM n";
    accounts_sql(gateway.folder.path(), many.to_owned());
    for (query, pages) in [("", 3), ("&account=acme", 3), ("&state=active", 3)] {
        let (mut seen, mut after, mut asked) = (Vec::new(), String::new(), 0);
        loop {
            let line = format!("GET /admin/v1/keys?environment=staging{query}&after={after}");
            let page = done(&gateway, &line, &Value::Null);
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
            asked += 1;
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        assert_eq!((seen, asked), (vec!["many_00003".to_owned(), "many_24999".to_owned()], pages), "{query}");
    }
}

#[test]
fn the_trail_is_kept_for_four_hundred_days() {
    let gateway = start("");
    make(&gateway, &json!({}));
    let trail = |gateway: &Gateway| {
        let told = done(gateway, "GET /admin/v1/audit", &Value::Null);
        told["items"].as_array().unwrap().len()
    };
    gateway.clock.advance(Duration::from_secs(399 * 24 * 3600));
    make(&gateway, &json!({}));
    assert_eq!(trail(&gateway), 3, "an account and two keys");
    gateway.clock.advance(Duration::from_secs(2 * 24 * 3600));
    gateway.eventually("the oldest is forgotten", |gateway| trail(gateway) == 1);
}

/// Nor may one that is right again, after whoever noticed: what was forgotten does not come back.
#[test]
fn a_clock_that_is_set_ahead_takes_two_days_of_the_trail_at_most() {
    let gateway = start("");
    let trail = |gateway: &Gateway| -> Vec<String> {
        let told = done(gateway, "GET /admin/v1/audit?limit=100", &Value::Null);
        let rows = told["items"].as_array().unwrap().iter().rev();
        rows.map(|row| row["at"].as_str().unwrap().split('T').next().unwrap().to_owned()).collect()
    };
    let a_day = Duration::from_secs(24 * 3600);
    // Nothing of so short a trail is forgotten while days pass.
    for _ in 0..6 {
        make(&gateway, &json!({}));
        gateway.clock.advance(a_day);
    }
    let all = trail(&gateway);
    assert_eq!((all.len(), all[0].as_str(), all[6].as_str()), (7, "2027-01-15", "2027-01-20"));
    let ahead = UnixTime::from_secs(START.as_secs() + 6 * 24 * 3600 + 900 * 24 * 3600);
    gateway.clock.set_unix(ahead);
    gateway.pass_some_time();
    assert_eq!(trail(&gateway), all, "not at once");
    gateway.clock.advance(a_day);
    gateway.eventually("what is oldest is forgotten", |gateway| trail(gateway) != all);
    assert_eq!(trail(&gateway), all[3..], "of the first two days");
    gateway.pass_some_time();
    assert_eq!(trail(&gateway).len(), 4, "and no more on this one");
}

#[test]
fn what_cannot_be_is_refused_and_said_why() {
    let gateway = start("");
    make(&gateway, &json!({}));
    for (line, body, status, why) in [
        ("POST /admin/v1/keys", json!({"account": "nobody"}), 404, "no such account"),
        ("POST /admin/v1/keys", json!({"account": ""}), 422, "account: "),
        (
            "POST /admin/v1/keys",
            json!({"account": "acme", "plan": "gold"}),
            422,
            "there are enterprise, free, pro",
        ),
        ("POST /admin/v1/keys", json!({"account": "acme", "environment": "test"}), 422, "environment: "),
        ("POST /admin/v1/keys", json!({"account": "acme", "expires": "soon"}), 422, "expires: "),
        (
            "POST /admin/v1/keys",
            json!({"account": "acme", "expires": "2020-01-01T00:00:00Z"}),
            422,
            "already",
        ),
        ("POST /admin/v1/keys", json!({"account": "acme", "allowed_ips": ["10.0.0.1/8"]}), 422, "10.0.0.0/8"),
        ("POST /admin/v1/keys", json!({"account": "acme", "allowed_models": [""]}), 422, "allowed_models: "),
        (
            "POST /admin/v1/keys",
            json!({"account": "acme", "allowed_models": vec!["a"; 101]}),
            422,
            "at most 100",
        ),
        ("POST /admin/v1/keys", json!({"account": "acme", "name": "a\nb"}), 422, "name: "),
        ("POST /admin/v1/keys", json!({"account": "acme", "colour": "red"}), 400, "colour"),
        ("POST /admin/v1/keys", json!(["acme"]), 400, "invalid"),
        ("POST /admin/v1/keys", json!({"account": "acct_x", "create_account": true}), 404, "no such account"),
        ("PATCH /admin/v1/keys/key_nothere", json!({}), 400, "missing field `name`"),
        ("POST /admin/v1/keys/key_nothere/revoke", Value::Null, 404, "no such key"),
        ("GET /admin/v1/keys?limit=0", Value::Null, 400, "limit: "),
        ("GET /admin/v1/keys?limit=101", Value::Null, 400, "limit: "),
        ("GET /admin/v1/keys?page=1", Value::Null, 400, "page"),
        ("GET /admin/v1/keys?state=gone", Value::Null, 400, "active, suspended, expired or revoked"),
        ("GET /admin/v1/keys?environment=Staging", Value::Null, 400, "development, staging or production"),
        ("GET /admin/v1/people?login=a", Value::Null, 400, "login"),
        ("POST /admin/v1/people/nobody/reset", Value::Null, 404, "no such person"),
        ("POST /admin/v1/people/no%20name/reset", Value::Null, 404, "no such person"),
        ("POST /admin/v1/accounts", json!({"id": "acme"}), 409, "already"),
        ("POST /admin/v1/accounts", json!({"id": "acct_x"}), 422, "acct_"),
        ("PATCH /admin/v1/accounts/acme", json!({}), 422, "nothing is to be changed"),
        ("PATCH /admin/v1/accounts/nobody", json!({"plan": "pro"}), 404, "no such account"),
    ] {
        let answer = ask(&gateway, line, &body);
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.text());
        let told = answer.json();
        assert_eq!(told["applied"], false);
        assert!(told["message"].as_str().unwrap().contains(why), "{line} {body}: {told}");
    }
    let large = format!("{{\"account\":\"{}\"}}", "a".repeat(70_000));
    let request = format!(
        "POST /admin/v1/keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{large}",
        large.len()
    );
    let answer = Client::connect(gateway.running().admin_address()).send(request).answer();
    assert_eq!(answer.status, 413, "{}", answer.text());
    let list = done(&gateway, "GET /admin/v1/keys", &Value::Null);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "nothing was made");
}

#[test]
fn nobody_without_the_token_is_answered() {
    let gateway = start("");
    for path in [
        "/admin/v1/keys",
        "/admin/v1/accounts",
        "/admin/v1/audit",
        "/admin/v1/keys/key_a",
        "/admin/v1/people",
    ] {
        assert_eq!(gateway.admin(path).status, 401, "{path}");
    }
    let reset = "POST /admin/v1/people/root/reset HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(Client::connect(gateway.running().admin_address()).send(reset).answer().status, 401);
    let off = Gateway::start(&yaml("").replace(&format!(", token: {TOKEN}"), ""));
    assert_eq!(off.admin("/admin/v1/keys").status, 404);
}

fn rest(client: &mut Client) -> String {
    String::from_utf8_lossy(&client.rest()).into_owned()
}

#[test]
fn a_revoked_keys_streams_end_where_that_is_wanted() {
    for (setting, is_cut) in [("revoke: {cut_streams: true}", true), ("", false)] {
        let (gate, opener) = gate();
        let upstream = Upstream::start(move |_, exchange| {
            exchange.begin("text/event-stream");
            exchange.chunk("data: {\"choices\":[]}\n\n");
            gate.wait();
            exchange.chunk("data: [DONE]\n\n");
            exchange.chunk("");
        });
        let yaml = yaml(setting).replace("http://127.0.0.1:9", &upstream.url());
        let gateway = Gateway::start(&yaml);
        let (id, key) = make(&gateway, &json!({}));
        let mut client = gateway.connect();
        client.request(
            "POST /v1/chat/completions",
            &key,
            "Content-Type: application/json\r\n",
            b"{\"stream\":true}",
        );
        upstream.wait_for(1);
        assert_eq!(client.head().status, 200);
        // A rotation is no revocation: the stream of the old secret goes on.
        done(&gateway, &format!("POST /admin/v1/keys/{id}/rotate"), &Value::Null);
        done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
        if is_cut {
            gateway.eventually("it is cut", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
            opener.open();
            assert!(!rest(&mut client).contains("[DONE]"));
            assert!(gateway.stop().contains("\"outcome\":\"unauthorized\""));
        } else {
            opener.open();
            assert_eq!(client.chunk().unwrap(), b"data: {\"choices\":[]}\n\n");
            assert_eq!(client.chunk().unwrap(), b"data: [DONE]\n\n");
        }
    }
}

/// Who reads slowly, or from the cache, is cut as well.
#[test]
fn a_revoked_keys_answer_ends_though_its_client_reads_nothing() {
    let text = "x".repeat(6 << 20);
    let answer = format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    let upstream = Upstream::start(move |_, exchange| exchange.json(&answer));
    let yaml = yaml("revoke: {cut_streams: true}\n")
        .replace("http://127.0.0.1:9", &upstream.url())
        .replace("upstream: llm}]", "upstream: llm, cache: {}}]");
    let gateway = Gateway::start(&yaml);
    let (_, first) = make(&gateway, &json!({}));
    let question = r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#;
    assert_eq!(gateway.connect().post("/v1/chat/completions", &first, question).status, 200);
    let (id, key) = make(&gateway, &json!({}));
    let mut client = gateway.connect();
    let json = "Content-Type: application/json\r\n";
    client.request("POST /v1/chat/completions", &key, json, question.as_bytes());
    assert_eq!(client.head().header("x-cache"), Some("HIT"));
    done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
    gateway.eventually("it is cut", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
    assert!(client.rest().len() < 6 << 20);
}

#[test]
fn who_waits_for_an_answer_when_the_key_is_revoked_is_told_so() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json("{}");
    });
    let yaml = yaml("revoke: {cut_streams: true}").replace("http://127.0.0.1:9", &upstream.url());
    let gateway = Gateway::start(&yaml);
    let (id, key) = make(&gateway, &json!({}));
    let mut client = gateway.connect();
    client.request("POST /v1/chat/completions", &key, "Content-Type: application/json\r\n", b"{}");
    upstream.wait_for(1);
    done(&gateway, &format!("POST /admin/v1/keys/{id}/revoke"), &Value::Null);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (401, UNKNOWN));
    opener.open();
}
