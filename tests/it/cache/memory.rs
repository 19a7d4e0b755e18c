//! What the cache and the answers on their way hold.

use super::{Ask, CHAT, JSON, assert_hit, assert_miss, counting, gateway, long, stream, whole};
use crate::support::gateway::{Gateway, secret};
use crate::support::upstream::Upstream;

fn evicted(gateway: &Gateway) -> f64 {
    gateway.metric("safecache_cache_evictions_total{cause=\"size\"}")
}

/// Room for so many entries is not taken before they come.
#[test]
fn a_cache_larger_than_any_machine_takes_no_room_at_first() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream, "", "cache: {memory: 1000000GiB}\n");
    assert_eq!(gateway.connect().post(CHAT, &secret("one"), "{}").status, 200);
}

#[test]
fn entries_are_bounded_by_their_bytes() {
    let body = long(8000);
    let upstream = Upstream::start(move |_, exchange| exchange.json(&body));
    let gateway = gateway(&upstream, "", "cache: {memory: 64KiB, max_entry: 16KiB}\n");
    for number in 0..40 {
        assert_miss(&Ask::body(format!(r#"{{"n":{number}}}"#)).send(&gateway), "new");
    }
    let (entries, bytes) =
        (gateway.metric("safecache_cache_entries"), gateway.metric("safecache_cache_bytes"));
    assert!((1.0..=8.0).contains(&entries), "{entries} entries");
    assert!(bytes <= 65_536.0 && bytes >= entries * 8000.0, "{bytes} bytes in {entries} entries");
    assert_eq!(evicted(&gateway), 40.0 - entries);
}

#[test]
fn what_an_entry_keeps_of_its_head_counts_too() {
    let upstream = Upstream::start(|_, exchange| {
        let pad = "x".repeat(8000);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Pad: {pad}\r\n");
        let body = whole(1);
        exchange.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
    });
    let gateway = gateway(&upstream, "headers: [x-pad]", "cache: {memory: 64KiB, max_entry: 16KiB}\n");
    for number in 0..20 {
        Ask::body(format!(r#"{{"n":{number}}}"#)).send(&gateway);
    }
    let entries = gateway.metric("safecache_cache_entries");
    assert!((1.0..=8.0).contains(&entries), "{entries} entries");
}

#[test]
fn a_request_that_comes_again_wins_its_place_in_a_full_cache() {
    let body = long(8000);
    let upstream = Upstream::start(move |_, exchange| exchange.json(&body));
    let gateway = gateway(&upstream, "", "cache: {memory: 64KiB, max_entry: 16KiB}\n");
    for number in 0..20 {
        Ask::body(format!(r#"{{"n":{number}}}"#)).send(&gateway);
    }
    let often = Ask::body(r#"{"n":"often"}"#);
    let is_hit = |_: &usize| often.send(&gateway).header("x-cache") == Some("HIT");
    assert!((0..10).find(is_hit).is_some(), "ten times asked and never kept");
}

/// Held are bodies and answers on their way, none of them when all are over.
#[test]
fn nothing_is_held_when_everything_is_over() {
    let upstream = Upstream::start(|request, exchange| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("fails") {
            exchange.close();
        } else if body.contains("cut") {
            exchange.begin("application/json");
            exchange.chunk("x".repeat(100_000));
            exchange.close();
        } else if body.contains("stream") {
            exchange.answer("200 OK", "text/event-stream", stream(1));
        } else {
            exchange.json(&long(300_000));
        }
    });
    let gateway = gateway(&upstream, "", "cache: {memory: 1MiB, max_entry: 512KiB}\n");
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                for kind in ["fails", "cut", "stream", "json", "store", "json"] {
                    let pad = "p".repeat(worker * 20_000);
                    Ask::body(format!(r#"{{"{kind}":true,"n":{},"pad":"{pad}"}}"#, worker / 2)).send(gateway);
                }
                // Leaves in the middle of its own request, then in the middle of the answer.
                let line = format!("POST {CHAT}");
                gateway.connect().send(format!("{line} HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\n{{"));
                gateway.connect().request(&line, &secret("one"), JSON, br#"{"left":1}"#).head();
            });
        }
    });
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
    gateway
        .eventually("nothing is in flight", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
}

/// An entry that is evicted while it is being sent is held memory until it has been.
#[test]
fn an_evicted_entry_counts_until_its_reader_has_it() {
    const SIZE: usize = 6 << 20;
    let upstream = Upstream::start(|request, exchange| {
        let size = if request.body.starts_with(b"{\"big\"") { SIZE } else { 100 };
        exchange.json(&long(size));
    });
    let gateway = gateway(&upstream, "", "cache: {memory: 8MiB, max_entry: 8MiB}\n");
    let big = Ask::body(r#"{"big":1}"#);
    big.send(&gateway);
    let mut slow = gateway.connect();
    let head = slow.request(&big.line, &secret("one"), JSON, big.body.as_bytes()).head();
    assert_hit(&head, "it fits");
    assert_eq!(gateway.metric("safecache_buffer_bytes"), 0.0);
    Ask { headers: format!("{JSON}Cache-Control: no-cache\r\n"), ..big }.send(&gateway);
    gateway.eventually("the replaced entry is counted", |gateway| {
        gateway.metric("safecache_buffer_bytes") >= SIZE as f64
    });
    let mut rest = head.clone();
    slow.body_of(&mut rest);
    assert!(rest.is_whole && rest.body.len() > SIZE);
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}

/// What an evicted entry takes is paid by one of those who still read it. Where none can, they are cut: another key would
/// pay for them with a 503.
#[test]
fn who_reads_an_evicted_entry_beyond_the_share_is_cut() {
    const SIZE: usize = 6 << 20;
    let upstream = Upstream::start(|_, exchange| exchange.json(&long(SIZE)));
    let limits = "limits: {buffer_memory: 64MiB, buffer_memory_per_key: 8MiB, min_send_rate: 0}\n";
    let gateway = gateway(&upstream, "", &format!("{limits}cache: {{memory: 8MiB, max_entry: 8MiB}}\n"));
    let big = Ask::body(r#"{"big":1}"#);
    let again = Ask { headers: format!("{JSON}Cache-Control: no-cache\r\n"), key: "two", ..big.clone() };
    let slow: Vec<_> = (0..3)
        .map(|_| {
            again.send(&gateway);
            let mut slow = gateway.connect();
            let head = slow.request(&big.line, &secret("one"), JSON, big.body.as_bytes()).head();
            assert_hit(&head, "it fits");
            (slow, head)
        })
        .collect();
    again.send(&gateway);
    gateway.eventually("two were cut", |gateway| gateway.metric("safecache_in_flight_requests") == 1.0);
    let held = gateway.metric("safecache_buffer_bytes");
    assert!(held >= SIZE as f64 && held <= 8.0 * 1024.0 * 1024.0, "{held} bytes held");
    let whole = slow
        .into_iter()
        .filter_map(|(mut slow, mut head)| {
            slow.body_of(&mut head);
            head.is_whole.then_some(())
        })
        .count();
    assert_eq!(whole, 1);
    let cut = r#"safecache_requests_total{outcome="overloaded",route="/v1/*",status="200"}"#;
    gateway.eventually("both are told as such", |gateway| gateway.metric(cut) == 2.0);
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}

#[test]
fn an_expired_entry_makes_room() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    Ask::default().send(&gateway);
    assert_eq!(gateway.metric("safecache_cache_entries"), 1.0);
    gateway.clock.advance(std::time::Duration::from_secs(3600));
    Ask::default().send(&gateway);
    gateway.eventually("the old one is gone", |gateway| {
        gateway.metric("safecache_cache_entries") == 1.0
            && gateway.metric("safecache_cache_evictions_total{cause=\"replaced\"}") == 1.0
    });
}

/// The writer of an answer that may be stored waits for nobody.
#[test]
fn a_client_that_does_not_read_does_not_keep_an_answer_from_others() {
    let body = long(7 << 20);
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("application/json");
        for piece in body.as_bytes().chunks(100_000) {
            exchange.chunk(piece);
        }
        exchange.chunk("");
    });
    let gateway = gateway(&upstream, "", "");
    let mut slow = gateway.connect();
    let mut head = slow.request(&format!("POST {CHAT}"), &secret("one"), JSON, b"{}").head();
    gateway.eventually("it is stored", |gateway| gateway.metric("safecache_cache_entries") == 1.0);
    let quick = Ask::body("{}").send(&gateway);
    assert_hit(&quick, "while the first still reads");
    assert!(gateway.metric("safecache_buffer_bytes") >= quick.body.len() as f64, "the first's is still held");
    slow.body_of(&mut head);
    assert!(head.is_whole && head.body == quick.body);
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}

/// An answer that will not be stored is held no further than its slowest reader needs.
#[test]
fn an_answer_that_is_not_stored_runs_ahead_of_its_client_by_a_window() {
    const SIZE: usize = 24 << 20;
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("text/event-stream");
        let piece = format!(":{}\n", "x".repeat(65_534));
        for _ in 0..SIZE / piece.len() {
            exchange.chunk(&piece);
        }
        exchange.chunk("");
    });
    let gateway = gateway(&upstream, "", "cache: {memory: 1MiB, max_entry: 128KiB}\n");
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), JSON, b"{}").head();
    let (mut read, mut most, mut next) = (0, 0.0, 0);
    while let Some(chunk) = client.chunk().filter(|chunk| !chunk.is_empty()) {
        read += chunk.len();
        if read >= next {
            next = read + (1 << 20);
            most = gateway.metric("safecache_buffer_bytes").max(most);
        }
    }
    assert_eq!(read, SIZE / 65_536 * 65_536);
    assert!(most > 0.0 && most <= 512.0 * 1024.0, "{most} bytes were held");
}

/// Without room to keep it, an answer is passed on all the same.
#[test]
fn an_answer_that_finds_no_room_to_be_kept_is_sent_whole_and_not_stored() {
    let body = long(1 << 20);
    let upstream = Upstream::start(move |_, exchange| exchange.json(&body));
    let gateway = gateway(&upstream, "", "limits: {buffer_memory: 256KiB, buffer_memory_per_key: 256KiB}\n");
    for _ in 0..2 {
        let answer = Ask::body("{}").send(&gateway);
        assert_miss(&answer, "no room");
        assert!(answer.is_whole && answer.body.len() > 1 << 20);
    }
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}
