//! Identical misses at the same time make one call, which all of them read live.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::front::{ALONE, CACHED, CHAT, Front, House, JSON, Piece, Plans};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Opener, Upstream, gate};

const COLLAPSED: &str = "safecache; fwd=miss; collapsed";
const LAST: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const STREAMED: &str = r#"{"model":"m","messages":[],"stream":true}"#;

fn event(number: usize) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{number}\"}}}}]}}\n\n")
}

/// An upstream that streams event after event, each when it is let go on, then what ends the stream. What it tells:
/// whether it could say all of it.
fn streaming(events: usize) -> (Upstream, Opener, Receiver<bool>) {
    let (gate, opener) = gate();
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        for number in 0..events {
            gate.wait();
            exchange.chunk(event(number));
        }
        gate.wait();
        let is_read = exchange.chunk(LAST) && exchange.chunk("");
        // The test may be over.
        let _ = tell.lock().expect("no script panicked").send(is_read);
    });
    (upstream, opener, told)
}

fn begin(mut client: Front, body: &str) -> Front {
    client.send(&format!("POST {CACHED}"), JSON, body.as_bytes());
    client
}

/// Reads until all of `expected` has come.
#[track_caller]
fn reads(client: &mut Front, expected: &str) {
    let mut text = String::new();
    while text.len() < expected.len() {
        let Piece::Bytes(bytes) = client.piece() else { panic!("{} ended after {text:?}", client.name()) };
        text.push_str(std::str::from_utf8(&bytes).expect("text"));
    }
    assert_eq!(text, expected, "{}", client.name());
}

fn outcomes(house: &House, outcome: &str) -> f64 {
    let of = |status| {
        format!("safecache_requests_total{{outcome=\"{outcome}\",route=\"/v1/*\",status=\"{status}\"}}")
    };
    house.gateway.metric(&of("200"))
}

#[test]
fn a_stream_is_called_for_once_and_read_by_all() {
    let (upstream, opener, told) = streaming(3);
    let house = House::before(&[upstream.url()]);
    let mut clients = vec![begin(house.h1(), STREAMED)];
    opener.open();
    assert_eq!(clients[0].head().header("cache-status"), Some("safecache; fwd=miss; stored"));
    reads(&mut clients[0], &event(0));
    for round in 1..3 {
        let so_far: String = (0..round).map(event).collect();
        for _ in 0..10 {
            for client in house.fronts() {
                let mut client = begin(client, STREAMED);
                let head = client.head();
                assert_eq!(head.header("cache-status"), Some(COLLAPSED), "{}", client.name());
                assert_eq!(head.header("x-cache"), Some("MISS"));
                assert_eq!(head.header("age"), None);
                reads(&mut client, &so_far);
                clients.push(client);
            }
        }
        opener.open();
        clients.iter_mut().for_each(|client| reads(client, &event(round)));
    }
    assert_eq!(upstream.count(), 1);
    opener.open();
    for client in &mut clients {
        reads(client, LAST);
        assert_eq!(client.piece(), Piece::End, "{}", client.name());
    }
    assert_eq!(told.recv(), Ok(true));
    house.gateway.eventually("each is counted", |_| outcomes(&house, "collapsed") == 40.0);
    let whole: String = (0..3).map(event).collect::<String>() + LAST;
    for mut client in house.fronts() {
        // On a connection that stays open.
        for _ in 0..2 {
            client = begin(client, STREAMED);
            let again = client.head_and_body();
            let told = (again.text(), again.is_whole, again.header("x-cache"));
            assert_eq!(told, (whole.clone(), true, Some("HIT")), "{}", client.name());
        }
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn json_is_called_for_once() {
    let (gate, opener) = gate();
    let body = r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nOpenAI-Version: 7\r\nX-Other: 1\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        exchange.send(head);
        gate.wait();
        exchange.send(body);
    });
    let house = House::before(&[upstream.url()]);
    let mut leader = begin(house.h1(), CHAT);
    opener.open();
    let mut first = leader.head();
    assert_eq!(first.header("x-other"), Some("1"));
    let mut others: Vec<_> = (0..5).flat_map(|_| house.fronts()).map(|client| begin(client, CHAT)).collect();
    let mut heads: Vec<_> = others.iter_mut().map(Front::head).collect();
    opener.open();
    leader.body_of(&mut first);
    assert_eq!(first.text(), body);
    for (client, head) in others.iter_mut().zip(&mut heads) {
        client.body_of(head);
        assert_eq!((head.text().as_str(), head.header("cache-status")), (body, Some(COLLAPSED)));
        assert_eq!(
            (head.header("openai-version"), head.header("x-other")),
            (Some("7"), None),
            "kept ones alone"
        );
    }
    assert_eq!(upstream.count(), 1);
    house.gateway.eventually("what the others spared is counted", |gateway| {
        gateway.metric("safecache_tokens_saved_total") == 70.0
    });
    house.gateway.eventually("one call was paid", |gateway| {
        gateway.metric("safecache_tokens_total{direction=\"prompt\"}") == 3.0
    });
}

#[test]
fn the_first_client_may_leave() {
    for leaver in 0..2 {
        let (upstream, opener, told) = streaming(2);
        let house = House::before(&[upstream.url()]);
        let mut first = begin(house.fronts().into_iter().nth(leaver).expect("a client"), STREAMED);
        opener.open();
        first.head();
        reads(&mut first, &event(0));
        let mut second = begin(house.h2(), STREAMED);
        assert_eq!(second.head().header("cache-status"), Some(COLLAPSED));
        reads(&mut second, &event(0));
        drop(first);
        house
            .gateway
            .eventually("it has left", |_| house.gateway.metrics().contains("outcome=\"client_closed\""));
        let mut third = begin(house.h1(), STREAMED);
        assert_eq!(third.head().header("cache-status"), Some(COLLAPSED), "it may still be joined");
        reads(&mut third, &event(0));
        opener.open();
        opener.open();
        for client in [&mut second, &mut third] {
            reads(client, &(event(1) + LAST));
            assert_eq!(client.piece(), Piece::End);
        }
        assert_eq!((told.recv(), upstream.count()), (Ok(true), 1));
        house.gateway.eventually("it is stored", |_| {
            begin(house.h1(), STREAMED).head_and_body().header("x-cache") == Some("HIT")
        });
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn when_all_have_left_the_call_ends() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(event(0));
        exchange.wait_for_close();
        exchange.close();
        tell.lock().expect("no script panicked").send(()).expect("the test waits");
    });
    let house = House::before(&[upstream.url()]);
    let mut clients: Vec<_> =
        [house.h1(), house.h2(), house.h1()].map(|client| begin(client, STREAMED)).into();
    for client in &mut clients {
        client.head();
        reads(client, &event(0));
    }
    assert_eq!(upstream.count(), 1);
    drop(clients);
    told.recv().expect("the upstream is told");
    for gauge in ["safecache_in_flight_requests", "safecache_buffer_bytes"] {
        house.gateway.eventually("nothing is left of it", |gateway| gateway.metric(gauge) == 0.0);
    }
    let mut next = begin(house.h1(), STREAMED);
    assert_eq!(next.head().header("cache-status"), Some("safecache; fwd=miss; stored"), "nothing was stored");
}

#[test]
fn what_a_server_may_have_read_is_asked_of_it_once() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.close();
    });
    let house = House::before(&[upstream.url()]);
    let mut clients: Vec<_> = (0..4).flat_map(|_| house.fronts()).map(|client| begin(client, CHAT)).collect();
    house.gateway.eventually("all wait", |gateway| gateway.metric("safecache_in_flight_requests") == 8.0);
    house.gateway.pass_some_time();
    opener.open();
    for client in &mut clients {
        assert_eq!(client.head_and_body().status, 502, "{}", client.name());
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn all_are_told_that_no_server_can_be_reached() {
    let gone = Upstream::start(|_, _| {}).url();
    let house = House::before(&[gone]);
    let mut clients: Vec<_> =
        (0..20).flat_map(|_| house.fronts()).map(|client| begin(client, CHAT)).collect();
    for client in &mut clients {
        assert_eq!(client.head_and_body().status, 502, "{}", client.name());
    }
}

#[test]
fn a_call_is_shared_only_for_the_same_and_by_those_who_may() {
    let upstream = Upstream::start(|_, exchange| exchange.wait_for_close());
    let house = House::before(&[upstream.url()]);
    let bodies = [
        r#"{"model":"m"}"#,
        r#"{"model":"m","stream":true}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"m","service_tier":"flex"}"#,
        r#"{"model":"m","temperature":1}"#,
    ];
    let mut clients = Vec::new();
    for body in bodies {
        clients.push(begin(house.h1(), body));
        house.gateway.eventually("it has a call of its own", |_| upstream.count() == clients.len());
    }
    for control in ["no-cache", "no-store", "max-age=0"] {
        let mut client = house.h1();
        let fields = [JSON, &[("cache-control", control)]].concat();
        client.send(&format!("POST {CACHED}"), &fields, bodies[0].as_bytes());
        clients.push(client);
        house.gateway.eventually("it has a call of its own", |_| upstream.count() == clients.len());
    }
    let calls = clients.len();
    clients.extend(bodies.map(|body| begin(house.h2(), body)));
    house.gateway.eventually("all wait", |gateway| {
        gateway.metric("safecache_in_flight_requests") == clients.len() as f64
    });
    house.gateway.pass_some_time();
    assert_eq!(upstream.count(), calls);
}

#[test]
fn an_old_call_is_not_joined() {
    let upstream = Upstream::start(|_, exchange| exchange.wait_for_close());
    let house = House::before(&[upstream.url()]);
    let _first = begin(house.h1(), CHAT);
    house.gateway.eventually("the first is under way", |_| upstream.count() == 1);
    house.gateway.clock.advance(Duration::from_secs(60));
    let _second = begin(house.h1(), CHAT);
    house.gateway.eventually("both wait", |gateway| gateway.metric("safecache_in_flight_requests") == 2.0);
    house.gateway.pass_some_time();
    assert_eq!(upstream.count(), 1);
    house.gateway.clock.advance(Duration::from_millis(1));
    let _third = begin(house.h1(), CHAT);
    house.gateway.eventually("it has a call of its own", |_| upstream.count() == 2);
    let _fourth = begin(house.h1(), CHAT);
    house.gateway.eventually("all wait", |gateway| gateway.metric("safecache_in_flight_requests") == 4.0);
    house.gateway.pass_some_time();
    assert_eq!(upstream.count(), 2, "the young one is joined");
}

#[test]
fn who_joins_passes_its_own_limits_first() {
    let (upstream, opener, _told) = streaming(1);
    let gateway = Gateway::start(&format!(
        "listen: 127.0.0.1:0\nplans: {{two: {{requests_per_minute: 1, burst: 2}}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "plan: two")
    ));
    let mut clients = [(); 3].map(|()| begin(Front::H1(Box::new(gateway.connect())), STREAMED));
    opener.open();
    // All of them stay to the end: a call that its only reader leaves is over before the next can join it.
    let mut statuses = clients.each_mut().map(|client| client.head().status);
    statuses.sort_unstable();
    assert_eq!((statuses, upstream.count()), ([200, 200, 429], 1));
}

#[test]
fn an_answer_too_large_to_keep_reaches_all_who_had_joined() {
    const PIECES: usize = 64;
    let (gate, opener) = gate();
    let piece = format!("data: {{\"pad\":\"{}\"}}\n\n", "x".repeat(32 * 1024));
    let sent = piece.clone();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(&sent);
        gate.wait();
        for _ in 1..PIECES {
            exchange.chunk(&sent);
        }
        exchange.chunk(LAST);
        exchange.chunk("");
    });
    let plans = Plans { more: "cache: {max_entry: 256KiB}", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let mut clients = [house.h1(), house.h2()].map(|client| begin(client, STREAMED));
    for client in &mut clients {
        client.head();
        reads(client, &piece);
    }
    opener.open();
    let whole = piece.repeat(PIECES - 1) + LAST;
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                reads(client, &whole);
                assert_eq!(client.piece(), Piece::End, "{}", client.name());
            });
        }
    });
    assert_eq!(upstream.count(), 1);
    house.gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}

#[test]
fn a_call_of_ones_own_is_not_joined_either() {
    let (upstream, opener, _told) = streaming(1);
    let house = House::before(&[upstream.url()]);
    let mut alone = house.h1();
    alone.send(&format!("POST {CACHED}"), ALONE, STREAMED.as_bytes());
    house.gateway.eventually("it is under way", |_| upstream.count() == 1);
    let mut other = begin(house.h2(), STREAMED);
    house.gateway.eventually("so is the other", |_| upstream.count() == 2);
    opener.open();
    opener.open();
    assert_eq!(alone.head().header("cache-status"), Some("safecache; fwd=request; stored"));
    assert_eq!(other.head().header("cache-status"), Some("safecache; fwd=miss; stored"));
}

/// Two clients ask the same, the first with `fields`; both are answered with `head`, one after another.
fn two_answers(head: &'static str, fields: &[(&str, &str)]) -> (usize, [Answer; 2]) {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.send(format!(
            "HTTP/1.1 {head}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
    });
    let house = House::before(&[upstream.url()]);
    let mut first = house.h1();
    first.send(&format!("POST {CACHED}"), &[JSON, fields].concat(), CHAT.as_bytes());
    house.gateway.eventually("the first is under way", |_| upstream.count() == 1);
    let mut second = begin(house.h2(), CHAT);
    house.gateway.eventually("both wait", |gateway| gateway.metric("safecache_in_flight_requests") == 2.0);
    house.gateway.pass_some_time();
    (0..2).for_each(|_| opener.open());
    let answers = [first.head_and_body(), second.head_and_body()];
    (upstream.count(), answers)
}

#[test]
fn what_is_for_the_first_alone_is_asked_for_again_by_the_others() {
    for (head, fields) in [
        ("200 OK\r\nCache-Control: no-store", &[][..]),
        ("200 OK\r\nVary: X-Tenant", &[("x-tenant", "a")]),
        ("200 OK\r\nContent-Encoding: gzip", &[]),
        ("206 Partial Content\r\nContent-Range: bytes 0-1/9", &[("range", "bytes=0-1")]),
        ("412 Precondition Failed", &[("if-match", "\"x\"")]),
    ] {
        let (calls, [first, second]) = two_answers(head, fields);
        assert_eq!(calls, 2, "{head}");
        assert_eq!(first.status, second.status, "{head}");
        for answer in [&first, &second] {
            assert_eq!(answer.header("cache-status"), Some("safecache; fwd=miss"), "{head}");
        }
        for name in ["content-encoding", "content-range"] {
            assert_eq!(first.header(name), second.header(name), "{head}: with all of its fields");
        }
    }
    for head in ["200 OK\r\nCache-Control: private", "429 Too Many Requests", "404 Not Found"] {
        let (calls, [_, second]) = two_answers(head, &[]);
        assert_eq!((calls, second.header("cache-status")), (1, Some(COLLAPSED)), "{head}");
    }
}

#[test]
fn who_reads_slowly_does_not_hold_the_share_of_who_asked() {
    const PIECES: usize = 96;
    let (gate, opener) = gate();
    let piece = format!("data: {{\"choices\":[],\"pad\":\"{}\"}}\n\n", "x".repeat(64 * 1024));
    let sent = piece.clone();
    let upstream = Upstream::start(move |request, exchange| {
        if !String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            return exchange.json("{}");
        }
        exchange.begin("text/event-stream");
        exchange.chunk(&sent);
        gate.wait();
        for _ in 1..PIECES {
            exchange.chunk(&sent);
        }
        exchange.chunk("");
    });
    let gateway = Gateway::start(&format!(
        "listen: 127.0.0.1:0\nlimits: {{buffer_memory_per_key: 8MiB}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}{}",
        upstream.url(),
        key("one", ""),
        key("two", "")
    ));
    let ask = |who: &str, body: &str| {
        let mut client = gateway.connect();
        let line = format!("POST {CACHED}");
        client.request(&line, &secret(who), "Content-Type: application/json\r\n", body.as_bytes());
        client
    };
    let mut quick = Front::H1(Box::new(ask("one", STREAMED)));
    quick.head();
    reads(&mut quick, &piece);
    let mut slow = ask("two", STREAMED);
    assert_eq!(slow.head().header("cache-status"), Some(COLLAPSED));
    opener.open();
    reads(&mut quick, &piece.repeat(PIECES - 1));
    assert_eq!(quick.piece(), Piece::End);
    gateway.eventually("the first is over", |gateway| gateway.metric("safecache_in_flight_requests") == 1.0);
    let question = format!("{{\"model\":\"m\",\"pad\":\"{}\"}}", "x".repeat(4 << 20));
    assert_eq!(ask("one", &question).answer().status, 200);
}
