//! Trouble within an answer: what the client sees of it, that nothing of it is stored, and that nothing stays behind.

use std::net::Shutdown;

use crate::support::client::Answer;
use crate::support::front::{CHAT, House, JSON, PATHS, Plans};
use crate::support::gateway::secret;
use crate::support::upstream::{Exchange, Upstream, gate};

const TERMINAL: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const WHOLE: &str = r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#;
const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What an upstream does, and what its client is to see of it.
struct Trouble {
    name: &'static str,
    does: fn(&mut Exchange),
    shows: fn(&Answer) -> bool,
}

const TROUBLES: [Trouble; 12] = [
    Trouble {
        name: "a reset within a stream",
        does: |exchange| {
            exchange.send(STREAM);
            exchange.chunk("data: {}\n\n");
            exchange.reset();
        },
        // A reset may overtake what was sent before it.
        shows: |answer| ends_with_an_error(answer) || answer.status == 502,
    },
    Trouble {
        name: "a reset within JSON",
        does: |exchange| {
            exchange.begin("application/json");
            exchange.chunk(WHOLE);
            exchange.reset();
        },
        shows: |answer| !answer.is_whole || answer.status == 502,
    },
    Trouble {
        name: "a stall within a stream",
        does: |exchange| {
            exchange.send(STREAM);
            exchange.chunk(TERMINAL.trim_end());
            exchange.wait_for_close();
            exchange.close();
        },
        shows: ends_with_an_error,
    },
    Trouble {
        name: "a stall within JSON",
        does: |exchange| {
            exchange.begin("application/json");
            exchange.chunk(WHOLE);
            exchange.wait_for_close();
            exchange.close();
        },
        shows: |answer| !answer.is_whole,
    },
    Trouble {
        name: "a length above what comes",
        does: |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n");
            exchange.send(WHOLE);
            exchange.close();
        },
        shows: |answer| !answer.is_whole && WHOLE.starts_with(&answer.text()),
    },
    Trouble {
        name: "a length below what comes",
        does: |exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n");
            exchange.send(WHOLE);
        },
        shows: |answer| answer.is_whole && answer.text() == r#"{"choices":["#,
    },
    Trouble {
        name: "chunks that are none, in a stream",
        does: |exchange| {
            exchange.send(format!("{STREAM}5\r\ndata:\r\nxyz\r\n{TERMINAL}"));
        },
        shows: ends_with_an_error,
    },
    Trouble {
        name: "chunks that are none, in JSON",
        does: |exchange| {
            exchange.begin("application/json");
            exchange.send(format!("30\r\n{WHOLE}\r\n-1\r\n\r\n"));
        },
        shows: |answer| !answer.is_whole,
    },
    Trouble {
        name: "an error event in a 200",
        does: |exchange| {
            exchange.begin("text/event-stream");
            exchange.chunk("data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
            exchange.chunk(TERMINAL);
            exchange.chunk("");
        },
        shows: |answer| answer.is_whole && answer.text().ends_with(TERMINAL),
    },
    Trouble {
        name: "32 MiB",
        does: |exchange| {
            let body = format!("{{\"pad\":\"{}\",{}", "x".repeat(32 << 20), WHOLE.trim_start_matches('{'));
            exchange.json(&body);
        },
        shows: |answer| answer.is_whole && answer.body.len() > 32 << 20,
    },
    Trouble {
        name: "32 MiB of a stream",
        does: |exchange| {
            exchange.begin("text/event-stream");
            let comment = format!(":{}\n\n", "x".repeat(1 << 20));
            for _ in 0..32 {
                exchange.chunk(&comment);
            }
            exchange.chunk(TERMINAL);
            exchange.chunk("");
        },
        shows: |answer| answer.is_whole && answer.body.len() > 32 << 20 && answer.text().ends_with(TERMINAL),
    },
    Trouble {
        name: "a head of 1 MiB",
        does: |exchange| {
            // Beyond the bound by more than one read.
            let pad = "x".repeat((1 << 20) + (1 << 18));
            exchange.send(format!("HTTP/1.1 200 OK\r\nX-Pad: {pad}\r\nContent-Length: 0\r\n\r\n"));
            exchange.close();
        },
        shows: |answer| answer.status == 502 && answer.json()["message"] == "The upstream failed to answer",
    },
];

fn ends_with_an_error(answer: &Answer) -> bool {
    let text = answer.text();
    let last = text.trim_end().lines().last().and_then(|line| line.strip_prefix("data: "));
    let last: Option<serde_json::Value> = last.and_then(|data| serde_json::from_str(data).ok());
    answer.is_whole && last.is_some_and(|event| event["error"]["message"].is_string())
}

/// Nothing is in flight, and nothing is held for it.
#[track_caller]
fn nothing_stays(house: &House) {
    for gauge in ["safecache_in_flight_requests", "safecache_buffer_bytes", "safecache_cache_entries"] {
        house.gateway.eventually(gauge, |gateway| gateway.metric(gauge) == 0.0);
    }
}

#[test]
fn what_goes_wrong_upstream_is_shown_and_never_stored() {
    let upstream = Upstream::start(|request, exchange| {
        let number = request.line.split(['?', ' ']).nth(2).and_then(|number| number.parse::<usize>().ok());
        (TROUBLES[number.expect("a number")].does)(exchange);
    });
    let plans = Plans { upstream: ", idle_timeout: 200ms", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    for (number, trouble) in TROUBLES.iter().enumerate() {
        for path in PATHS {
            let line = format!("POST {path}?{number}");
            for mut client in house.fronts() {
                let case = format!("{}: {} {path}", trouble.name, client.name());
                let answer = client.ask(&line, JSON, CHAT.as_bytes());
                assert!(
                    (trouble.shows)(&answer),
                    "{case}: {} {} {:?}",
                    answer.status,
                    answer.is_whole,
                    answer
                        .body
                        .iter()
                        .rev()
                        .take(200)
                        .rev()
                        .map(|byte| char::from(*byte))
                        .collect::<String>()
                );
                assert_eq!(upstream.take().len(), 1, "{case}: it ran once, and was not stored before");
            }
        }
        nothing_stays(&house);
    }
}

#[test]
fn a_client_that_has_said_all_and_closes_its_side_leaves_nothing() {
    let upstream = Upstream::json(WHOLE);
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for _ in 0..10 {
            let mut client = house.gateway.connect();
            client.request(
                &format!("POST {path}"),
                &secret("one"),
                "Cache-Control: no-store\r\n",
                CHAT.as_bytes(),
            );
            client.stream().shutdown(Shutdown::Write).expect("a half-close");
            assert!(client.is_closed(), "{path}: answered or not, it comes to an end");
        }
    }
    nothing_stays(&house);
}

#[test]
fn clients_that_vanish_or_stall_leave_nothing() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: {}\n\n");
        gate.wait();
        while exchange.chunk([b'x'; 65_536]) {}
        exchange.close();
    });
    let house = House::before(&[upstream.url()]);
    let mut vanishing = Vec::new();
    for path in PATHS {
        for number in 0..4 {
            for mut client in house.fronts() {
                client.send(&format!("POST {path}?{number}"), JSON, CHAT.as_bytes());
                assert_eq!(client.head().status, 200, "{} {path}", client.name());
                vanishing.push(client);
            }
        }
    }
    // Half of them go while nothing comes, the others when more has come than they have read.
    let stalling = vanishing.split_off(vanishing.len() / 2);
    drop(vanishing);
    drop(opener);
    house.gateway.pass_some_time();
    drop(stalling);
    nothing_stays(&house);
}
