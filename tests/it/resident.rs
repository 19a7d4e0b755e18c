//! Resident memory of the real binary under ten times the load that its buffers may hold.

use tempfile::TempDir;

use crate::support::client::{Client, eventually};
use crate::support::gateway::{key, secret};
use crate::support::process::Process;
use crate::support::turn::turn;
use crate::support::upstream::{Upstream, gate};

const MIB: usize = 1024 * 1024;
/// What bodies and answers on their way may take.
const BUDGET: usize = 32 * MIB;

/// What is asked for: together ten times [`BUDGET`] and more. Nobody reads any of it.
struct Load {
    /// Streams of their own.
    streams: usize,
    /// The size of each, in bytes.
    size: usize,
    /// Who asks for one more stream beside these.
    readers: usize,
}

fn body(seed: usize) -> String {
    format!(r#"{{"model":"m","messages":[],"seed":{seed},"stream":true}}"#)
}

fn ask(client: &mut Client, seed: usize) {
    let json = "Content-Type: application/json\r\n";
    client.request("POST /v1/chat/completions", &secret("one"), json, body(seed).as_bytes());
}

/// The most bytes held that the gateway tells of until that stands still, over a hundred looks.
fn most_told(process: &Process) -> f64 {
    let (mut most, mut before, mut looks) = (0.0_f64, 0.0, 0);
    eventually("nothing moves any more", || {
        let now = process.metric("safecache_buffer_bytes");
        looks = if now == before && now > 0.0 { looks + 1 } else { 0 };
        (before, most) = (now, most.max(now));
        looks == 100
    });
    most
}

#[test]
fn ten_times_what_may_be_held_takes_no_more_memory_than_may() {
    let _turn = turn();
    check(&Load { streams: 10, size: 32 * MIB, readers: 10 });
    check(&Load { streams: 120, size: 4 * MIB, readers: 0 });
}

fn check(&Load { streams, size, readers }: &Load) {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        let comments = format!(":{}\n\n", "x".repeat(1021)).repeat(64);
        for _ in 0..size / comments.len() {
            if !exchange.chunk(&comments) {
                return exchange.close();
            }
        }
        // It never comes to its end: nothing leaves the buffers for the cache.
        gate.wait();
        exchange.close();
    });
    let folder = TempDir::new().expect("a temporary folder");
    let process = Process::serve(
        folder.path(),
        &format!(
            "threads: 2\nlimits: {{buffer_memory: 32MiB, buffer_memory_per_key: 32MiB, min_send_rate: 0}}\n\
             cache: {{memory: 64MiB, max_entry: 40MiB}}\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
             routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
            upstream.url(),
            key("one", "")
        ),
    );
    let mut clients: Vec<_> = (0..streams + readers).map(|_| process.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/nowhere", &secret("one")).status, 404);
    }
    // What it takes to be looked at is no buffer.
    (0..100).for_each(|_| assert!(process.metric("safecache_buffer_bytes") >= 0.0));
    let (idle, idle_anon) = (process.account("VmRSS"), process.account("RssAnon"));
    for (number, client) in clients.iter_mut().enumerate() {
        ask(client, number.min(streams));
    }
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.head().status).collect();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    let told = most_told(&process);
    // All of it, at its highest; and what is no code.
    let rise = process.account("VmHWM") - idle;
    let taken = process.account("RssAnon") - idle_anon;
    println!("measured buffers of {BUDGET}: told {told}, taken {taken}, risen {rise} over {idle}");
    assert!(rise as f64 <= BUDGET as f64 * 1.25, "{rise} bytes over idle");
    assert!(told >= BUDGET as f64 * 0.9 && told <= BUDGET as f64 * 1.1, "{told} bytes told");
    // What requests take beside their buffers is in it, and what the allocator keeps for its threads: a tenth, and
    // more where other tests keep the machine busy.
    assert!(taken as f64 <= told * 1.2, "{told} bytes told, {taken} taken");
    // What is reserved for a stream is told before it is filled: of many streams together that is much.
    assert!(taken as f64 >= told * 0.6, "{told} bytes told, {taken} taken");
    drop((clients, opener));
    eventually("all is given back", || process.metric("safecache_buffer_bytes") == 0.0);
}
