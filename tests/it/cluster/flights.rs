//! One call for all gateways that are asked the same at the same time, whatever becomes of the one that makes it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use safecache::cluster::answers::LOCK_TIME;

use crate::support::client::{Answer, Client};
use crate::support::fault_proxy::FaultProxy;
use crate::support::fleet::{Fleet, completion, yaml};
use crate::support::gateway::secret;
use crate::support::stopwatch::Stopwatch;
use crate::support::upstream::{Exchange, Opener, Upstream, gate};

const ASKED: (&str, &str) = ("one", r#"{"model":"m","messages":[]}"#);
const COLLAPSED: Option<&str> = Some("safecache; fwd=miss; collapsed");

/// An upstream each of whose first calls waits at a gate of its own; `answer` is told which it is.
fn gated<const N: usize>(
    answer: impl Fn(usize, &mut Exchange) + Send + Sync + 'static,
) -> (Upstream, [Opener; N]) {
    let mut openers = Vec::new();
    let gates: Vec<_> = (0..N)
        .map(|_| {
            let (gate, opener) = gate();
            openers.push(opener);
            gate
        })
        .collect();
    let count = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, exchange| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = gates.get(number) {
            gate.wait();
        }
        answer(number, exchange);
    });
    (upstream, openers.try_into().ok().expect("so many"))
}

/// Answers with the number of the call.
fn numbered(number: usize, exchange: &mut Exchange) {
    exchange.json(&completion(&number.to_string()));
}

/// Waits until so many requests are under way at one of them.
fn under_way(fleet: &Fleet, number: usize, requests: f64) {
    fleet.gateways[number]
        .eventually("they come", |gateway| gateway.metric("safecache_in_flight_requests") == requests);
}

/// Waits until so many calls for this question are locked, or that which is looked for is over.
fn locked(fleet: &Fleet, locks: i64) {
    let script = "return #redis.call('KEYS', 'sc:1:*:l:*')";
    fleet.gateways[0].eventually("the locks are as expected", |_| fleet.script(script) == locks);
}

fn answered(asking: ScopedJoinHandle<'_, Answer>) -> Answer {
    asking.join().expect("it is answered")
}

#[test]
fn twenty_who_ask_three_gateways_the_same_make_one_call() {
    let (upstream, [opener]) = gated(numbered);
    let fleet = Fleet::start(3, &yaml(&upstream, "", ""));
    std::thread::scope(|scope| {
        let fleet = &fleet;
        let asking: Vec<_> =
            (0..20).map(|number| scope.spawn(move || fleet.ask(number % 3, ASKED, ""))).collect();
        upstream.wait_for(1);
        [7.0, 7.0, 6.0]
            .into_iter()
            .enumerate()
            .for_each(|(number, requests)| under_way(fleet, number, requests));
        fleet.gateways.iter().for_each(|gateway| gateway.pass_some_time());
        opener.open();
        let told: Vec<_> = asking.into_iter().map(answered).collect();
        let stored = |answer: &&Answer| answer.header("cache-status") == Some("safecache; fwd=miss; stored");
        assert_eq!(told.iter().filter(stored).count(), 1);
        let collapsed = |answer: &&Answer| answer.header("cache-status") == COLLAPSED;
        assert_eq!(told.iter().filter(collapsed).count(), 19, "{told:?}");
        assert!(told.iter().all(|answer| answer.status == 200 && answer.text() == completion("0")));
    });
    assert_eq!(upstream.count(), 1);
    locked(&fleet, 0);
    let sum = |result: &str| -> f64 {
        let series = format!("safecache_shared_flights_total{{result=\"{result}\"}}");
        fleet.gateways.iter().map(|gateway| gateway.metric(&series)).sum()
    };
    assert_eq!((sum("led"), sum("answered"), sum("apart")), (1.0, 2.0, 0.0));
}

#[test]
fn accounts_and_tiers_fly_apart() {
    let (upstream, openers) = gated::<3>(numbered);
    let fleet = Fleet::start(2, &yaml(&upstream, ", ignore: [service_tier]", ""));
    std::thread::scope(|scope| {
        let fleet = &fleet;
        let flex = r#"{"model":"m","messages":[],"service_tier":"flex"}"#;
        let asked = [(0, ASKED), (1, ("two", ASKED.1)), (1, ("one", flex))];
        let asking = asked.map(|(number, question)| scope.spawn(move || fleet.ask(number, question, "")));
        upstream.wait_for(3);
        openers.iter().for_each(Opener::open);
        asking.into_iter().for_each(|asking| assert_eq!(answered(asking).status, 200));
    });
    assert_eq!(upstream.count(), 3);
}

/// Begins to ask one of them.
fn begin(fleet: &Fleet, number: usize, (id, body): (&str, &str)) -> Client {
    let mut client = fleet.gateways[number].connect();
    let json = "content-type: application/json\r\n";
    client.request("POST /v1/chat/completions", &secret(id), json, body.as_bytes());
    client
}

/// Begins to ask the second, which waits for the call of the first.
fn begin_both(fleet: &Fleet, upstream: &Upstream) -> [Client; 2] {
    let first = begin(fleet, 0, ASKED);
    upstream.wait_for(1);
    let second = begin(fleet, 1, ASKED);
    under_way(fleet, 1, 1.0);
    fleet.gateways[1].pass_some_time();
    assert_eq!(upstream.count(), 1);
    [first, second]
}

#[test]
fn who_waits_for_a_gateway_that_is_cut_off_calls_when_its_lock_is_gone_and_is_not_overwritten() {
    let (upstream, [first, second]) = gated(numbered);
    let fleet = Fleet::start(3, &yaml(&upstream, "", ""));
    let [mut leads, mut waits] = begin_both(&fleet, &upstream);
    let begun = Stopwatch::start();
    fleet.lines[0].cut();
    upstream.wait_for(2);
    let took = begun.elapsed();
    println!("the lock was gone after {took:?}");
    assert!(took < LOCK_TIME * 2, "{took:?}");
    second.open();
    assert_eq!(waits.answer().text(), completion("1"));
    fleet.shared(1, 1.0);
    // The first one's answer comes late, and is its client's alone.
    first.open();
    assert_eq!(leads.answer().text(), completion("0"));
    fleet.lines[0].pass();
    let dropped = "safecache_shared_writes_total{result=\"dropped\"}";
    fleet.gateways[0].eventually("it is not kept", |gateway| gateway.metric(dropped) == 1.0);
    assert_eq!(fleet.ask(2, ASKED, "").text(), completion("1"));
    assert_eq!(upstream.count(), 2);
}

#[test]
fn who_waits_for_a_gateway_that_ends_calls_when_its_lock_is_gone() {
    let (upstream, [first, second]) = gated(numbered);
    let mut fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let [_leads, mut waits] = begin_both(&fleet, &upstream);
    let begun = Stopwatch::start();
    fleet.gateways.remove(0).stop();
    upstream.wait_for(2);
    let took = begun.elapsed();
    println!("the lock was gone after {took:?}");
    assert!(took < LOCK_TIME * 2, "{took:?}");
    [first, second].iter().for_each(Opener::open);
    let answer = waits.answer();
    assert_eq!((answer.status, answer.text()), (200, completion("1")));
}

#[test]
fn a_lock_is_held_for_as_long_as_the_call_takes() {
    let (upstream, [first]) = gated(numbered);
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let [mut leads, mut waits] = begin_both(&fleet, &upstream);
    let begun = Stopwatch::start();
    fleet.gateways[1].eventually("it takes long", |_| begun.elapsed() > LOCK_TIME + Duration::from_secs(1));
    assert_eq!(upstream.count(), 1);
    first.open();
    assert_eq!(
        [&mut leads, &mut waits].map(|client| client.answer().text()),
        [completion("0"), completion("0")]
    );
    assert_eq!(upstream.count(), 1);
    locked(&fleet, 0);
}

#[test]
fn an_answer_that_cannot_be_shared_is_asked_for_by_all_who_waited_at_once() {
    let refusals: [fn(&mut Exchange); 2] = [
        |exchange| exchange.answer("404 Not Found", "application/json", "{}"),
        // Known when all of it has come.
        |exchange| exchange.json(r#"{"choices":[{"finish_reason":null}]}"#),
    ];
    for refuse in refusals {
        let (upstream, [first, second, third]) = gated(move |_, exchange| refuse(exchange));
        let fleet = Fleet::start(3, &yaml(&upstream, "", ""));
        let [mut leads, mut waits] = begin_both(&fleet, &upstream);
        let mut waits_too = begin(&fleet, 2, ASKED);
        under_way(&fleet, 2, 1.0);
        first.open();
        let told = leads.answer();
        // Neither of the two waits for the other.
        upstream.wait_for(3);
        [second, third].iter().for_each(Opener::open);
        for answer in [waits.answer(), waits_too.answer()] {
            assert_eq!((answer.status, answer.text()), (told.status, told.text()));
        }
        locked(&fleet, 0);
    }
}

#[test]
fn where_a_call_fails_the_next_is_made_by_one_who_waited() {
    let (upstream, [first, second]) = gated(|number, exchange| match number {
        0 => exchange.close(),
        _ => numbered(number, exchange),
    });
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let [mut leads, mut waits] = begin_both(&fleet, &upstream);
    first.open();
    assert_eq!(leads.answer().status, 502);
    second.open();
    let answer = waits.answer();
    assert_eq!((answer.status, answer.text(), upstream.count()), (200, completion("1"), 2));
}

#[test]
fn a_client_that_leaves_waits_no_more() {
    let (upstream, [first]) = gated(numbered);
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let [mut leads, waits] = begin_both(&fleet, &upstream);
    drop(waits);
    under_way(&fleet, 1, 0.0);
    first.open();
    assert_eq!((leads.answer().status, upstream.count()), (200, 1));
}

#[test]
fn a_wait_ends_when_an_upstream_would_be_too_late() {
    let (upstream, [first, second]) = gated(numbered);
    let brief = yaml(&upstream, "", "").replace("{servers:", "{first_byte_timeout: 1s, servers:");
    let fleet = Fleet::start(2, &brief);
    // What holds the lock is no gateway.
    let flight = begin(&fleet, 0, ASKED);
    upstream.wait_for(1);
    let kept = "local key = redis.call('KEYS', 'sc:1:*:l:*')[1] redis.call('SET', key, 'another') return 1";
    assert_eq!(fleet.script(kept), 1);
    let mut waits = begin(&fleet, 1, ASKED);
    upstream.wait_for(2);
    second.open();
    assert_eq!((waits.answer().status, upstream.count()), (200, 2));
    drop((flight, first));
}

#[test]
fn an_answer_of_no_use_in_its_place_holds_up_nobody() {
    let (upstream, []) = gated(numbered);
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    fleet.ask(0, ASKED, "");
    fleet.shared(0, 1.0);
    fleet.gateways[1].clock.advance(Duration::from_secs(3600));
    let answer = fleet.ask(1, ASKED, "");
    assert_eq!((answer.text(), answer.header("x-cache")), (completion("1"), Some("MISS")));
    fleet.shared(1, 1.0);
    assert_eq!(fleet.ask(1, ASKED, "").header("x-cache"), Some("HIT"));
}

#[test]
fn each_gateway_makes_its_own_stream() {
    let (upstream, openers) = gated::<2>(|_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: [DONE]\n\n");
        exchange.chunk("");
    });
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let streamed = ("one", r#"{"model":"m","messages":[],"stream":true}"#);
    let asking = [0, 1].map(|number| begin(&fleet, number, streamed));
    upstream.wait_for(2);
    openers.iter().for_each(Opener::open);
    asking.into_iter().for_each(|mut client| assert_eq!(client.answer().status, 200));
}

#[test]
fn without_redis_each_calls_at_once() {
    let (upstream, openers) = gated::<2>(numbered);
    let fleet = Fleet::impatient(2, &yaml(&upstream, "", ""));
    fleet.lines.iter().for_each(FaultProxy::cut);
    [0, 1].into_iter().for_each(|number| fleet.alone(number));
    let asking = [0, 1].map(|number| begin(&fleet, number, ASKED));
    upstream.wait_for(2);
    openers.iter().for_each(Opener::open);
    asking.into_iter().for_each(|mut client| assert_eq!(client.answer().status, 200));
}
