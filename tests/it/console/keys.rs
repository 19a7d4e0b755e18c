//! What is done under API Keys.

use std::time::Duration;

use serde_json::Value;

use super::{account_of, between, leads_to, member, open_gateway, operator, owner};
use crate::support::admin::public_id;
use crate::support::browser::{Browser, value_of};
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

/// The element that begins with `start`, up to the end of its tag.
#[track_caller]
fn tag(page: &str, start: &str) -> String {
    between(page, start, ">").to_owned()
}

#[test]
fn what_cannot_be_is_refused_at_its_field_and_keeps_what_was_typed() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let typed = [
        ("name", "my <app>"),
        ("environment", "staging"),
        ("expires", "30d"),
        ("allowed_ips", "10.0.0.0/8, 192.0.2.1"),
        ("allowed_models", "gpt-4o*"),
    ];
    for (field, start, wrong, kept, said) in [
        (
            "allowed_ips",
            "<input id=\"allowed_ips\"",
            "10.0.0.1/8",
            "value=\"10.0.0.1/8\"",
            "10.0.0.1/8 has bits behind its prefix; 10.0.0.0/8 would be",
        ),
        (
            "expires",
            "<select id=\"expires\"",
            "soon",
            "<option value=\"soon\" selected>",
            "A span such as 90d",
        ),
        (
            "environment",
            "<select id=\"environment\"",
            "space",
            "<option value=\"space\" selected>",
            "It is development, ",
        ),
        ("name", "<input id=\"name\"", &"n".repeat(129), &"n".repeat(129), "A name has 1 to 128 bytes"),
    ] {
        let fields = typed.map(|(name, value)| (name, if name == field { wrong } else { value }));
        let answer = ada.post("/keys", &fields);
        let page = answer.text();
        assert_eq!(answer.status, 422, "{field}");
        let problem = format!("<p id=\"{field}-problem\" class=\"problem\" role=\"alert\">");
        let (_, text) = page.split_once(&problem).unwrap_or_else(|| panic!("{field}: {page}"));
        assert!(text.starts_with(said), "{field}: {text}");
        let tag = tag(&page, start);
        assert!(
            tag.contains(&format!("{field}-problem\"")) && tag.contains("aria-invalid=\"true\""),
            "{tag}"
        );
        assert_eq!(page.matches("aria-invalid").count(), 1, "the other fields are right: {page}");
        let expected = [
            "value=\"my &#60;app&#62;\"",
            "<option value=\"staging\" selected>",
            "<option value=\"30d\" selected>",
            "value=\"10.0.0.0/8, 192.0.2.1\"",
            "value=\"gpt-4o*\"",
            "<details open>",
        ];
        let fields = ["name", "environment", "expires", "allowed_ips", "allowed_models", ""];
        for (_, expected) in fields.into_iter().zip(expected).filter(|(name, _)| *name != field) {
            assert!(page.contains(expected), "{field}: {expected} is not kept: {page}");
        }
        assert!(page.contains(kept), "{field}: {page}");
    }
    let page = ada.get("/keys").text();
    assert!(page.contains("There is none yet.") && !page.contains("aria-invalid"), "{page}");
    assert_eq!(ada.post("/keys/change", &[("deed", "explode")]).status, 400);
}

#[test]
fn what_is_no_fields_fault_is_said_above_the_form() {
    let yaml = "admin: {listen: \"127.0.0.1:0\", sign_up: open}\n\
                plans: {free: {requests_per_minute: 60, burst: 100, max_keys: 1}}\n";
    let gateway = Gateway::start(yaml);
    let mut ada = owner(&gateway, 11, "ada");
    make(&mut ada, &[("name", "one")]);
    let refused = ada.post("/keys", &[("name", "two")]);
    let page = refused.text();
    assert_eq!(refused.status, 409);
    assert!(page.contains("role=\"alert\">That was not done: the account has 1 keys, as many as"), "{page}");
    assert!(page.contains("value=\"two\"") && !page.contains("aria-invalid"), "{page}");
}

#[test]
fn a_change_that_is_refused_is_told_at_its_key() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let key = make(&mut ada, &[("name", "mine")]);
    let id = format!("key_{}", public_id(&key));
    let page = ada.get("/keys").text();
    assert!(tag(&page, &format!("<input id=\"name-{id}\"")).contains("value=\"mine\""), "it is prefilled");
    let long = "n".repeat(129);
    let refused = change(&mut ada, &key, "rename", &[("name", &long)]);
    let field = tag(&refused.text(), &format!("<input id=\"name-{id}\""));
    assert_eq!(refused.status, 422);
    assert!(field.contains(&long) && field.contains("aria-invalid=\"true\""), "{field}");
    assert!(field.contains(&format!("aria-describedby=\"name-{id}-problem\"")), "{field}");
    for overlap in ["soon", "31d"] {
        let refused = change(&mut ada, &key, "rotate", &[("overlap", overlap)]);
        assert_eq!(refused.status, 422, "{overlap}");
        let field = tag(&refused.text(), &format!("<select id=\"overlap-{id}\""));
        assert!(field.contains("aria-invalid=\"true\""), "{field}");
    }
    let gone = ada.post("/keys/change", &[("key", "key_nothing"), ("deed", "revoke")]);
    assert_eq!(gone.status, 404);
    assert!(
        gone.text().contains("role=\"alert\">That was not done: there is no such key."),
        "{}",
        gone.text()
    );
    assert_eq!(status(&gateway, &key), 200, "nothing was changed");
}

#[test]
fn what_cannot_be_undone_is_asked_for_once_more() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let key = make(&mut ada, &[("name", "mine")]);
    let page = ada.get("/keys").text();
    for (deed, said) in [("revoke", "nothing brings it back"), ("delete", "it is listed no more")] {
        let (before, _) = page.split_once(&format!("value=\"{deed}\"")).expect("a button");
        let (_, asked) = before.rsplit_once("<details class=\"sure\">").expect("inside its own");
        assert!(!asked.contains("</details>") && asked.contains(said), "{deed}: {asked}");
    }
    assert_eq!(change(&mut ada, &key, "revoke", &[]).status, 200);
    let page = ada.get("/keys").text();
    assert!(!page.contains("value=\"revoke\"") && page.contains("value=\"delete\""), "{page}");
}

#[test]
fn more_keys_than_a_page_has_are_turned_over() {
    let yaml = "admin: {listen: \"127.0.0.1:0\", sign_up: open}\n\
                plans: {free: {requests_per_minute: 60, burst: 100, max_keys: 200}}\n";
    let gateway = Gateway::start(yaml);
    let mut ada = owner(&gateway, 11, "ada");
    let head = crate::support::browser::FROM_HERE;
    let form = format!("form_token={}", ada.form_token());
    for _ in 0..50 {
        assert_eq!(ada.send("/keys", head, &form).status, 200);
    }
    let ids = |page: &str| -> Vec<String> {
        let codes = page.split("<p class=\"quiet\"><code>key_").skip(1);
        codes.map(|rest| rest.split('<').next().unwrap_or_default().to_owned()).collect()
    };
    let page = ada.get("/keys").text();
    assert_eq!((ids(&page).len(), page.contains("aria-label=\"Pages of keys\"")), (50, false), "{page}");
    assert_eq!(ada.send("/keys", head, &form).status, 200);
    let first = ada.get("/keys").text();
    let next = tag(&first, "<a class=\"button plain\" href=\"").replace("#keys\" rel=\"next\"", "");
    let second = ada.get(&next).text();
    assert_eq!([&first, &second].map(|page| ids(page).len()), [50, 1]);
    assert!(ids(&first).last() < ids(&second).first());
    assert!(second.contains("href=\"/keys#keys\">First keys<") && !second.contains("Next keys"), "{second}");
    // Who changes a key of the second page sees that page again.
    let id = format!("key_{}", ids(&second)[0]);
    let after = next.split_once("after=").expect("a place").1.replace("%5F", "_");
    let fields = [("key", &*id), ("deed", "rename"), ("name", "the last"), ("after", &*after)];
    let renamed = ada.post("/keys/change", &fields).text();
    assert!(renamed.contains("<strong>the last</strong>"), "{renamed}");
    assert_eq!(ids(&renamed), ids(&second));
    assert!(ada.get("/keys?after=zzz").text().contains("There are no more."));
}

#[test]
fn an_operator_looks_after_the_keys_of_any_account() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let key = make(&mut ada, &[("name", "of ada")]);
    let account = account_of(&ada.get("/settings").text());
    let mut root = operator(&gateway, 12, "root");
    let page = root.get("/keys");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<a href=\"/accounts\">Accounts</a>"), "{}", page.text());
    assert_eq!(root.post("/keys", &[("name", "nobody's")]).status, 422, "whose?");
    let page = root.get(&format!("/keys?account={account}")).text();
    assert!(page.contains("of ada") && page.contains("as an operator"), "{page}");
    assert_eq!(crate::support::browser::value_of(&page, "account").as_ref(), Some(&account));
    let second = make(&mut root, &[("name", "of root"), ("account", &account)]);
    let told: Value = gateway.connect().get("/api/v1/usage", &second).json();
    assert_eq!(told["account"], account);
    assert!(ada.get("/keys").text().contains("of root"));
    assert_eq!(change(&mut root, &key, "revoke", &[("account", &account)]).status, 200);
    assert_eq!(status(&gateway, &key), 401);
    // One that nobody has made is made by its first key, and the page says so.
    let page = root.get("/keys?account=new%26shop").text();
    assert!(page.contains("Nobody has made an account <code>new&#38;shop</code> yet"), "{page}");
    make(&mut root, &[("account", "new&shop")]);
    assert!(!root.get("/keys?account=new%26shop").text().contains("Nobody has made"));
    for account in ["a%20b", "%C3%A9"] {
        assert_eq!(root.get(&format!("/keys?account={account}")).status, 400, "{account}");
    }
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
        ("root", &mut root, false, [422, 422]),
        ("admin", &mut admin, true, [200, 200]),
    ] {
        let page = browser.get("/keys").text();
        assert_eq!(page.contains("of ada"), sees, "{who}: {page}");
        let made = browser.post("/keys", &[("name", "theirs")]).status;
        let revoked = change(browser, &key, "revoke", &[]).status;
        assert_eq!([made, revoked], status, "{who}");
    }
    assert!(!viewer.get("/keys").text().contains("Generate New Key"));
    let account = account_of(&ada.get("/settings").text());
    assert_eq!(viewer.get(&format!("/keys?account={account}")).status, 200, "it is their own");
    for account in [&*account, "acct_0000000000000000", "acme"] {
        assert_eq!(stranger.get(&format!("/keys?account={account}")).status, 403, "{account}");
        assert_eq!(stranger.post("/keys", &[("account", account)]).status, 403, "{account}");
        let which = [("account", account), ("deed", "delete"), ("key", "key_x")];
        assert_eq!(stranger.post("/keys/change", &which).status, 403, "{account}");
    }
    assert_eq!(self::status(&gateway, &key), 401, "the admin has revoked it");
}

#[test]
fn a_form_that_is_sent_again_does_nothing_again() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let page = ada.get("/keys").text();
    let request = value_of(&page, "request").expect("the form is told from others");
    let fields = [("name", "one"), ("request", request.as_str())];
    let key = make(&mut ada, &fields);
    let again = ada.post("/keys", &fields).text();
    assert!(again.contains("This form has done that already") && !again.contains("data-copy"), "{again}");
    let other = ada.post("/keys", &[("name", "two"), ("request", request.as_str())]);
    assert!(other.status == 422 && other.text().contains("Press the button again"), "{}", other.text());
    assert!(other.text().contains("value=\"two\""), "what was typed is kept");
    let rotation = [("overlap", "1h"), ("request", "a-rotation")];
    let second = shown(&change(&mut ada, &key, "rotate", &rotation).text());
    let repeated = change(&mut ada, &key, "rotate", &rotation).text();
    assert!(repeated.contains("This form has done that already"), "{repeated}");
    assert_eq!([&key, &second].map(|key| status(&gateway, key)), [200, 200]);
    let page = ada.get("/keys").text();
    assert_eq!(page.matches("<code>key_").count(), 1, "{page}");
    leads_to(&ada.get("/keys/change"), "/keys");
}

#[test]
fn who_is_suspended_is_told_so_and_keys_of_the_list_are_named() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut root = operator(&gateway, 12, "root");
    let account = account_of(&ada.get("/settings").text());
    assert!(!ada.get("/keys").text().contains("is suspended"));
    assert_eq!(root.post("/accounts/change", &[("account", &account), ("deed", "suspend")]).status, 200);
    for path in ["/", "/keys"] {
        assert!(ada.get(path).text().contains("This account is suspended"), "{path}");
    }
    assert!(
        root.get("/keys?account=acme").text().contains("1 key of this account in the gateway's key list")
    );
}
