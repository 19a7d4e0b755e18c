//! Clients that read too slowly for `limits.min_send_rate`.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safecache::clock::Clock;
use safecache::proxy::connection::{Connection, HeadState};
use safecache::proxy::patience::{Patience, SendRate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const SPAN: Duration = Duration::from_millis(200);
const BODY: usize = 200_000;

/// A connection that asks for a thousand bytes a second, and the client's end of it.
fn connection(clock: &Clock) -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(1000);
    let rate = SendRate { bytes_per_second: 1000, span: SPAN };
    let patience = Patience::new(rate, clock.clone());
    (Connection::new(ours, HeadState::opened(), Duration::from_secs(60), patience), theirs)
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
