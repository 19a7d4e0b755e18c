//! The operator's side: the admin API, its token, and the commands that use it. Contract §1 and §6.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use safecache::auth::token::generate;
use safecache::runtime::reload::Shrinking;

use crate::support::admin::{TOKEN, ask};
use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret, sha256};

const RELOAD: &str = "POST /admin/v1/reload";
const CONFIG: &str = "GET /admin/v1/config";

fn yaml(more: &str) -> String {
    format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n{more}keys:\n{}", key("one", ""))
}

#[test]
fn the_operators_api_wants_its_token() {
    let gateway = Gateway::start(&yaml(""));
    for line in [RELOAD, CONFIG, "POST /admin/v1/reload?force=true", "DELETE /admin/v1/cache"] {
        for token in [None, Some("wrong"), Some(""), Some("operator-token-of-the-testx"), TOKEN.get(1..)] {
            let refused = ask(&gateway, line, token);
            assert_eq!(refused.status, 401, "{line} {token:?}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"safecache admin\""));
            assert!(!refused.text().contains(TOKEN));
        }
        assert_eq!(ask(&gateway, line, Some(&secret("one"))).status, 401, "a client's key is no token");
        assert_eq!(ask(&gateway, line, Some(TOKEN)).status, 200, "{line}");
    }
    let basic = Client::connect(gateway.running().admin_address())
        .send(format!("{CONFIG} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {TOKEN}\r\n\r\n"))
        .answer();
    assert_eq!(basic.status, 401);
    assert_eq!(ask(&gateway, "GET /admin/v1/reload", Some(TOKEN)).status, 405);
    assert_eq!(ask(&gateway, "POST /admin/v1/reload?force=maybe", Some(TOKEN)).status, 400);
    assert_eq!(ask(&gateway, "POST /admin/v1/reload?forced=true", Some(TOKEN)).status, 400);
    assert_eq!(gateway.connect().get("/admin/v1/config", TOKEN).status, 401, "the data port knows no token");
}

#[test]
fn without_a_token_the_operators_api_is_not_there() {
    let gateway = Gateway::start(&format!("keys:\n{}", key("one", "")));
    for line in [RELOAD, CONFIG, "DELETE /admin/v1/cache"] {
        for token in [None, Some(""), Some(TOKEN)] {
            assert_eq!(ask(&gateway, line, token).status, 404, "{line} {token:?}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(gateway.admin(path).status, 200, "{path}");
    }
    assert_eq!(gateway.metric("safecache_key_ring_generation"), 1.0);
}

#[test]
fn the_token_changes_with_a_reload() {
    let gateway = Gateway::start(&yaml(""));
    gateway.rewrite(&yaml("").replace(TOKEN, "another-operators-token"));
    assert_eq!(ask(&gateway, RELOAD, Some(TOKEN)).status, 200);
    assert_eq!(ask(&gateway, CONFIG, Some(TOKEN)).status, 401);
    assert_eq!(ask(&gateway, CONFIG, Some("another-operators-token")).status, 200);
}

#[test]
fn the_state_of_the_configuration_is_shown() {
    let gateway = Gateway::start(&yaml(""));
    let shown = ask(&gateway, CONFIG, Some(TOKEN)).json();
    assert_eq!((&shown["generation"], &shown["keys"], &shown["plans"]), (&1.into(), &1.into(), &3.into()));
    assert!(shown["last_reload"].is_null());
    gateway.rewrite(&format!("{}{}", yaml(""), key("two", "")));
    let told = ask(&gateway, RELOAD, Some(TOKEN)).json();
    assert_eq!(told["message"], "generation 2: 2 keys (1 added, 0 removed)");
    let shown = ask(&gateway, CONFIG, Some(TOKEN)).json();
    assert_eq!((&shown["generation"], &shown["keys"]), (&2.into(), &2.into()));
    assert_eq!(shown["last_reload"]["applied"], true);
    assert_eq!(shown["last_reload"]["at"], "2027-01-15T08:00:00Z");
    assert!(!shown.to_string().contains(TOKEN));
}

#[test]
fn a_bad_configuration_changes_nothing_and_names_its_lines() {
    let gateway = Gateway::start(&yaml(""));
    gateway.rewrite(&yaml("limitz: {}\nroutes: [{path: /*, upstream: nobody}]\n").replace("one", "two"));
    let refused = ask(&gateway, RELOAD, Some(TOKEN));
    assert_eq!(refused.status, 422);
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("unknown key `limitz`") && message.contains("`nobody`"), "{message}");
    assert!(message.contains("gateway.yaml:4:1:"), "{message}");
    assert_eq!(gateway.connect().get("/x", &secret("one")).status, 404);
    assert_eq!(gateway.connect().get("/x", &secret("two")).status, 401);
    assert_eq!(gateway.metric("safecache_config_reloads_total{result=\"refused\"}"), 1.0);
    assert_eq!(gateway.metric("safecache_config_last_reload_successful"), 0.0);
}

#[test]
fn what_needs_a_restart_refuses_the_whole_reload_and_is_named() {
    let gateway = Gateway::start(&yaml(""));
    let two = key("two", "");
    let table = [
        ("threads: 7\n", "needs a restart: threads"),
        ("cache: {memory: 1MiB}\n", "needs a restart: cache.memory"),
        ("listen: \"127.0.0.1:1\"\n", "needs a restart: listen"),
        (
            "threads: 7\nlisten: \"127.0.0.1:1\"\ncache: {memory: 1MiB}\n",
            "needs a restart: listen, threads, cache.memory",
        ),
    ];
    for (more, message) in table {
        gateway.rewrite(&format!("{}{two}", yaml(more)));
        let refused = ask(&gateway, RELOAD, Some(TOKEN));
        assert_eq!((refused.status, refused.json()["message"].as_str()), (422, Some(message)));
        assert_eq!(gateway.connect().get("/x", &secret("two")).status, 401, "not even the keys");
    }
    gateway.rewrite(&format!("{}{two}", yaml("").replace("127.0.0.1:0", "127.0.0.1:1")));
    let refused = gateway.running().reload(Shrinking::Forced).expect_err("refused").to_string();
    assert_eq!(refused, "needs a restart: admin.listen", "force does not go so far");
    gateway.rewrite(&format!("{}{two}", yaml("limits: {max_body: 1KiB}\n")));
    assert_eq!(ask(&gateway, RELOAD, Some(TOKEN)).status, 200);
    assert_eq!(gateway.connect().get("/x", &secret("two")).status, 404);
}

fn run(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_safecache"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut input = child.stdin.take().expect("its stdin");
    // A command that has read enough closes its end.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    child.wait_with_output().expect("the command ends")
}

#[track_caller]
fn check(output: &Output, code: i32, out: &str, err: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let got = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(got, (Some(code), out.to_owned(), err.to_owned()));
}

#[test]
fn hash_key_prints_the_line_of_the_list() {
    let line = format!("{}\n", sha256(&secret("one")));
    for stdin in [secret("one"), format!("{}\n", secret("one")), format!("{}\r\n", secret("one"))] {
        check(&run(&["hash-key"], &stdin), 0, &line, "");
    }
    let (twenty, nineteen) = ("x".repeat(20), "x".repeat(19));
    check(&run(&["hash-key"], &twenty), 0, &format!("{}\n", sha256(&twenty)), "");
    for short in ["", "\n", &nineteen, &format!("{nineteen}\n")] {
        let said = "the key is shorter than 20 characters: it could be found by trying\n";
        check(&run(&["hash-key"], short), 1, "", said);
    }
    let said = "the key holds a space, a line break or a character beyond ASCII: no request could carry it\n";
    check(&run(&["hash-key"], &format!("{twenty}\n\n")), 1, "", said);
    check(&run(&["hash-key"], &format!("{twenty} x")), 1, "", said);
    let made = generate(safecache::dice::fill).expect("a key").secret;
    check(&run(&["hash-key"], made.expose()), 0, &format!("{}\n", sha256(made.expose())), "");
    let last = if made.expose().ends_with('0') { "1" } else { "0" };
    let kept: String = made.expose().chars().take(54).collect();
    let mistyped = format!("{kept}{last}");
    let said = "the key's checksum is wrong: one of its characters is not as it was made, and no request could use it\n";
    check(&run(&["hash-key"], &mistyped), 1, "", said);
    let said = format!("{}\n", sha256(&format!("{mistyped}x")));
    check(&run(&["hash-key"], &format!("{mistyped}x")), 0, &said, "");
    assert_eq!(run(&["hash-key", "on-the-command-line"], "").status.code(), Some(2));
}

#[test]
fn the_reload_command_prints_what_changed_or_what_is_wrong() {
    let gateway = Gateway::start(&yaml(""));
    // The command finds the gateway where its configuration says: here, at the port that the system chose.
    let address = gateway.running().admin_address().to_string();
    let theirs = gateway.folder.path().join("client.yaml");
    let write = |token: &str| {
        std::fs::write(&theirs, format!("admin: {{listen: \"{address}\", token: \"{token}\"}}\n"))
            .expect("a file");
    };
    write(TOKEN);
    let config = theirs.to_str().expect("a path");
    let reload = ["reload", "--config", config];
    check(&run(&reload, ""), 0, "generation 2: 1 keys (0 added, 0 removed)\n", "");
    gateway.rewrite(&yaml("threads: 3\n"));
    check(&run(&reload, ""), 1, "", "needs a restart: threads\n");
    write("the-token-of-another-gateway");
    check(&run(&reload, ""), 1, "", "the operator's token is required\n");
    write("");
    let said = "admin.token is not configured, so the operator's API is off; send the gateway HUP instead\n";
    check(&run(&reload, ""), 1, "", said);
    write(TOKEN);
}

#[test]
fn the_reload_command_forces_a_shrunk_list() {
    let keys = |count: usize| -> String {
        format!("keys:\n{}", (0..count).map(|n| key(&format!("k{n}"), "")).collect::<String>())
    };
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = folder.path().join("keys.yaml");
    std::fs::write(&path, keys(20)).expect("a list");
    let with_list = format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys_file: keys.yaml\n");
    let gateway = Gateway::start_in(folder, &with_list);
    let theirs = gateway.folder.path().join("client.yaml");
    let address = gateway.running().admin_address();
    std::fs::write(&theirs, format!("admin: {{listen: \"{address}\", token: {TOKEN}}}\n")).expect("a file");
    let config = theirs.to_str().expect("a path");
    std::fs::write(&path, keys(3)).expect("a list");
    let said = "the key list would lose 17 of its 20 keys; force the reload if that is wanted\n";
    check(&run(&["reload", "--config", config], ""), 1, "", said);
    let forced = "generation 2: 3 keys (0 added, 17 removed)\n";
    check(&run(&["reload", "--force", "--config", config], ""), 0, forced, "");
}
