//! The console's pages, as a browser asks for them: bytes in, bytes out.
//!
//! - `entering`: sign-up, log-in, log-out, one-time links; `keys` and `settings`: what is done there.
//! - `usage`, `cache`, `playground`: what an account used, what is kept for it, and asking a model.
//! - `access`: every page and call as everybody, and as nobody; `guarded`: what holds for all of them.

mod access;
mod cache;
mod entering;
mod guarded;
mod keys;
mod playground;
mod settings;
mod usage;

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::client::Answer;
use crate::support::gateway::{Gateway, key};
use crate::support::upstream::Upstream;

/// A gateway where whoever likes may sign up.
fn open_gateway() -> Gateway {
    gateway("open")
}

fn gateway(sign_up: &str) -> Gateway {
    let admin = format!("admin: {{listen: \"127.0.0.1:0\", sign_up: {sign_up}}}");
    Gateway::start(&format!("{admin}\nkeys:\n{}", key("one", "")))
}

fn password(of: &str) -> String {
    format!("correct horse of {of}")
}

/// Where an answer leads.
#[track_caller]
fn leads_to(answer: &Answer, path: &str) {
    assert_eq!((answer.status, answer.header("location")), (303, Some(path)), "{}", answer.text());
}

/// Somebody who has signed up and logged in.
fn owner(gateway: &Gateway, last: u8, name: &str) -> Browser {
    let mut browser = Browser::at(gateway, last);
    let fields = [("login", name), ("name", ""), ("password", &password(name))];
    assert_eq!(browser.post("/sign-up", &fields).status, 200);
    leads_to(&log_in(&mut browser, name), "/");
    browser
}

fn log_in(browser: &mut Browser, name: &str) -> Answer {
    browser.post("/log-in", &[("login", name), ("password", &password(name))])
}

/// What a model answers.
const ANSWER: &str = r#"{"choices":[{"finish_reason":"stop","message":{"content":"a word"}}],"usage":{"prompt_tokens":30,"completion_tokens":4}}"#;

const CHAT: &str = "/v1/chat/completions";

/// A gateway before `upstream` where whoever likes may sign up.
fn before(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "admin: {{listen: \"127.0.0.1:0\", sign_up: open}}\nlimits: {{auth_failures: off}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n{more}\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ))
}

/// A new key of an account whose keys `browser` may make.
#[track_caller]
fn new_key(browser: &mut Browser, name: &str) -> String {
    let page = browser.post("/keys", &[("name", name)]).text();
    let (_, rest) = page.split_once("<code data-copy>").unwrap_or_else(|| panic!("no key: {page}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}

fn chat(model: &str, question: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": question}]}).to_string()
}

/// The path of the one link that a page shows.
#[track_caller]
fn link_in(page: &str) -> String {
    let (_, rest) = page.split_once("data-link=\"").unwrap_or_else(|| panic!("no link: {page}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Somebody who has come by a link.
fn joined(gateway: &Gateway, last: u8, name: &str, link: &str) -> Browser {
    let mut browser = Browser::at(gateway, last);
    leads_to(&browser.post(link, &[("login", name), ("password", &password(name))]), "/");
    browser
}

/// Somebody whom `owner` has let into their account.
fn member(gateway: &Gateway, owner: &mut Browser, (last, name, role): (u8, &str, &str)) -> Browser {
    let made = owner.post("/settings/links", &[("purpose", "invite"), ("role", role)]);
    joined(gateway, last, name, &link_in(&made.text()))
}

fn operator(gateway: &Gateway, last: u8, name: &str) -> Browser {
    let url = gateway.running().first_operator_url(None).expect("the store works").expect("a link");
    let (_, token) = url.split_once("/link/").expect("a link");
    joined(gateway, last, name, &format!("/link/{token}"))
}

/// The id of somebody, as a page that may change them has it.
#[track_caller]
fn person_id(page: &str, login: &str) -> String {
    let row = page.split("<li>").find(|row| row.contains(&format!("quiet\">{login} ")));
    let row = row.unwrap_or_else(|| panic!("no {login}: {page}"));
    crate::support::browser::value_of(row, "person").unwrap_or_else(|| panic!("not to be changed: {row}"))
}

/// The account that an owner's page names.
#[track_caller]
fn account_of(page: &str) -> String {
    let (_, rest) = page.split_once("owner of ").expect("a place");
    rest.split('<').next().unwrap_or_default().to_owned()
}
