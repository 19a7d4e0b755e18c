//! `safecache keys`: with a gateway that runs, and beside one that does not.

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::admin::{TOKEN, public_id};
use crate::support::client::eventually;
use crate::support::process::{Ended, Process, write_config};

const ROUTES: &str =
    "upstreams: {llm: {servers: [\"http://127.0.0.1:9\"]}}\nroutes: [{path: /v1/*, upstream: llm}]\n";

fn run(folder: &TempDir, line: &str) -> Ended {
    let words: Vec<&str> = ["keys"].into_iter().chain(line.split(' ')).collect();
    Process::run(folder.path(), &words, "")
}

/// What it prints, where it is done.
#[track_caller]
fn done(folder: &TempDir, line: &str) -> String {
    let ended = run(folder, line);
    assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
    ended.stdout
}

/// What it says, where it is refused; it prints nothing then.
#[track_caller]
fn refused(folder: &TempDir, line: &str) -> String {
    let ended = run(folder, line);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{line}");
    ended.stderr
}

/// The key alone on its line.
#[track_caller]
fn key_of(printed: &str) -> String {
    let key = printed.strip_suffix('\n').expect("a line");
    assert!(key.len() == 55 && key.starts_with("sk-sc-"), "{printed}");
    key.to_owned()
}

fn id_of(key: &str) -> String {
    format!("key_{}", public_id(key))
}

fn status(gateway: &Process, key: &str) -> u16 {
    gateway.connect().get("/api/v1/usage", key).status
}

#[test]
fn keys_are_made_before_the_gateway_runs_and_while_it_does() {
    let folder = TempDir::new().expect("a folder");
    write_config(folder.path(), ROUTES);
    let made = run(&folder, "create --account acme --name backend --environment production --expires 90d");
    let early = key_of(&made.stdout);
    let said = format!("{} of account acme, plan free; the key is shown this once\n", id_of(&early));
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), said.as_str()));
    // One that runs takes the same commands at its admin listener.
    let config = format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n{ROUTES}");
    let gateway = Process::serve(folder.path(), &config);
    write_config(
        folder.path(),
        &format!("admin: {{listen: \"{}\", token: {TOKEN}}}\n{ROUTES}", gateway.admin()),
    );
    let late = key_of(&done(&folder, "create --account acme --plan pro --allow-ip 127.0.0.0/8"));
    assert_eq!([&early, &late].map(|key| status(&gateway, key)), [200, 200]);
    let rotated = key_of(&done(&folder, &format!("rotate {} --overlap 1h", id_of(&late))));
    assert_eq!([&late, &rotated].map(|key| status(&gateway, key)), [200, 200]);
    assert_eq!(done(&folder, &format!("revoke {}", id_of(&late))), format!("{} is revoked\n", id_of(&late)));
    assert_eq!([&early, &late, &rotated].map(|key| status(&gateway, key)), [200, 401, 401]);
    let listed = done(&folder, "list");
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..5], ["ID", "ACCOUNT", "PLAN", "STATE", "ENVIRONMENT"]);
    let mut states: Vec<_> = lines[1..].iter().map(|line| (line[0], line[2], line[3])).collect();
    states.sort_unstable_by_key(|(_, plan, _)| *plan);
    assert_eq!(states, [(&*id_of(&early), "free", "active"), (&*id_of(&late), "pro", "revoked")]);
    assert!(!listed.contains("sk-sc-"));
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    // And it is all there for the next one.
    let keys: Value = serde_json::from_str(&done(&folder, "list --account acme --json")).expect("JSON");
    assert_eq!(keys.as_array().expect("keys").len(), 2);
    assert_eq!(done(&folder, "list --account globex --json"), "[]\n");
}

#[test]
fn a_key_is_renamed_narrowed_to_its_newest_secret_and_deleted() {
    let folder = TempDir::new().expect("a folder");
    write_config(folder.path(), ROUTES);
    let config = format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n{ROUTES}");
    let gateway = Process::serve(folder.path(), &config);
    let config = format!("admin: {{listen: \"{}\", token: {TOKEN}}}\n{ROUTES}", gateway.admin());
    write_config(folder.path(), &config);
    let old = key_of(&done(&folder, "create --account acme --environment staging"));
    let id = id_of(&old);
    let new = key_of(&done(&folder, &format!("rotate {id}")));
    assert_eq!(done(&folder, &format!("rename {id} backend")), format!("{id} is renamed\n"));
    assert_eq!([&old, &new].map(|key| status(&gateway, key)), [200, 200]);
    let said = format!("{id} is good with its newest secret alone\n");
    assert_eq!(done(&folder, &format!("end-overlap {id}")), said);
    assert_eq!([&old, &new].map(|key| status(&gateway, key)), [401, 200]);
    let other = key_of(&done(&folder, "create --account globex --environment production"));
    done(&folder, &format!("revoke {}", id_of(&other)));
    let listed = |filters: &str| -> Vec<String> {
        let keys: Value =
            serde_json::from_str(&done(&folder, &format!("list{filters} --json"))).expect("JSON");
        let keys = keys.as_array().expect("a list").iter();
        keys.map(|key| format!("{} {}", key["account"].as_str().unwrap(), key["name"])).collect()
    };
    let (acme, globex) = ("acme \"backend\"".to_owned(), "globex null".to_owned());
    for (filters, expected) in [
        (" --account acme", vec![&acme]),
        (" --state active", vec![&acme]),
        (" --state revoked", vec![&globex]),
        (" --environment production", vec![&globex]),
        (" --environment staging --state revoked", vec![]),
        (" --environment staging --state active --account acme", vec![&acme]),
    ] {
        assert_eq!(listed(filters).iter().collect::<Vec<_>>(), expected, "{filters}");
    }
    assert_eq!(done(&folder, &format!("delete {id}")), format!("{id} is revoked, and listed no more\n"));
    assert_eq!((status(&gateway, &new), listed("")), (401, vec![globex]));
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    // The same in the folder, when none runs.
    let id = id_of(&other);
    assert_eq!(done(&folder, &format!("rename {id} old")), format!("{id} is renamed\n"));
    assert_eq!(listed(""), ["globex \"old\""]);
    let unnamed = Process::run(folder.path(), &["keys", "rename", &id, ""], "");
    assert_eq!((unnamed.code, listed("")), (Some(0), vec!["globex null".to_owned()]));
    assert_eq!(done(&folder, &format!("delete {id}")), format!("{id} is revoked, and listed no more\n"));
    assert_eq!(done(&folder, "list --json"), "[]\n");
}

#[test]
fn what_is_refused_says_why() {
    let folder = TempDir::new().expect("a folder");
    write_config(folder.path(), ROUTES);
    for (line, said) in [
        (
            "create --account acme --plan gold",
            "plan: no plan is named \"gold\"; there are enterprise, free, pro\n",
        ),
        ("create --account acme --expires 0s", "expires: it would have expired already\n"),
        (
            "create --account acme --allow-ip 10.0.0.1/8",
            "allowed_ips: 10.0.0.1/8 has bits behind its prefix; 10.0.0.0/8 would be the network\n",
        ),
        ("rotate key_nothere", "there is no such key\n"),
        ("rotate key_nothere --overlap soon", "overlap: a span such as 24h or 0s\n"),
        ("rotate key_nothere --overlap 31d", "overlap: the old secret can stay valid for 30 days at most\n"),
        ("revoke a/../b", "there is no such key\n"),
        ("delete key_nothere", "there is no such key\n"),
        ("rename key_nothere a", "there is no such key\n"),
        ("end-overlap key_nothere", "there is no such key\n"),
    ] {
        assert_eq!(refused(&folder, line), said, "{line}");
    }
    assert_eq!(done(&folder, "list --json"), "[]\n", "nothing was made");
    for line in [
        "create",
        "create --account a --environment test",
        "rotate",
        "revoke",
        "delete",
        "rename a",
        "list --state gone",
        "list --environment test",
    ] {
        assert_eq!(run(&folder, line).code, Some(2), "{line}");
    }
}

#[test]
fn a_gateway_that_cannot_be_asked_sees_what_changes_beside_it() {
    let folder = TempDir::new().expect("a folder");
    let gateway = Process::serve(folder.path(), &format!("limits: {{auth_failures: off}}\n{ROUTES}"));
    let made = run(&folder, "create --account acme");
    let key = key_of(&made.stdout);
    assert!(made.stderr.contains("in force in a moment"), "{}", made.stderr);
    eventually("it works", || status(&gateway, &key) == 200);
    assert_eq!(
        done(&folder, &format!("revoke {}", id_of(&key))),
        format!("{} is revoked, in force in a moment\n", id_of(&key))
    );
    eventually("it is refused", || status(&gateway, &key) == 401);
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    let config = format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n{ROUTES}");
    let gateway = Process::serve(folder.path(), &config);
    let other = format!("admin: {{listen: \"{}\", token: the-token-of-another}}\n{ROUTES}", gateway.admin());
    write_config(folder.path(), &other);
    let said = refused(&folder, "list");
    assert_eq!(said, "the running gateway has another admin.token than this configuration\n");
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
}
