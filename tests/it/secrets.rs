//! A full run of the real binary, after which nothing that it left behind names a secret that it was told.

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::{Client, eventually};
use crate::support::gateway::{key, secret};
use crate::support::process::{Process, safecache, write_config};
use crate::support::upstream::Upstream;

const UPSTREAM_KEY: &str = "upstream-credential-4711";
const ADMIN_TOKEN: &str = "operators-token-0815-long-enough";
const WRONG_TOKEN: &str = "not-the-operators-token";
const WRONG_KEY: &str = "presented-but-unknown-key";
const PROMPT: &str = "the-prompt-that-nobody-may-read";
const ANSWERED: &str = "the-answer-that-nobody-may-read";
const COOKIE: &str = "cookie-value-31337";
const QUERY: &str = "query-value-27182";
const LISTED_RAW: &str = "raw-key-pasted-into-the-list-by-mistake";

fn config(upstream: &Upstream) -> String {
    let keys = [
        key("one", ""),
        key("slow", "plan: slow"),
        key("elsewhere", "allowed_ips: [\"192.0.2.1\"]"),
        key("bound", "allowed_models: [\"gpt-*\"]"),
        key("off", "disabled: true"),
    ];
    format!(
        "admin: {{listen: \"127.0.0.1:0\", token: \"${{ADMIN_TOKEN}}\"}}\nkeys_file: keys.yaml\n\
         plans: {{slow: {{requests_per_minute: 1, burst: 1}}}}\nlimits: {{max_body: 1MiB, auth_failures: 8}}\n\
         upstreams:\n  llm: {{servers: [\"{}\"], authorization: \"Bearer ${{UPSTREAM_KEY}}\"}}\n  \
         dead: {{servers: [\"http://127.0.0.1:1\"], authorization: \"Bearer ${{UPSTREAM_KEY}}\"}}\n\
         routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n  \
         - {{path: /openai/*, upstream: llm, errors: openai}}\n  - {{path: /dead/*, upstream: dead}}\nkeys:\n{}",
        upstream.url(),
        keys.concat()
    )
}

/// Answers as told by the path, always with [`ANSWERED`] in it.
fn upstream() -> Upstream {
    Upstream::start(|request, exchange| {
        let body = format!(r#"{{"choices":[{{"finish_reason":"stop"}}],"text":"{ANSWERED}"}}"#);
        if request.line.contains("cut") {
            exchange.begin("text/event-stream");
            exchange.chunk(format!("data: {ANSWERED}\n\n"));
            exchange.close();
        } else if request.line.contains("broken") {
            exchange.send(format!("{ANSWERED}\r\n\r\n"));
            exchange.close();
        } else {
            exchange.json(&body);
        }
    })
}

/// Bodies of answers that the gateway wrote itself.
struct Refusals(Vec<String>);

impl Refusals {
    fn ask(&mut self, client: &mut Client, line: &str, key: &str, body: &str) {
        let more = format!("Cookie: session={COOKIE}\r\nX-Api-Key: {WRONG_KEY}\r\n");
        let answer = client.request(line, key, &more, body.as_bytes()).answer();
        if answer.status >= 400 {
            let heads: String =
                answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            self.0.push(format!("{}\n{heads}{}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
    }
}

fn run_every_kind(process: &Process) -> Vec<String> {
    let mut refusals = Refusals(Vec::new());
    let chat = format!("{{\"model\":\"m\",\"messages\":[\"{PROMPT}\"]}}");
    let double = format!("{{\"{PROMPT}\":1,\"{PROMPT}\":2}}");
    for path in ["/v1/chat/completions", "/openai/chat/completions", "/v1/files", "/dead/x", "/nowhere"] {
        let line = format!("POST {path}?key={QUERY}");
        for name in ["one", "one", "slow", "slow", "elsewhere", "bound", "off"] {
            refusals.ask(&mut process.connect(), &line, &secret(name), &chat);
        }
        refusals.ask(&mut process.connect(), &line, WRONG_KEY, &chat);
        refusals.ask(&mut process.connect(), &line, &format!("two words {WRONG_KEY}"), &chat);
        refusals.ask(&mut process.connect(), &line, &secret("one"), &double);
        let large = format!("{PROMPT}{}", "x".repeat(2 * 1024 * 1024));
        refusals.ask(&mut process.connect(), &line, &secret("one"), &large);
    }
    for path in
        ["/v1/chat/completions?broken", "/v1/broken", "/v1/../x", "/v1/chat/completions?cut", "/v1/cut"]
    {
        refusals.ask(&mut process.connect(), &format!("POST {path}"), &secret("one"), &chat);
    }
    let key = secret("one");
    let raw = [
        format!("POST /v1/x HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n"),
        format!("POST /v1/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\n {PROMPT}\r\n\r\n"),
        format!("POST /v1/{} HTTP/1.1\r\nHost: g\r\nX: {}\r\n\r\n", PROMPT, key.repeat(5000)),
        format!("{key} {PROMPT}\r\n\r\n"),
    ];
    for bytes in raw {
        let mut client = process.connect();
        client.try_send(bytes);
        refusals
            .0
            .push(String::from_utf8_lossy(&client.pending(std::time::Duration::from_secs(5))).into_owned());
    }
    refusals.0
}

fn operate(process: &Process, folder: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    let mut admin = |line: &str, token: &str| {
        let answer = Client::connect(process.admin())
            .send(format!(
                "{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            ))
            .answer();
        seen.push(answer.text());
        answer.status
    };
    assert_eq!(admin("GET /admin/v1/config", ADMIN_TOKEN), 200);
    assert_eq!(admin("GET /admin/v1/config", WRONG_TOKEN), 401);
    assert_eq!(admin("POST /admin/v1/reload", ADMIN_TOKEN), 200);
    // A key where its hash belongs: the commonest mistake of all.
    let wrong = format!("keys:\n  - {{id: x, account: a, plan: pro, sha256: {LISTED_RAW}}}\n");
    std::fs::write(folder.join("keys.yaml"), wrong).unwrap();
    assert_eq!(admin("POST /admin/v1/reload", ADMIN_TOKEN), 422);
    process.stderr().wait_for("keys.yaml");
    seen.push(process.ask_admin("/metrics").text());
    seen
}

/// The names and contents of all files below `folder`.
fn contents(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        all += &format!("{}\n", path.display());
        if path.is_dir() {
            all += &contents(&path);
        } else {
            all += &String::from_utf8_lossy(&std::fs::read(&path).expect("a file"));
        }
    }
    all
}

fn no_secret_in(what: &str, text: &str) {
    let keys = ["one", "slow", "elsewhere", "bound", "off"].map(secret);
    let fixed =
        [UPSTREAM_KEY, ADMIN_TOKEN, WRONG_TOKEN, WRONG_KEY, PROMPT, ANSWERED, COOKIE, QUERY, LISTED_RAW];
    for told in keys.iter().map(String::as_str).chain(fixed) {
        let encoded = [
            told.to_owned(),
            data_encoding::HEXLOWER.encode(told.as_bytes()),
            data_encoding::BASE64.encode(told.as_bytes()),
            // As a list of bytes, the way a derived Debug prints one.
            told.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "),
        ];
        for form in encoded {
            let at = text.find(&form);
            assert!(
                at.is_none(),
                "{what} holds {told:?}: {:?}",
                at.map(|at| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..]))
            );
        }
    }
}

#[test]
fn nothing_that_a_full_run_leaves_names_a_secret() {
    for level in ["", "trace"] {
        let upstream = upstream();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("keys.yaml"), key("listed", "").replacen("  -", "keys:\n  -", 1))
            .unwrap();
        write_config(folder.path(), &config(&upstream));
        let mut command = safecache(folder.path());
        command.arg("serve").envs([
            ("ADMIN_TOKEN", ADMIN_TOKEN),
            ("UPSTREAM_KEY", UPSTREAM_KEY),
            ("SAFECACHE_LOG", level),
        ]);
        let process = Process::start(&mut command);
        process.stderr().wait_for("admin: ");
        let refusals = run_every_kind(&process);
        assert!(refusals.len() > 40, "{}", refusals.len());
        let arrived = upstream.requests();
        assert!(
            arrived
                .iter()
                .all(|request| request.header("authorization") == Some("Bearer upstream-credential-4711"))
        );
        assert!(arrived.iter().any(|request| String::from_utf8_lossy(&request.body).contains(PROMPT)));
        let operated = operate(&process, folder.path());
        eventually("its lines are written", || process.stdout().text().lines().count() > 40);
        let ended = process.end(Signal::TERM);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        no_secret_in("stdout", &ended.stdout);
        no_secret_in("stderr", &ended.stderr);
        no_secret_in("an error", &refusals.join("\n"));
        no_secret_in("the admin listener", &operated.join("\n"));
        no_secret_in("the data folder", &contents(&folder.path().join("data")));
        assert!(ended.stdout.contains("\"key\":\"one\""), "ids are what the log is for");
    }
}
