//! The buckets through the front door, by a clock that stands still: contract §3 step 5.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use safecache::auth::authenticate::authenticate;
use safecache::auth::key::{KeyEntry, KeyOptions};
use safecache::auth::key_ring::KeyRing;
use safecache::auth::token::digest;
use safecache::clock::Clock;
use safecache::config;
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::limiter::Limiter;
use safecache::runtime::reload::Shrinking;

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, START, key, secret};
use crate::support::upstream::Upstream;

/// No route: whoever is admitted gets a 404, which takes a token.
fn gateway(more: &str, keys: &[String]) -> Gateway {
    Gateway::start(&format!("{more}keys:\n{}", keys.concat()))
}

fn ask(client: &mut Client, id: &str) -> Answer {
    client.get("/x", &secret(id))
}

/// How many requests in a row pass, and the refusal that ends them.
fn exhaust(client: &mut Client, id: &str) -> (u32, Answer) {
    let mut passed = 0;
    loop {
        let answer = ask(client, id);
        if answer.status == 429 {
            return (passed, answer);
        }
        assert_eq!(answer.status, 404);
        passed += 1;
    }
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer
        .header(header)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{header}: {answer:?}"))
}

#[test]
fn each_plan_passes_exactly_its_burst_at_once_and_then_as_its_429_says() {
    let plans = [("free", 60, 100, 1000), ("pro", 600, 1000, 100), ("enterprise", 6000, 10_000, 10)];
    let keys = plans.map(|(plan, ..)| key(plan, &format!("plan: {plan}")));
    let gateway = gateway("limits: {max_requests_per_connection: 20000}\n", &keys);
    let mut client = gateway.connect();
    for (plan, per_minute, burst, wait) in plans {
        let (passed, refused) = exhaust(&mut client, plan);
        assert_eq!(passed, burst, "{plan}");
        let body = r#"{"error":"Rate limit exceeded","message":"You have exceeded your rate limit. Please try again later.","retry_after":1,"status":429}"#;
        assert_eq!(refused.text(), body);
        assert_eq!(refused.header("content-type"), Some("application/json"));
        assert_eq!(number(&refused, "retry-after"), 1);
        assert_eq!(number(&refused, "retry-after-ms"), wait);
        assert_eq!(refused.header("x-should-retry"), None);
        assert_eq!(number(&refused, "x-ratelimit-limit"), per_minute);
        assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
        assert_eq!(refused.header("ratelimit-policy"), Some(format!("\"{plan}\";q={burst};w=100").as_str()));
        assert_eq!(refused.header("ratelimit"), Some(format!("\"{plan}\";r=0;t=1").as_str()));
        for _ in 0..3 {
            gateway.clock.advance(Duration::from_millis(wait - 1));
            let early = ask(&mut client, plan);
            assert_eq!(early.status, 429, "{plan}: a millisecond early");
            assert_eq!(number(&early, "retry-after-ms"), 1);
            gateway.clock.advance(Duration::from_millis(1));
            assert_eq!(ask(&mut client, plan).status, 404, "{plan}: in time");
            assert_eq!(ask(&mut client, plan).status, 429, "{plan}: one, not two");
        }
        let refusals = gateway.metric(&format!("safecache_rate_limited_total{{plan=\"{plan}\"}}"));
        assert!((refusals - 7.0).abs() < f64::EPSILON, "{refusals}");
    }
}

#[test]
fn the_headers_count_down_and_name_the_second_of_being_full() {
    let gateway = gateway("", &[key("one", "plan: free")]);
    let mut client = gateway.connect();
    let now = START.as_secs();
    let first = ask(&mut client, "one");
    assert_eq!(number(&first, "x-ratelimit-limit"), 60);
    assert_eq!(number(&first, "x-ratelimit-remaining"), 60, "99 are left; the limit is 60 a minute");
    assert_eq!(number(&first, "x-ratelimit-reset"), now, "it is back already");
    assert_eq!(first.header("ratelimit-policy"), Some("\"free\";q=100;w=100"));
    assert_eq!(first.header("ratelimit"), Some("\"free\";r=99;t=1"));
    for _ in 0..49 {
        ask(&mut client, "one");
    }
    gateway.clock.advance(Duration::from_millis(1500));
    let later = ask(&mut client, "one");
    assert_eq!(later.header("ratelimit"), Some("\"free\";r=50;t=1"), "50.5 are left");
    assert_eq!(number(&later, "x-ratelimit-remaining"), 50);
    assert_eq!(number(&later, "x-ratelimit-reset"), now + 11, "9.5 s after 1.5 s");
    for absent in ["retry-after", "retry-after-ms", "x-should-retry"] {
        assert_eq!(later.header(absent), None);
    }
}

#[test]
fn a_wait_of_more_than_a_minute_is_no_reason_to_retry() {
    let slow = "plans: {slow: {requests_per_minute: 1, burst: 1}}\n";
    let gateway = gateway(slow, &[key("one", "plan: slow")]);
    let mut client = gateway.connect();
    assert_eq!(ask(&mut client, "one").status, 404);
    let refused = ask(&mut client, "one");
    assert_eq!((number(&refused, "retry-after"), refused.header("x-should-retry")), (60, None));
    assert_eq!(number(&refused, "x-ratelimit-reset"), START.as_secs() + 60);
    gateway.clock.advance(Duration::from_secs(59));
    let refused = ask(&mut client, "one");
    assert_eq!((number(&refused, "retry-after"), number(&refused, "retry-after-ms")), (1, 1000));
}

#[test]
fn a_hit_and_a_404_take_a_token_and_a_401_or_403_takes_none() {
    let answer = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}"#;
    let upstream = Upstream::json(answer);
    let gateway = Gateway::start(&format!(
        "plans: {{four: {{requests_per_minute: 1, burst: 4}}}}\ntrusted_proxies: [127.0.0.1]\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "plan: four, allowed_ips: [192.0.2.1]"),
    ));
    let mut client = gateway.connect();
    let mut send = |line: &str, key: &str, address: &str| {
        let header = format!("X-Forwarded-For: {address}\r\nContent-Type: application/json\r\n");
        client.request(line, key, &header, b"{}").answer()
    };
    let (chat, here) = ("POST /v1/chat/completions", "192.0.2.1");
    let one = secret("one");
    assert_eq!(send(chat, &one, here).header("ratelimit"), Some("\"four\";r=3;t=60"));
    for _ in 0..5 {
        assert_eq!(send(chat, &one, "192.0.2.2").status, 403);
        assert_eq!(send(chat, "unknown-key-of-nobody", here).status, 401);
    }
    let hit = send(chat, &one, here);
    assert_eq!((hit.header("x-cache"), hit.header("ratelimit")), (Some("HIT"), Some("\"four\";r=2;t=60")));
    let unrouted = send("POST /nowhere", &one, here);
    assert_eq!((unrouted.status, unrouted.header("ratelimit")), (404, Some("\"four\";r=1;t=60")));
    assert_eq!(send(chat, &one, here).header("ratelimit"), Some("\"four\";r=0;t=60"));
    for _ in 0..5 {
        let refused = send(chat, &one, here);
        assert_eq!((refused.status, number(&refused, "retry-after-ms")), (429, 60_000), "it takes nothing");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_account_shares_one_bucket_if_its_plan_says_so() {
    let team = "plans: {team: {requests_per_minute: 60, burst: 4, per: account}}\n";
    let keys = [
        key("a1", "account: a, plan: team"),
        key("a2", "account: a, plan: team"),
        key("b1", "account: b, plan: team"),
        key("own", "account: a, plan: free"),
    ];
    let gateway = gateway(team, &keys);
    let mut client = gateway.connect();
    for (id, left) in [("a1", 3), ("a2", 2), ("a1", 1), ("a2", 0)] {
        assert_eq!(ask(&mut client, id).header("ratelimit"), Some(format!("\"team\";r={left};t=1").as_str()));
    }
    assert_eq!(["a1", "a2", "b1", "own"].map(|id| ask(&mut client, id).status), [429, 429, 404, 404]);
}

#[test]
fn levels_survive_reloads_and_a_change_of_plan_keeps_the_ratio() {
    let plans =
        |small: &str| format!("plans: {{small: {small}, big: {{requests_per_minute: 600, burst: 1000}}}}\n");
    let before = plans("{requests_per_minute: 60, burst: 100}");
    let with =
        |plans: &str, members: &str| format!("{plans}keys:\n{}{}", key("one", members), key("other", ""));
    let gateway = Gateway::start(&with(&before, "plan: small"));
    let mut client = gateway.connect();
    let level = |client: &mut Client| ask(client, "one").header("ratelimit").unwrap_or_default().to_owned();
    for _ in 0..49 {
        ask(&mut client, "one");
    }
    assert_eq!(level(&mut client), "\"small\";r=50;t=1");
    let reload = |yaml: &str| {
        gateway.rewrite(yaml);
        gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    };
    reload(&with(&before, "plan: small"));
    assert_eq!(level(&mut client), "\"small\";r=49;t=1", "nothing has changed");
    reload(&with(&before, "plan: small, name: renamed, account: other"));
    assert_eq!(level(&mut client), "\"small\";r=48;t=1", "another account, the same bucket");
    reload(&with(&before, "plan: big"));
    assert_eq!(level(&mut client), "\"big\";r=479;t=1", "48 of 100 are 480 of 1000");
    reload(&with(&before, "plan: small"));
    assert_eq!(level(&mut client), "\"small\";r=46;t=1", "479 of 1000 are 47.9 of 100");
    reload(&with(&plans("{requests_per_minute: 120, burst: 200}"), "plan: small"));
    assert_eq!(level(&mut client), "\"small\";r=92;t=1", "46.9 of 100 are 93.8 of 200");
    reload(&format!("{}keys:\n{}", plans("{requests_per_minute: 120, burst: 200}"), key("other", "")));
    assert_eq!(ask(&mut client, "one").status, 401);
    reload(&with(&plans("{requests_per_minute: 120, burst: 200}"), "plan: small"));
    assert_eq!(level(&mut client), "\"small\";r=91;t=1", "removed and back, it is no fuller");
    assert_eq!(exhaust(&mut client, "one").0, 91);
}

/// What the data port does for a request, without its sockets: authenticate, then charge the record.
#[test]
fn an_emptied_bucket_stays_empty_after_a_hundred_thousand_other_keys() {
    const OTHERS: usize = 100_000;
    let config = config::parse("threads: 1\n", "gateway.yaml", &<_>::default(), Path::new("")).unwrap();
    let entry = |n: usize| KeyEntry {
        id: KeyId::new(&format!("key-{n}")),
        account: AccountId::new("acme"),
        plan: PlanName::new("free"),
        digest: digest(format!("secret-number-{n}").as_bytes()),
        options: KeyOptions::default(),
    };
    let ring = KeyRing::build((0..=OTHERS).map(entry), &config.plans).unwrap();
    let limiter = Limiter::new();
    let (clock, _) = Clock::manual(START);
    let check = |n: usize| {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer secret-number-{n}")).unwrap();
        headers.insert(AUTHORIZATION, value);
        let now = clock.now();
        let record = authenticate(&ring, &headers, now.unix).unwrap();
        limiter.check(Arc::clone(&record).holder(), now).unwrap().is_admitted()
    };
    assert_eq!((0..101).filter(|_| check(0)).count(), 100);
    assert!((1..=OTHERS).all(check));
    assert!(!check(0));
}
