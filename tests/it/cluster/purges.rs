//! A purge at one gateway holds at all of them, and behind no purge stands an answer that it was to forget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safecache::cache::key::EntryKey;
use safecache::ids::AccountId;
use safecache::store::failure::{StoreError, Trouble};
use safecache::store::proxied::Purge;

use crate::support::admin::{TOKEN, ask as admin};
use crate::support::client::Answer;
use crate::support::disk::run;
use crate::support::fleet::{Fleet, ask, completion, yaml};
use crate::support::gateway::{Gateway, secret};
use crate::support::stopwatch::Stopwatch;
use crate::support::upstream::{Upstream, gate};

const ASKED: (&str, &str) = ("one", r#"{"model":"m","messages":[]}"#);
const OTHERS: (&str, &str) = ("two", r#"{"model":"m","messages":[]}"#);
const MORE: (&str, &str) = ("one", r#"{"model":"n","messages":[]}"#);

/// What a purge may take to hold at all gateways.
const BOUND: Duration = Duration::from_secs(1);

fn upstream() -> Upstream {
    Upstream::json(completion("hi").leak())
}

fn purge(gateway: &Gateway, purge: Purge) -> Result<u64, StoreError> {
    run(Arc::clone(gateway.running().shelf()).purge(purge))
}

fn of(account: &str) -> Purge {
    Purge::Account { account: AccountId::new(account), allowed_models: Box::default() }
}

/// The only answer of an account that Redis has.
fn key_of(fleet: &Fleet, account: &str) -> EntryKey {
    let byte = |at: usize| {
        let script = format!(
            "local key = redis.call('KEYS', 'sc:1:{{a:{account}}}:e:*')[1]
             local from = string.find(key, ':e:') + 3 + 2 * {at}
             return tonumber(string.sub(key, from, from + 1), 16)"
        );
        u8::try_from(fleet.script(&script)).expect("a byte")
    };
    EntryKey::from_bytes(std::array::from_fn(byte))
}

fn client(gateway: &Gateway, line: &str) -> Answer {
    gateway.connect().request(line, &secret("one"), "", b"").answer()
}

/// Which of the questions one has an answer to.
fn known<'a>(fleet: &Fleet, number: usize, asked: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    asked.iter().filter(|question| fleet.knows(number, **question)).copied().collect()
}

#[test]
fn each_kind_is_heard_of_everywhere_within_a_second_and_takes_no_more_than_its_own() {
    let all = [ASKED, MORE, OTHERS];
    let key = "the key of the only answer";
    for (kind, kept) in [
        ("account", &[OTHERS][..]),
        ("route", &[]),
        ("all", &[]),
        (key, &[MORE, OTHERS]),
        ("own", &[OTHERS]),
        ("nobody", &all),
    ] {
        let upstream = upstream();
        let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
        fleet.ask(0, ASKED, "");
        fleet.shared(0, 1.0);
        let hash = key_of(&fleet, "acme");
        [MORE, OTHERS].iter().for_each(|asked| drop(fleet.ask(0, *asked, "")));
        fleet.shared(0, 3.0);
        assert_eq!(known(&fleet, 1, &all), all, "in the memory of both");
        let begun = Stopwatch::start();
        let purged = match kind {
            "account" => admin(&fleet.gateways[0], "DELETE /admin/v1/cache?account=acme", Some(TOKEN)),
            "route" => admin(&fleet.gateways[0], "DELETE /admin/v1/cache?route=/v1/*", Some(TOKEN)),
            "all" => admin(&fleet.gateways[0], "DELETE /admin/v1/cache", Some(TOKEN)),
            "nobody" => admin(&fleet.gateways[0], "DELETE /admin/v1/cache?account=nobody", Some(TOKEN)),
            "own" => client(&fleet.gateways[0], "DELETE /api/v1/cache"),
            _ => {
                let hash = data_encoding::HEXLOWER.encode(hash.as_bytes());
                client(&fleet.gateways[0], &format!("DELETE /api/v1/cache/{hash}"))
            }
        };
        let told = purged.json();
        let told = told.get("purged").or(told.get("deleted")).and_then(serde_json::Value::as_u64);
        assert_eq!((purged.status, told), (200, Some((all.len() - kept.len()) as u64)), "{kind}");
        assert_eq!(known(&fleet, 0, &all), kept, "{kind}, at once where it began");
        fleet.gateways[1].eventually("it is heard of", |_| known(&fleet, 1, &all) == kept);
        let took = begun.elapsed();
        println!("{kind}: heard of after {took:?}");
        assert!(took < 2 * BOUND, "{kind}: {took:?}");
        assert_eq!(upstream.count(), 3);
        for number in [0, 1] {
            assert_eq!(fleet.ask(number, ASKED, "").status, 200);
            assert!(fleet.knows(number, ASKED), "{kind}: what comes behind it is kept");
        }
    }
}

#[test]
fn only_what_a_key_may_see_is_forgotten() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    [ASKED, MORE].iter().for_each(|asked| drop(fleet.ask(0, *asked, "")));
    fleet.shared(0, 2.0);
    let models = [safecache::auth::model_glob::ModelGlob::new("n*").unwrap()].into();
    let some = Purge::Account { account: AccountId::new("acme"), allowed_models: models };
    assert_eq!(purge(&fleet.gateways[0], some), Ok(1));
    // The other one's memory has neither: both are in Redis still.
    fleet.gateways[1].eventually("it has heard of it", |_| known(&fleet, 1, &[ASKED, MORE]) == [ASKED]);
    assert_eq!(fleet.kept(), 2);
}

#[test]
fn what_a_call_brings_that_began_before_is_kept_nowhere() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(&completion("hi"));
    });
    let fleet = Fleet::start(3, &yaml(&upstream, "", ""));
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| fleet.ask(1, ASKED, ""));
        upstream.wait_for(1);
        assert_eq!(purge(&fleet.gateways[0], of("acme")), Ok(0));
        opener.open();
        assert_eq!(calling.join().unwrap().status, 200);
    });
    // The others may not have heard of it yet.
    for number in [1, 2] {
        fleet.gateways[number].eventually("it has heard of it", |_| !fleet.knows(number, ASKED));
    }
    assert_eq!([0, 1, 2].map(|number| fleet.knows(number, ASKED)), [false; 3]);
    opener.open();
    assert_eq!(fleet.ask(1, ASKED, "").header("x-cache"), Some("MISS"));
    fleet.gateways[2].eventually("what comes behind it is shared", |_| fleet.knows(2, ASKED));
}

#[test]
fn one_that_cannot_tell_says_so_and_tells_later() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    for asked in [ASKED, OTHERS] {
        fleet.ask(0, asked, "");
    }
    fleet.shared(0, 2.0);
    assert_eq!(known(&fleet, 1, &[ASKED, OTHERS]), [ASKED, OTHERS]);
    fleet.lines[0].cut();
    fleet.alone(0);
    let told = admin(&fleet.gateways[0], "DELETE /admin/v1/cache?account=acme", Some(TOKEN));
    assert_eq!(told.status, 500);
    let message = told.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("memory has forgotten") && message.contains("other gateways"), "{message}");
    let refused = client(&fleet.gateways[0], "DELETE /api/v1/cache");
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (503, Some("UNAVAILABLE")));
    assert_eq!(known(&fleet, 0, &[ASKED, OTHERS]), [OTHERS], "its own memory has forgotten");
    assert_eq!(known(&fleet, 1, &[ASKED, OTHERS]), [ASKED, OTHERS], "the other one's has not");
    fleet.lines[0].pass();
    fleet.gateways[1].eventually("it is told", |_| known(&fleet, 1, &[ASKED, OTHERS]) == [OTHERS]);
    assert_eq!(known(&fleet, 0, &[ASKED, OTHERS]), [OTHERS]);
}

#[test]
fn so_many_wait_to_be_told_and_are_told_as_one() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    fleet.ask(1, ASKED, "");
    fleet.shared(1, 1.0);
    fleet.lines[0].cut();
    fleet.alone(0);
    for number in 0..300 {
        let purged = purge(&fleet.gateways[0], of(&format!("account-{number}")));
        assert!(matches!(purged, Err(StoreError { trouble: Trouble::Untold(_), .. })), "{purged:?}");
    }
    assert!(fleet.knows(1, ASKED));
    fleet.lines[0].pass();
    fleet.gateways[1].eventually("too many are as one of all", |_| !fleet.knows(1, ASKED));
    assert!(fleet.script("return redis.call('LLEN', 'sc:1:{purges}:log')") < 100);
}

#[test]
fn one_that_was_cut_off_hears_of_all_before_it_reads_again() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    for asked in [ASKED, MORE, OTHERS] {
        fleet.ask(0, asked, "");
    }
    fleet.shared(0, 3.0);
    assert_eq!(known(&fleet, 1, &[ASKED, OTHERS]), [ASKED, OTHERS]);
    fleet.lines[1].cut();
    fleet.alone(1);
    assert_eq!(purge(&fleet.gateways[0], of("acme")), Ok(2));
    assert_eq!(known(&fleet, 1, &[ASKED, MORE, OTHERS]), [ASKED, OTHERS], "memory answers");
    fleet.lines[1].pass();
    fleet.joined(1);
    assert_eq!(known(&fleet, 1, &[ASKED, MORE, OTHERS]), [OTHERS], "neither from memory nor from Redis");
    assert_eq!(fleet.kept(), 3, "what is dead goes by itself");
}

#[test]
fn where_the_log_was_lost_memory_forgets_all() {
    let upstream = upstream();
    let mut fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    assert_eq!(purge(&fleet.gateways[0], of("nobody")), Ok(0));
    for number in [0, 1] {
        assert_eq!(fleet.ask(number, ASKED, "").status, 200);
    }
    fleet.redis.restart_empty();
    for number in [0, 1] {
        fleet.gateways[number].eventually("all is forgotten", |_| !fleet.knows(number, ASKED));
        fleet.joined(number);
    }
    assert_eq!(fleet.ask(0, ASKED, "").status, 200);
    fleet.gateways[1].eventually("answers are shared again", |_| fleet.knows(1, ASKED));
}

#[test]
fn where_the_log_is_an_older_one_memory_forgets_all_and_what_is_kept_there_is_dead() {
    // One purge less; as many, of which the last is another; more, of which one is another.
    let back = "redis.call('RPOP', log) redis.call('HINCRBY', head, 'number', -1)";
    let again = "redis.call('HINCRBY', head, 'number', 1) redis.call('RPUSH', log, string.rep('0', 31) .. '1' .. '{\"version\":1,\"of\":\"account\",\"account\":\"x\"}')";
    for changes in [back.to_owned(), format!("{back} {again}"), format!("{back} {again} {again}")] {
        let upstream = upstream();
        let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
        for account in ["x", "y"] {
            assert_eq!(purge(&fleet.gateways[0], of(account)), Ok(0));
        }
        let number = "return tonumber(redis.call('HGET', 'sc:1:{purges}:head', 'number'))";
        assert_eq!(fleet.script(number), 2);
        fleet.gateways[1].eventually("both are known", |_| {
            fleet.ask(1, ASKED, "cache-control: no-cache\r\n");
            fleet.knows(0, ASKED)
        });
        let script =
            format!("local head, log = 'sc:1:{{purges}}:head', 'sc:1:{{purges}}:log' {changes} return 1");
        assert_eq!(fleet.script(&script), 1);
        for number in [0, 1] {
            fleet.gateways[number].eventually("all is forgotten", |_| !fleet.knows(number, ASKED));
        }
        assert!(fleet.kept() == 1 && ![0, 1].iter().any(|number| fleet.knows(*number, ASKED)), "{changes}");
        assert_eq!(fleet.script(number), 0, "it is begun anew");
    }
}

#[test]
fn one_account_purges_so_often_that_the_log_is_cut_and_others_answers_stay() {
    let upstream = upstream();
    let mut fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    for asked in [ASKED, OTHERS] {
        fleet.ask(0, asked, "");
    }
    fleet.shared(0, 2.0);
    let shelf = fleet.gateways[0].running().shelf();
    run(async {
        for number in 0..1100_u32 {
            let key = EntryKey::from_bytes([number as u8; 32]);
            let purge = Purge::Key { account: AccountId::new("acme"), key, allowed_models: Box::default() };
            assert_eq!(Arc::clone(shelf).purge(purge).await, Ok(0));
        }
    });
    assert_eq!(fleet.script("return redis.call('LLEN', 'sc:1:{purges}:log')"), 1024);
    assert!(fleet.knows(0, OTHERS));
    assert!(fleet.knows(1, OTHERS), "one that has read the whole log knows whose it was");
    fleet.grow();
    assert!(!fleet.knows(2, OTHERS), "one that has not cannot tell");
    assert_eq!(fleet.ask(2, OTHERS, "").header("x-cache"), Some("MISS"));
    fleet.shared(2, 1.0);
}

#[test]
fn two_that_purge_at_the_same_time_hear_of_each_other() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, exchange| {
        exchange.json(&completion(&count.fetch_add(1, Ordering::SeqCst).to_string()));
    });
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    for round in 0..5 {
        for (number, asked) in [(0, ASKED), (0, OTHERS), (1, ASKED), (1, OTHERS)] {
            assert_eq!(ask(&fleet.gateways[number], "/v1", asked, "").status, 200, "{round}");
        }
        std::thread::scope(|scope| {
            let purging = [(0, "acme"), (1, "globex")].map(|(number, account)| {
                let gateway = &fleet.gateways[number];
                scope.spawn(move || purge(gateway, of(account)))
            });
            for purged in purging {
                assert!(purged.join().unwrap().is_ok());
            }
        });
        for number in [0, 1] {
            let forgotten = |_: &Gateway| known(&fleet, number, &[ASKED, OTHERS]).is_empty();
            fleet.gateways[number].eventually("both are forgotten", forgotten);
        }
    }
}
