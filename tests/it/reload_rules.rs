//! Each rule of the key list broken once: nothing changes, and operators can see why. Contract §2.1.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use safecache::auth::key_record::KeyRecord;
use safecache::auth::token::digest;
use safecache::runtime::reload::Shrinking;
use tempfile::TempDir;

use crate::support::admin::{TOKEN, ask};
use crate::support::gateway::{Gateway, bare_reloader, key, secret, sha256};

/// A gateway on the list `file` of `content`, with an inline key and the operator's token.
fn follow(file: &str, content: &str) -> (Gateway, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join(file);
    std::fs::write(&path, content).expect("a list");
    let yaml = format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys_file: {file}\nkeys:\n{}",
        key("inline", "")
    );
    (Gateway::start_in(folder, &yaml), path)
}

fn list(ids: impl IntoIterator<Item = String>) -> String {
    format!("keys:\n{}", ids.into_iter().map(|id| key(&id, "")).collect::<String>())
}

fn status(gateway: &Gateway, id: &str) -> u16 {
    gateway.connect().get("/nowhere", &secret(id)).status
}

fn refusals(gateway: &Gateway) -> f64 {
    gateway.metric("safecache_config_reloads_total{result=\"refused\"}")
}

/// What `/admin/v1/config` says of the newest reload.
fn last_reload(gateway: &Gateway) -> (bool, String) {
    let last = ask(gateway, "GET /admin/v1/config", Some(TOKEN)).json()["last_reload"].clone();
    (last["applied"] == true, last["message"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the eye on the list has refused it, for the reason `why`; the last good list is in place.
#[track_caller]
fn refused_by_the_eye(gateway: &Gateway, generation: f64, why: &str) {
    gateway.eventually(why, |gateway| last_reload(gateway).1.contains(why));
    assert!(!last_reload(gateway).0);
    assert!(refusals(gateway) >= 1.0);
    assert_eq!(gateway.metric("safecache_config_last_reload_successful"), 0.0);
    assert_eq!(gateway.metric("safecache_key_ring_generation"), generation, "{why}");
    assert_eq!([status(gateway, "good"), status(gateway, "inline")], [404, 404], "{why}");
}

#[test]
fn a_yaml_list_with_any_problem_changes_nothing() {
    let good = list(["good".to_owned()]);
    let (gateway, path) = follow("keys.yaml", &good);
    let added = |more: &str| format!("{good}{more}");
    let table = [
        (String::new(), "keys.yaml:1:1: the key list is empty"),
        ("keys: []\n".to_owned(), "the key list is empty"),
        (added("  - {"), "keys.yaml:3:6: not YAML"),
        (added(&key("good", "name: again")), "keys.yaml:3:10: keys[1].id: this id is taken"),
        (added(&key("inline", "")), "keys.yaml:3:10: keys[1].id: this id is taken"),
        (
            added(&key("x", "").replace(&sha256(&secret("x")), &sha256(&secret("good")))),
            "keys[1].sha256: this sha256 is taken",
        ),
        (added(&key("x", "plan: gold")), "no plan is named `gold`"),
        (added(&key("x", "account: acct_1")), "keys[1].account: accounts that begin with `acct_`"),
        (added(&key("x", "allowed_ips: [10.0.0.0/33]")), "keys.yaml:3:"),
        (added(&format!("  - {{id: x, account: a, plan: free, sha256: {}}}\n", "f00d")), "must be 64"),
        (added(&key("x", "nickname: x")), "unknown key `nickname`"),
        (format!("{good}others: 1\n"), "unknown key `others`"),
    ];
    for (content, why) in table {
        std::fs::write(&path, content).expect("a list");
        let refusal = gateway.running().reload(Shrinking::Guarded).expect_err(why).to_string();
        assert!(refusal.contains(why), "{refusal}");
        refused_by_the_eye(&gateway, 1.0, why);
    }
    std::fs::write(&path, &good).expect("a list");
    gateway.eventually("a good list is taken again", |gateway| last_reload(gateway).0);
    // The whole reload that was asked for has still not been done.
    assert_eq!(gateway.metric("safecache_config_last_reload_successful"), 0.0);
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(gateway.metric("safecache_config_last_reload_successful"), 1.0);
}

#[test]
fn the_eye_refuses_what_is_no_list_and_takes_the_next_good_one() {
    let good = list(["good".to_owned()]);
    let (gateway, path) = follow("keys.yaml", &good);
    std::fs::write(&path, "").expect("emptied");
    refused_by_the_eye(&gateway, 1.0, "keys.yaml:1:1: the key list is empty");
    std::fs::remove_file(&path).expect("removed");
    refused_by_the_eye(&gateway, 1.0, "the key list cannot be read: No such file");
    std::fs::create_dir(&path).expect("a folder in its place");
    refused_by_the_eye(&gateway, 1.0, "the key list cannot be read: it is a folder");
    std::fs::remove_dir(&path).expect("removed");
    std::fs::write(&path, b"keys: \xff\n").expect("no text");
    refused_by_the_eye(&gateway, 1.0, "the file is not UTF-8 text");
    std::fs::write(&path, format!("{good}{}", key("new", ""))).expect("a list");
    gateway.eventually("a good list is taken", |gateway| status(gateway, "new") == 404);
    assert_eq!(gateway.metric("safecache_key_ring_generation"), 2.0);
    assert_eq!(gateway.metric("safecache_config_last_reload_successful"), 1.0);
    assert_eq!(last_reload(&gateway), (true, "generation 2: 3 keys (1 added, 0 removed)".to_owned()));
}

#[test]
fn a_list_of_lines_with_any_problem_changes_nothing() {
    let line = |id: &str| {
        format!(
            "{{\"id\":\"{id}\",\"account\":\"a\",\"plan\":\"enterprise\",\"sha256\":\"{}\"}}\n",
            sha256(&secret(id))
        )
    };
    let good = line("good");
    let (gateway, path) = follow("keys.jsonl", &good);
    let table = [
        (String::new(), "keys.jsonl:1:1: the key list is empty"),
        (good.trim_end().to_owned(), ": the last line has no newline"),
        (format!("{good}{}", line("x").trim_end()), ": the last line has no newline"),
        (format!("{good}{good}"), "keys.jsonl:2:2: id: this id is taken"),
        (format!("{good}{{\"id\":"), "keys.jsonl:2"),
        (format!("{good}{}", line("x").replace("enterprise", "gold")), ": plan: no plan is named"),
    ];
    for (content, why) in table {
        std::fs::write(&path, content).expect("a list");
        refused_by_the_eye(&gateway, 1.0, why);
    }
}

#[test]
fn a_list_that_loses_over_half_of_its_keys_must_be_forced() {
    let ids = |range: std::ops::Range<usize>| range.map(|n| format!("k{n}"));
    let all = list(ids(0..19).chain(["good".to_owned()]));
    let (gateway, path) = follow("keys.yaml", &all);
    let reload = || gateway.running().reload(Shrinking::Guarded);
    let write = |content: String| std::fs::write(&path, content).expect("a list");
    write(list(ids(0..8).chain(["good".to_owned()])));
    let refusal = reload().expect_err("11 of 20 would be lost").to_string();
    assert_eq!(refusal, "the key list would lose 11 of its 20 keys; force the reload if that is wanted");
    refused_by_the_eye(&gateway, 1.0, "would lose 11 of its 20 keys");
    assert_eq!(status(&gateway, "k18"), 404);
    // New ids do not make up for lost ones.
    write(list(ids(0..8).chain((0..40).map(|n| format!("new{n}"))).chain(["good".to_owned()])));
    reload().expect_err("11 of 20 would be lost");
    // Disabled keys are no loss.
    let disabled: String = ids(0..19).map(|id| key(&id, "disabled: true")).collect();
    write(format!("keys:\n{disabled}{}", key("good", "")));
    reload().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(status(&gateway, "k18"), 401);
    assert_eq!(gateway.metric("safecache_keys{state=\"disabled\"}"), 19.0);
    // Half is not over half; and 10 keys are too few to be guarded.
    write(list(ids(0..9).chain(["good".to_owned()])));
    reload().unwrap_or_else(|refusal| panic!("{refusal}"));
    write(list(["good".to_owned()]));
    reload().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(gateway.metric("safecache_keys{state=\"active\"}"), 2.0);
}

#[test]
fn keys_that_move_into_the_configuration_are_not_lost() {
    let ids = |range: std::ops::Range<usize>| range.map(|n| format!("k{n}"));
    let (gateway, path) = follow("keys.yaml", &list(ids(0..20)));
    let moved: String = ids(8..20).map(|id| key(&id, "")).collect();
    gateway.rewrite(&format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys_file: keys.yaml\nkeys:\n{}{moved}",
        key("inline", "")
    ));
    std::fs::write(&path, list(ids(0..8))).expect("a list");
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(status(&gateway, "k18"), 404);
    assert_eq!(gateway.metric("safecache_keys{state=\"active\"}"), 21.0);
}

#[test]
fn the_operator_can_force_a_shrunk_list() {
    let ids = |range: std::ops::Range<usize>| range.map(|n| format!("k{n}"));
    let (gateway, path) = follow("keys.yaml", &list(ids(0..20)));
    std::fs::write(&path, list(ids(0..1))).expect("a list");
    let refused = ask(&gateway, "POST /admin/v1/reload", Some(TOKEN));
    assert_eq!(refused.status, 422);
    let message = "the key list would lose 19 of its 20 keys; force the reload if that is wanted";
    assert_eq!(refused.json()["message"], message);
    let not_forced = ask(&gateway, "POST /admin/v1/reload?force=false", Some(TOKEN));
    assert_eq!(not_forced.status, 422);
    assert_eq!(status(&gateway, "k19"), 404);
    let forced = ask(&gateway, "POST /admin/v1/reload?force=true", Some(TOKEN));
    assert_eq!(forced.status, 200);
    let told = forced.json();
    assert_eq!((&told["applied"], &told["keys"], &told["removed"]), (&true.into(), &2.into(), &19.into()));
    assert_eq!([status(&gateway, "k0"), status(&gateway, "k19")], [404, 401]);
}

#[test]
fn a_revoked_keys_requests_are_told_and_no_others() {
    let folder = TempDir::new().expect("a temporary folder");
    let with = |members: [&str; 3]| {
        let ids = ["goes", "off", "stays"];
        let keys = ids.iter().zip(members).filter(|(_, member)| *member != "gone");
        format!("keys:\n{}", keys.map(|(id, member)| key(id, member)).collect::<String>())
    };
    let reloader = bare_reloader(folder.path(), &with(["", "", ""]));
    let record = |id: &str| -> Arc<KeyRecord> {
        let policy = reloader.policy();
        Arc::clone(policy.snapshot.ring.find(&digest(secret(id).as_bytes())).expect("it is in the ring"))
    };
    // What requests in flight hold, from before a change that revokes nothing.
    let held = ["goes", "off", "stays"].map(record);
    let told = || held.each_ref().map(|record| record.cancellation().is_cancelled());
    let reload = |members| {
        std::fs::write(folder.path().join("gateway.yaml"), with(members)).expect("a configuration");
        reloader.reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    };
    reload(["name: renamed", "plan: free", "account: other"]);
    assert_eq!(told(), [false, false, false]);
    reload(["gone", "disabled: true", "name: stays"]);
    assert_eq!(told(), [true, true, false]);
    reload(["", "", ""]);
    let back = ["goes", "off"].map(|id| record(id).cancellation().is_cancelled());
    assert_eq!(back, [false, false], "a key that comes back starts anew");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test measures")]
fn a_reload_looks_twice_a_tenth_of_a_second_apart() {
    let (gateway, path) = follow("keys.yaml", &list(["good".to_owned()]));
    let begun = Instant::now();
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(Duration::from_millis(100) <= begun.elapsed(), "a list that is being written was not waited for");
    std::fs::remove_file(&path).expect("removed");
    let refusal = gateway.running().reload(Shrinking::Guarded).expect_err("there is none").to_string();
    assert!(refusal.contains("the key list cannot be read: No such file"), "{refusal}");
}
