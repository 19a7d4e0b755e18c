//! An answer that one gateway has brought is a hit through the others; and what becomes of it when Redis is in trouble.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::fleet::{Fleet, completion, yaml};
use crate::support::gateway::{Gateway, key};
use crate::support::stopwatch::Stopwatch;
use crate::support::upstream::Upstream;

const ASKED: (&str, &str) = ("one", r#"{"model":"m","messages":[]}"#);
const STREAMED: (&str, &str) =
    ("one", r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#);
const EVENTS: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n\
     data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}\n\ndata: [DONE]\n\n";

/// Answers a stream with events, and each other request with another text.
fn upstream() -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |request, exchange| {
        if String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            exchange.begin("text/event-stream");
            exchange.chunk(EVENTS);
            exchange.chunk("");
        } else {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            exchange.json(&completion(&format!("the {number}th")));
        }
    })
}

/// An upstream whose answers have so many characters that no compressor makes fewer.
fn random(characters: usize) -> Upstream {
    Upstream::start(move |_, exchange| {
        let mut bytes = vec![0; characters / 2];
        fastrand::fill(&mut bytes);
        exchange.json(&completion(&data_encoding::HEXLOWER.encode(&bytes)));
    })
}

/// Another question.
fn other(number: usize) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{number}"}}]}}"#)
}

#[test]
fn an_answer_through_one_is_a_hit_through_another_in_each_form() {
    for (asked, form) in [(ASKED, "application/json"), (STREAMED, "text/event-stream")] {
        let upstream = upstream();
        let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
        let first = fleet.ask(0, asked, "");
        assert_eq!((first.header("x-cache"), first.header("content-type")), (Some("MISS"), Some(form)));
        fleet.shared(0, 1.0);
        fleet.gateways[1].clock.advance(Duration::from_secs(10));
        let hit = fleet.ask(1, asked, "");
        assert_eq!((hit.header("x-cache"), hit.header("age")), (Some("HIT"), Some("10")));
        assert_eq!(hit.header("cache-status"), Some("safecache; hit; ttl=3590"));
        assert_eq!((hit.header("content-type"), hit.text()), (Some(form), first.text()));
        assert_eq!(fleet.reads(1, "hit"), 1.0);
        let again = fleet.ask(1, asked, "");
        assert_eq!((again.header("x-cache"), fleet.reads(1, "hit")), (Some("HIT"), 1.0), "from memory");
        for other in [ASKED, STREAMED].into_iter().filter(|other| *other != asked) {
            assert_eq!(fleet.ask(1, other, "").header("x-cache"), Some("HIT"), "in the other form");
        }
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn the_other_form_is_found_without_its_own_having_been_asked_for() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    fleet.ask(0, STREAMED, "");
    fleet.shared(0, 1.0);
    let hit = fleet.ask(1, ASKED, "");
    assert_eq!((hit.header("x-cache"), &hit.json()["usage"]["total_tokens"]), (Some("HIT"), &2.into()));
    // What is written anew in one form is not found in the other.
    assert_eq!(fleet.ask(0, ASKED, "cache-control: no-cache\r\n").header("x-cache"), Some("BYPASS"));
    fleet.shared(0, 2.0);
    assert_eq!((fleet.kept(), upstream.count()), (1, 2));
}

#[test]
fn accounts_share_nothing_unless_all_share() {
    for (more, calls) in [("", 2), ("cache: {scope: global, i_accept_shared_answers: true}\n", 1)] {
        let upstream = upstream();
        let fleet = Fleet::start(2, &yaml(&upstream, "", more));
        let first = fleet.ask(0, ASKED, "");
        fleet.shared(0, 1.0);
        let others = fleet.ask(1, ("two", ASKED.1), "");
        assert_eq!((others.status, upstream.count()), (200, calls), "{more}");
        assert_eq!(first.text() == others.text(), calls == 1, "{more}");
        assert_eq!(fleet.ask(1, ASKED, "").text(), first.text(), "{more}");
    }
}

#[test]
fn no_name_of_an_account_reaches_anothers_answers() {
    let names = ["a", "a:", "a}", "{a", "{*}", "*", "a}:e:x", "a%7D", "}", "a:a", "purges"];
    let upstream = upstream();
    let keys: String = names
        .iter()
        .enumerate()
        .map(|(at, name)| key(&format!("k{at}"), &format!("account: {name:?}")))
        .collect();
    let fleet = Fleet::start(2, &(yaml(&upstream, "", "") + &keys));
    let ids: Vec<String> = (0..names.len()).map(|at| format!("k{at}")).collect();
    let told: Vec<String> = ids.iter().map(|id| fleet.ask(0, (id, ASKED.1), "").text()).collect();
    fleet.shared(0, names.len() as f64);
    assert_eq!((upstream.count(), fleet.kept()), (names.len(), names.len() as i64));
    for (id, told) in ids.iter().zip(&told) {
        let hit = fleet.ask(1, (id, ASKED.1), "");
        assert_eq!((hit.header("x-cache"), &hit.text()), (Some("HIT"), told), "{id}");
    }
    assert_eq!(upstream.count(), names.len());
}

#[test]
fn what_is_in_another_accounts_place_is_not_believed() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    for id in ["one", "two"] {
        fleet.ask(0, (id, ASKED.1), "");
    }
    fleet.shared(0, 2.0);
    let copied =
        "local from, to = redis.call('KEYS', '*{a:acme}:e:*')[1], redis.call('KEYS', '*{a:globex}:e:*')[1]
        redis.call('SET', to, redis.call('GET', from)) return 1";
    assert_eq!(fleet.script(copied), 1);
    assert!(!fleet.knows(1, ("two", ASKED.1)));
    assert_eq!((fleet.reads(1, "damaged"), fleet.reads(1, "hit")), (1.0, 0.0));
    fleet.gateways[1].eventually("it goes", |_| fleet.kept() == 1);
    assert!(fleet.knows(1, ASKED), "its owner's is as it was");
}

#[test]
fn redis_forgets_by_itself_and_gateways_do_by_their_clocks() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    fleet.ask(0, ASKED, "");
    fleet.shared(0, 1.0);
    let left = fleet.script("return redis.call('PTTL', redis.call('KEYS', 'sc:1:*:e:*')[1])");
    assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
    fleet.gateways[1].clock.advance(Duration::from_secs(3599));
    assert!(fleet.knows(1, ASKED));
    fleet.gateways[1].clock.advance(Duration::from_secs(1));
    assert!(!fleet.knows(1, ASKED), "its hour is over");
    let brief = Fleet::start(1, &yaml(&upstream, "", "").replace("ttl: 1h", "ttl: 1s"));
    brief.ask(0, ASKED, "");
    brief.shared(0, 1.0);
    brief.gateways[0].eventually("it is gone", |_| brief.kept() == 0);
    assert_eq!(brief.script("return #redis.call('KEYS', 'sc:1:*:l:*')"), 0, "and so is its lock");
}

#[test]
fn what_is_damaged_or_of_another_version_is_a_miss() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    fleet.ask(0, ASKED, "");
    fleet.shared(0, 1.0);
    let changed = |change: &str| {
        let script = format!(
            "local key = redis.call('KEYS', 'sc:1:*:e:*')[1] local value = redis.call('GET', key)
             redis.call('SET', key, {change}) return #value"
        );
        assert!(fleet.script(&script) > 0);
    };
    changed("string.char(2) .. string.sub(value, 2)");
    assert!(!fleet.knows(1, ASKED), "a newer version's");
    assert_eq!((fleet.reads(1, "miss"), fleet.reads(1, "damaged"), fleet.kept()), (1.0, 0.0, 1), "it stays");
    changed("string.char(1) .. string.sub(value, 2, -2) .. '?'");
    assert!(!fleet.knows(1, ASKED));
    assert_eq!(fleet.reads(1, "damaged"), 1.0);
    fleet.gateways[1].eventually("it goes", |_| fleet.kept() == 0);
    let answer = fleet.ask(1, ASKED, "");
    assert_eq!((answer.status, answer.header("x-cache"), upstream.count()), (200, Some("MISS"), 2));
    fleet.shared(1, 1.0);
}

#[test]
fn where_the_count_of_calls_is_lost_a_later_answer_still_takes_an_earlier_ones_place() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let questions: Vec<String> = (0..3).map(other).collect();
    let last = ("one", questions[2].as_str());
    questions.iter().for_each(|question| drop(fleet.ask(0, ("one", question), "")));
    fleet.shared(0, 3.0);
    let lost = "return redis.call('DEL', 'sc:1:{a:acme}:n')";
    assert_eq!(fleet.script(lost), 1);
    let newer = fleet.ask(0, last, "cache-control: no-cache\r\n");
    fleet.shared(0, 4.0);
    assert_eq!(fleet.script(lost), 1);
    // What is there is of no use to this one, which asks for a lock.
    fleet.gateways[1].clock.advance(Duration::from_secs(3600));
    let newest = fleet.ask(1, last, "");
    assert_ne!(newest.text(), newer.text());
    fleet.shared(1, 1.0);
    assert_eq!(fleet.script("return tonumber(redis.call('GET', 'sc:1:{a:acme}:n'))"), 5);
}

#[test]
fn a_large_answer_is_asked_for_apart_and_one_that_is_too_large_is_not_shared() {
    let upstream = random(1024 * 1024);
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    let first = fleet.ask(0, ASKED, "");
    fleet.shared(0, 1.0);
    let hit = fleet.ask(1, ASKED, "");
    assert_eq!(hit.header("x-cache"), Some("HIT"));
    assert!(hit.body == first.body && first.body.len() > 1024 * 1024);
    let upstream = random(12 * 1024 * 1024);
    let fleet = Fleet::start(1, &yaml(&upstream, "", "cache: {memory: 128MiB, max_entry: 16MiB}\n"));
    assert_eq!(fleet.ask(0, ASKED, "").status, 200);
    let dropped = "safecache_shared_writes_total{result=\"dropped\"}";
    fleet.gateways[0].eventually("it is counted", |gateway| gateway.metric(dropped) == 1.0);
    assert_eq!(fleet.kept(), 0);
    assert_eq!(fleet.ask(0, ASKED, "").header("x-cache"), Some("HIT"), "memory has it");
}

#[test]
fn nothing_is_on_the_local_disk() {
    let upstream = upstream();
    let fleet = Fleet::start(1, &yaml(&upstream, "", ""));
    fleet.ask(0, ASKED, "");
    fleet.shared(0, 1.0);
    assert_eq!(crate::support::disk::keys(fleet.gateways[0].folder.path()).len(), 0);
    assert!(!fleet.gateways[0].metrics().contains("safecache_disk_writes_total{"));
}

#[test]
fn while_redis_cannot_be_asked_each_gateway_answers_by_itself() {
    type Trouble = fn(&crate::support::fault_proxy::FaultProxy);
    let troubles: [(&str, Trouble); 3] = [
        ("cut", |line| line.cut()),
        ("stalled", |line| line.stall()),
        ("slow", |line| line.slow(Duration::from_millis(200))),
    ];
    for (trouble, begin) in troubles {
        let upstream = upstream();
        let fleet = Fleet::impatient(2, &yaml(&upstream, "", ""));
        fleet.ask(0, ASKED, "");
        fleet.shared(0, 1.0);
        begin(&fleet.lines[1]);
        let mut longest = Duration::ZERO;
        for number in 0..10 {
            let begun = Stopwatch::start();
            let answer = fleet.ask(1, ("one", &other(number)), "");
            longest = longest.max(begun.elapsed());
            assert_eq!((answer.status, answer.header("x-cache")), (200, Some("MISS")), "{trouble}");
        }
        println!("{trouble}: the longest of ten requests took {longest:?}");
        assert!(longest < Duration::from_secs(2), "{trouble}: {longest:?}");
        fleet.alone(1);
        assert!(fleet.knows(1, ("one", &other(9))), "memory answers");
        assert!(!fleet.knows(1, ASKED), "{trouble}");
        fleet.lines[1].pass();
        fleet.joined(1);
        fleet.gateways[1].eventually("it reads again", |_| fleet.knows(1, ASKED));
    }
}

#[test]
fn what_cannot_be_written_waits_within_a_bound() {
    const LARGE: usize = 7 * 1024 * 1024;
    let text: &'static str = completion(&"x".repeat(LARGE)).leak();
    let upstream = Upstream::start(move |_, exchange| exchange.json(text));
    let fleet = Fleet::start(1, &yaml(&upstream, "", "cache: {memory: 256MiB}\n"));
    fleet.lines[0].cut();
    fleet.alone(0);
    // Four of them are 28 MiB; 32 MiB may wait.
    for number in 0..7 {
        assert_eq!(fleet.ask(0, ("one", &other(number)), "").status, 200);
    }
    let dropped = "safecache_shared_writes_total{result=\"dropped\"}";
    assert_eq!(fleet.gateways[0].metric(dropped), 3.0);
    fleet.lines[0].pass();
    fleet.shared(0, 4.0);
    assert_eq!(fleet.kept(), 4);
}

#[test]
fn what_waits_is_written_before_the_end() {
    let upstream = upstream();
    let mut fleet = Fleet::start(1, &yaml(&upstream, "", ""));
    for number in 0..50 {
        assert_eq!(fleet.ask(0, ("one", &other(number)), "").status, 200);
    }
    fleet.gateways.pop().map(Gateway::stop);
    assert_eq!(fleet.kept(), 50);
    assert_eq!(fleet.redis.ask(&["EXISTS", "sc:1:replicas"]), ":0", "it said that it leaves");
}

#[test]
fn many_who_ask_the_same_read_it_once() {
    let upstream = upstream();
    let fleet = Fleet::start(2, &yaml(&upstream, "", ""));
    fleet.ask(0, ASKED, "");
    fleet.shared(0, 1.0);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| fleet.ask(1, ASKED, ""))).collect();
        for asked in asking {
            assert_eq!(asked.join().unwrap().header("x-cache"), Some("HIT"));
        }
    });
    assert_eq!(upstream.count(), 1);
    // Who comes when it has just been read may read once more.
    assert!((1.0..=2.0).contains(&fleet.reads(1, "hit")), "{}", fleet.reads(1, "hit"));
}
