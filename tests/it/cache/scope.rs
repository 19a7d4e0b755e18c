//! Whose entry it is: an account's own, unless the operator has said that all share.

use super::{Ask, assert_hit, assert_miss, counting, gateway, stream, told, whole};
use crate::support::client::Answer;
use crate::support::upstream::Upstream;

const GLOBAL: &str = "cache: {scope: global, i_accept_shared_answers: true}\n";
const UNTOLD: (u16, Option<&str>, Option<&str>, Option<&str>) = (200, None, None, None);

#[test]
fn two_accounts_never_share_and_the_keys_of_one_do() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    assert_miss(&Ask::default().send(&gateway), "acme's first");
    let others = Ask::by("other").send(&gateway);
    assert_miss(&others, "another account");
    assert_eq!(others.text(), whole(2));
    let shared = Ask::by("two").send(&gateway);
    assert_hit(&shared, "the same account");
    assert_eq!(shared.text(), whole(1));
    assert_eq!(Ask::by("other").send(&gateway).text(), whole(2));
}

/// Nothing but its time tells a client whether somebody else had asked before.
#[test]
fn in_global_scope_all_share_and_nothing_tells_a_hit_from_a_miss() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", GLOBAL);
    let missed = Ask::default().send(&gateway);
    let shared = Ask::by("other").send(&gateway);
    assert_eq!((told(&missed), told(&shared)), (UNTOLD, UNTOLD));
    assert_eq!((upstream.count(), shared.text()), (1, whole(1)));
    let names = |answer: &Answer| {
        let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    let hit = Ask::default().send(&gateway);
    assert_eq!(names(&missed), names(&hit));
    assert_eq!(told(&Ask::with("Cache-Control: no-cache\r\n").send(&gateway)).2, Some("BYPASS"));
    assert_eq!(told(&Ask::body(r#"{"store":true}"#).send(&gateway)).2, Some("BYPASS"));
}

/// What an upstream says beside the answer is said to the first who asks; that it is not said would tell the others.
#[test]
fn in_global_scope_the_first_gets_the_head_that_all_others_get() {
    let upstream = Upstream::start(|request, exchange| {
        let asked = String::from_utf8_lossy(&request.body).into_owned();
        let (kind, body) = match asked.contains("\"stream\":true") {
            true => ("text/event-stream", stream(1)),
            false => ("application/json", whole(1)),
        };
        let more = "X-Request-Id: up-1\r\nopenai-processing-ms: 9\r\nServer: uvicorn\r\nX-Kept: yes\r\n\
                    openai-version: 2020-10-01\r\nCache-Control: no-cache\r\nContent-Encoding: identity\r\n";
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}");
        if asked.contains("whole") {
            exchange.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            exchange.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
            exchange.chunk(body);
            exchange.chunk("");
        }
    });
    let gateway = gateway(&upstream, "headers: [x-kept]", GLOBAL);
    for body in [
        r#"{"n":"whole","stream":false}"#,
        r#"{"n":"chunks","stream":false}"#,
        r#"{"n":"whole","stream":true}"#,
        r#"{"n":"chunks","stream":true}"#,
    ] {
        let calls = upstream.count();
        let missed = Ask::body(body).send(&gateway);
        let hit = Ask { key: "other", ..Ask::body(body) }.send(&gateway);
        assert_eq!((upstream.count(), &hit.body), (calls + 1, &missed.body), "{body}");
        assert_eq!(alike(&missed), alike(&hit), "{body}");
        assert_eq!(missed.header("x-kept"), Some("yes"), "{body}");
    }
}

/// The head, without what differs from one request to the next.
fn alike(answer: &Answer) -> Vec<(&str, &str)> {
    let is_own = |name: &str| name == "x-request-id" || name == "date" || name.contains("ratelimit");
    let fields = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    fields.map(|(name, value)| (name, if is_own(name) { "" } else { value })).collect()
}

#[test]
fn a_private_answer_is_stored_for_its_account_only() {
    let private = || {
        Upstream::start(|_, exchange| {
            let body = whole(1);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: private\r\n";
            exchange.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        })
    };
    let own = private();
    let gateway_of_accounts = gateway(&own, "", "");
    Ask::default().send(&gateway_of_accounts);
    assert_hit(&Ask::default().send(&gateway_of_accounts), "account scope");
    let everybodys = private();
    let gateway_of_all = gateway(&everybodys, "", GLOBAL);
    Ask::default().send(&gateway_of_all);
    Ask::default().send(&gateway_of_all);
    assert_eq!(everybodys.count(), 2);
}
