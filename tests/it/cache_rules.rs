//! Where answers must be shared and where they must not: keys, and what is stored.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use safecache::cache::admit::{
    Form, Framing, NotStored, kept_headers, lookable, storable_body, storable_head,
};
use safecache::cache::key::{BodyDigest, EntryKey, KeyParts, Owner, ScannedBody};
use safecache::cache::policy::{OnDisconnect, RoutePolicy, Scope};
use safecache::ids::AccountId;
use safecache::llm::answer::{AnswerSummary, Flaw};
use safecache::llm::request::{Api, BypassReason, RequestFields};
use safecache::llm::sse::SseWatch;

fn policy() -> RoutePolicy {
    RoutePolicy {
        ttl: Duration::from_secs(3600),
        paths: Box::default(),
        ignore: Box::default(),
        vary: Box::default(),
        keep_headers: Box::default(),
        max_temperature: 2.0,
        on_disconnect: OnDisconnect::Stop,
        scope: Scope::Account,
    }
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for &(name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn digest(body: &str) -> BodyDigest {
    let scanned = ScannedBody::read(body.as_bytes(), Api::ChatCompletions, &[]).expect("JSON");
    scanned.digest.expect("a canonical form")
}

// === Keys ===

/// What a key is made of, each part changeable by itself.
struct Ask {
    account: Option<&'static str>,
    route: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    vary: Vec<&'static str>,
    body: &'static str,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            account: Some("acme"),
            route: "/v1/*",
            path: "/v1/chat/completions",
            query: None,
            headers: vec![("content-type", "application/json")],
            vary: vec![],
            body: r#"{"model":"m"}"#,
        }
    }
}

impl Ask {
    fn key(&self) -> EntryKey {
        let account = self.account.map(AccountId::new);
        let vary = self.vary.iter().map(|&name| HeaderName::from_static(name)).collect();
        EntryKey::of(&KeyParts {
            owner: account.as_ref().map_or(Owner::Everyone, Owner::Account),
            route: self.route,
            path: self.path,
            query: self.query,
            headers: &headers(&self.headers),
            policy: &RoutePolicy { vary, ..policy() },
            body: &digest(self.body),
        })
    }

    fn with_headers(headers: &[(&'static str, &'static str)]) -> Self {
        Self { headers: headers.to_vec(), ..Self::default() }
    }
}

#[test]
fn equal_requests_share_a_key() {
    assert_eq!(Ask::default().key(), Ask::default().key());
    let spelled = Ask { body: r#" { "stream" : true, "mod\u0065l" : "m" } "#, ..Ask::default() };
    assert_eq!(spelled.key(), Ask::default().key());
}

#[test]
fn headers_that_change_no_answer_are_not_in_the_key() {
    for name in [
        "user-agent",
        "x-request-id",
        "authorization",
        "cache-control",
        "accept-encoding",
        "origin",
        "cookie",
    ] {
        let ask = Ask::with_headers(&[("content-type", "application/json"), (name, "x")]);
        assert_eq!(ask.key(), Ask::default().key(), "{name}");
    }
}

#[test]
fn every_part_is_in_the_key() {
    let mut asks = vec![
        Ask::default(),
        Ask { account: Some("acme2"), ..Ask::default() },
        Ask { account: Some(""), ..Ask::default() },
        Ask { account: None, ..Ask::default() },
        Ask { route: "/v1/chat/*", ..Ask::default() },
        Ask { path: "/v2/chat/completions", ..Ask::default() },
        Ask { query: Some(""), ..Ask::default() },
        Ask { query: Some("a=1&b=2"), ..Ask::default() },
        Ask { query: Some("b=2&a=1"), ..Ask::default() },
        Ask { body: r#"{"model":"m2"}"#, ..Ask::default() },
        Ask { body: r#"{"model":"m","service_tier":"flex"}"#, ..Ask::default() },
        Ask::with_headers(&[]),
        Ask::with_headers(&[("content-type", "application/json; charset=utf-8")]),
        Ask::with_headers(&[("content-type", "")]),
        // The border between two parts cannot be moved.
        Ask { route: "/v1/*/v1", path: "/chat/completions", ..Ask::default() },
    ];
    for name in [
        "accept",
        "accept-language",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "anthropic-version",
        "anthropic-beta",
    ] {
        for values in [&[""][..], &["a"], &["a", "b"], &["b", "a"], &["a, b"], &["a", ""]] {
            let mut fields = vec![("content-type", "application/json")];
            fields.extend(values.iter().map(|&value| (name, value)));
            asks.push(Ask::with_headers(&fields));
        }
    }
    // Around the lengths that take another byte.
    for length in [126, 127, 128, 129, 255, 256, 16_383, 16_384] {
        asks.push(Ask { path: "x".repeat(length).leak(), ..Ask::default() });
    }
    let keys: std::collections::HashSet<_> = asks.iter().map(Ask::key).collect();
    assert_eq!(keys.len(), asks.len());
}

#[test]
fn a_routes_vary_puts_headers_into_the_key() {
    let ask = |value| {
        let headers = vec![("x-tenant", value)];
        Ask { headers, vary: vec!["x-tenant"], ..Ask::default() }.key()
    };
    assert_eq!(ask("a"), ask("a"));
    assert_ne!(ask("a"), ask("b"));
}

/// Stored entries outlive the program: whoever changes the key's meaning raises its version, and this line.
#[test]
fn the_key_means_the_same_from_one_release_to_the_next() {
    let expected = "EntryKey(e928ace0f34fda0cfb9359bb63a77ef9b02925795ca677a6dce2f92100833f3e)";
    assert_eq!(format!("{:?}", Ask::default().key()), expected);
}

// === Requests ===

#[test]
fn temperature_above_the_routes_bound_is_not_looked_up() {
    let cool = RoutePolicy { max_temperature: 0.5, ..policy() };
    let with = |temperature| RequestFields { temperature, ..RequestFields::default() };
    assert_eq!(lookable(&cool, &with(None)), Ok(()));
    assert_eq!(lookable(&cool, &with(Some(0.5))), Ok(()));
    assert_eq!(lookable(&cool, &with(Some(0.51))), Err(BypassReason::Temperature));
    assert_eq!(lookable(&cool, &with(Some(f64::INFINITY))), Err(BypassReason::Temperature));
    let stored = RequestFields { unlookable: Some(BypassReason::Store), ..RequestFields::default() };
    assert_eq!(lookable(&policy(), &stored), Err(BypassReason::Store));
}

// === Answers ===

#[track_caller]
fn check_head(answer: &[(&'static str, &'static str)], framing: Framing, expected: Result<Form, NotStored>) {
    let found = storable_head(StatusCode::OK, &headers(answer), &policy(), framing);
    assert_eq!(found, expected, "{answer:?}");
}

#[test]
fn only_200_is_stored() {
    let answer = headers(&[("content-type", "application/json")]);
    for code in [201, 203, 204, 206, 301, 400, 429, 500] {
        let status = StatusCode::from_u16(code).expect("a status");
        let found = storable_head(status, &answer, &policy(), Framing::Length);
        assert_eq!(found, Err(NotStored::Status), "{code}");
    }
}

#[test]
fn only_json_and_event_streams_are_stored() {
    let json = [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
        "application/vnd.api+JSON;v=1",
    ];
    for kind in json {
        check_head(&[("content-type", kind)], Framing::Length, Ok(Form::Json));
    }
    for kind in ["text/event-stream", "text/event-stream; charset=utf-8", "TEXT/Event-Stream"] {
        check_head(&[("content-type", kind)], Framing::Chunked, Ok(Form::Sse));
    }
    for kind in [
        "",
        "text/html",
        "application/jsonl",
        "application/x-ndjson",
        "json",
        "text/plain; a=application/json",
    ] {
        check_head(&[("content-type", kind)], Framing::Length, Err(NotStored::ContentType));
    }
    check_head(&[], Framing::Length, Err(NotStored::ContentType));
    let two = [("content-type", "application/json"), ("content-type", "text/html")];
    check_head(&two, Framing::Length, Err(NotStored::ContentType));
}

#[test]
fn only_identity_encoding_is_stored() {
    let with = |encoding| [("content-type", "application/json"), ("content-encoding", encoding)];
    check_head(&with("identity"), Framing::Length, Ok(Form::Json));
    check_head(&with("gzip"), Framing::Length, Err(NotStored::Encoding));
    check_head(&with("identity, br"), Framing::Length, Err(NotStored::Encoding));
}

#[test]
fn the_end_must_be_proven() {
    let json = [("content-type", "application/json")];
    check_head(&json, Framing::Chunked, Ok(Form::Json));
    check_head(&json, Framing::CloseDelimited, Err(NotStored::Framing));
    check_head(&[("content-type", "text/event-stream")], Framing::CloseDelimited, Ok(Form::Sse));
    let mut watch = SseWatch::new(Api::ChatCompletions);
    watch.feed(b"data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\n");
    assert_eq!(storable_body(&watch.summary()), Err(NotStored::Flawed(Flaw::NoTerminal)));
    watch.feed(b"data: [DONE]\n\n");
    assert_eq!(storable_body(&watch.summary()), Ok(()));
}

#[test]
fn no_store_is_obeyed_and_other_directives_are_not() {
    let with = |control| [("content-type", "application/json"), ("cache-control", control)];
    for control in ["no-store", "private, No-Store", "max-age=60,no-store"] {
        check_head(&with(control), Framing::Length, Err(NotStored::NoStore));
    }
    for control in ["no-cache", "private", "max-age=0", "must-revalidate", "x=\"no-store\"", ""] {
        check_head(&with(control), Framing::Length, Ok(Form::Json));
    }
    let old = [("content-type", "application/json"), ("expires", "0"), ("pragma", "no-cache")];
    check_head(&old, Framing::Length, Ok(Form::Json));
}

#[test]
fn private_forbids_only_global_scope() {
    let answer = headers(&[("content-type", "application/json"), ("cache-control", "Private")]);
    let verdict = |scope| {
        let policy = RoutePolicy { scope, ..policy() };
        storable_head(StatusCode::OK, &answer, &policy, Framing::Length)
    };
    assert_eq!(verdict(Scope::Account), Ok(Form::Json));
    assert_eq!(verdict(Scope::Global), Err(NotStored::Private));
}

#[test]
fn vary_beyond_the_key_is_not_stored() {
    let with = |vary| [("content-type", "application/json"), ("vary", vary)];
    for vary in [
        "",
        "Accept",
        "Origin, Accept-Encoding",
        "openai-organization, accept-language",
        "origin, access-control-request-method, access-control-request-headers",
        "Accept-Language, Cookie",
        "Authorization,X-Api-Key , api-key",
        "Origin, X-Origin, Referer",
    ] {
        check_head(&with(vary), Framing::Length, Ok(Form::Json));
    }
    for vary in ["*", "Accept, *", "X-Tenant", "accept-encoding , x-tenant", "User-Agent", "not a name"] {
        check_head(&with(vary), Framing::Length, Err(NotStored::Vary));
    }
    let two = [("content-type", "application/json"), ("vary", "accept"), ("vary", "x-tenant")];
    check_head(&two, Framing::Length, Err(NotStored::Vary));
    let in_key = RoutePolicy { vary: [HeaderName::from_static("x-tenant")].into(), ..policy() };
    let found = storable_head(StatusCode::OK, &headers(&two), &in_key, Framing::Length);
    assert_eq!(found, Ok(Form::Json));
}

#[test]
fn a_flawed_body_is_not_stored() {
    let verdict = |body: &str| storable_body(&AnswerSummary::of_json(body.as_bytes(), Api::ChatCompletions));
    assert_eq!(verdict(r#"{"choices":[{"finish_reason":"stop"}]}"#), Ok(()));
    assert_eq!(verdict(r#"{"choices":[{"finish_reason":null}]}"#), Err(NotStored::Flawed(Flaw::Unfinished)));
    assert_eq!(verdict(r#"{"error":{}}"#), Err(NotStored::Flawed(Flaw::Error)));
    assert_eq!(verdict(r#"{"status":"failed"}"#), Err(NotStored::Flawed(Flaw::Status)));
    assert_eq!(verdict("{}"), Err(NotStored::Flawed(Flaw::Shape)));
    assert_eq!(verdict("{"), Err(NotStored::Flawed(Flaw::NotJson)));
}

#[test]
fn an_entry_keeps_few_headers() {
    let answer = headers(&[
        ("content-type", "application/json"),
        ("content-language", "en"),
        ("openai-version", "2020-10-01"),
        ("openai-model", "m"),
        ("set-cookie", "a=b"),
        ("x-ratelimit-limit-requests", "9"),
        ("age", "9"),
        ("content-length", "2"),
        ("x-region", "eu"),
        ("x-region", "us"),
    ]);
    let names = |policy: &RoutePolicy| {
        let kept = kept_headers(policy, &answer);
        kept.iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().expect("ASCII")))
            .collect::<Vec<_>>()
    };
    let base = [
        "content-type=application/json",
        "content-language=en",
        "openai-version=2020-10-01",
        "openai-model=m",
    ];
    assert_eq!(names(&policy()), base);
    let asked = [
        "x-region",
        "set-cookie",
        "content-length",
        "content-type",
        "x-absent",
        "x-ratelimit-limit-requests",
        "age",
    ];
    let keep_headers = asked.map(HeaderName::from_static).into();
    let more = names(&RoutePolicy { keep_headers, ..policy() });
    assert_eq!(more, [&base[..], &["x-region=eu", "x-region=us"]].concat());
}

/// A value that came is a slice of the buffer that a whole head was read into.
#[test]
fn what_an_entry_keeps_holds_nothing_of_the_head_it_came_in() {
    let read = Bytes::from(b"application/json".repeat(1000));
    let value = HeaderValue::from_maybe_shared(read.slice(..16)).expect("a value");
    let answer = HeaderMap::from_iter([(http::header::CONTENT_TYPE, value)]);
    assert!(!read.is_unique(), "the value is a slice");
    let kept = kept_headers(&policy(), &answer);
    drop(answer);
    assert_eq!(kept, [(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    assert!(read.is_unique());
}
