//! The steps of a request by themselves, for counting instructions: `paths NAME TIMES` runs one so many times.
//!
//! `tools/bench` runs each under callgrind with two counts and prints the difference for one run, which set-up and
//! start-up do not enter and a busy machine does not move. Without arguments it names the paths.

use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use safecache::auth::authenticate::authenticate;
use safecache::auth::key::{KeyEntry, KeyOptions};
use safecache::auth::key_ring::KeyRing;
use safecache::auth::token;
use safecache::cache::entries::{Entries, Entry, Epoch, Origin, Slot};
use safecache::cache::key::{EntryKey, KeyParts, Owner, ScannedBody};
use safecache::cache::policy::{OnDisconnect, RoutePolicy, Scope};
use safecache::cache::recording::{AnswerHead, Destiny, Step, complete, join};
use safecache::clock::{Clock, UnixTime};
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::limiter::Limiter;
use safecache::limits::plan::{Per, Plan};
use safecache::llm::request::Api;
use safecache::llm::translate::AnswerForm;
use safecache::memory::{Bounds, Buffers, Permit, Pool};
use safecache::units::ByteSize;

mod front;

type Path = (&'static str, fn(u32));

const PATHS: [Path; 8] = [
    ("admit", admit),
    ("refuse-unknown", refuse_unknown),
    ("refuse-disabled", refuse_disabled),
    ("refuse-expired", refuse_expired),
    ("limiter", limiter),
    ("rate-limit-headers", rate_limit_headers),
    ("cache-key", cache_key),
    ("hit", hit),
];

type WholePath = (&'static str, fn(u32) -> std::io::Result<()>);

/// Whole requests, which may fail.
const WHOLE: [WholePath; 3] =
    [("whole-forward", front::forward), ("whole-hit", front::hit), ("whole-refusal", front::refuse)];

const KEY: &str = "a-key-of-the-benchmarks";
const PATH: &str = "/v1/chat/completions";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let name = arguments.get(1).map_or("", String::as_str);
    let step = PATHS.iter().find(|(path, _)| *path == name);
    let whole = WHOLE.iter().find(|(path, _)| *path == name);
    let times = arguments.get(2).and_then(|times| times.parse().ok());
    match (step, whole, times) {
        (Some((_, run)), _, Some(times)) => run(times),
        (_, Some((_, run)), Some(times)) => {
            if let Err(error) = run(times) {
                tell(&format!("{name} failed: {error}"));
                return ExitCode::FAILURE;
            }
        }
        _ => {
            let names = PATHS.iter().map(|(path, _)| path).chain(WHOLE.iter().map(|(path, _)| path));
            names.for_each(|name| tell(name));
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a program that prints names")]
fn tell(name: &str) {
    println!("{name}");
}

fn plan() -> Option<Arc<Plan>> {
    let number = NonZeroU32::new(60_000_000)?;
    Plan::new(PlanName::new("bench"), number, number, Per::Key).ok().map(Arc::new)
}

/// A ring of a thousand keys, [`KEY`] among them.
fn ring() -> KeyRing {
    ring_with(KeyOptions::default())
}

/// The same, with these options of [`KEY`].
fn ring_with(options: KeyOptions) -> KeyRing {
    let entries = (0..1000).map(|index| {
        let key = if index == 500 { KEY.to_owned() } else { format!("another-key-{index}") };
        KeyEntry {
            id: KeyId::new(&format!("key-{index}")),
            account: AccountId::new("bench"),
            plan: PlanName::new("bench"),
            digest: token::digest(key.as_bytes()),
            options: if index == 500 { options.clone() } else { KeyOptions::default() },
        }
    });
    let plans: Vec<Arc<Plan>> = plan().into_iter().collect();
    KeyRing::build(entries, &plans).unwrap_or_default()
}

fn headers(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {key}"));
    headers.insert("authorization", value.unwrap_or(HeaderValue::from_static("")));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers
}

/// A known key, and a token from its bucket.
fn admit(times: u32) {
    let (ring, headers, limiter) = (ring(), headers(KEY), Limiter::new());
    let (clock, _) = Clock::manual(UnixTime::from_secs(1));
    for _ in 0..times {
        let now = clock.now();
        if let Ok(record) = authenticate(&ring, black_box(&headers), now.unix) {
            let _ = black_box(limiter.check(record.holder(), now));
        }
    }
}

/// A key that is unknown; what it costs must not tell it from the two that follow.
fn refuse_unknown(times: u32) {
    refuse(&ring(), "a-key-of-nobody-at-all-", times);
}

fn refuse_disabled(times: u32) {
    refuse(&ring_with(KeyOptions { disabled: true, ..KeyOptions::default() }), KEY, times);
}

fn refuse_expired(times: u32) {
    let expires_at = Some(UnixTime::from_secs(1));
    refuse(&ring_with(KeyOptions { expires_at, ..KeyOptions::default() }), KEY, times);
}

fn refuse(ring: &KeyRing, key: &str, times: u32) {
    let headers = headers(key);
    for _ in 0..times {
        black_box(authenticate(ring, black_box(&headers), UnixTime::from_secs(1)).is_err());
    }
}

fn limiter(times: u32) {
    let (ring, limiter) = (ring(), Limiter::new());
    let (clock, _) = Clock::manual(UnixTime::from_secs(1));
    let Some(record) = ring.records().next() else { return };
    for _ in 0..times {
        let _ = black_box(limiter.check(black_box(record.holder()), clock.now()));
    }
}

fn rate_limit_headers(times: u32) {
    let (ring, limiter) = (ring(), Limiter::new());
    let (clock, _) = Clock::manual(UnixTime::from_secs(1));
    let Some(record) = ring.records().next() else { return };
    let Ok(verdict) = limiter.check(record.holder(), clock.now()) else { return };
    for _ in 0..times {
        black_box(&verdict).put_headers(|name, value| drop(black_box((name, value))));
    }
}

fn policy() -> RoutePolicy {
    RoutePolicy {
        ttl: Duration::from_secs(3600),
        paths: Box::new([]),
        ignore: Box::new([]),
        vary: Box::new([]),
        keep_headers: Box::new([]),
        max_temperature: 2.0,
        on_disconnect: OnDisconnect::Stop,
        scope: Scope::Account,
    }
}

/// The key of a body of 300 bytes.
fn key_of(body: &[u8], headers: &HeaderMap, policy: &RoutePolicy) -> Option<EntryKey> {
    let scanned = ScannedBody::read(body, Api::ChatCompletions, &policy.ignore).ok()?;
    let account = AccountId::new("bench");
    Some(EntryKey::of(&KeyParts {
        owner: Owner::Account(&account),
        route: "/v1/*",
        path: PATH,
        query: None,
        headers,
        policy,
        body: scanned.digest.as_ref().ok()?,
    }))
}

fn body() -> String {
    let text = "x".repeat(200);
    format!(
        r#"{{"model":"m","temperature":0.5,"messages":[{{"role":"user","content":"{text}"}}],"stream":false}}"#
    )
}

fn cache_key(times: u32) {
    let (body, headers, policy) = (body(), headers(KEY), policy());
    for _ in 0..times {
        black_box(key_of(black_box(body.as_bytes()), &headers, &policy));
    }
}

/// An entry found, followed and read to its end.
fn hit(times: u32) {
    let entries = Entries::new(ByteSize::mib(1), ByteSize::mib(1), |_, _| {});
    let Some(key) = key_of(body().as_bytes(), &headers(KEY), &policy()) else { return };
    let slot = Slot { key, form: AnswerForm::Json };
    let (clock, _) = Clock::manual(UnixTime::from_secs(1));
    let head = AnswerHead {
        status: StatusCode::OK,
        fields: Vec::new(),
        length: Some(1024),
        destiny: Destiny::Forgotten,
    };
    let entry = Entry {
        recording: complete(head, Bytes::from(vec![b'x'; 1024])),
        stored: clock.monotonic(),
        aged: Duration::ZERO,
        ttl: Duration::from_secs(3600),
        usage: None,
        epoch: Epoch::default(),
        origin: Origin { account: None, route: "/v1/*".into(), model: None },
    };
    entries.insert(slot, entry, clock.monotonic(), std::iter::empty());
    let bounds = Bounds { total: 1 << 20, share: 1 << 20 };
    let permit = Permit::new(&Buffers::default(), &Pool::default(), bounds);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        let Some((entry, _)) = entries.find(black_box(&slot), clock.monotonic()) else { return };
        let Some(mut reader) = join(&entry.recording, permit.another()) else { return };
        while let Poll::Ready(Step::Piece(piece)) = pin!(reader.next()).as_mut().poll(&mut cx) {
            black_box(piece);
        }
    }
}
