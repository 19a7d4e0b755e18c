//! What is found and forgotten on the page Cache.

use serde_json::json;

use super::{ANSWER, CHAT, account_of, before, chat, member, new_key, operator, owner};
use crate::support::browser::Browser;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// The hashes that a page may forget, the newest first.
fn hashes(page: &str) -> Vec<String> {
    let hashes = page.split("<code title=\"").skip(1);
    hashes.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

/// The entries of a page, once there are so many: what comes is written behind.
fn listed(gateway: &Gateway, browser: &mut Browser, path: &str, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    gateway.eventually("so many entries are listed", |_| {
        found = hashes(&browser.get(path).text());
        found.len() == count
    });
    found
}

#[test]
fn entries_are_found_by_model_kind_and_hash_and_forgotten() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    assert!(ada.get("/cache").text().contains("Nothing is kept yet."));
    let key = new_key(&mut ada, "app");
    let mut client = gateway.connect();
    for (model, question) in [("gpt-4o", "a"), ("gpt-4o", "b"), ("o1", "c")] {
        assert_eq!(client.post(CHAT, &key, &chat(model, question)).header("x-cache"), Some("MISS"));
    }
    let stored =
        json!({"messages": [{"role": "user", "content": "d"}], "answer": "e", "model": "gpt-5"}).to_string();
    assert_eq!(client.post("/api/v1/store", &key, &stored).status, 200);
    let all = listed(&gateway, &mut ada, "/cache", 4);
    for (query, count) in [
        ("q=gpt", 3),
        ("q=GPT", 0),
        ("q=4*o", 2),
        ("q=o1&kind=proxied", 1),
        ("kind=stored", 1),
        ("q=gpt&kind=stored", 1),
        ("q=%3Cscript%3E", 0),
    ] {
        assert_eq!(hashes(&ada.get(&format!("/cache?{query}")).text()).len(), count, "{query}");
    }
    for hash in &all {
        assert_eq!(hashes(&ada.get(&format!("/cache?q={hash}")).text()), std::slice::from_ref(hash));
    }
    assert!(ada.get("/cache?q=%3Cscript%3E").text().contains("&#60;script&#62;"));
    assert_eq!(ada.get(&format!("/cache?q={}", "x".repeat(201))).status, 400);
    assert_eq!(ada.get("/cache?after=nowhere").status, 400);
    let of_o1 = hashes(&ada.get("/cache?q=o1").text());
    let page = ada.post("/cache/forget", &[("hash", &of_o1[0])]).text();
    assert!(page.contains("One entry is forgotten."), "{page}");
    assert_eq!(client.post(CHAT, &key, &chat("o1", "c")).header("x-cache"), Some("MISS"));
    assert_eq!(client.post(CHAT, &key, &chat("gpt-4o", "a")).header("x-cache"), Some("HIT"));
    listed(&gateway, &mut ada, "/cache", 4);
    let page = ada.post("/cache/forget", &[("hash", "all")]).text();
    assert!(page.contains("4 entries are forgotten.") && hashes(&page).is_empty(), "{page}");
    assert_eq!(client.post(CHAT, &key, &chat("gpt-4o", "a")).header("x-cache"), Some("MISS"));
}

#[test]
fn a_long_list_goes_on() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "app");
    let mut client = gateway.connect();
    for number in 0..60 {
        assert_eq!(client.post(CHAT, &key, &chat("m", &number.to_string())).status, 200);
    }
    let behind = |browser: &mut Browser| {
        let page = browser.get("/cache?q=m").text();
        let link =
            page.split("href=\"/cache?").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
        link.map(|link| format!("/cache?{}", link.replace("&#38;", "&")))
    };
    let mut second = Vec::new();
    gateway.eventually("all are written", |_| {
        second = behind(&mut ada).map(|link| hashes(&ada.get(&link).text())).unwrap_or_default();
        second.len() == 10
    });
    let first = hashes(&ada.get("/cache?q=m").text());
    assert!(first.len() == 50 && first.iter().all(|hash| !second.contains(hash)));
}

#[test]
fn who_may_not_forget_does_not_and_nobody_reaches_anothers() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let account = account_of(&ada.get("/settings").text());
    let key = new_key(&mut ada, "app");
    assert_eq!(gateway.connect().post(CHAT, &key, &chat("m", "a")).status, 200);
    let hash = listed(&gateway, &mut ada, "/cache", 1).remove(0);
    let mut viewer = member(&gateway, &mut ada, (12, "viewer", "viewer"));
    let mut stranger = owner(&gateway, 13, "stranger");
    let mut root = operator(&gateway, 14, "root");
    assert!(!viewer.get("/cache").text().contains("Forget"), "a viewer sees no button");
    for what in [hash.as_str(), "all"] {
        assert_eq!(viewer.post("/cache/forget", &[("hash", what)]).status, 403);
        let theirs = [("hash", what), ("account", account.as_str())];
        assert_eq!(stranger.post("/cache/forget", &theirs).status, 403);
        let page = stranger.post("/cache/forget", &[("hash", what)]).text();
        assert!(page.contains("There is nothing of that any more."), "{page}");
        assert_eq!(root.post("/cache/forget", &[("hash", what)]).status, 400, "of which account?");
    }
    assert!(hashes(&stranger.get(&format!("/cache?q={hash}")).text()).is_empty());
    assert_eq!(ada.post("/cache/forget", &[("hash", "some")]).status, 400);
    assert_eq!(gateway.connect().post(CHAT, &key, &chat("m", "a")).header("x-cache"), Some("HIT"));
    let theirs = [("hash", "all"), ("account", account.as_str())];
    assert!(root.post("/cache/forget", &theirs).text().contains("One entry is forgotten."));
}
