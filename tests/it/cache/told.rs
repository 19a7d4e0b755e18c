//! What an answer says of the cache, and when an entry's time is over.

use std::time::Duration;

use super::{Ask, BODY, CHAT, JSON, MISS, assert_hit, counting, gateway, told, whole};
use crate::support::gateway::secret;
use crate::support::upstream::Upstream;

#[test]
fn a_miss_and_a_hit_say_what_they_are() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    let missed = Ask::default().send(&gateway);
    assert_eq!(told(&missed), (200, Some(MISS), Some("MISS"), None));
    let hit = Ask::default().send(&gateway);
    assert_eq!(told(&hit), (200, Some("safecache; hit; ttl=3600"), Some("HIT"), Some("0")));
    gateway.clock.advance(Duration::from_millis(90_500));
    let aged = Ask::default().send(&gateway);
    assert_eq!(told(&aged), (200, Some("safecache; hit; ttl=3509"), Some("HIT"), Some("90")));
    assert_eq!((&missed.body, &hit.body), (&hit.body, &aged.body));
    assert_eq!(hit.header("content-length"), Some(whole(1).len().to_string().as_str()));
    assert_eq!(upstream.count(), 1);
    let lookups = |result: &str| {
        gateway.metric(&format!("safecache_cache_lookups_total{{kind=\"exact\",result=\"{result}\"}}"))
    };
    assert_eq!((lookups("hit"), lookups("miss")), (2.0, 1.0));
    let log = gateway.stop();
    let outcomes: Vec<_> = log.lines().filter(|line| line.contains("\"outcome\":\"exact_hit\"")).collect();
    assert_eq!((outcomes.len(), log.lines().count()), (2, 3), "{log}");
}

#[test]
fn an_entrys_time_is_over_to_the_millisecond() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    assert_eq!(Ask::default().send(&gateway).text(), whole(1));
    gateway.clock.advance(Duration::from_millis(3_599_999));
    let last = Ask::default().send(&gateway);
    assert_eq!(told(&last), (200, Some("safecache; hit; ttl=0"), Some("HIT"), Some("3599")));
    gateway.clock.advance(Duration::from_millis(1));
    let anew = Ask::default().send(&gateway);
    assert_eq!((told(&anew), anew.text()), ((200, Some(MISS), Some("MISS"), None), whole(2)));
    let hit = Ask::default().send(&gateway);
    assert_eq!((hit.header("age"), hit.text()), (Some("0"), whole(2)));
}

#[test]
fn what_is_not_cached_says_bypass_and_an_uncached_route_nothing() {
    let upstream = counting();
    let gateway = gateway(&upstream, "paths: [/chat/completions]", "");
    let bypass = (200, Some("safecache; fwd=bypass"), Some("BYPASS"), None);
    let stored = Ask::body(r#"{"model":"m","store":true}"#).send(&gateway);
    assert_eq!(told(&stored), bypass);
    let get = gateway.connect().get(CHAT, &secret("one"));
    assert_eq!(told(&get), bypass);
    let elsewhere = Ask::at("/v1/embeddings", BODY).send(&gateway);
    assert_eq!(told(&elsewhere), bypass);
    let other = counting();
    let uncached = crate::support::gateway::Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm}}]\nkeys:\n{}",
        other.url(),
        super::keys()
    ));
    assert_eq!(told(&Ask::default().send(&uncached)), (200, None, None, None));
    assert_eq!(told(&Ask::default().send(&uncached)), (200, None, None, None));
    assert_eq!(other.count(), 2);
}

#[test]
fn a_refusal_and_a_failed_call_say_nothing_of_the_cache() {
    let upstream = Upstream::start(|_, exchange| exchange.close());
    let gateway = gateway(&upstream, "", "");
    assert_eq!(told(&Ask::default().send(&gateway)), (502, None, None, None));
    let twice = Ask::body(r#"{"model":"m","model":"n"}"#).send(&gateway);
    assert_eq!(told(&twice), (400, None, None, None));
}

/// An upstream may sit behind caches of its own.
#[test]
fn what_other_caches_said_is_not_passed_on() {
    let upstream = Upstream::start(|_, exchange| {
        let body = whole(1);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nAge: 77\r\nX-Cache: HIT\r\n\
                    Cache-Status: cdn; hit\r\nCache-Control: max-age=0, no-cache\r\nExpires: 0\r\nPragma: no-cache\r\n";
        exchange.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
    });
    let gateway = gateway(&upstream, "", "");
    let missed = Ask::default().send(&gateway);
    assert_eq!(told(&missed), (200, Some(MISS), Some("MISS"), None));
    assert_eq!(missed.header("expires"), Some("0"));
    let hit = Ask::default().send(&gateway);
    assert_hit(&hit, "freshness is the gateway's to decide");
    assert_eq!((hit.header("age"), hit.header("expires"), hit.header("pragma")), (Some("0"), None, None));
}

#[test]
fn an_entry_keeps_few_headers_and_never_cookies_or_limits() {
    let upstream = Upstream::start(|_, exchange| {
        let body = whole(1);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Language: en\r\n\
                    openai-version: 2020-10-01\r\nopenai-model: m-1\r\nopenai-processing-ms: 5\r\n\
                    X-Region: eu\r\nX-Region: us\r\nX-Else: no\r\nETag: \"1\"\r\nX-Request-Id: theirs\r\n\
                    x-ratelimit-remaining-requests: 9\r\nRateLimit: x\r\nSet-Cookie: a=b\r\n";
        exchange.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
    });
    let gateway = gateway(&upstream, "headers: [x-region]", "");
    let missed = Ask::default().send(&gateway);
    let hit = Ask::default().send(&gateway);
    assert_hit(&hit, "the answer is a good one");
    for answer in [&missed, &hit] {
        for (name, value) in [
            ("content-type", "application/json; charset=utf-8"),
            ("content-language", "en"),
            ("openai-version", "2020-10-01"),
            ("openai-model", "m-1"),
            ("x-region", "eu"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        for name in ["set-cookie", "x-ratelimit-remaining-requests"] {
            assert_eq!(answer.header(name), None, "{answer:?}");
        }
        assert_ne!(answer.header("ratelimit"), Some("x"));
    }
    assert_eq!(missed.header("x-upstream-request-id"), Some("theirs"));
    assert_eq!(missed.header("x-else"), Some("no"));
    for name in ["openai-processing-ms", "x-else", "etag", "x-upstream-request-id"] {
        assert_eq!(hit.header(name), None, "{hit:?}");
    }
    assert_eq!(hit.headers.iter().filter(|(name, _)| name == "x-region").count(), 2);
    assert_ne!(hit.header("x-request-id"), missed.header("x-request-id"));
}

#[test]
fn cookies_are_not_sent_on_cached_paths_whatever_the_method() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}");
    });
    let gateway = gateway(&upstream, "", "");
    assert_eq!(gateway.connect().get(CHAT, &secret("one")).header("set-cookie"), None);
    let bypassed = Ask::body(r#"{"store":true}"#).send(&gateway);
    assert_eq!(bypassed.header("set-cookie"), None);
    assert_eq!(gateway.connect().get("/v1/models", &secret("one")).header("set-cookie"), Some("a=b"));
}

#[test]
fn a_hit_costs_the_bucket_what_a_miss_costs() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    let remaining: Vec<_> = (0..3)
        .map(|_| client.request(&format!("POST {CHAT}"), &secret("one"), JSON, BODY.as_bytes()).answer())
        .map(|answer| answer.header("ratelimit").expect("a limit").to_owned())
        .collect();
    assert!(remaining[0].contains("r=9999"), "{remaining:?}");
    assert!(remaining[2].contains("r=9997"), "{remaining:?}");
}
