//! What holds for every page: its headers, its bounds, and that no other site changes anything.

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::access::{CALLS, OPERATORS_CALLS, OPERATORS_PAGES, PAGES};
use super::{leads_to, log_in, open_gateway, operator, owner, password};
use crate::support::browser::{Browser, FROM_HERE};
use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, key};
use crate::support::tls::{Authority, GATEWAY, TlsClient};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[track_caller]
fn is_guarded(answer: &Answer, cached: &str) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", cached),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name} {}", answer.text());
    }
}

#[test]
fn every_answer_says_what_browsers_may_do_with_it() {
    let gateway = open_gateway();
    let mut nobody = Browser::at(&gateway, 11);
    for path in ["/", "/log-in", "/sign-up", "/link/nothing", "/settings", "/log-out"] {
        is_guarded(&nobody.get(path), "no-store");
    }
    is_guarded(&nobody.post("/log-in", &[("login", "a"), ("password", "b")]), "no-store");
    is_guarded(&nobody.send("/log-in", "Sec-Fetch-Site: cross-site\r\n", ""), "no-store");
    let mut ada = owner(&gateway, 12, "ada");
    for path in ["/", "/cache", "/usage", "/playground", "/settings"] {
        is_guarded(&ada.get(path), "no-store");
    }
    for (path, media_type) in [
        ("/assets/console.css", "text/css; charset=utf-8"),
        ("/assets/console.js", "text/javascript; charset=utf-8"),
    ] {
        let asset = nobody.get(path);
        assert_eq!((asset.status, asset.header("content-type")), (200, Some(media_type)));
        is_guarded(&asset, "no-cache");
    }
    assert_eq!(nobody.get("/assets/nothing.js").status, 404);
}

#[test]
fn what_others_have_written_is_what_its_name_says() {
    let gateway = open_gateway();
    let mut nobody = Browser::at(&gateway, 11);
    for (name, sha256) in [
        ("htmx-4.0.1.js", "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"),
        ("uplot-1.6.32.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        ("uplot-1.6.32.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    ] {
        let asset = nobody.get(&format!("/assets/{name}"));
        assert_eq!(data_encoding::HEXLOWER.encode(&Sha256::digest(&asset.body)), sha256, "{name}");
        is_guarded(&asset, "public, max-age=31536000, immutable");
    }
}

#[test]
fn no_page_has_script_or_style_of_its_own_or_from_elsewhere() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut root = operator(&gateway, 12, "root");
    let mut nobody = Browser::at(&gateway, 13);
    let mut pages = vec![nobody.get("/log-in"), nobody.get("/sign-up"), nobody.get("/link/nothing")];
    pages.extend(PAGES.map(|path| ada.get(path)));
    pages.extend(PAGES.into_iter().chain(OPERATORS_PAGES).map(|path| root.get(path)));
    for page in pages {
        let page = page.text();
        for script in page.split("<script").skip(1) {
            let tag = script.split("</script>").next().unwrap_or_default();
            assert!(tag.starts_with(" src=\"/assets/") && tag.ends_with("\" defer>"), "{tag}: {page}");
        }
        assert!(page.contains("<script src=\"/assets/console.js\" defer></script>"), "{page}");
        for banned in ["<style", " style=", " onclick=", " onload=", "javascript:", "//"] {
            let body = page.split_once("</head>").expect("a head").1;
            assert!(!body.contains(banned), "{banned}: {page}");
        }
    }
}

#[test]
fn what_another_site_asks_for_changes_nothing() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let form = format!("form_token={}&session=others", ada.form_token());
    for head in [
        "",
        "Sec-Fetch-Site: cross-site\r\nOrigin: http://console\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Origin: http://elsewhere\r\n",
        "Origin: null\r\n",
        "Origin: console\r\n",
        "Referer: http://console/settings\r\n",
    ] {
        for path in ["/settings/sessions", "/log-out", "/log-in", "/sign-up"] {
            let answer = ada.send(path, head, &form);
            assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{path} {head}");
        }
    }
    assert_eq!(ada.get("/").status, 200);
    let mut root = operator(&gateway, 12, "root");
    let fields = format!("form_token={}&deed=suspend&account=acme&id=shop", root.form_token());
    for path in CALLS.into_iter().chain(OPERATORS_CALLS) {
        let answer = root.send(path, "Sec-Fetch-Site: cross-site\r\n", &fields);
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("This form was not sent from this console."), "{path}");
    }
    for head in [FROM_HERE, "Origin: http://console\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        assert_eq!(ada.send("/settings/sessions", head, &form).status, 200, "{head}");
    }
}

#[test]
fn a_form_of_another_session_changes_nothing() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut elsewhere = Browser::at(&gateway, 12);
    leads_to(&log_in(&mut elsewhere, "ada"), "/");
    let other = elsewhere.form_token();
    let mut root = operator(&gateway, 13, "root");
    for form in ["", "form_token=", "form_token=x", &format!("form_token={other}")] {
        let form = format!("{form}&session=others&deed=suspend&id=shop");
        for path in CALLS {
            let answer = ada.send(path, FROM_HERE, &form);
            assert_eq!(answer.status, 403, "{path} {form}");
        }
        for path in CALLS.into_iter().chain(OPERATORS_CALLS) {
            let answer = root.send(path, FROM_HERE, &form);
            assert_eq!(answer.status, 403, "{path} {form}");
            assert!(answer.text().contains("This form is of another session."), "{path} {form}");
        }
    }
    assert_eq!(elsewhere.get("/").status, 200);
}

#[test]
fn a_form_has_bounds() {
    let gateway = open_gateway();
    let mut nobody = Browser::at(&gateway, 11);
    let large = format!("login={}", "x".repeat(80 * 1024));
    assert_eq!(nobody.send("/log-in", FROM_HERE, &large).status, 413);
    let fits = format!("login={}", "x".repeat(80 * 1024 - "login=".len()));
    assert_eq!(nobody.send("/log-in", FROM_HERE, &fits).status, 422);
    assert_eq!(nobody.send("/log-in", FROM_HERE, "login=%FF").status, 400);
    let other = format!("{FROM_HERE}Content-Type: application/json\r\n");
    assert_eq!(nobody.ask("POST /log-in", &other, b"{}").status, 415);
    assert_eq!(nobody.ask("POST /log-in", FROM_HERE, b"login=a").status, 415);
}

#[test]
fn a_form_that_does_not_come_to_its_end_is_not_waited_for() {
    let gateway = open_gateway();
    let head = "Host: console\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n";
    let mut client = Client::connect(gateway.running().admin_address());
    let answer = client.send(format!("POST /log-in HTTP/1.1\r\n{head}{FROM_HERE}\r\nlogin=ada")).answer();
    assert_eq!(answer.status, 408);
}

#[test]
fn over_tls_the_cookie_is_bound_to_the_host() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new();
    authority.identity(GATEWAY).write(folder.path());
    let admin =
        "admin: {listen: {address: \"127.0.0.1:0\", tls: {cert: cert.pem, key: key.pem}}, sign_up: open}";
    let gateway = Gateway::start_in(folder, &format!("{admin}\nkeys:\n{}", key("one", "")));
    let client = authority.client(rustls::ALL_VERSIONS, &["http/1.1"]);
    let post = |path: &str, body: &str| {
        let address = gateway.running().admin_address();
        let mut tls = TlsClient::connect(address, std::sync::Arc::clone(&client)).expect("a handshake");
        tls.send(format!(
            "POST {path} HTTP/1.1\r\nHost: console\r\n{FROM_HERE}Content-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ));
        tls.rest().0
    };
    let body = format!("login=ada&password={}", password("ada").replace(' ', "+"));
    assert!(post("/sign-up", &body).starts_with("HTTP/1.1 200"));
    let answer = post("/log-in", &body);
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let (name, rest) = cookie.split_once('=').expect("a value");
    let (_, attributes) = rest.split_once("; ").expect("attributes");
    assert_eq!(name, "__Host-safecache_session");
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000; Secure");
}

#[test]
fn a_trusted_proxy_says_who_asks_and_how() {
    let admin = "admin: {listen: \"127.0.0.1:0\", sign_up: open}\ntrusted_proxies: [127.0.0.9/32]";
    let gateway = Gateway::start(&format!("{admin}\nkeys:\n{}", key("one", "")));
    owner(&gateway, 11, "ada");
    let mut proxy = Browser::at(&gateway, 9);
    let mut try_from = |address: &str, word: &str| {
        let head = format!("{FROM_HERE}X-Forwarded-For: {address}\r\nX-Forwarded-Proto: https\r\n");
        let answer = proxy.send("/log-in", &head, &format!("login=ada&password={}", word.replace(' ', "+")));
        (answer.status, answer.header("set-cookie").unwrap_or_default().to_owned())
    };
    let (status, cookie) = try_from("203.0.113.7", &password("ada"));
    assert!(
        status == 303 && cookie.starts_with("__Host-") && cookie.contains("; Secure"),
        "{status} {cookie}"
    );
    for number in 0..30 {
        assert_ne!(try_from("203.0.113.8", &format!("wrong-{number}")).0, 303);
    }
    gateway.clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(try_from("203.0.113.8, 127.0.0.9", &password("ada")).0, 303, "its own pace");
    assert_eq!(try_from("nowhere", "x").0, 400);
    let mut direct = Browser::at(&gateway, 11);
    let head = format!("{FROM_HERE}X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n");
    let body = format!("login=ada&password={}", password("ada").replace(' ', "+"));
    gateway.clock.advance(std::time::Duration::from_secs(60));
    let answer = direct.send("/log-in", &head, &body);
    let cookie = answer.header("set-cookie").unwrap_or_default().to_owned();
    assert!(
        cookie.starts_with("safecache_session=") && !cookie.contains("Secure"),
        "nobody else is believed: {cookie}"
    );
    let page = direct.get("/settings").text();
    assert!(page.contains("<p>203.0.113.7") && page.contains("<p>127.0.0.11"), "{page}");
}
