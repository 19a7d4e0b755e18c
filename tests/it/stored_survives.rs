//! What `/api/v1/store` has acknowledged survives a sudden end at any moment, whole.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Client, eventually};
use crate::support::gateway::{key, secret};
use crate::support::process::Process;

/// Sudden ends: in every run of the tests, and where there is time.
const ROUNDS: u32 = 15;
const ROUNDS_OF_A_SOAK: u32 = 200;

/// Clients that store at the same time.
const CLIENTS: u32 = 8;

const CONFIG: &str = "plans: {most: {requests_per_minute: 60000000, burst: 1000000}}\n\
                      upstreams: {llm: {servers: [\"http://127.0.0.1:9\"]}}\n\
                      routes: [{path: /v1/*, upstream: llm}]\n";

fn start(folder: &TempDir) -> Process {
    Process::serve(folder.path(), &format!("{CONFIG}keys:\n{}", key("one", "plan: most")))
}

/// An answer that tells whether it is whole: of up to nine thousand bytes.
fn text_of(number: u32) -> String {
    format!("{number}:{}.", "x".repeat(number as usize * 37 % 9000))
}

fn messages(number: u32) -> Value {
    json!([{"role": "user", "content": format!("question {number}")}])
}

/// Stores number after number until the gateway is gone; those that were acknowledged.
fn store_until_gone(
    mut client: Client,
    numbers: impl Iterator<Item = u32>,
    acknowledged: &AtomicU32,
) -> Vec<u32> {
    let mut stored = Vec::new();
    for number in numbers {
        let body = json!({"messages": messages(number), "answer": text_of(number)}).to_string();
        let head = format!(
            "POST /api/v1/store HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            secret("one"),
            body.len()
        );
        if !client.try_send(head) {
            break;
        }
        let Some(mut answer) = client.try_head() else { break };
        assert_eq!(answer.status, 200, "{number}");
        client.body_of(&mut answer);
        stored.push(number);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    stored
}

/// What is found of a number: its whole text, or nothing.
fn is_there(client: &mut Client, number: u32) -> bool {
    let body = json!({"messages": messages(number)}).to_string();
    let answer = client.post("/api/v1/check", &secret("one"), &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let is_there = answer["cache_hit"] == true;
    if is_there {
        assert_eq!(answer["answer"], text_of(number), "{number} is torn");
    }
    is_there
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let rounds = if std::env::var_os("SAFECACHE_SOAK").is_some() { ROUNDS_OF_A_SOAK } else { ROUNDS };
    let folder = TempDir::new().expect("a folder");
    let mut first = 0;
    for round in 0..rounds {
        let gateway = start(&folder);
        let acknowledged = AtomicU32::new(0);
        let stored: Vec<u32> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let connected = gateway.connect();
                    let acknowledged = &acknowledged;
                    let numbers = (first + client..).step_by(CLIENTS as usize);
                    scope.spawn(move || store_until_gone(connected, numbers, acknowledged))
                })
                .collect();
            // Early, late, and in between.
            let enough = 1 + round * 61 % 400;
            eventually("enough is stored", || acknowledged.load(Ordering::SeqCst) >= enough);
            assert_eq!(gateway.end(Signal::KILL).signal, Some(9));
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
        });
        let gateway = start(&folder);
        let mut client = gateway.connect();
        let last = stored.iter().max().copied().unwrap_or(first) + CLIENTS;
        for number in first..=last {
            let is_there = is_there(&mut client, number);
            assert!(
                is_there || !stored.contains(&number),
                "{number} of round {round} was acknowledged and is gone"
            );
        }
        first = last + 1;
        assert_eq!(gateway.end(Signal::TERM).code, Some(0));
    }
}
