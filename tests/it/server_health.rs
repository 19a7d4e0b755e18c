//! Which servers requests are sent to: one probe for a server that had failed, rest for one that asks for it, and checks
//! of its health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use safecache::runtime::reload::Shrinking;

use crate::support::front::{ALONE, CHAT, House, PATHS, Plans, unstored};
use crate::support::upstream::{Request, Upstream, gate};

fn up(house: &House, server: &Upstream) -> f64 {
    house.gateway.metric(&format!("safecache_upstream_up{{server=\"{}\",upstream=\"llm\"}}", server.url()))
}

fn advance(house: &House, millis: u64) {
    house.gateway.clock.advance(Duration::from_millis(millis));
}

#[test]
fn a_server_that_had_failed_gets_one_request_until_it_answers() {
    for path in PATHS {
        let (gate, opener) = gate();
        let asked = AtomicUsize::new(0);
        let bad = Upstream::start(move |_, exchange| {
            if asked.fetch_add(1, Ordering::SeqCst) < 3 {
                return exchange.close();
            }
            gate.wait();
            exchange.answer("200 OK", "text/plain", "{}");
        });
        let good = unstored();
        let house = House::before(&[bad.url(), good.url()]);
        for _ in 0..6 {
            house.h1().alone(path);
        }
        assert_eq!((bad.count(), good.count()), (3, 3), "{path}");
        advance(&house, 1000);
        let mut clients: Vec<_> = (0..6).map(|_| house.h1()).collect();
        for client in &mut clients {
            client.send(&format!("POST {path}"), ALONE, CHAT.as_bytes());
        }
        bad.wait_for(4);
        good.wait_for(8);
        assert_eq!((bad.count(), up(&house, &bad)), (4, 0.0), "{path}: one probes, the others pass it over");
        // The probe does not answer: after a while another one is sent.
        advance(&house, 10_000);
        let mut second = house.h1();
        second.send(&format!("POST {path}"), ALONE, CHAT.as_bytes());
        let mut third = house.h1();
        third.send(&format!("POST {path}"), ALONE, CHAT.as_bytes());
        bad.wait_for(5);
        good.wait_for(9);
        (0..10).for_each(|_| opener.open());
        for client in clients.iter_mut().chain([&mut second, &mut third]) {
            assert_eq!(client.head_and_body().status, 200, "{path}");
        }
        assert_eq!(up(&house, &bad), 1.0, "{path}: it has answered");
        for _ in 0..4 {
            house.h1().alone(path);
        }
        assert_eq!((bad.count(), good.count()), (7, 11), "{path}");
    }
}

#[test]
fn a_server_that_wants_a_rest_gets_it_and_its_answer_passes() {
    for (status, path) in [(429, PATHS[0]), (503, PATHS[1])] {
        let is_busy = Arc::new(AtomicBool::new(true));
        let busy_still = Arc::clone(&is_busy);
        let busy = Upstream::start(move |_, exchange| {
            if busy_still.load(Ordering::SeqCst) {
                exchange.send(format!(
                    "HTTP/1.1 {status} Busy\r\nretry-after: 2\r\ncontent-length: 2\r\n\r\n{{}}"
                ));
            } else {
                exchange.answer("200 OK", "text/plain", "{}");
            }
        });
        let free = unstored();
        let house = House::before(&[busy.url(), free.url()]);
        let answer = house.h1().alone(path);
        assert_eq!((answer.status, answer.text().as_str()), (status, "{}"));
        assert_eq!(answer.header("retry-after"), Some("2"), "{path}");
        for _ in 0..4 {
            assert_eq!(house.h1().alone(path).status, 200, "{path}");
        }
        assert_eq!((busy.count(), free.count(), up(&house, &busy)), (1, 4, 0.0), "{path}");
        advance(&house, 1999);
        house.h1().alone(path);
        assert_eq!(busy.count(), 1, "{path}");
        is_busy.store(false, Ordering::SeqCst);
        advance(&house, 1);
        for _ in 0..4 {
            assert_eq!(house.h1().alone(path).status, 200, "{path}");
        }
        assert_eq!((busy.count(), up(&house, &busy)), (3, 1.0), "{path}");
    }
}

/// Whether it has room is its own to say.
#[test]
fn a_lone_server_that_wants_a_rest_is_asked_all_the_same() {
    for path in PATHS {
        let upstream = Upstream::start(|_, exchange| {
            exchange.send("HTTP/1.1 429 Too Many Requests\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n");
        });
        let house = House::before(&[upstream.url()]);
        for _ in 0..3 {
            assert_eq!(house.h1().alone(path).status, 429, "{path}");
        }
        assert_eq!(upstream.count(), 3, "{path}");
    }
}

/// How a server is.
struct Health {
    is_well: AtomicBool,
    /// How often it has made up its mind on that.
    told: AtomicUsize,
}

/// A server whose health a test decides: it answers everything else.
fn patient() -> (Upstream, Arc<Health>) {
    let health = Arc::new(Health { is_well: AtomicBool::new(true), told: AtomicUsize::new(0) });
    let told = Arc::clone(&health);
    let server = Upstream::start(move |request, exchange| {
        let is_check = request.line.contains(" /health?deep=1 ");
        let status = if !is_check || told.is_well.load(Ordering::SeqCst) {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        told.told.fetch_add(usize::from(is_check), Ordering::SeqCst);
        exchange.answer(status, "text/plain", "{}");
    });
    (server, health)
}

fn checks(server: &Upstream) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.line.contains(" /health")).collect()
}

fn questions(server: &Upstream) -> usize {
    server.count() - checks(server).len()
}

const CHECKED: Plans<'_> = Plans {
    upstream: ", authorization: Bearer upstream-token, health: {path: /health?deep=1, interval: 10s}",
    route: "",
    more: "",
};

/// Lets `server` be checked once more.
fn check_once(house: &House, server: &Upstream) {
    let before = checks(server).len();
    advance(house, 10_000);
    house.gateway.eventually("a check", |_| checks(server).len() > before);
}

#[test]
fn a_server_that_fails_its_checks_is_passed_over_until_it_passes_one() {
    for path in PATHS {
        let (ill, health) = patient();
        let good = unstored();
        let house = House::planned(&[format!("{}/base", ill.url()), good.url()], CHECKED);
        let series = format!("safecache_upstream_up{{server=\"{}/base\",upstream=\"llm\"}}", ill.url());
        house.gateway.eventually("a first check", |_| {
            health.told.load(Ordering::SeqCst) == 1 && !checks(&good).is_empty()
        });
        let first = checks(&ill).remove(0);
        assert_eq!(first.line, "GET /health?deep=1 HTTP/1.1");
        assert_eq!(first.header("authorization"), Some("Bearer upstream-token"));
        assert_eq!(first.header("host"), Some(ill.address().to_string().as_str()));
        health.is_well.store(false, Ordering::SeqCst);
        check_once(&house, &ill);
        house.h1().alone(path);
        house.h1().alone(path);
        assert_eq!((questions(&ill), questions(&good)), (1, 1), "{path}: one failed check is not enough");
        check_once(&house, &ill);
        house.gateway.eventually("it is passed over", |gateway| gateway.metric(&series) == 0.0);
        for _ in 0..4 {
            assert_eq!(house.h1().alone(path).status, 200, "{path}");
        }
        assert_eq!((questions(&ill), questions(&good)), (1, 5), "{path}");
        health.is_well.store(true, Ordering::SeqCst);
        check_once(&house, &ill);
        house.gateway.eventually("it is well again", |gateway| gateway.metric(&series) == 1.0);
        for _ in 0..4 {
            house.h1().alone(path);
        }
        assert_eq!((questions(&ill), questions(&good)), (3, 7), "{path}");
    }
}

#[test]
fn a_check_that_is_not_answered_has_failed() {
    let silent = Upstream::start(|request, exchange| {
        if request.line.contains(" /health ") {
            return exchange.wait_for_close();
        }
        exchange.answer("200 OK", "text/plain", "{}");
    });
    let plans = Plans { upstream: ", health: {path: /health, interval: 100ms}", ..Plans::default() };
    let house = House::planned(&[silent.url()], plans);
    house.gateway.eventually("two checks have failed", |_| {
        advance(&house, 100);
        up(&house, &silent) == 0.0
    });
    assert_eq!(house.h1().alone(PATHS[0]).status, 200, "there is no other server");
}

#[test]
fn without_checks_nothing_is_left_of_what_they_found() {
    let (ill, health) = patient();
    health.is_well.store(false, Ordering::SeqCst);
    let house = House::planned(&[ill.url()], CHECKED);
    house.gateway.eventually("two checks have failed", |_| {
        advance(&house, 10_000);
        up(&house, &ill) == 0.0
    });
    let path = house.gateway.folder.path().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, text.replace(", health: {path: /health?deep=1, interval: 10s}", ""))
        .expect("written");
    house.gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(up(&house, &ill), 1.0);
}
