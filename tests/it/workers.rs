//! What workers share and what each has for itself: bounds hold over all of them, and nothing is lost between them.

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Upstream, gate};

const ANSWER: &str = r#"{"choices":[{"finish_reason":"stop"}]}"#;
const WORKERS: usize = 2;

/// A gateway of two workers, whose route is cached.
fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "threads: {WORKERS}\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n{more}\nkeys:\n{}",
        upstream.url(),
        key("one", ""),
    ))
}

/// Connections that are open at once: each worker serves as many of them as the others.
fn connect(gateway: &Gateway, count: usize) -> Vec<Client> {
    (0..count).map(|_| gateway.connect()).collect()
}

#[test]
fn as_many_requests_are_in_flight_as_may_be_whichever_workers_have_them() {
    const MOST: usize = 64;
    let (wait, open) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        wait.wait();
        exchange.json(ANSWER);
    });
    let gateway = gateway(&upstream, &format!("limits: {{max_requests: {MOST}}}"));
    let mut clients = connect(&gateway, MOST + WORKERS);
    let mut beyond = clients.split_off(MOST);
    for round in 0..2 {
        for client in &mut clients {
            client.request("GET /v1/models", &secret("one"), "", b"");
        }
        upstream.wait_for((round + 1) * MOST);
        assert_eq!(gateway.metric("safecache_in_flight_requests"), MOST as f64);
        for client in &mut beyond {
            assert_eq!(client.get("/v1/models", &secret("one")).status, 503, "{round}");
        }
        (0..MOST).for_each(|_| open.open());
        assert!(clients.iter_mut().all(|client| client.answer().status == 200), "{round}");
        gateway.eventually("all are over", |gateway| gateway.metric("safecache_in_flight_requests") == 0.0);
    }
    let series = r#"safecache_requests_total{outcome="forwarded",route="/v1/*",status="200"}"#;
    assert_eq!(gateway.metric(series), 2.0 * MOST as f64, "of all workers");
}

#[test]
fn a_connection_that_one_worker_leaves_idle_is_anothers_too() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "");
    let mut clients = connect(&gateway, 2 * WORKERS);
    for number in 0..12 {
        let client = &mut clients[number % (2 * WORKERS)];
        let body = format!(r#"{{"model":"{number}"}}"#);
        assert_eq!(client.post("/v1/chat/completions", &secret("one"), &body).status, 200);
        assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    }
    assert_eq!((upstream.connections(), upstream.count()), (1, 24));
}

#[test]
fn what_one_worker_has_stored_another_answers_with() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "");
    for client in &mut connect(&gateway, 2 * WORKERS) {
        for _ in 0..3 {
            assert_eq!(client.post("/v1/chat/completions", &secret("one"), r#"{"model":"m"}"#).status, 200);
        }
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.metric(r#"safecache_cache_lookups_total{kind="exact",result="hit"}"#), 11.0);
}
