//! Promises with a time in them. `make test` asks for the event, with a deadline of ten times the bound, and prints
//! what was measured; `make soak` tries each two hundred times and holds the bound itself.

use std::time::Duration;

use safecache::clock::Clock;

use crate::support::gateway::{Gateway, key, secret};
use crate::support::process::Process;
use crate::support::upstream::{Upstream, gate};

/// Trials of a soak, and of an ordinary run.
const SOAK_TRIALS: usize = 200;
const TRIALS: usize = 3;

fn is_soak() -> bool {
    std::env::var_os("SAFECACHE_SOAK").is_some()
}

/// Runs `trial` as often as the run wants, prints the distribution, and holds the bound: in a soak itself, else ten
/// times it.
fn hold(promise: &str, bound: Duration, mut trial: impl FnMut(usize) -> Duration) {
    let (trials, deadline) = if is_soak() { (SOAK_TRIALS, bound) } else { (TRIALS, bound * 10) };
    let mut took: Vec<Duration> = (0..trials).map(&mut trial).collect();
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "\nmeasured {promise}: {trials} trials, p50 {:?}, p90 {:?}, p99 {:?}, max {:?}; bound {bound:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    assert!(at(100) <= deadline, "{promise}: {:?} is over {deadline:?}", at(100));
}

#[test]
fn a_change_of_the_key_list_is_live_within_a_second() {
    let upstream = Upstream::json("{}");
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("keys.yaml");
    let list = |id: &str| format!("keys:\n{}", key(id, ""));
    std::fs::write(&path, list("first")).expect("written");
    let yaml = format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm}}]\nkeys_file: keys.yaml\n",
        upstream.url()
    );
    let gateway = Gateway::start_in(folder, &yaml);
    let clock = Clock::system();
    hold("a change of the key list is live", Duration::from_secs(1), |trial| {
        let id = format!("key-{trial}");
        std::fs::write(&path, list(&id)).expect("written");
        let changed = clock.monotonic();
        let mut client = gateway.connect();
        gateway.eventually("the new key works", |_| client.get("/v1/x", &secret(&id)).status == 200);
        clock.monotonic().saturating_since(changed)
    });
}

#[test]
fn a_client_that_leaves_stops_the_upstream_within_a_tenth_of_a_second() {
    let (stopped, is_stopped) = std::sync::mpsc::channel();
    let (wait, go) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: {}\n\n");
        wait.wait();
        exchange.wait_for_close();
        let _ = stopped.send(());
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         keys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    let clock = Clock::system();
    for path in ["/v1/chat/completions", "/v1/others"] {
        let promise = format!("a client that leaves {path} stops the upstream");
        hold(&promise, Duration::from_millis(100), |_| {
            let mut client = gateway.connect();
            let line = format!("POST {path}");
            client.request(&line, &secret("one"), "Content-Type: application/json\r\n", b"{\"stream\":true}");
            client.head();
            client.chunk().expect("the first event");
            go.open();
            drop(client);
            let left = clock.monotonic();
            is_stopped.recv().expect("the upstream is stopped");
            clock.monotonic().saturating_since(left)
        });
    }
}

#[test]
fn an_idle_gateway_ends_within_a_second_of_term() {
    hold("an idle gateway ends after TERM", Duration::from_secs(1), |_| {
        let folder = tempfile::TempDir::new().expect("a folder");
        let mut process = Process::serve(folder.path(), "");
        process.signal(rustix::process::Signal::TERM);
        let ended = process.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.took
    });
}
