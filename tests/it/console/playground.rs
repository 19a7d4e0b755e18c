//! The playground: what it asks, what of the answer it passes on, and its bounds.

use std::net::IpAddr;
use std::time::Duration;

use safecache::runtime::reload::Shrinking;
use tempfile::TempDir;

use super::{ANSWER, CHAT, before, new_key, operator, owner};
use crate::support::browser::{Browser, FROM_HERE};
use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::tls::Authority;
use crate::support::upstream::{Upstream, gate};

/// Sends a question and does not wait for its answer.
fn asking(gateway: &Gateway, browser: &mut Browser, key: &str) -> Client {
    let (token, cookie) = (browser.form_token(), browser.cookie.clone().expect("a session"));
    let body =
        format!("form_token={token}&key={key}&path=/v1/chat/completions&model=m&question=a&stream=yes");
    let mut client = Client::connect_from(IpAddr::from([127, 0, 0, 1]), gateway.running().admin_address());
    let head = format!("POST /playground/ask HTTP/1.1\r\nHost: console\r\nCookie: {cookie}\r\n{FROM_HERE}");
    let form = "Content-Type: application/x-www-form-urlencoded";
    client.send(format!("{head}{form}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    client
}

fn fields<'a>(key: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("key", key), ("path", CHAT), ("model", "gpt-4o"), ("question", "Why? \"Because\"")], more].concat()
}

#[test]
fn a_question_is_a_miss_and_then_a_hit_and_the_key_is_kept_nowhere() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "app");
    for cache in ["MISS", "HIT"] {
        let answer = ada.post("/playground/ask", &fields(&key, &[]));
        assert_eq!((answer.status, answer.header("x-cache")), (200, Some(cache)));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-ratelimit-remaining").is_some() && answer.header("set-cookie").is_none());
        assert_eq!(answer.text(), ANSWER);
    }
    let [asked] = upstream.requests().try_into().unwrap_or_else(|_| panic!("one call"));
    let body = r#"{"messages":[{"content":"Why? \"Because\"","role":"user"}],"model":"gpt-4o"}"#;
    assert_eq!(String::from_utf8_lossy(&asked.body), body);
    assert!(asked.header("cookie").is_none() && asked.header("authorization").is_none());
    for path in ["/playground", "/keys", "/usage", "/cache", "/"] {
        assert!(!ada.get(path).text().contains(&key), "{path}");
    }
    let secret = key.split('_').nth(1).expect("a secret").to_owned();
    assert!(!gateway.stop().contains(&secret));
}

#[test]
fn a_stream_is_passed_on_as_it_comes_and_ends_with_its_reader() {
    let ((open, opened), (left, gone)) = (gate(), gate());
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n");
        open.wait();
        exchange.chunk("data: {\"choices\":[{\"delta\":{\"content\":\"two\"}}]}\n\n");
        exchange.wait_for_close();
        gone.open();
    });
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "app");
    let mut client = asking(&gateway, &mut ada, &key);
    let head = client.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.header("x-cache"), head.header("cache-control")), (Some("MISS"), Some("no-store")));
    let text = |client: &mut Client| String::from_utf8(client.chunk().expect("a piece")).expect("text");
    assert!(text(&mut client).contains("one"), "before the second piece is sent");
    opened.open();
    assert!(text(&mut client).contains("two"));
    drop(client);
    left.wait();
}

#[test]
fn what_models_send_is_no_page_of_the_console() {
    let upstream =
        Upstream::start(|_, exchange| exchange.answer("200 OK", "text/html", "<script>alert(1)</script>"));
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "app");
    let answer = ada.post("/playground/ask", &fields(&key, &[]));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn what_cannot_be_asked_is_told() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "app");
    let with = |name: &'static str, value: &'static str| {
        let mut fields = fields(&key, &[]);
        fields.retain(|(field, _)| *field != name);
        [fields, vec![(name, value)]].concat()
    };
    for (fields, status, said) in [
        (with("path", "/admin/v1/config"), 422, "There is no such route."),
        (with("path", ""), 422, "There is no such route."),
        (with("model", " "), 422, "Name a model, and ask something."),
        (with("question", ""), 422, "Name a model, and ask something."),
        (with("key", "a\r\nb"), 422, "This is no API key."),
        (with("key", "sk-unknown-but-long-enough"), 401, "invalid or has been revoked"),
        (with("key", ""), 401, "Authorization header must be"),
    ] {
        let answer = ada.post("/playground/ask", &fields);
        assert_eq!(answer.status, status, "{fields:?} {}", answer.text());
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    assert_eq!(ada.send("/playground/ask", FROM_HERE, "form_token=x&key=y").status, 403);
    assert!(upstream.requests().is_empty());
}

#[test]
fn so_many_ask_at_a_time_and_room_comes_back() {
    let (open, opened) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        open.wait();
        exchange.json(ANSWER);
    });
    let gateway = before(&upstream, "");
    let mut people: Vec<_> = (11..16).map(|last| owner(&gateway, last, &format!("person-{last}"))).collect();
    let mut clients = Vec::new();
    for (number, person) in people.iter_mut().take(4).enumerate() {
        let key = new_key(person, "app");
        for _ in 0..4 {
            clients.push(asking(&gateway, person, &key));
        }
        let under_way = (4 * number + 4) as f64;
        gateway.eventually("all are under way", |gateway| {
            gateway.metric("safecache_in_flight_requests") == under_way
        });
        let fifth = person.post("/playground/ask", &fields(&key, &[]));
        assert_eq!(fifth.status, 503, "one person has four places: {}", fifth.text());
    }
    let mut last = people.pop().expect("five");
    let key = new_key(&mut last, "app");
    assert_eq!(last.post("/playground/ask", &fields(&key, &[])).status, 503, "all sixteen are taken");
    drop(clients);
    drop(opened);
    gateway.eventually("there is room", |_| last.post("/playground/ask", &fields(&key, &[])).status == 200);
}

#[test]
fn so_often_a_person_asks_in_a_minute() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let (mut ada, mut bob) = (owner(&gateway, 11, "ada"), owner(&gateway, 12, "bob"));
    let token = ada.form_token();
    let body = format!("form_token={token}&key=a-guess&path={CHAT}&model=m&question=a");
    let mut guess = || ada.send("/playground/ask", FROM_HERE, &body).status;
    for _ in 0..60 {
        assert_eq!(guess(), 401);
    }
    assert_eq!(guess(), 429);
    assert_eq!(bob.post("/playground/ask", &fields("a-guess", &[])).status, 401);
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!((guess(), guess()), (401, 429));
}

#[test]
fn a_key_that_is_bound_to_addresses_is_not_lent_the_gateways_own() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let bound = |ada: &mut Browser, addresses: &str| {
        let page = ada.post("/keys", &[("name", "bound"), ("allowed_ips", addresses)]).text();
        page.split_once("<code data-copy>")
            .and_then(|(_, rest)| rest.split_once('<'))
            .expect("a key")
            .0
            .to_owned()
    };
    for (addresses, status) in [("127.0.0.1", 403), ("127.0.0.11", 403), ("127.0.0.0/24", 200)] {
        let key = bound(&mut ada, addresses);
        let answer = ada.post("/playground/ask", &fields(&key, &[]));
        assert_eq!(answer.status, status, "{addresses}: {}", answer.text());
        if status == 403 {
            assert!(answer.text().contains("may not be used from your address"), "{}", answer.text());
        }
    }
}

#[test]
fn a_gateway_that_listens_with_tls_alone_is_asked_over_tls() {
    let upstream = Upstream::json(ANSWER);
    let folder = TempDir::new().expect("a folder");
    Authority::new().identity("gateway.example").write(folder.path());
    let yaml = format!(
        "listen: {{address: \"127.0.0.1:0\", tls: {{cert: cert.pem, key: key.pem}}}}\n\
         admin: {{listen: \"127.0.0.1:0\"}}\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    );
    let gateway = Gateway::start_in(folder, &yaml);
    let mut root = operator(&gateway, 11, "root");
    for cache in ["MISS", "HIT"] {
        let answer = root.post("/playground/ask", &fields(&secret("one"), &[]));
        assert_eq!((answer.status, answer.header("x-cache")), (200, Some(cache)), "{}", answer.text());
    }
    Authority::new().identity("another.example").write(gateway.folder.path());
    gateway.running().reload(Shrinking::Guarded).expect("it is taken");
    assert_eq!(
        root.post("/playground/ask", &fields(&secret("one"), &[])).status,
        200,
        "the renewed certificate is known"
    );
}

#[test]
fn without_a_route_there_is_nothing_to_play_with() {
    let gateway = Gateway::start(&format!("admin: {{listen: \"127.0.0.1:0\"}}\nkeys:\n{}", key("one", "")));
    let mut root = operator(&gateway, 11, "root");
    assert!(root.get("/playground").text().contains("No route of the configuration takes chat completions."));
    assert_eq!(root.post("/playground/ask", &fields(&secret("one"), &[])).status, 422);
}
