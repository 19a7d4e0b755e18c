//! What every page owes to who reads it by a screen reader, and to the script that puts times into the reader's zone.

use std::collections::BTreeSet;

use super::access::{OPERATORS_PAGES, PAGES};
use super::{key, operator};
use crate::support::gateway::Gateway;

/// The tags of one kind, each up to its end.
fn tags<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let starts = [format!("<{kind} "), format!("<{kind}>")];
    let mut found = Vec::new();
    for start in starts {
        found.extend(page.split(&start).skip(1).map(|rest| rest.split('>').next().unwrap_or_default()));
    }
    found
}

/// What an attribute of a tag says; its name does not end another one's.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}=\"");
    let rest = match tag.strip_prefix(&start) {
        Some(rest) => rest,
        None => tag.split_once(&format!(" {start}"))?.1,
    };
    rest.split('"').next()
}

#[track_caller]
fn is_readable(path: &str, page: &str) {
    assert_eq!(tags(page, "h1").len(), 1, "{path}: one h1: {page}");
    let all = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
    let all: Vec<&str> = all.collect();
    let ids: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(ids.len(), all.len(), "{path}: an id stands once: {page}");
    for kind in ["section", "input", "select", "table", "div", "p"] {
        for tag in tags(page, kind) {
            let named =
                ["aria-labelledby", "aria-describedby"].into_iter().filter_map(|name| attribute(tag, name));
            for id in named.flat_map(|ids| ids.split(' ')) {
                assert!(ids.contains(id), "{path}: {id} of <{kind} {tag}> is there");
            }
        }
    }
    for tag in tags(page, "section") {
        assert!(attribute(tag, "aria-labelledby").is_some(), "{path}: a section has a name: {tag}");
    }
    let labels: BTreeSet<_> =
        tags(page, "label").into_iter().filter_map(|tag| attribute(tag, "for")).collect();
    let shown = |tag: &&str| attribute(tag, "type") != Some("hidden");
    for tag in tags(page, "input").into_iter().chain(tags(page, "select")).filter(shown) {
        let id = attribute(tag, "id").unwrap_or_else(|| panic!("{path}: no id: {tag}"));
        assert!(labels.contains(id), "{path}: a field has a label: {tag}");
    }
    for tag in tags(page, "table") {
        assert!(attribute(tag, "aria-labelledby").is_some(), "{path}: a table has a name: {tag}");
    }
    for tag in tags(page, "th") {
        assert!(attribute(tag, "scope").is_some(), "{path}: a heading says what of: {tag}");
    }
    for tag in tags(page, "time") {
        let at = attribute(tag, "datetime").unwrap_or_default();
        assert!(at.starts_with("20") && at.ends_with('Z'), "{path}: a time is a time: {tag}");
    }
}

#[test]
fn every_page_has_names_for_all_that_is_on_it() {
    let upstream = "upstreams: {llm: {servers: [\"http://127.0.0.1:9\"]}}\n";
    let yaml = format!("{upstream}keys:\n{}", key("one", ""));
    let gateway = Gateway::start(&yaml);
    let mut root = operator(&gateway, 11, "root");
    for id in ["shop", "late"] {
        root.post("/accounts", &[("id", id)]);
    }
    root.post("/accounts/change", &[("account", "late"), ("deed", "suspend")]);
    for (name, expires) in [("one", "90d"), ("two", "")] {
        root.post("/keys", &[("account", "shop"), ("name", name), ("expires", expires)]);
    }
    gateway.rewrite(&format!("threads: many\n{yaml}"));
    root.post("/config/reload", &[]);
    let others = ["/keys?account=shop", "/accounts?begins=shop", "/accounts/audit?account=late"];
    for path in PAGES.into_iter().chain(OPERATORS_PAGES).chain(others) {
        let answer = root.get(path);
        assert_eq!(answer.status, 200, "{path}");
        is_readable(path, &answer.text());
    }
    for (path, fields) in [
        ("/keys", [("account", "shop"), ("allowed_ips", "x"), ("name", "typed")]),
        ("/accounts", [("id", "acct_x"), ("name", "typed"), ("plan", "free")]),
        ("/accounts/change", [("account", "shop"), ("deed", "change"), ("name", "")]),
    ] {
        let answer = root.post(path, &fields);
        assert_eq!(answer.status, 422, "{path}");
        is_readable(path, &answer.text());
    }
}
