//! Sign-up, log-in, log-out, one-time links.

use std::time::Duration;

use super::{gateway, joined, key, leads_to, link_in, log_in, open_gateway, operator, owner, password};
use crate::support::browser::Browser;

#[test]
fn somebody_signs_up_logs_in_looks_around_and_logs_out() {
    let gateway = open_gateway();
    let mut ada = Browser::at(&gateway, 11);
    leads_to(&ada.get("/"), "/log-in");
    let page = ada.get("/sign-up");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let fields = [("login", "Ada@Example.org"), ("name", "Ada L."), ("password", &password("ada"))];
    let done = ada.post("/sign-up", &fields);
    assert_eq!((done.status, done.header("set-cookie")), (200, None));
    leads_to(&ada.post("/log-in", &[("login", "ada@example.org"), ("password", &password("ada"))]), "/");
    let overview = ada.get("/");
    assert_eq!(overview.status, 200);
    assert!(overview.text().contains("Welcome, Ada L."), "{}", overview.text());
    assert!(overview.text().contains("<a href=\"/keys\">Generate one</a>"), "{}", overview.text());
    leads_to(&ada.get("/log-in"), "/");
    let kept = ada.cookie.clone();
    leads_to(&ada.post("/log-out", &[]), "/log-in");
    assert_eq!(ada.cookie, None, "the browser forgets it");
    ada.cookie = kept;
    leads_to(&ada.get("/"), "/log-in");
}

#[test]
fn a_session_is_a_cookie_that_no_script_and_no_other_site_gets() {
    let gateway = open_gateway();
    let mut ada = Browser::at(&gateway, 11);
    ada.post("/sign-up", &[("login", "ada"), ("password", &password("ada"))]);
    let answer = log_in(&mut ada, "ada");
    let cookie = answer.header("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    let (name, token) = pair.split_once('=').expect("a name");
    assert_eq!((name, token.len()), ("safecache_session", 43));
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000");
    assert!(!answer.text().contains(token));
    assert!(!ada.get("/settings").text().contains(token), "no page shows it");
}

#[test]
fn a_taken_name_is_answered_like_a_free_one() {
    let gateway = open_gateway();
    owner(&gateway, 11, "ada");
    let mut other = Browser::at(&gateway, 12);
    let mut ask = |name: &str| {
        let answer = other.post("/sign-up", &[("login", name), ("password", &password("mallory"))]);
        let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
        let length = ("content-length".to_owned(), answer.body.len().to_string());
        assert!(headers.contains(&length));
        (answer.status, answer.text().replace(name, "NAME"), headers.len())
    };
    assert_eq!(ask("ada"), ask("bob"));
    assert_eq!(
        other.post("/log-in", &[("login", "ada"), ("password", &password("mallory"))]).status,
        422,
        "nothing was changed"
    );
}

#[test]
fn a_refused_form_says_why_and_keeps_what_was_typed_but_no_password() {
    let gateway = open_gateway();
    let mut ada = Browser::at(&gateway, 11);
    let answer = ada.post("/sign-up", &[("login", "ada \"x\""), ("name", "<i>Ada"), ("password", "hunter2")]);
    let page = answer.text();
    assert_eq!(answer.status, 422);
    assert!(page.contains("A login name has 3 to 64 letters"), "{page}");
    assert!(page.contains("ada &#34;x&#34;") && page.contains("&#60;i&#62;Ada"), "{page}");
    assert!(!page.contains("hunter2"), "{page}");
    let wrong = ada.post("/log-in", &[("login", "nobody"), ("password", "some password")]);
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("The name or the password is wrong."), "{}", wrong.text());
    assert!(wrong.text().contains("value=\"nobody\"") && !wrong.text().contains("some password"));
}

#[test]
fn too_many_attempts_are_told_by_429() {
    let gateway = open_gateway();
    let mut ada = Browser::at(&gateway, 11);
    let mut attempt = |name: &str| ada.post("/log-in", &[("login", name), ("password", "some password")]);
    for _ in 0..10 {
        assert_eq!(attempt("ada").status, 422);
    }
    let limited = attempt("ada");
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("60")));
    assert!(limited.text().contains("Too many attempts"), "{}", limited.text());
    assert_eq!(attempt("bob").status, 422);
}

#[test]
fn sign_up_is_there_only_while_it_is_open() {
    let gateway = gateway("closed");
    let mut ada = Browser::at(&gateway, 11);
    let fields = [("login", "ada"), ("password", &*password("ada"))];
    assert_eq!(ada.get("/sign-up").status, 404);
    assert_eq!(ada.post("/sign-up", &fields).status, 404);
    assert!(!ada.get("/log-in").text().contains("/sign-up"));
    assert_eq!(log_in(&mut ada, "ada").status, 422, "nobody was made");
    let open = format!("admin: {{listen: \"127.0.0.1:0\", sign_up: open}}\nkeys:\n{}", key("one", ""));
    gateway.rewrite(&open);
    gateway.running().reload(safecache::runtime::reload::Shrinking::Guarded).expect("a reload");
    assert!(ada.get("/log-in").text().contains("/sign-up"));
    assert_eq!(ada.post("/sign-up", &fields).status, 200);
    leads_to(&log_in(&mut ada, "ada"), "/");
}

#[test]
fn the_first_operator_comes_by_the_link_that_is_printed() {
    let gateway = gateway("closed");
    let mut root = operator(&gateway, 11, "root");
    assert!(root.get("/").text().contains("You operate this gateway"));
    assert_eq!(gateway.running().first_operator_url(None).unwrap(), None);
}

#[test]
fn a_link_is_shown_once_looked_at_often_and_used_once() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let made = ada.post("/settings/links", &[("purpose", "invite"), ("role", "admin")]);
    let link = link_in(&made.text());
    let token = link.strip_prefix("/link/").expect("a link");
    assert_eq!(token.len(), 43);
    let later = ada.get("/settings").text();
    assert!(!later.contains(token) && later.contains(" as admin</p>"), "{later}");
    let mut eve = Browser::at(&gateway, 12);
    for _ in 0..3 {
        let page = eve.get(&link);
        assert_eq!(page.status, 200);
        assert!(page.text().contains("as admin."), "{}", page.text());
    }
    let refused = eve.post(&link, &[("login", "ADA"), ("password", &password("eve"))]);
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("Somebody has this name already"), "{}", refused.text());
    leads_to(&eve.post(&link, &[("login", "eve"), ("password", &password("eve"))]), "/");
    assert!(eve.get("/").text().contains("admin of acct_"));
    let mut mallory = Browser::at(&gateway, 13);
    assert_eq!(mallory.get(&link).status, 404);
    let fields = [("login", "mallory"), ("password", &*password("mallory"))];
    assert_eq!(mallory.post(&link, &fields).status, 404);
}

#[test]
fn a_link_ends_after_a_day() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let made = ada.post("/settings/links", &[("purpose", "invite"), ("role", "admin")]);
    let link = link_in(&made.text());
    gateway.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(Browser::at(&gateway, 12).get(&link).status, 404);
}

#[test]
fn a_session_outlives_a_restart() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let gateway = gateway.restarted();
    let mut again = Browser::at(&gateway, 11);
    again.cookie = ada.cookie.take();
    assert_eq!(again.get("/").status, 200);
}

#[test]
fn whoever_comes_by_a_link_may_come_back() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let made = ada.post("/settings/links", &[("purpose", "invite"), ("role", "viewer")]);
    joined(&gateway, 12, "eve", &link_in(&made.text()));
    leads_to(&log_in(&mut Browser::at(&gateway, 13), "eve"), "/");
}
