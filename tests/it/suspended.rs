//! Accounts that the key list names: an operator sees, changes and suspends them as those of the store (issue 6.2).

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stored_keys::{UNKNOWN, ask, done, make, start, status, usage, yaml};
use crate::support::admin::TOKEN;
use crate::support::browser::Browser;
use crate::support::client::Client;
use crate::support::disk::accounts_sql;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::process::{Process, safecache};
use crate::support::upstream::{Upstream, gate};

/// Keys that the configuration lists: two of acme, one of globex.
fn listed() -> String {
    format!("keys:\n{}{}{}", key("one", ""), key("two", ""), key("other", "account: globex"))
}

fn statuses(gateway: &Gateway, ids: &[&str]) -> Vec<u16> {
    ids.iter().map(|id| status(gateway, &secret(id))).collect()
}

fn suspend(gateway: &Gateway, account: &str) -> Value {
    done(gateway, &format!("POST /admin/v1/accounts/{account}/suspend"), &Value::Null)
}

fn resume(gateway: &Gateway, account: &str) -> Value {
    done(gateway, &format!("POST /admin/v1/accounts/{account}/resume"), &Value::Null)
}

fn counted(gateway: &Gateway) -> [f64; 3] {
    ["active", "disabled", "expired"]
        .map(|state| gateway.metric(&format!("safecache_keys{{state=\"{state}\"}}")))
}

#[test]
fn a_suspended_accounts_keys_of_the_list_are_refused_like_unknown_ones() {
    let gateway = start(&listed());
    let (_, stored) = make(&gateway, &json!({}));
    assert_eq!(counted(&gateway), [4.0, 0.0, 0.0]);
    let suspended = suspend(&gateway, "acme");
    assert_eq!((&suspended["live"], &suspended["account"]["origin"]), (&json!(true), &json!("both")));
    assert_eq!(statuses(&gateway, &["one", "two", "other"]), [401, 401, 200]);
    assert_eq!(status(&gateway, &stored), 401);
    let (refused, nobody) = (usage(&gateway, &secret("one")), usage(&gateway, "nobody's"));
    assert_eq!((refused.text(), nobody.text()), (UNKNOWN.to_owned(), UNKNOWN.to_owned()));
    assert_eq!(refused.header("www-authenticate"), nobody.header("www-authenticate"));
    assert_eq!(counted(&gateway), [1.0, 3.0, 0.0]);
    resume(&gateway, "acme");
    assert_eq!(statuses(&gateway, &["one", "two", "other"]), [200; 3]);
    assert_eq!((status(&gateway, &stored), counted(&gateway)), (200, [4.0, 0.0, 0.0]));
}

#[test]
fn a_suspension_outlives_reloads_and_a_restart() {
    let gateway = start(&listed());
    suspend(&gateway, "acme");
    let three = format!("{}{}", listed(), key("three", ""));
    gateway.rewrite(&yaml(&three));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(statuses(&gateway, &["one", "two", "three", "other"]), [401, 401, 401, 200]);
    // A change of the store's own keys, and a new one of the account.
    let (_, stored) = make(&gateway, &json!({"account": "globex"}));
    make(&gateway, &json!({"name": "of a suspended account"}));
    assert_eq!((status(&gateway, &stored), statuses(&gateway, &["one"])), (200, vec![401]));
    assert_eq!(counted(&gateway), [2.0, 4.0, 0.0]);
    let gateway = gateway.restarted();
    assert_eq!(statuses(&gateway, &["one", "two", "three", "other"]), [401, 401, 401, 200]);
    assert_eq!(counted(&gateway), [2.0, 4.0, 0.0]);
    // The list may lose them all, and get them again.
    gateway.rewrite(&yaml(&format!("keys:\n{}", key("other", "account: globex"))));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    gateway.rewrite(&yaml(&three));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(statuses(&gateway, &["three"]), [401]);
    resume(&gateway, "acme");
    assert_eq!(statuses(&gateway, &["one", "two", "three", "other"]), [200; 4]);
}

/// What is disabled or expired by itself is counted once, and is none of a suspension's business.
#[test]
fn keys_of_a_suspended_account_are_counted_as_disabled_expired_or_not() {
    let listed = format!(
        "keys:\n{}{}{}{}",
        key("plain", ""),
        key("off", "account: acme, disabled: true"),
        key("ends", "account: acme, expires_at: 2027-01-15T09:00:00Z"),
        key("theirs", "account: globex, expires_at: 2027-01-15T09:00:00Z"),
    );
    let gateway = start(&listed);
    assert_eq!(counted(&gateway), [3.0, 1.0, 0.0]);
    gateway.clock.advance(Duration::from_secs(3600));
    assert_eq!(counted(&gateway), [1.0, 1.0, 2.0]);
    suspend(&gateway, "acme");
    assert_eq!(counted(&gateway), [0.0, 3.0, 1.0]);
    gateway.rewrite(&yaml(&format!("{listed}{}", key("more", ""))));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(counted(&gateway), [0.0, 4.0, 1.0]);
    resume(&gateway, "acme");
    assert_eq!(counted(&gateway), [2.0, 1.0, 2.0]);
    assert_eq!(statuses(&gateway, &["plain", "off", "ends", "theirs"]), [200, 401, 401, 401]);
}

#[test]
fn a_suspension_is_in_force_on_every_worker_when_its_call_returns() {
    let gateway = start(&format!("threads: 4\n{}", listed()));
    let mut clients: Vec<Client> = (0..12).map(|_| gateway.connect()).collect();
    let mut ask = || -> Vec<u16> {
        clients.iter_mut().map(|client| client.get("/api/v1/usage", &secret("one")).status).collect()
    };
    for _ in 0..10 {
        suspend(&gateway, "acme");
        assert_eq!(ask(), [401; 12]);
        resume(&gateway, "acme");
        assert_eq!(ask(), [200; 12]);
    }
}

#[test]
fn an_account_that_only_the_list_names_is_in_the_store_once_it_is_suspended() {
    let gateway = start(&listed());
    let shown = |id: &str| done(&gateway, &format!("GET /admin/v1/accounts/{id}"), &Value::Null);
    assert_eq!(
        shown("acme"),
        json!({"id": "acme", "origin": "list", "name": "acme", "plan": "free", "created_at": null,
               "suspended_at": null, "keys": 0, "listed_keys": 2})
    );
    // It is not suspended: nothing is to be undone, and nothing is made for that.
    assert_eq!(resume(&gateway, "acme")["account"]["origin"], "list");
    suspend(&gateway, "acme");
    suspend(&gateway, "acme");
    assert_eq!(
        shown("acme"),
        json!({"id": "acme", "origin": "both", "name": "acme", "plan": "free",
               "created_at": "2027-01-15T08:00:00Z", "suspended_at": "2027-01-15T08:00:00Z", "keys": 0,
               "listed_keys": 2})
    );
    let changed = done(&gateway, "PATCH /admin/v1/accounts/globex", &json!({"name": "Globex Inc"}));
    assert_eq!(
        (&changed["account"]["name"], &changed["account"]["origin"]),
        (&json!("Globex Inc"), &json!("both"))
    );
    let trail = done(&gateway, "GET /admin/v1/audit", &Value::Null);
    let told: Vec<_> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| (row["action"].as_str().unwrap(), row["account"].as_str().unwrap()))
        .collect();
    let expected = [
        ("account.create", "acme"),
        ("account.suspend", "acme"),
        ("account.create", "globex"),
        ("account.change", "globex"),
    ];
    assert_eq!(told, expected, "once each");
    for line in [
        "GET /admin/v1/accounts/nobody",
        "POST /admin/v1/accounts/nobody/suspend",
        "POST /admin/v1/accounts/nobody/resume",
    ] {
        assert_eq!(ask(&gateway, line, &Value::Null).status, 404, "{line}");
    }
    assert_eq!(ask(&gateway, "GET /admin/v1/accounts/nobody", &Value::Null).status, 404, "none was made");
    // Suspended once, it stays so though the list forgets it.
    gateway.rewrite(&yaml(&format!("keys:\n{}", key("other", "account: globex"))));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    assert_eq!(shown("acme")["origin"], "store");
}

#[test]
fn accounts_of_list_and_store_come_in_one_order_page_by_page() {
    let names = ["b", "d", "d/e", "Z", "same-first-sixteen-1", "same-first-sixteen-2", "same-first-sixteen"];
    let keys: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(n, name)| key(&format!("k{n}"), &format!("account: \"{name}\"")))
        .collect();
    let more = key("again", "account: b");
    let gateway = start(&format!("keys:\n{}{more}", keys.concat()));
    for id in ["a", "b", "c", "e"] {
        done(&gateway, "POST /admin/v1/accounts", &json!({"id": id}));
    }
    let pages = |limit: usize| {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let target = format!("GET /admin/v1/accounts?limit={limit}&after={}", after.replace('/', "%2F"));
            let page = done(&gateway, &target, &Value::Null);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            seen.extend(items.iter().map(|account| {
                let text = |member: &str| account[member].as_str().unwrap().to_owned();
                (text("id"), text("origin"), account["listed_keys"].as_u64().unwrap())
            }));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return seen,
            }
        }
    };
    let expected = [
        ("Z", "list", 1),
        ("a", "store", 0),
        ("b", "both", 2),
        ("c", "store", 0),
        ("d", "list", 1),
        ("d/e", "list", 1),
        ("e", "store", 0),
        ("same-first-sixteen", "list", 1),
        ("same-first-sixteen-1", "list", 1),
        ("same-first-sixteen-2", "list", 1),
    ];
    let expected = expected.map(|(id, origin, keys)| (id.to_owned(), origin.to_owned(), keys));
    for limit in [1, 2, 3, 10, 100] {
        assert_eq!(pages(limit), expected, "{limit} a page");
    }
    // As the list is after a reload.
    gateway.rewrite(&yaml(&format!("keys:\n{}", key("k0", "account: new"))));
    done(&gateway, "POST /admin/v1/reload", &Value::Null);
    let ids: Vec<_> = pages(2).into_iter().map(|(id, origin, _)| format!("{id} {origin}")).collect();
    assert_eq!(ids, ["a store", "b store", "c store", "e store", "new list"]);
}

/// And streams of after the suspension run again, as often as that happens.
#[test]
fn streams_of_the_lists_keys_end_with_a_suspension_where_that_is_wanted() {
    for (setting, is_cut) in [("revoke: {cut_streams: true}\n", true), ("", false)] {
        let (gate, opener) = gate();
        let upstream = Upstream::start(move |_, exchange| {
            exchange.begin("text/event-stream");
            exchange.chunk("data: {\"choices\":[]}\n\n");
            gate.wait();
            exchange.chunk("data: [DONE]\n\n");
            exchange.chunk("");
        });
        let yaml = yaml(&format!("{setting}{}", listed())).replace("http://127.0.0.1:9", &upstream.url());
        let gateway = Gateway::start(&yaml);
        let stream = |id: &str| {
            let mut client = gateway.connect();
            let json = "Content-Type: application/json\r\n";
            client.request("POST /v1/chat/completions", &secret(id), json, b"{\"stream\":true}");
            assert_eq!(client.head().status, 200);
            // By itself: what comes while nobody reads may come in one piece.
            assert_eq!(client.chunk().expect("its first event"), b"data: {\"choices\":[]}\n\n");
            client
        };
        let mut theirs = stream("other");
        let mut cut: Vec<Client> = Vec::new();
        for _ in 0..2 {
            cut.extend([stream("one"), stream("two")]);
            suspend(&gateway, "acme");
            if is_cut {
                let in_flight = |gateway: &Gateway| gateway.metric("safecache_in_flight_requests");
                gateway.eventually("they are cut", |gateway| in_flight(gateway) == 1.0);
            }
            resume(&gateway, "acme");
        }
        let mut again = stream("one");
        drop(opener);
        let goes_on =
            |client: &mut Client| assert_eq!(client.chunk().expect("its last event"), b"data: [DONE]\n\n");
        goes_on(&mut theirs);
        goes_on(&mut again);
        for client in &mut cut {
            if is_cut {
                assert!(!String::from_utf8_lossy(&client.rest()).contains("[DONE]"));
            } else {
                goes_on(client);
            }
        }
    }
}

/// The other process of a hand-over begins with what is in the store.
#[test]
fn a_suspension_goes_with_a_hand_over() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut old = Process::serve(
        folder.path(),
        &format!(
            "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nlimits: {{auth_failures: off}}\n\
             upstreams: {{llm: {{servers: [\"http://127.0.0.1:9\"]}}}}\n\
             routes: [{{path: /v1/*, upstream: llm}}]\n{}",
            listed()
        ),
    );
    let post = |process: &Process, path: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = Client::connect(process.admin()).send(request).answer();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    };
    let status = |process: &Process| process.connect().get("/api/v1/usage", &secret("one")).status;
    assert_eq!(status(&old), 200);
    post(&old, "/admin/v1/accounts/acme/suspend");
    assert_eq!(status(&old), 401);
    let next = Process::start(safecache(folder.path()).args(["serve", "--upgrade"]));
    next.stderr().wait_for("to be told QUIT");
    old.signal(Signal::QUIT);
    next.stderr().wait_for("admin: ");
    old.stderr().wait_for("a new process serves");
    assert_eq!(status(&next), 401);
    assert_eq!(old.wait().code, Some(0));
    post(&next, "/admin/v1/accounts/acme/resume");
    assert_eq!(status(&next), 200);
    assert_eq!(next.end(Signal::TERM).code, Some(0));
}

/// What another process writes, as the command line does, is seen soon.
#[test]
fn a_suspension_by_another_process_is_followed() {
    let gateway = start(&format!("limits: {{auth_failures: off}}\n{}", listed()));
    suspend(&gateway, "acme");
    let sql = "UPDATE accounts SET suspended_at = NULL WHERE id = 'acme'; UPDATE revisions SET revision = revision + 1;";
    accounts_sql(gateway.folder.path(), sql.to_owned());
    gateway.eventually("it is resumed", |gateway| statuses(gateway, &["one"]) == [200]);
}

/// Whoever signs up gets an account that nobody has named; into one of the list an operator alone lets people.
#[test]
fn nobody_signs_up_for_an_account_that_the_list_names() {
    let gateway = Gateway::start(&yaml(&listed()).replace("token:", "sign_up: open, token:"));
    let password = |name: &str| format!("correct horse of {name}");
    let mut newcomer = Browser::at(&gateway, 11);
    let fields = [("login", "acme"), ("name", "acme"), ("password", &*password("acme"))];
    assert_eq!(newcomer.post("/sign-up", &fields).status, 200);
    assert_eq!(newcomer.post("/log-in", &[fields[0], fields[2]]).status, 303);
    let page = newcomer.get("/").text();
    assert!(page.contains("owner of acct_"), "{page}");
    // And they may not let themselves in: that is the operator's.
    let into_acme = [("purpose", "invite"), ("account", "acme"), ("role", "owner")];
    assert_eq!(newcomer.post("/settings/links", &into_acme).status, 403);
    let join = |last: u8, name: &str, link: &str| {
        let mut browser = Browser::at(&gateway, last);
        let joined = browser.post(link, &[("login", name), ("password", &password(name))]);
        assert_eq!(joined.status, 303, "{}", joined.text());
        browser
    };
    let way_in = gateway.running().first_operator_url(None).expect("the store works").expect("a link");
    let (_, token) = way_in.split_once("/link/").expect("a link");
    let mut operator = join(12, "root", &format!("/link/{token}"));
    let page = operator.post("/settings/links", &into_acme).text();
    let (_, rest) = page.split_once("data-link=\"").unwrap_or_else(|| panic!("no link: {page}"));
    let mut owner = join(13, "ada", rest.split('"').next().expect("its end"));
    assert!(owner.get("/").text().contains("owner of acme"));
}
