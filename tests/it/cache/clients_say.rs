//! The request's Cache-Control.

use std::time::Duration;

use super::{Ask, MISS, counting, gateway, told, whole};

const REQUEST: (u16, Option<&str>, Option<&str>, Option<&str>) =
    (200, Some("safecache; fwd=request"), Some("BYPASS"), None);
const REQUEST_STORED: (u16, Option<&str>, Option<&str>, Option<&str>) =
    (200, Some("safecache; fwd=request; stored"), Some("BYPASS"), None);

fn controlled(value: &str) -> Ask {
    Ask::with(&format!("Cache-Control: {value}\r\n"))
}

#[test]
fn no_cache_is_not_read_from_the_cache_but_written_to_it() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    for value in ["no-cache", "No-Cache", "max-age=0"] {
        let before = upstream.count();
        Ask::default().send(&gateway);
        let fresh = controlled(value).send(&gateway);
        assert_eq!(told(&fresh), REQUEST_STORED, "{value}");
        assert_eq!(fresh.text(), whole(upstream.count()), "{value}");
        let hit = Ask::default().send(&gateway);
        assert_eq!((hit.header("x-cache"), hit.text()), (Some("HIT"), fresh.text()), "{value}");
        assert!(upstream.count() > before);
    }
    gateway.eventually("the older answers are gone", |gateway| {
        gateway.metric("safecache_cache_entries") == 1.0
            && gateway.metric("safecache_cache_evictions_total{cause=\"replaced\"}") == 3.0
    });
}

#[test]
fn no_store_is_neither_read_nor_written() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    let first = controlled("no-store").send(&gateway);
    assert_eq!((told(&first), first.text()), (REQUEST, whole(1)));
    let missed = Ask::default().send(&gateway);
    assert_eq!((missed.header("cache-status"), missed.text()), (Some(MISS), whole(2)));
    let again = controlled("no-store, max-age=60").send(&gateway);
    assert_eq!((told(&again), again.text()), (REQUEST, whole(3)));
    let hit = Ask::default().send(&gateway);
    assert_eq!((hit.header("x-cache"), hit.text()), (Some("HIT"), whole(2)));
}

#[test]
fn max_age_bounds_the_age_of_a_hit() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    Ask::default().send(&gateway);
    gateway.clock.advance(Duration::from_secs(5));
    let hit = controlled("max-age=5").send(&gateway);
    assert_eq!(told(&hit), (200, Some("safecache; hit; ttl=3595"), Some("HIT"), Some("5")));
    gateway.clock.advance(Duration::from_millis(1));
    let missed = controlled("max-age=5").send(&gateway);
    assert_eq!((told(&missed), missed.text()), ((200, Some(MISS), Some("MISS"), None), whole(2)));
    let anew = Ask::default().send(&gateway);
    assert_eq!((anew.header("age"), anew.text()), (Some("0"), whole(2)));
}

#[test]
fn only_if_cached_never_calls_the_upstream() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    for ask in [
        controlled("only-if-cached"),
        controlled("only-if-cached, no-cache"),
        Ask { body: r#"{"store":true}"#.into(), ..controlled("only-if-cached") },
    ] {
        let refused = ask.send(&gateway);
        assert_eq!(told(&refused), (504, None, None, None), "{ask:?}");
        assert_eq!(refused.json()["status"], 504);
        assert_eq!(refused.header("x-should-retry"), Some("false"));
    }
    assert_eq!(upstream.count(), 0);
    Ask::default().send(&gateway);
    let hit = controlled("only-if-cached").send(&gateway);
    assert_eq!((hit.header("x-cache"), hit.text()), (Some("HIT"), whole(1)));
    gateway.clock.advance(Duration::from_secs(3600));
    assert_eq!(controlled("only-if-cached").send(&gateway).status, 504);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn what_is_no_say_of_the_client_changes_nothing() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    Ask::default().send(&gateway);
    for value in ["max-age=3600", "max-stale=5", "no-transform", "x=\"no-cache\"", "min-fresh=9999"] {
        assert_eq!(controlled(value).send(&gateway).header("x-cache"), Some("HIT"), "{value}");
    }
    assert_eq!(Ask::with("Pragma: no-cache\r\n").send(&gateway).header("x-cache"), Some("HIT"));
    assert_eq!(upstream.count(), 1);
}
