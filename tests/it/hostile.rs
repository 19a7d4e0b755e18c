//! Clients that mean harm through the front door: JSON bombs, keys of every wrong form, forged addresses, and names
//! without end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use safecache::clock::Clock;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret, sha256};
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"choices":[{"finish_reason":"stop"}]}"#;
const MIB: usize = 1024 * 1024;
/// What one bomb may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// Names that a client makes up.
const NAMES: usize = 100_000;
/// Clients that make them up at the same time.
const CLIENTS: usize = 4;

fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "plans: {{ample: {{requests_per_minute: 6000000, burst: 9000000}}}}\n{more}\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}{}",
        upstream.url(),
        key("one", "plan: ample"),
        key("bound", "plan: ample, allowed_models: [\"gpt-*\"]"),
    ))
}

/// What becomes of a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is read, whether or not its answer may be stored.
    Read,
    /// It is passed on, and nothing is known of it: a key that is bound to models may not send it.
    Unread,
    /// It is refused.
    Twice,
}

/// Bodies that cost a careless reader its stack, its memory or its time.
fn bombs() -> Vec<(&'static str, String, Fate)> {
    use Fate::{Read, Twice, Unread};
    let model = r#"{"model":"gpt-4o","x":"#;
    let nested = |depth: usize| format!("{model}{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let members = |count: usize| (0..count).map(|number| format!("\"m{number}\":0,")).collect::<String>();
    let numbers = |number: &str, count: usize| format!("{model}[{}0]}}", format!("{number},").repeat(count));
    vec![
        ("as deep as may be", nested(127), Read),
        ("one deeper", nested(128), Unread),
        ("a million deep", nested(MIB), Unread),
        ("a million deep, of objects", format!("{model}{}", "{\"a\":".repeat(MIB)), Unread),
        ("a million open", "[".repeat(MIB), Unread),
        ("a million zeros", numbers("0", MIB), Read),
        ("five million zeros", numbers("0", 5 * MIB), Unread),
        ("half a million members", format!("{model}{{{}\"z\":0}}}}", members(MIB / 2)), Read),
        ("the last of them twice", format!("{model}{{{}\"m7\":0}}}}", members(MIB / 2)), Twice),
        ("one member all over", format!("{{{}\"a\":0}}", "\"a\":0,".repeat(MIB / 2)), Twice),
        ("the same beyond what is read", format!("{{{}\"a\":0}}", "\"a\":0,".repeat(MIB)), Unread),
        ("one member in two spellings", r#"{"model":"gpt-4o","\u006dodel":"o1"}"#.to_owned(), Twice),
        ("an empty name twice", r#"{"model":"gpt-4o","":1,"":2}"#.to_owned(), Twice),
        ("a member twice in the depth", format!("{model}{}{{\"a\":1,\"a\":2}}", "[".repeat(100)), Unread),
        ("the same, closed", nested(100).replacen('1', "{\"a\":1,\"a\":2}", 1), Twice),
        ("a member beyond all doubles", format!("{model}1e999999999}}"), Read),
        ("below all doubles", format!("{model}1e-999999999}}"), Read),
        ("an exponent of a million digits", format!("{model}1e{}}}", "9".repeat(MIB)), Read),
        ("an integer of a million digits", format!("{model}{}}}", "9".repeat(MIB)), Read),
        ("a fraction of a million digits", format!("{model}0.{}}}", "1".repeat(MIB)), Read),
        ("two hundred thousand hard doubles", numbers("2.2250738585072011e-308", 200_000), Read),
        ("a string of escapes", format!("{model}\"{}\"}}", "\\u0000".repeat(MIB)), Read),
        ("half a pair of surrogates", format!("{model}\"\\ud800\"}}"), Read),
        ("a name of millions", format!("{model}{{\"{}\":0}}}}", "n".repeat(8 * MIB)), Read),
        ("nothing but white space", " ".repeat(8 * MIB), Unread),
        ("white space in between", format!("{model}[{}0]}}", " \n\t\r".repeat(2 * MIB)), Read),
    ]
}

#[test]
fn json_bombs_cost_little_and_get_past_no_rule() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "");
    let clock = Clock::system();
    let mut wrong = Vec::new();
    let mut slowest = (Duration::ZERO, "");
    for (what, bomb, fate) in bombs() {
        let expected = match fate {
            Fate::Read => [200, 200],
            Fate::Unread => [200, 403],
            Fate::Twice => [400, 400],
        };
        for (id, status) in ["one", "bound"].into_iter().zip(expected) {
            let begun = clock.monotonic();
            let answer = gateway.connect().post(CHAT, &secret(id), &bomb);
            slowest = slowest.max((clock.monotonic().saturating_since(begun), what));
            if answer.status != status {
                wrong.push(format!("{what}, {id}: {}, not {status}: {}", answer.status, answer.text()));
            }
        }
        let arrived = upstream.take();
        if arrived.iter().any(|request| request.body != bomb.as_bytes()) {
            wrong.push(format!("{what}: it did not arrive as it came"));
        }
    }
    println!("measured JSON bombs: the slowest took {slowest:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(slowest.0 < PATIENCE, "{slowest:?}");
    gateway.eventually("nothing is held", |gateway| gateway.metric("safecache_buffer_bytes") == 0.0);
}

/// Heads with a key that is none, whatever the reason.
fn wrong_keys() -> Vec<String> {
    let good = secret("one");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let ours = |public: &str, rest: &str| bearer(&format!("sk-sc-{public}_{rest}"));
    let (ten, thirty_eight) = ("a".repeat(10), "b".repeat(38));
    let mut all = vec![
        bearer(&good.to_uppercase()),
        bearer(&format!("{good}x")),
        bearer(good.split_at(good.len() - 1).0),
        bearer(&format!("\"{good}\"")),
        bearer(&format!("<{good}>")),
        bearer(&format!("{good},{good}")),
        bearer(&format!("{good}, {good}")),
        bearer(&format!("Bearer {good}")),
        bearer(&format!("{good};q=1")),
        bearer(&good.replace('-', "%2D")),
        bearer(&good.replace('-', "\u{2010}")),
        bearer(&"x".repeat(60_000)),
        bearer(&sha256(&good)),
        bearer("${KEY}"),
        bearer("null"),
        bearer("undefined"),
        bearer("' OR 1=1 --"),
        bearer("../../etc/passwd"),
        bearer("{\"key\":1}"),
        bearer("\u{ff}\u{fe}"),
        ours(&ten, &thirty_eight),
        ours(&ten, &"b".repeat(37)),
        ours(&ten, &"b".repeat(39)),
        ours(&"a".repeat(9), &"b".repeat(39)),
        ours("aaaaaaaaa-", &thirty_eight),
        ours(&ten, &"\u{e4}".repeat(19)),
        bearer("sk-sc-"),
        bearer("SK-SC-aaaaaaaaaa_b"),
        format!("Authorization:Bearer\t{good}\r\n"),
        format!("Authorization: Basic {good}\r\n"),
        format!("Authorization: Digest username=\"{good}\"\r\n"),
        format!("Authorization: Token {good}\r\n"),
        format!("Authorization: Bearer: {good}\r\n"),
        format!("Authorization: Bearer={good}\r\n"),
        format!("Authorization: bearer\u{a0}{good}\r\n"),
        format!("Authorisation: Bearer {good}\r\n"),
        format!("Proxy-Authorization: Bearer {good}\r\n"),
        format!("Cookie: Authorization=Bearer {good}; api-key={good}\r\n"),
        format!("X-Authorization: Bearer {good}\r\n"),
        format!("X-Api-Key: Bearer {good}\r\n"),
        format!("api_key: {good}\r\n"),
        format!("X: Authorization: Bearer {good}\r\n"),
        format!("Connection: Authorization\r\nX-Api-Key: {good}x\r\n"),
    ];
    all.extend((1..32).map(|control| bearer(&format!("{good}{}", char::from(control)))).filter(|head| {
        // Those three end a value or a line, and leave the key as it is.
        !["\t\r\n", "\n\r\n", "\r\r\n"].iter().any(|end| head.ends_with(end))
    }));
    all
}

#[test]
fn keys_of_every_wrong_form_open_nothing() {
    let upstream = Upstream::json(ANSWER);
    let gateway = gateway(&upstream, "limits: {auth_failures: off}\n");
    let bodies = [
        r#"{"error":"Missing API key","message":"Authorization header is required","status":401}"#,
        r#"{"error":"Invalid authorization format","message":"Authorization header must be in format: Bearer YOUR_API_KEY","status":401}"#,
        r#"{"error":"Invalid API key","message":"The provided API key is invalid or has been revoked","status":401}"#,
    ];
    let all = wrong_keys();
    for headers in &all {
        for line in [format!("POST {CHAT}"), "POST /v1/files".to_owned(), "GET /nowhere".to_owned()] {
            let mut client = gateway.connect();
            client.send(format!(
                "{line}?api-key={0}&key={0} HTTP/1.1\r\nHost: g\r\n{headers}\r\n",
                secret("one")
            ));
            let answer = client.answer();
            let is_bare = answer.status == 400 && answer.body.is_empty();
            let is_told = answer.status == 401 && bodies.contains(&answer.text().as_str());
            // Controls are no head to the engine.
            assert!(is_told || is_bare, "{line} {headers:?}: {answer:?}");
            assert!(
                is_told || headers.bytes().any(|byte| byte < 32 && !b"\t\r\n".contains(&byte)),
                "{headers:?}"
            );
        }
    }
    assert_eq!(upstream.connections(), 0, "{:?}", upstream.requests());
    assert!(all.len() > 60);
    assert_eq!(gateway.connect().get("/v1/models", &secret("one")).status, 200);
}

/// Failures are counted by who sends them, whomever they claim to be.
#[test]
fn forged_addresses_do_not_scatter_the_count_of_failures() {
    let upstream = Upstream::json(ANSWER);
    let limits = "trusted_proxies: [127.0.0.1]\nlimits: {auth_failures: 50}\n";
    let gateway = gateway(&upstream, limits);
    // From a peer that is not trusted, in every field that could name another; through one that is, to the left of
    // what it saw.
    let peers = [(IpAddr::from([127, 0, 0, 2]), ""), (IpAddr::from([127, 0, 0, 1]), ", 192.0.2.1")];
    for (peer, seen) in peers {
        let mut client = Client::connect_from(peer, gateway.address());
        let mut ask = |number: usize, key: &str| {
            let forged = format!("198.51.{}.{}", number / 256, number % 256);
            let more = format!(
                "X-Forwarded-For: {forged}{seen}\r\nForwarded: for={forged}\r\nX-Real-IP: {forged}\r\n\
                 X-Client-IP: {forged}\r\nTrue-Client-IP: {forged}\r\nCF-Connecting-IP: {forged}\r\n"
            );
            client.request("GET /v1/models", key, &more, b"").answer().status
        };
        let statuses: Vec<_> = (0..100).map(|number| ask(number, "unknown-key-of-nobody")).collect();
        assert_eq!(statuses, [vec![401; 50], vec![429; 50]].concat(), "{peer}");
        assert_eq!(ask(100, &secret("one")), 200, "a valid key always passes");
    }
    let named: BTreeSet<_> = upstream
        .requests()
        .iter()
        .map(|request| request.header("x-forwarded-for").map(str::to_owned))
        .collect();
    let expected = [Some("127.0.0.2".to_owned()), Some("198.51.0.100, 192.0.2.1, 127.0.0.1".to_owned())];
    assert_eq!(named, BTreeSet::from(expected));
}

/// The series of all metrics, without their values.
fn series(gateway: &Gateway) -> BTreeSet<String> {
    let metrics = gateway.metrics();
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// Runs `ask` for every number below [`NAMES`], spread over some clients.
fn names(gateway: &Gateway, ask: impl Fn(&mut Client, usize) + Sync) {
    std::thread::scope(|scope| {
        for first in 0..CLIENTS {
            let ask = &ask;
            let mut client = gateway.connect();
            scope.spawn(move || (first..NAMES).step_by(CLIENTS).for_each(|number| ask(&mut client, number)));
        }
    });
}

#[test]
fn a_hundred_thousand_paths_and_models_make_no_series() {
    let upstream = Upstream::json(ANSWER);
    let more = "cache: {memory: 8MiB, max_entry: 64KiB}\nlimits: {max_requests_per_connection: 1000000}\n";
    let gateway = gateway(&upstream, more);
    let ask = |client: &mut Client, number: usize| {
        let (one, bound) = (secret("one"), secret("bound"));
        assert_eq!(client.get(&format!("/{number}/x"), &one).status, 404);
        // Every tenth goes all the way: the others are told so much sooner.
        let model = format!("{{\"model\":\"{number}\"}}");
        let (key, status) = if number.is_multiple_of(10) { (one, 200) } else { (bound, 403) };
        assert_eq!(client.post(CHAT, &key, &model).status, status);
    };
    // Each kind once, and both ways of passing one on.
    let mut client = gateway.connect();
    (NAMES..NAMES + 20).for_each(|number| ask(&mut client, number));
    assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
    let before = series(&gateway);
    names(&gateway, ask);
    let clients: Vec<_> =
        (0..100).map(|number| client.get(&format!("/v1/{number}"), &secret("one")).status).collect();
    assert_eq!(clients, [200; 100]);
    let after = series(&gateway);
    assert_eq!(after, before);
    assert!(gateway.metric("safecache_cache_bytes") <= 8.0 * MIB as f64);
}
