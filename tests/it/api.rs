//! The cache API: what its calls answer, against a real store and a clock that stands still. Contract §5.
//!
//! Every test asks through [`Scene::tell`] and what is built on it, the only places that know how a request reaches the API.

mod accounts;
mod bodies;
mod checks;
mod deleting;
mod failing;
mod hashes;
mod listing;
mod messages;
mod queries;
mod stores;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use safecache::api::{Api, Purger};
use safecache::auth::key::{KeyEntry, KeyOptions, Source};
use safecache::auth::key_record::KeyRecord;
use safecache::auth::model_glob::ModelGlob;
use safecache::cache::entries::Slot;
use safecache::cache::key::EntryKey;
use safecache::clock::{Clock, ManualClock, UnixTime};
use safecache::config::{self, Config};
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::limits::plan::{Per, Plan};
use safecache::llm::translate::AnswerForm;
use safecache::outcome::api_error::ApiError;
use safecache::routing::route::ErrorShape;
use safecache::runtime::answerer::{Answerer, Asked, Call, NoCall, Refusal, Told};
use safecache::store::Store;
use safecache::store::folder::FolderLock;
use safecache::store::proxied::{NewProxied, Purge};
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use safecache::store::usage::Settle;
use safecache::telemetry::metrics::Metrics;
use safecache::units::ByteSize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 2027-01-15T08:00:00Z.
const START: UnixTime = UnixTime::from_secs(1_800_000_000);

const CHECK: &str = "POST /api/v1/check";
const STORE: &str = "POST /api/v1/store";
const LIST: &str = "GET /api/v1/cache";
const DELETE: &str = "DELETE /api/v1/cache";
const JSON: &str = "Content-Type: application/json\r\n";

/// What accounts may store here: small enough to be reached, in bytes.
const QUOTA: u64 = 20_000;

/// An API over an empty store.
struct Scene {
    runtime: Runtime,
    folder: TempDir,
    store: Arc<dyn Store>,
    api: Api,
    clock: Clock,
    moved: ManualClock,
    config: Arc<Config>,
}

impl Scene {
    fn new() -> Self {
        Self::purging(|store| {
            Arc::new(move |purge| {
                let store = Arc::clone(&store);
                Box::pin(async move { store.purge_proxied(purge).await.map(|slots| slots.len() as u64) })
            })
        })
    }

    /// One whose proxied answers are deleted by a purger of the test's.
    fn purging(purger: impl FnOnce(Arc<dyn Store>) -> Purger) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = TempDir::new().expect("a temporary folder");
        let lock = FolderLock::take(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        let opened = runtime.block_on(SqliteStore::open(lock, Bounds::default()));
        let store: Arc<dyn Store> = Arc::new(opened.unwrap_or_else(|error| panic!("{error}")));
        let (clock, moved) = Clock::manual(START);
        let settle: Settle = Arc::new(|| Box::pin(async { Ok(()) }));
        let damaged = Metrics::new().expect("metrics").stored_damaged.clone();
        let api = Api::new(Arc::clone(&store), purger(Arc::clone(&store)), settle, damaged, clock.clone());
        let text = "upstreams: {llm: {servers: [http://127.0.0.1:8000]}}\n\
                    routes: [{path: /v1/*, upstream: llm}]\n";
        let config = config::parse(text, "gateway.yaml", &BTreeMap::new(), Path::new(""))
            .unwrap_or_else(|report| panic!("{report}"));
        Self { runtime, folder, store, api, clock, moved, config: Arc::new(config) }
    }

    /// What the API says to a request with the key `key`: see [`record`]. A target or method that is no call gets what
    /// the data port says to it.
    fn tell(&self, key: &str, line: &str, headers: &str, body: &[u8]) -> Result<Told, Refusal> {
        let asked = self.asked(key, line, headers, body)?;
        self.runtime.block_on(self.api.answer(asked))
    }

    /// The request as the data port hands it over.
    fn asked(&self, key: &str, line: &str, headers: &str, body: &[u8]) -> Result<Asked, Refusal> {
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.into())),
            None => (target, None),
        };
        let call = Call::of(&method.parse::<Method>().expect("a method"), path).map_err(|no| match no {
            NoCall::NotFound => ApiError::new(404, "There is nothing at this path"),
            NoCall::Method(_) => ApiError::new(405, "This path takes other methods"),
        })?;
        let content_type = headers.strip_prefix("Content-Type: ").map(|rest| rest.trim_end());
        Ok(Asked {
            call,
            key: record(key),
            query,
            content_type: content_type.map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap()),
            body: Bytes::copy_from_slice(body),
            remaining: 1,
            config: Arc::clone(&self.config),
            now: self.clock.now(),
        })
    }

    /// Status and body of the answer to a request.
    fn ask(&self, key: &str, line: &str, headers: &str, body: &[u8]) -> (u16, Value) {
        let (status, text) = match self.tell(key, line, headers, body) {
            Ok(told) => (200, told.body),
            Err(Refusal::Error(error)) => (error.status, error.body(self.clock.unix())),
            Err(Refusal::Rejection(rejection)) => {
                (rejection.row().status, rejection.body(ErrorShape::Safecache).into_owned())
            }
        };
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The 200 to a POST of JSON by acme's key.
    #[track_caller]
    fn post(&self, line: &str, body: &Value) -> Value {
        self.post_as("acme", line, body)
    }

    #[track_caller]
    fn post_as(&self, key: &str, line: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(key, line, JSON, body.to_string().as_bytes());
        assert_eq!(status, 200, "{line} {body}: {answer}");
        answer
    }

    /// The 200 to a request of acme's without body.
    #[track_caller]
    fn get(&self, line: &str) -> Value {
        let (status, answer) = self.ask("acme", line, "", b"");
        assert_eq!(status, 200, "{line}: {answer}");
        answer
    }

    /// The answer that a check finds.
    #[track_caller]
    fn found(&self, key: &str, body: &Value) -> Option<String> {
        let answer = self.post_as(key, CHECK, body);
        assert_eq!(answer["cache_hit"], json!(answer["answer"].is_string()));
        answer["answer"].as_str().map(str::to_owned)
    }

    /// The error that a POST of `body` by acme's key is refused with: status, code and message, and field, expected and
    /// received.
    #[track_caller]
    fn refused(&self, line: &str, body: &str) -> (u16, String, String, [String; 3]) {
        let (status, answer) = self.ask("acme", line, JSON, body.as_bytes());
        error(status, &answer)
    }

    /// A body is refused with a 400 about one member, in the usual words.
    #[track_caller]
    fn wrong(&self, line: &str, body: &str, [field, expected, received]: [&str; 3]) {
        let message = format!("Invalid {field}: expected {expected}, received {received}");
        let details = [field, expected, received].map(str::to_owned);
        assert_eq!(self.refused(line, body), (400, "INVALID_INPUT".to_owned(), message, details), "{body}");
    }

    fn advance(&self, seconds: u64) {
        self.moved.advance(Duration::from_secs(seconds));
    }

    /// Puts an answer of an upstream.
    fn put_proxied(&self, number: u8, account: Option<&str>, model: Option<&str>) {
        let new = NewProxied {
            slot: Slot { key: EntryKey::from_bytes([number; 32]), form: AnswerForm::Json },
            account: account.map(AccountId::new),
            route: "/v1/*".into(),
            model: model.map(Into::into),
            created_at: self.clock.unix(),
            expires_at: self.clock.unix().saturating_add(Duration::from_secs(3600)),
            payload: b"payload".to_vec(),
        };
        let put = self.store.put_proxied(vec![new], ByteSize::mib(1));
        assert_eq!(self.runtime.block_on(put), Ok(vec![]));
    }

    /// Deletes every proxied answer; how many there were.
    fn purge_all(&self) -> u64 {
        self.runtime.block_on(self.store.purge_proxied(Purge::All)).expect("a purge").len() as u64
    }
}

/// The record of a key: `acme` and `globex` of the accounts so named, `bound` of acme for models `gpt-4o*`.
fn record(key: &str) -> Arc<KeyRecord> {
    let (account, models): (_, &[_]) = match key {
        "bound" => ("acme", &["gpt-4o*"]),
        account => (account, &[]),
    };
    let many = NonZeroU32::new(60).unwrap();
    let plan = Plan::new(PlanName::new("free"), many, many, Per::Key).unwrap();
    let plan = Arc::new(plan.with_stored_bytes(ByteSize::bytes(QUOTA)));
    let allowed_models = models.iter().map(|pattern| ModelGlob::new(pattern).unwrap()).collect();
    let entry = KeyEntry {
        id: KeyId::new(key),
        account: AccountId::new(account),
        plan: PlanName::new("free"),
        digest: [0; 32],
        options: KeyOptions { allowed_models, ..KeyOptions::default() },
    };
    Arc::new(KeyRecord::new(Source::List, entry, plan, None))
}

/// The parts of an error, whose form is looked at.
#[track_caller]
fn error(status: u16, answer: &Value) -> (u16, String, String, [String; 3]) {
    assert!(400 <= status, "{answer}");
    assert_eq!(answer["status"], json!(status), "{answer}");
    assert!(answer["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{answer}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let error = &answer["error"];
    let details = ["field", "expected", "received"].map(|name| text(&error["details"][name]));
    (status, text(&error["code"]), text(&error["message"]), details)
}

/// Messages that ask `text`.
fn asking(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// A body for store.
fn answering(text: &str, answer: &str) -> Value {
    json!({"messages": asking(text), "answer": answer})
}

/// The same with members more.
fn with(mut body: Value, more: Value) -> Value {
    let (Value::Object(members), Value::Object(more)) = (&mut body, more) else { panic!("two objects") };
    members.extend(more);
    body
}

#[test]
fn only_the_calls_are_there() {
    let scene = Scene::new();
    for (line, status) in [
        ("GET /api/v1/check", 405),
        ("PUT /api/v1/store", 405),
        ("POST /api/v1/cache", 405),
        ("GET /api/v1/cache/00", 405),
        ("GET /api/v1/", 404),
        ("GET /api/v1/caches", 404),
        ("DELETE /api/v1/cache/", 404),
        ("DELETE /api/v1/cache/a/b", 404),
    ] {
        assert_eq!(scene.ask("acme", line, JSON, b"{}").0, status, "{line}");
    }
    assert_eq!(scene.get("HEAD /api/v1/cache")["entries"], json!([]));
}
