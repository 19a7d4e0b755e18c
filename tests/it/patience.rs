//! Clients that read or send too slowly for `limits.min_send_rate`.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use pingora::protocols::l4::stream::Stream;
use safecache::clock::Clock;
use safecache::proxy::connection::Connection;
use safecache::proxy::line::Line;
use safecache::proxy::patience::{Patience, Rate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::DEADLINE;
use crate::support::front::{Front, House, PASSED};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::h2::{H2, HasBody};
use crate::support::upstream::{Exchange, Upstream, gate};

const SPAN: Duration = Duration::from_millis(200);
const BODY: usize = 200_000;
/// More bytes than a client can drip.
const MOST: usize = 100;

/// A connection that asks for two hundred bytes in each span, and the client's end of it.
fn connection(clock: &Clock) -> (Connection, DuplexStream) {
    let (ours, theirs) = duplex(1000);
    let rate = Rate { bytes: 200, span: SPAN };
    let patience = Patience::new(rate, clock.clone());
    (Connection::new(Line::Tls(Box::new(ours)), [127, 0, 0, 1].into(), patience), theirs)
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_after_the_span() {
    let clock = Clock::system();
    let (mut connection, _client) = connection(&clock);
    let begun = clock.monotonic();
    let error = connection.write_all(&[b'x'; BODY]).await.unwrap_err();
    let took = clock.monotonic().saturating_since(begun);
    println!("cut after {took:?} of {SPAN:?}");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(took >= SPAN && took < SPAN * 10, "{took:?}");
}

#[tokio::test]
async fn what_was_gathered_waits_no_longer_than_anything_else() {
    let (mut connection, _client) = connection(&Clock::system());
    connection.write_all(&[b'x'; 5000]).await.unwrap();
    assert_eq!(connection.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
}

/// As TLS takes more than its client does.
#[tokio::test]
async fn what_a_layer_below_has_taken_waits_no_longer_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    while tokio::time::timeout(SPAN / 4, ours.writable()).await.is_ok() {
        // Until nothing on the way takes any more.
        let _ = ours.try_write(&[b'x'; BODY]);
    }
    let patience = Patience::new(Rate { bytes: 200, span: SPAN }, Clock::system());
    let line = Line::Tls(Box::new(Stream::from(ours)));
    let mut connection = Connection::new(line, [127, 0, 0, 1].into(), patience);
    connection.write_all(b"more").await.unwrap();
    let flushed = tokio::time::timeout(DEADLINE, connection.flush()).await.expect("it is given up");
    assert_eq!(flushed.unwrap_err().kind(), ErrorKind::TimedOut);
    drop(client);
}

#[tokio::test]
async fn a_client_that_reads_fast_enough_gets_everything() {
    let (mut connection, mut client) = connection(&Clock::system());
    let reading = tokio::spawn(async move {
        let mut body = Vec::new();
        client.read_to_end(&mut body).await.map(|_| body)
    });
    connection.write_all(&[b'x'; BODY]).await.unwrap();
    connection.shutdown().await.unwrap();
    drop(connection);
    assert_eq!(reading.await.unwrap().unwrap().len(), BODY);
}

/// Waits of a client that is otherwise quick add up to spans of their own: each is judged by what was taken in it.
#[tokio::test]
async fn only_the_time_in_which_data_waits_counts() {
    let (clock, manual) = Clock::manual(crate::support::gateway::START);
    let (mut connection, mut client) = connection(&clock);
    let mut taken = [0; 1000];
    for _ in 0..10 {
        // Nothing waits: an hour may pass.
        manual.advance(Duration::from_secs(3600));
        let writing = async {
            connection.write_all(&[b'x'; 20_000]).await?;
            connection.flush().await
        };
        let reading = async {
            for _ in 0..20 {
                manual.advance(SPAN / 15);
                client.read_exact(&mut taken).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let (written, read) = tokio::join!(writing, reading);
        written.unwrap();
        read.unwrap();
    }
}

/// A gateway whose one answer is larger than all socket buffers, and how much of it the upstream has sent.
fn torrent(rate: &str) -> (Upstream, Arc<AtomicUsize>, Gateway) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("application/octet-stream");
        while counting.fetch_add(1, Ordering::SeqCst) < 1024 && exchange.chunk([b'x'; 65536]) {}
        exchange.chunk("");
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         limits: {{min_send_rate: {rate}}}\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    (upstream, sent, gateway)
}

/// Asks, does not read until the upstream is held up, lets 31 seconds pass, reads, and tells whether all came.
fn is_served_after_a_pause(rate: &str, line: &str) -> bool {
    let (_upstream, sent, gateway) = torrent(rate);
    let mut client = gateway.connect();
    client.request(line, &secret("one"), "", b"{}");
    let (mut before, mut looks) = (0, 0);
    gateway.eventually("the upstream is held up", |gateway| {
        gateway.metrics();
        let now = sent.load(Ordering::SeqCst);
        looks = if now == before && now > 0 { looks + 1 } else { 0 };
        before = now;
        looks == 100
    });
    gateway.clock.advance(Duration::from_secs(31));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    answer.is_whole
}

#[test]
fn a_client_below_the_rate_is_cut_on_every_way() {
    for line in ["POST /v1/chat/completions", "POST /v1/files"] {
        assert!(!is_served_after_a_pause("100MiB", line), "{line}");
    }
}

#[test]
fn a_client_is_never_cut_where_no_rate_is_asked() {
    for line in ["POST /v1/chat/completions", "POST /v1/files"] {
        assert!(is_served_after_a_pause("0", line), "{line}");
    }
}

#[tokio::test]
async fn a_pause_does_not_count() {
    let (clock, manual) = Clock::manual(crate::support::gateway::START);
    let mut patience = Patience::new(Rate { bytes: 200, span: SPAN }, clock);
    std::future::poll_fn(|cx| {
        for _ in 0..10 {
            patience.note(cx, &Poll::Pending).unwrap();
            manual.advance(SPAN / 11);
            patience.pause();
            manual.advance(Duration::from_secs(3600));
        }
        patience.note(cx, &Poll::Ready(Ok(199))).unwrap();
        patience.note(cx, &Poll::Pending).unwrap();
        manual.advance(SPAN / 5);
        let error = patience.note(cx, &Poll::Ready(Ok(0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        Poll::Ready(())
    })
    .await;
}

/// An upstream that begins to answer as `begin` says, then tells of each byte of the body that comes, and of its end.
fn listener(begin: fn(&mut Exchange)) -> (Upstream, Receiver<Option<u8>>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::eager(move |_, exchange| {
        begin(exchange);
        loop {
            let byte = exchange.body(1).first().copied();
            // A test that is over does not listen any more.
            let _ = tell.lock().expect("no script panicked").send(byte);
            if byte.is_none() {
                return exchange.close();
            }
        }
    });
    (upstream, told)
}

/// Sends a byte of a longer body every 29 seconds, until the upload is ended; how many bytes arrived. A pause that
/// passes before the gateway waits for the next byte is none to it.
fn drip(house: &House, told: &Receiver<Option<u8>>, mut send: impl FnMut()) -> usize {
    for count in 0..MOST {
        send();
        if told.recv_timeout(DEADLINE).expect("a byte, or the end").is_none() {
            return count;
        }
        house.gateway.clock.advance(Duration::from_secs(29));
    }
    MOST
}

#[test]
fn a_body_that_drips_is_refused_in_the_end() {
    let (upstream, told) = listener(|_| {});
    let house = House::before(&[upstream.url()]);
    let Front::H1(mut client) = house.h1() else { unreachable!("it is HTTP/1.1") };
    let head = format!("POST {PASSED} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
    client.send(format!("{head}Content-Length: 1000\r\n\r\n"));
    let count = drip(&house, &told, || {
        client.send("x");
    });
    assert!((2..MOST).contains(&count), "{count}");
    // What it announced is read away before it is answered.
    assert_eq!(client.send(vec![b'x'; 999 - count]).answer().status, 408);

    let Front::H2(mut h2, _) = house.h2() else { unreachable!("it is HTTP/2") };
    let fields = [("content-length", "1000")];
    let mut stream = h2.open(H2::request(&format!("POST {PASSED}"), &secret("one"), &fields), HasBody::Yes);
    let count = drip(&house, &told, || assert!(h2.send_piece(&mut stream, b"x")));
    assert!((2..MOST).contains(&count), "{count}");
    h2.send(&mut stream, &vec![b'x'; 999 - count]);
    assert_eq!(h2.head(&mut stream).expect("a head").status, 408);
    house
        .gateway
        .eventually("all places are free", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
}

#[test]
fn a_body_that_drips_beside_its_answer_is_cut() {
    let (upstream, told) = listener(|exchange| {
        exchange.begin("text/plain");
        exchange.chunk("begun");
    });
    let house = House::before(&[upstream.url()]);
    let mut client = house.gateway.connect();
    let head = format!("POST {PASSED} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
    client.send(format!("{head}Content-Length: 1000\r\n\r\n"));
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().as_deref(), Some(&b"begun"[..]));
    let count = drip(&house, &told, || {
        client.send("x");
    });
    assert!((2..MOST).contains(&count), "{count}");
    assert_eq!(client.chunk(), None);
}

/// A body waits for its server, not for its client.
#[test]
fn a_server_that_takes_a_body_slowly_is_not_held_against_the_client() {
    const SIZE: usize = 24 * 1024 * 1024;
    let (gate, opener) = gate();
    let upstream = Upstream::eager(move |_, exchange| {
        gate.wait();
        let came = exchange.body(SIZE).len();
        exchange.answer("200 OK", "text/plain", came.to_string());
    });
    let house = House::before(&[upstream.url()]);
    let mut client = house.gateway.connect();
    let mut sending = client.stream().try_clone().expect("a second handle");
    let head = format!("POST {PASSED} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n", secret("one"));
    client.send(format!("{head}Content-Length: {SIZE}\r\n\r\n"));
    let upload = std::thread::spawn(move || sending.write_all(&vec![b'x'; SIZE]).is_ok());
    upstream.wait_for(1);
    for _ in 0..100 {
        house.gateway.clock.advance(Duration::from_secs(29));
        house.gateway.metrics();
    }
    opener.open();
    assert_eq!(client.answer().text(), SIZE.to_string());
    assert!(upload.join().expect("it sends"));
}
