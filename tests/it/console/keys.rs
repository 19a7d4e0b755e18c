//! What is done under API Keys.

use std::time::Duration;

use serde_json::Value;

use super::{account_of, member, open_gateway, operator, owner};
use crate::support::admin::public_id;
use crate::support::browser::Browser;
use crate::support::gateway::Gateway;

/// The whole key that a page shows.
#[track_caller]
fn shown(page: &str) -> String {
    let (_, rest) = page.split_once("<code data-copy>").unwrap_or_else(|| panic!("no key: {page}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}

#[track_caller]
fn make(browser: &mut Browser, fields: &[(&str, &str)]) -> String {
    let answer = browser.post("/keys", fields);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    shown(&answer.text())
}

fn change(
    browser: &mut Browser,
    key: &str,
    deed: &str,
    more: &[(&str, &str)],
) -> crate::support::client::Answer {
    let id = format!("key_{}", public_id(key));
    let fields = [&[("key", id.as_str()), ("deed", deed)], more].concat();
    browser.post("/keys/change", &fields)
}

fn status(gateway: &Gateway, key: &str) -> u16 {
    gateway.connect().get("/api/v1/usage", key).status
}

#[test]
fn from_sign_up_to_a_key_that_works_is_rotated_and_deleted() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    assert!(ada.get("/keys").text().contains("There is none yet."));
    let key = make(&mut ada, &[("name", "my <app>"), ("environment", "staging"), ("expires", "90d")]);
    let told: Value = gateway.connect().get("/api/v1/usage", &key).json();
    assert_eq!(told["account"], account_of(&ada.get("/settings").text()));
    let page = ada.get("/keys").text();
    assert!(page.contains("my &#60;app&#62;") && page.contains(">staging<"), "{page}");
    assert!(!page.contains(key.split('_').nth(1).unwrap()), "it is shown once");
    let rotated = change(&mut ada, &key, "rotate", &[("overlap", "1h")]).text();
    let second = shown(&rotated);
    assert_eq!([&key, &second].map(|key| status(&gateway, key)), [200, 200]);
    assert!(rotated.contains("Its old secret works until"), "{rotated}");
    gateway.clock.advance(Duration::from_secs(3600));
    assert_eq!([&key, &second].map(|key| status(&gateway, key)), [401, 200]);
    assert_eq!(change(&mut ada, &key, "rename", &[("name", "renamed")]).status, 200);
    assert!(ada.get("/keys").text().contains("<strong>renamed</strong>"));
    assert_eq!(change(&mut ada, &key, "revoke", &[]).status, 200);
    assert_eq!(status(&gateway, &second), 401);
    assert_eq!(change(&mut ada, &key, "rotate", &[("overlap", "1h")]).status, 409);
    assert_eq!(change(&mut ada, &key, "delete", &[]).status, 200);
    assert!(ada.get("/keys").text().contains("There is none yet."));
}

#[test]
fn what_cannot_be_is_refused_in_place() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    for (fields, said) in [
        ([("allowed_ips", "10.0.0.1/8"), ("name", "a")], "10.0.0.0/8 would be the network"),
        ([("expires", "soon"), ("name", "a")], "a span such as 90d"),
        ([("environment", "space"), ("name", "a")], "development, staging or production"),
    ] {
        let answer = ada.post("/keys", &fields);
        assert_eq!(answer.status, 422, "{fields:?}");
        assert!(
            answer.text().contains(said) && answer.text().contains("role=\"alert\""),
            "{}",
            answer.text()
        );
    }
    assert!(ada.get("/keys").text().contains("There is none yet."));
    assert_eq!(ada.post("/keys/change", &[("deed", "explode")]).status, 400);
}

#[test]
fn each_role_sees_and_changes_the_keys_that_it_may() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let key = make(&mut ada, &[("name", "of ada")]);
    let mut admin = member(&gateway, &mut ada, (12, "admin", "admin"));
    let mut viewer = member(&gateway, &mut ada, (13, "viewer", "viewer"));
    let mut stranger = owner(&gateway, 14, "stranger");
    let mut root = operator(&gateway, 15, "root");
    for (who, browser, sees, status) in [
        ("viewer", &mut viewer, true, [403, 403]),
        ("stranger", &mut stranger, false, [200, 404]),
        ("root", &mut root, false, [403, 403]),
        ("admin", &mut admin, true, [200, 200]),
    ] {
        let page = browser.get("/keys").text();
        assert_eq!(page.contains("of ada"), sees, "{who}: {page}");
        let made = browser.post("/keys", &[("name", "theirs")]).status;
        let revoked = change(browser, &key, "revoke", &[]).status;
        assert_eq!([made, revoked], status, "{who}");
    }
    assert!(!viewer.get("/keys").text().contains("Generate New Key"));
    assert_eq!(self::status(&gateway, &key), 401, "the admin has revoked it");
}
