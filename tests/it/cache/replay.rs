//! What a hit sends: the same bytes, in the form that was asked for.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ask, CHAT, JSON, MISS, assert_hit, assert_miss, counting, gateway, stream, told, whole};
use crate::support::gateway::{Gateway, secret};
use crate::support::upstream::{Upstream, gate};

/// A whole answer of exactly `size` bytes.
fn big(size: usize) -> String {
    let frame = whole(1).replace("\"choices\"", "\"pad\":\"\",\"choices\"");
    let numbers = (0..).flat_map(|number: u32| number.to_string().into_bytes());
    let pad: Vec<u8> = numbers.take(size - frame.len()).collect();
    frame.replace("\"pad\":\"", &format!("\"pad\":\"{}", String::from_utf8(pad).expect("digits")))
}

#[test]
fn a_mebibyte_in_many_chunks_is_replayed_byte_for_byte() {
    let body = big(1 << 20);
    assert_eq!(body.len(), 1 << 20);
    let sent = body.clone();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("application/json");
        for piece in sent.as_bytes().chunks(3001) {
            exchange.chunk(piece);
        }
        exchange.chunk("");
    });
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    for turn in 0..3 {
        let answer = client.request(&format!("POST {CHAT}"), &secret("one"), JSON, b"{}").answer();
        assert_eq!(answer.header("x-cache"), Some(if turn == 0 { "MISS" } else { "HIT" }));
        assert!(
            answer.is_whole && answer.body == body.as_bytes(),
            "turn {turn}: {} bytes",
            answer.body.len()
        );
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_request_of_many_kibibytes_is_cached_too() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    for size in [65_535, 65_536, 65_537, 1 << 20] {
        let body = big(size);
        let ask = Ask::body(body.as_str());
        assert_miss(&ask.send(&gateway), "new");
        assert_hit(&ask.send(&gateway), "asked before");
        assert!(upstream.requests().pop().expect("a request").body == body.as_bytes(), "{size}");
    }
    assert_eq!(upstream.count(), 4);
}

#[test]
fn a_stream_is_recorded_as_it_passes_and_replayed_on_a_kept_connection() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        for piece in stream(1).split_inclusive("\n\n") {
            exchange.chunk(piece);
            gate.wait();
        }
        exchange.chunk("");
    });
    let gateway = gateway(&upstream, "", "");
    let mut client = gateway.connect();
    let line = format!("POST {CHAT}");
    client.request(&line, &secret("one"), JSON, br#"{"stream":true}"#);
    let mut missed = client.head();
    assert_eq!((missed.header("cache-status"), missed.header("content-length")), (Some(MISS), None));
    // Each event is here before the next one is there.
    for event in stream(1).split_inclusive("\n\n") {
        assert_eq!(client.chunk().as_deref(), Some(event.as_bytes()));
        opener.open();
    }
    client.body_of(&mut missed);
    assert!(missed.is_whole && missed.body.is_empty());
    for _ in 0..2 {
        let hit = client.request(&line, &secret("one"), JSON, br#"{"stream":true}"#).answer();
        assert_hit(&hit, "the stream came whole");
        assert_eq!((hit.text(), hit.is_whole), (stream(1), true));
        assert_eq!(hit.header("transfer-encoding"), Some("chunked"));
        assert_eq!(hit.header("content-type"), Some("text/event-stream"));
    }
    assert_eq!(upstream.count(), 1);
}

/// What is not translated, as these answers lack what a faithful one would need, is a miss in another form.
#[test]
fn an_entry_that_is_not_translated_is_a_miss_in_another_form() {
    let upstream = Upstream::start(|request, exchange| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains(r#""stream":true"#) {
            exchange.answer("200 OK", "text/event-stream", stream(body.contains("usage\":true")));
        } else {
            exchange.json(&whole("json"));
        }
    });
    let gateway = gateway(&upstream, "", "");
    let forms = [
        (r#"{"model":"m"}"#, whole("json")),
        (r#"{"model":"m","stream":true}"#, stream("false")),
        (r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#, stream("true")),
    ];
    for (body, expected) in &forms {
        let missed = Ask::body(*body).send(&gateway);
        assert_eq!((told(&missed).1, missed.text()), (Some(MISS), expected.clone()), "{body}");
    }
    for (body, expected) in &forms {
        let hit = Ask::body(*body).send(&gateway);
        assert_hit(&hit, body);
        assert_eq!(hit.text(), *expected, "{body}");
    }
    assert_eq!(upstream.count(), forms.len());
}

/// An upstream that ignores `stream`, or streams unasked: what was asked for finds what came.
#[test]
fn the_form_that_came_is_given_to_who_asks_the_same() {
    let upstream = Upstream::start(|_, exchange| exchange.answer("200 OK", "text/event-stream", stream(1)));
    let gateway = gateway(&upstream, "", "");
    Ask::default().send(&gateway);
    let hit = Ask::default().send(&gateway);
    assert_eq!((hit.header("x-cache"), hit.text()), (Some("HIT"), stream(1)));
}

/// All that comes on a connection until it ends.
fn all_bytes(gateway: &Gateway) -> String {
    let mut client = gateway.connect();
    client.request(&format!("POST {CHAT}"), &secret("one"), JSON, super::BODY.as_bytes());
    assert!(client.is_closed());
    String::from_utf8(client.pending(std::time::Duration::from_millis(1))).expect("text")
}

#[test]
fn after_a_failed_answer_the_next_one_is_asked_anew() {
    let turn = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, exchange| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => exchange.close(),
        1 => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{");
            exchange.close();
        }
        2 => {
            exchange.begin("application/json");
            exchange.chunk(whole("cut"));
            exchange.close();
        }
        3 => exchange.answer("500 Oops", "application/json", "{}"),
        4 => {
            exchange.begin("text/event-stream");
            exchange.chunk(stream("cut"));
            exchange.close();
        }
        number => exchange.json(&whole(number)),
    });
    let gateway = gateway(&upstream, "", "");
    assert_eq!(Ask::default().send(&gateway).status, 502);
    for _ in 0..2 {
        let cut = all_bytes(&gateway);
        let is_clean = cut.ends_with("0\r\n\r\n") || cut.contains(" 502 ") || cut.contains("\r\n\r\n{}");
        assert!(!is_clean && cut.len() < 900, "{cut}");
    }
    assert_eq!(Ask::default().send(&gateway).status, 500);
    let told = Ask::default().send(&gateway);
    assert!(told.is_whole && told.text().contains("\"error\""), "{told:?}");
    assert_miss(&Ask::default().send(&gateway), "nothing good has come so far");
    assert_hit(&Ask::default().send(&gateway), "and now it has");
}

/// The answer has come whole when its reader reads its last byte, so whoever asks next, anywhere, gets it.
#[test]
fn who_asks_after_an_answers_last_byte_gets_a_hit() {
    let upstream = counting();
    let gateway = gateway(&upstream, "", "");
    for number in 0..100 {
        let ask = Ask::body(format!(r#"{{"n":{number}}}"#));
        assert_miss(&ask.send(&gateway), "new");
        assert_hit(&ask.send(&gateway), "at once");
    }
}

#[test]
fn a_client_of_http_1_0_reads_a_stream_to_the_connections_end() {
    let upstream = Upstream::start(|_, exchange| exchange.answer("200 OK", "text/event-stream", stream(1)));
    let gateway = gateway(&upstream, "", "");
    for _ in 0..2 {
        let mut client = gateway.connect();
        let head = format!("POST {CHAT} HTTP/1.0\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
        let answer = client.send(format!("{head}Content-Length: 2\r\n\r\n{{}}")).answer();
        assert_eq!((answer.header("transfer-encoding"), answer.text()), (None, stream(1)));
    }
}
