//! What a purge forgets, of an account, a route, a question or all: in memory, on the disk, and on its way to either.

use std::sync::Arc;

use safecache::auth::model_glob::ModelGlob;
use safecache::cache::key::EntryKey;
use safecache::ids::AccountId;
use safecache::store::proxied::Purge;

use crate::support::admin::{TOKEN, ask};
use crate::support::client::Answer;
use crate::support::disk::{Held, keys, run, written};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::{Upstream, gate};

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":"stop"}]}"#;

fn yaml(upstream: &Upstream) -> String {
    format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes:\n  - {{path: /a/*, upstream: llm, cache: {{ttl: 1h}}}}\n  - {{path: /b/*, upstream: llm, cache: {{ttl: 1h}}}}\n\
         keys:\n{}{}",
        upstream.url(),
        key("one", ""),
        key("two", "account: globex")
    )
}

fn body(model: &str) -> String {
    let model = if model.is_empty() { String::new() } else { format!("\"model\":\"{model}\",") };
    format!("{{{model}\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}")
}

/// What a request by `id` for `model` to the route `/route/*` gets.
fn chat(gateway: &Gateway, (id, route, model): (&str, &str, &str), more: &str) -> Answer {
    let line = format!("POST /{route}/chat/completions");
    let more = format!("content-type: application/json\r\n{more}");
    gateway.connect().request(&line, &secret(id), &more, body(model).as_bytes()).answer()
}

/// Which of these questions the cache has an answer to.
fn known<'a>(
    gateway: &Gateway,
    questions: &[(&'a str, &'a str, &'a str)],
) -> Vec<(&'a str, &'a str, &'a str)> {
    let is_known = |question: &&(&str, &str, &str)| {
        chat(gateway, **question, "cache-control: only-if-cached\r\n").status == 200
    };
    questions.iter().filter(is_known).copied().collect()
}

fn purge(gateway: &Gateway, query: &str) -> Answer {
    ask(gateway, &format!("DELETE /admin/v1/cache{query}"), Some(TOKEN))
}

fn restarted(gateway: Gateway, upstream: &Upstream) -> Gateway {
    Gateway::start_in(gateway.into_folder(), &yaml(upstream))
}

const OF_ACME_A: (&str, &str, &str) = ("one", "a", "m");
const OF_ACME_B: (&str, &str, &str) = ("one", "b", "m");
const OF_GLOBEX_B: (&str, &str, &str) = ("two", "b", "m");

#[test]
fn each_kind_forgets_its_own_in_memory_and_on_the_disk() {
    let questions = [OF_ACME_A, OF_ACME_B, OF_GLOBEX_B];
    for (query, kept) in [
        ("", &[][..]),
        ("?account=acme", &[OF_GLOBEX_B]),
        ("?route=/b/*", &[OF_ACME_A]),
        ("?account=nobody", &questions),
        ("?route=/b/", &questions),
    ] {
        let upstream = Upstream::json(ANSWER);
        let gateway = Gateway::start(&yaml(&upstream));
        questions.iter().for_each(|question| assert_eq!(chat(&gateway, *question, "").status, 200));
        written(&gateway, 3);
        let told = purge(&gateway, query);
        let purged = (questions.len() - kept.len()) as u64;
        assert_eq!((told.status, told.json()["purged"].as_u64()), (200, Some(purged)), "{query}");
        assert_eq!(known(&gateway, &questions), kept, "{query}, in memory");
        let gateway = restarted(gateway, &upstream);
        assert_eq!(known(&gateway, &questions), kept, "{query}, on the disk");
    }
}

#[test]
fn what_memory_has_no_more_is_forgotten_on_the_disk() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&yaml(&upstream));
    for question in [OF_ACME_A, OF_GLOBEX_B] {
        assert_eq!(chat(&gateway, question, "").status, 200);
    }
    let gateway = restarted(gateway, &upstream);
    assert_eq!(purge(&gateway, "?account=acme").json()["purged"].as_u64(), Some(1));
    assert_eq!(known(&gateway, &[OF_ACME_A, OF_GLOBEX_B]), [OF_GLOBEX_B]);
}

#[test]
fn a_purge_that_names_two_things_or_unknown_ones_is_refused() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&yaml(&upstream));
    assert_eq!(chat(&gateway, OF_ACME_A, "").status, 200);
    for query in ["?account=acme&route=/a/*", "?key=one"] {
        assert_eq!(purge(&gateway, query).status, 400, "{query}");
    }
    assert_eq!(known(&gateway, &[OF_ACME_A]), [OF_ACME_A]);
}

#[test]
fn one_accounts_purge_breaks_no_others_flight() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(ANSWER);
    });
    let gateway = Gateway::start(&yaml(&upstream));
    let begin = |(id, route, model): (&str, &str, &str)| {
        let mut client = gateway.connect();
        let line = format!("POST /{route}/chat/completions");
        client.request(&line, &secret(id), "content-type: application/json\r\n", body(model).as_bytes());
        client
    };
    let mut old = begin(OF_ACME_B);
    upstream.wait_for(1);
    let mut others = begin(OF_GLOBEX_B);
    upstream.wait_for(2);
    assert_eq!(purge(&gateway, "?account=acme").json()["purged"].as_u64(), Some(0));
    let mut new = begin(OF_ACME_B);
    upstream.wait_for(3);
    let mut joined = begin(OF_GLOBEX_B);
    gateway.eventually("it has come", |gateway| gateway.metric("safecache_in_flight_requests") == 4.0);
    gateway.pass_some_time();
    (0..3).for_each(|_| opener.open());
    for client in [&mut old, &mut others, &mut new] {
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("x-cache")), (200, Some("MISS")));
    }
    let answer = joined.answer();
    assert_eq!(answer.header("cache-status"), Some("safecache; fwd=miss; collapsed"));
    assert_eq!(known(&gateway, &[OF_ACME_B, OF_GLOBEX_B]), [OF_ACME_B, OF_GLOBEX_B], "the newer one's");
    written(&gateway, 2);
    assert_eq!(upstream.count(), 3);
}

#[test]
fn what_a_call_brings_that_began_before_is_not_stored_anywhere() {
    for query in ["?account=acme", "?route=/b/*", ""] {
        let (gate, opener) = gate();
        let upstream = Upstream::start(move |_, exchange| {
            gate.wait();
            exchange.json(ANSWER);
        });
        let gateway = Gateway::start(&yaml(&upstream));
        std::thread::scope(|scope| {
            // One that may be joined, and one that may not.
            let calls = ["", "cache-control: no-cache\r\n"].map(|more| {
                let gateway = &gateway;
                scope.spawn(move || chat(gateway, OF_ACME_B, more))
            });
            upstream.wait_for(2);
            assert_eq!(purge(&gateway, query).status, 200);
            (0..2).for_each(|_| opener.open());
            calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap().status, 200));
        });
        assert_eq!(known(&gateway, &[OF_ACME_B]), [], "{query}");
        let gateway = restarted(gateway, &upstream);
        assert_eq!(known(&gateway, &[OF_ACME_B]), [], "{query}, on the disk");
    }
}

#[test]
fn what_waits_to_be_written_is_forgotten_too() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&yaml(&upstream));
    let questions = ["m1", "m2", "m3"].map(|model| ("one", "b", model));
    let held = Held::take(gateway.folder.path());
    questions.iter().for_each(|question| assert_eq!(chat(&gateway, *question, "").status, 200));
    std::thread::scope(|scope| {
        let purged = scope.spawn(|| purge(&gateway, "?account=acme"));
        gateway.eventually("memory has forgotten", |gateway| known(gateway, &questions).is_empty());
        held.release();
        assert_eq!(purged.join().unwrap().json()["purged"].as_u64(), Some(3));
    });
    assert_eq!(known(&gateway, &questions), []);
    let folder = gateway.into_folder();
    assert_eq!(keys(folder.path()).len(), 0);
}

#[test]
fn a_purge_that_the_disk_cannot_do_is_told_and_done_later() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&yaml(&upstream));
    for question in [OF_ACME_A, OF_GLOBEX_B] {
        assert_eq!(chat(&gateway, question, "").status, 200);
    }
    written(&gateway, 2);
    let held = Held::take(gateway.folder.path());
    let told = purge(&gateway, "?account=acme");
    assert_eq!(told.status, 500, "{told:?}");
    let message = told.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("memory has forgotten") && message.contains("is busy; try again"), "{message}");
    assert_eq!(known(&gateway, &[OF_ACME_A, OF_GLOBEX_B]), [OF_GLOBEX_B], "the disk still has both");
    assert_eq!(keys(gateway.folder.path()).len(), 2);
    held.release();
    gateway.eventually("the disk has forgotten", |gateway| keys(gateway.folder.path()).len() == 1);
    assert_eq!(known(&gateway, &[OF_ACME_A, OF_GLOBEX_B]), [OF_GLOBEX_B]);
}

#[test]
fn a_question_is_forgotten_for_its_owner_alone() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&yaml(&upstream));
    let questions = [OF_ACME_A, OF_ACME_B];
    questions.iter().for_each(|question| assert_eq!(chat(&gateway, *question, "").status, 200));
    written(&gateway, 2);
    let [first, _] = keys(gateway.folder.path())[..] else { panic!("two keys") };
    let key = EntryKey::from_bytes(first);
    let purge = |account: &str| {
        let shelf = Arc::clone(gateway.running().shelf());
        run(shelf.purge(Purge::Key { account: AccountId::new(account), key, allowed_models: Box::default() }))
    };
    assert_eq!(purge("globex"), Ok(0));
    assert_eq!(known(&gateway, &questions), questions);
    assert_eq!(purge("acme"), Ok(1));
    assert_eq!(known(&gateway, &questions), [OF_ACME_B]);
    let gateway = restarted(gateway, &upstream);
    assert_eq!(known(&gateway, &questions), [OF_ACME_B]);
}

#[test]
fn only_allowed_models_are_forgotten() {
    let upstream = Upstream::json(ANSWER);
    let gateway = Gateway::start(&yaml(&upstream));
    let questions = [("one", "b", "gpt-4o"), ("one", "b", "o1"), ("one", "b", ""), ("two", "b", "gpt-4o")];
    questions.iter().for_each(|question| assert_eq!(chat(&gateway, *question, "").status, 200));
    let purge = Purge::Account {
        account: AccountId::new("acme"),
        allowed_models: [ModelGlob::new("gpt*").unwrap()].into(),
    };
    assert_eq!(run(Arc::clone(gateway.running().shelf()).purge(purge)), Ok(1));
    assert_eq!(known(&gateway, &questions), questions[1..]);
    let gateway = restarted(gateway, &upstream);
    assert_eq!(known(&gateway, &questions), questions[1..]);
}
