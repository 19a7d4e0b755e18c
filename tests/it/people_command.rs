//! `safecache people`: a lost operator's way back in, with a gateway that runs, beside one, and without.

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::admin::TOKEN;
use crate::support::client::{Answer, Client};
use crate::support::process::{Ended, Process, write_config};

const ROUTES: &str =
    "upstreams: {llm: {servers: [\"http://127.0.0.1:9\"]}}\nroutes: [{path: /v1/*, upstream: llm}]\n";

fn run(folder: &TempDir, words: &[&str]) -> Ended {
    let words: Vec<&str> = ["people"].iter().chain(words).copied().collect();
    Process::run(folder.path(), &words, "")
}

/// Sends a form of the console, as its page would.
pub(crate) fn post(gateway: &Process, path: &str, fields: &str) -> Answer {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: console\r\nOrigin: http://console\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{fields}",
        fields.len()
    );
    Client::connect(gateway.admin()).send(request).answer()
}

/// The path of a link.
fn path_of(link: &str) -> String {
    let (_, token) = link.trim_end().split_once("/link/").expect("a link");
    assert_eq!(token.len(), 43, "{link}");
    format!("/link/{token}")
}

/// A gateway whose operator is `root`; `admin` is what its configuration says of the listener beside its address.
pub(crate) fn with_operator(folder: &TempDir, admin: &str) -> Process {
    let config = format!("admin: {{listen: \"127.0.0.1:0\"{admin}}}\n{ROUTES}");
    let gateway = Process::serve(folder.path(), &config);
    gateway.stderr().wait_for("console: ");
    let printed = gateway.stderr().text();
    let line = printed.lines().find_map(|line| line.strip_prefix("console: ")).expect("a way in");
    let path = path_of(line.split(' ').next().expect("a URL"));
    let joined = post(&gateway, &path, "login=root&name=&password=correct+horse+of+root");
    assert_eq!(joined.status, 303, "{}", joined.text());
    gateway
}

/// Sets a password by a link, and logs in with it.
fn set_and_log_in(gateway: &Process, path: &str, password: &str) {
    let set = post(gateway, path, &format!("password={password}"));
    assert_eq!(set.status, 303, "{}", set.text());
    assert_eq!(post(gateway, path, &format!("password={password}")).status, 404, "once");
    let entered = post(gateway, "/log-in", &format!("login=root&password={password}"));
    assert_eq!(entered.status, 303, "{}", entered.text());
}

#[test]
fn a_lost_operator_comes_back_in_through_the_running_gateway() {
    let folder = TempDir::new().expect("a folder");
    let gateway = with_operator(&folder, &format!(", token: {TOKEN}"));
    let admin = gateway.admin();
    write_config(folder.path(), &format!("admin: {{listen: \"{admin}\", token: {TOKEN}}}\n{ROUTES}"));
    let made = run(&folder, &["reset", "ROOT"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.starts_with(&format!("http://{admin}/link/")), "{}", made.stdout);
    assert!(
        made.stderr.contains("once and within 24 hours") && !made.stderr.contains("/link/"),
        "{}",
        made.stderr
    );
    let path = path_of(&made.stdout);
    set_and_log_in(&gateway, &path, "correct+horse+of+another");
    let old = post(&gateway, "/log-in", "login=root&password=correct+horse+of+root");
    assert_eq!(old.status, 422);
    // The trail tells of it, the log does not tell the link.
    let trail = Client::connect(admin)
        .send(format!(
            "GET /admin/v1/audit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        ))
        .answer();
    let rows = trail.json();
    let made_by = |row: &&Value| row["action"] == "link.make" && row["actor"] == "operator";
    let row = rows["items"].as_array().unwrap().iter().find(made_by).expect("a row").clone();
    assert!(row["detail"].as_str().unwrap().starts_with("reset link_"), "{row}");
    let listed = run(&folder, &["list"]);
    let lines: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["LOGIN", "NAME", "ACCOUNT", "ROLE", "OPERATOR", "STATE", "ID"]);
    assert_eq!((lines.len(), &lines[1][..6]), (2, &["root", "root", "-", "-", "yes", "active"][..]));
    assert_eq!(Value::String(lines[1][6].to_owned()), row["subject"], "by the same id");
    assert_eq!(run(&folder, &["list", "--account", "acme", "--json"]).stdout, "[]\n");
    for name in ["nobody", "no name", ""] {
        let refused = run(&folder, &["reset", name]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{name}: {}", refused.stderr);
    }
    let ended = gateway.end(Signal::TERM);
    assert_eq!(ended.code, Some(0));
    let token = path.strip_prefix("/link/").unwrap();
    assert!(!ended.stderr.contains(token) && !ended.stdout.contains(token));
}

#[test]
fn without_a_token_the_link_is_made_beside_the_gateway_or_before_it_runs() {
    let folder = TempDir::new().expect("a folder");
    let gateway = with_operator(&folder, "");
    // The port is the system's to choose, so the configuration does not tell it.
    let made = run(&folder, &["reset", "root"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.starts_with("/link/"), "{}", made.stdout);
    assert!(made.stderr.contains("`admin:`"), "{}", made.stderr);
    set_and_log_in(&gateway, &path_of(&made.stdout), "correct+horse+of+another");
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    let made = run(&folder, &["reset", "root"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let gateway = Process::serve(folder.path(), ROUTES);
    set_and_log_in(&gateway, &path_of(&made.stdout), "correct+horse+of+a+third");
    assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    for words in [&["reset"][..], &["remove", "root"], &["list", "root"]] {
        assert_eq!(run(&folder, words).code, Some(2), "{words:?}");
    }
}
