//! What holds of every head that comes to the front door: the engine refuses it, or the gateway does, with a row of its
//! table and for a reason that is there; or it arrives at the upstream as one request in the strictest form, the one that
//! a second reader reads in the same bytes, and its client gets its answer. Whoever comes next gets their own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use safecache::clock::{Clock, UnixTime};
use safecache::config;
use safecache::outcome::rejection::Rejection;
use safecache::proxy::resolver;
use safecache::routing::route::ErrorShape;
use safecache::runtime::reload::Source;
use safecache::server::{Running, Start, start};
use tempfile::TempDir;

use super::head::{self, Body, Head, Reading};
use crate::support::client::{Answer, Client};
use crate::support::strict::{self, Whole};

/// Longest input: it comes in one piece, so that what follows a request is seen with it.
const MOST: usize = 2000;

/// What `limits.head.fields` is set to.
const FIELDS: usize = 32;

/// The two keys; the second is bound to models.
const KEYS: [&str; 2] = ["Bearer k", "Bearer m"];

/// A gateway and its upstream.
pub(crate) struct Door {
    running: Option<Running>,
    upstream: Recorder,
    /// The names of the fields of an answer to a plain request.
    names: Vec<String>,
    _folder: TempDir,
}

/// What a client is told.
#[derive(Debug)]
enum Told {
    /// Not a word.
    Nothing,
    /// The engine's own refusal.
    Bare,
    /// A refusal of the table; some rows may look the same.
    Refused(Vec<Rejection>),
    /// That the gateway is alive.
    Healthy,
    /// The upstream's answer of this number.
    Answer(usize),
}

impl Door {
    /// Starts both.
    pub(crate) fn open() -> Self {
        let upstream = Recorder::start();
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("gateway.yaml");
        let hash =
            |key: &str| data_encoding::HEXLOWER.encode(&safecache::auth::token::digest(key.as_bytes()));
        let yaml = format!(
            "listen: 127.0.0.1:0\nadmin: {{listen: \"127.0.0.1:0\"}}\ndata_dir: {}\nthreads: 1\n\
             trusted_proxies: [127.0.0.0/8]\nplans: {{ample: {{requests_per_minute: 6000000, burst: 100000000}}}}\n\
             limits: {{auth_failures: off, head: {{fields: {FIELDS}}}}}\n\
             upstreams: {{llm: {{servers: [\"http://{}\"], max_concurrent: 1, queue: {{length: 9, wait: 9s}}}}}}\n\
             routes:\n  - {{path: /p/*, upstream: llm}}\n  - {{path: /c/*, upstream: llm, cache: {{ttl: 1h, paths: [/x]}}}}\n\
             keys:\n  - {{id: k, account: acme, plan: ample, sha256: {}}}\n  \
             - {{id: m, account: acme, plan: ample, sha256: {}, allowed_models: [\"m*\"]}}\n",
            folder.path().join("data").display(),
            upstream.address,
            hash("k"),
            hash("m"),
        );
        std::fs::write(&path, yaml).expect("written");
        let config = config::load(&path, &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"));
        let running = start(Start {
            config,
            source: Source::File { path, env: BTreeMap::new() },
            clock: Clock::manual(UnixTime::from_secs(1_800_000_000)).0,
            lookup: resolver::system(),
            access: None,
            disk_wait: safecache::shelf::DISK_WAIT,
            redis_wait: safecache::cluster::link::ANSWER_WAIT,
            inherited: None,
        });
        let running = Some(running.unwrap_or_else(|error| panic!("{error:#}")));
        let mut door = Self { running, upstream, names: Vec::new(), _folder: folder };
        door.names = door.plain();
        door
    }

    fn connect(&self) -> Client {
        Client::connect(self.running.as_ref().expect("it runs").data_addresses()[0])
    }

    /// Sends `data` as a client's first bytes.
    pub(crate) fn check(&self, data: &[u8]) {
        let data = &data[..data.len().min(MOST)];
        let reading = head::read(data);
        let mut client = self.connect();
        client.try_send(data);
        if !matches!(&reading, Reading::Headed(Head { body: Body::Whole(_), .. })) {
            // There is nothing more to come. Who is owed an answer may not say so before it: that would be leaving.
            let _ = client.stream().shutdown(Shutdown::Write);
        }
        let told = hear(&mut client, data);
        let arrived = self.upstream.take();
        let context = || format!("{told:?}, {arrived:?} of {}", data.escape_ascii());
        match (arrived.as_slice(), &told) {
            ([], Told::Nothing) => assert!(may_stay_silent(&reading), "{}", context()),
            ([], Told::Bare) => assert!(!must_pass(&reading), "{}", context()),
            ([], Told::Refused(reasons)) => {
                let Reading::Headed(head) = &reading else { panic!("{}", context()) };
                assert!(reasons.iter().any(|reason| explains(*reason, head)), "{}", context());
            }
            ([], Told::Healthy) => {
                let Reading::Headed(head) = &reading else { panic!("{}", context()) };
                assert!(head.sent_target().starts_with("/healthz") && head.has("host"), "{}", context());
            }
            ([Ok(arrived)], Told::Answer(number)) => {
                let Reading::Headed(head) = &reading else { panic!("{}", context()) };
                assert_eq!(arrived.number, *number, "another's answer: {}", context());
                let Body::Whole(body) = &head.body else { panic!("{}", context()) };
                let line = format!("{} {}", head.method, head.sent_target());
                assert_eq!(arrived.whole, Whole { line, body: body.clone() }, "{}", context());
                assert_eq!(arrived.fields.sent_fields(), head.sent_fields(), "{}", context());
            }
            _ => panic!("{}", context()),
        }
        let may_have_begun = matches!(&reading, Reading::Headed(_));
        if may_have_begun && !matches!(told, Told::Refused(_) | Told::Bare | Told::Healthy) {
            assert_eq!(self.plain(), self.names, "{}", context());
        }
    }

    /// Sends another client's plain request, which gets its own answer; the names of its fields.
    fn plain(&self) -> Vec<String> {
        let mut client = self.connect();
        let answer = client.request("GET /p/plain", "k", "Accept: text/plain\r\n", b"").answer();
        let arrived = self.upstream.take();
        let [Ok(arrived)] = arrived.as_slice() else { panic!("a plain request arrived as {arrived:?}") };
        assert_eq!(arrived.whole, Whole { line: "GET /p/plain".to_owned(), body: Vec::new() });
        assert_eq!(answer.text(), format!("answer {}", arrived.number), "another's answer");
        assert_eq!(arrived.fields.sent_fields(), [("accept".to_owned(), b"text/plain".to_vec())]);
        answer.headers.into_iter().map(|(name, _)| name).collect()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

/// What a client hears until its connection ends: one answer at most, and nothing behind it.
fn hear(client: &mut Client, data: &[u8]) -> Told {
    let Some(mut answer) = client.try_head() else { return Told::Nothing };
    if answer.status == 100 {
        let Some(next) = client.try_head() else { return Told::Nothing };
        answer = next;
    }
    let is_for_head = data.trim_ascii_start().starts_with(b"HEAD ");
    if is_for_head && answer.header("x-request-id").is_some() {
        answer.is_whole = true;
    } else {
        client.body_of(&mut answer);
    }
    assert!(answer.is_whole, "an answer that breaks off: {answer:?}");
    let rest = client.rest();
    assert!(rest.is_empty(), "behind the answer: {}", rest.escape_ascii());
    told(&answer, if is_for_head { AnswerBody::LeftOut } else { AnswerBody::Sent })
}

/// What becomes of an answer's body: to HEAD it is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerBody {
    Sent,
    LeftOut,
}

fn told(answer: &Answer, sent: AnswerBody) -> Told {
    let Some(id) = answer.header("x-request-id") else {
        assert_eq!((answer.status, answer.body.as_slice()), (400, &b""[..]), "{answer:?}");
        return Told::Bare;
    };
    assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{answer:?}");
    let length: usize =
        answer.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
    let is_body = |body: &str| {
        body.len() == length
            && (answer.body == body.as_bytes() || sent == AnswerBody::LeftOut && answer.body.is_empty())
    };
    if let Some(number) = answer.header("x-number") {
        assert!(answer.status == 200 && is_body(&format!("answer {number}")), "{answer:?}");
        return Told::Answer(number.parse().expect("a number"));
    }
    if answer.status == 200 && is_body("ok\n") {
        return Told::Healthy;
    }
    let is_told = |rejection: &Rejection| {
        rejection.row().status == answer.status && is_body(&rejection.body(ErrorShape::Safecache))
    };
    let reasons: Vec<_> = Rejection::ALL.into_iter().filter(is_told).collect();
    assert!(!reasons.is_empty(), "not in the table: {answer:?}");
    Told::Refused(reasons)
}

/// True if nothing whole has come, so that there may be nothing to say.
fn may_stay_silent(reading: &Reading) -> bool {
    match reading {
        Reading::Nothing | Reading::Part => true,
        Reading::Headed(head) => !matches!(head.body, Body::Whole(_)),
        Reading::Unreadable => false,
    }
}

/// True for a request that nothing is wrong with.
fn must_pass(reading: &Reading) -> bool {
    let Reading::Headed(head) = reading else { return false };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_?=&".contains(byte);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let is_framing = |name: &str| matches!(name, "content-length" | "transfer-encoding");
    let is_usual = |name: &str| {
        matches!(name, "accept" | "content-type" | "authorization" | "host" | "x-a" | "user-agent")
    };
    let hosts = head.values("host");
    head.target.starts_with(b"/p/")
        && head.target.iter().all(is_plain)
        && !head.target.windows(2).any(|pair| pair == b"//")
        && matches!(head.method.as_str(), "GET" | "POST" | "PUT")
        && head.fields.len() <= FIELDS
        && head.fields.iter().all(|(name, _)| is_usual(name) || is_framing(name))
        && head.fields.iter().filter(|(name, _)| is_framing(name)).count() <= 1
        && hosts.len() == 1
        && hosts[0].iter().all(is_name)
        && !hosts[0].is_empty()
        && head.values("authorization") == [KEYS[0].as_bytes()]
        && matches!(head.body, Body::Whole(_))
}

/// True if the head, or what follows it, is what this refusal says.
fn explains(reason: Rejection, head: &Head) -> bool {
    let target = String::from_utf8_lossy(&head.target).into_owned();
    let sent = head.sent_target();
    let is_cached = sent.starts_with("/c/");
    let keys = [head.values("authorization"), head.values("x-api-key"), head.values("api-key")].concat();
    let has_no_key =
        !keys.iter().any(|key| KEYS.iter().any(|good| key.eq_ignore_ascii_case(good.as_bytes())));
    match reason {
        Rejection::MissingHost => !head.has("host"),
        Rejection::BadHost => head.has("host"),
        Rejection::AmbiguousLength => head.has("content-length") && head.has("transfer-encoding"),
        Rejection::BadLength => head.has("content-length") && head.body == Body::Broken,
        Rejection::UnknownCoding => head.has("transfer-encoding") && head.body == Body::Broken,
        Rejection::UnknownExpectation => head.has("expect"),
        Rejection::BadTarget => !target.is_ascii() || target.contains('#'),
        Rejection::AmbiguousPath => target.contains("//") || target.contains('.') || target.contains('%'),
        Rejection::BadForwardedFor => head.has("x-forwarded-for"),
        Rejection::HeadTooLarge => head.fields.len() > FIELDS,
        Rejection::MethodNotAllowed => ["trace", "connect"].contains(&head.method.to_lowercase().as_str()),
        Rejection::NoRoute => !is_cached && !sent.starts_with("/p/"),
        Rejection::MissingKey => keys.is_empty(),
        Rejection::MalformedKey => !keys.is_empty() && (has_no_key || keys.len() > 1),
        Rejection::InvalidKey => !keys.is_empty(),
        Rejection::BodyBroken => !matches!(head.body, Body::Whole(_)),
        Rejection::BodyTooLarge => head.has("content-length") && head.body == Body::Part,
        Rejection::DuplicateMember => matches!(&head.body, Body::Whole(body) if !body.is_empty()),
        Rejection::ModelDenied => keys.iter().any(|key| key.eq_ignore_ascii_case(KEYS[1].as_bytes())),
        Rejection::NotCached => is_cached && head.has("cache-control"),
        _ => false,
    }
}

/// A request as it arrived at the upstream.
#[derive(Clone, Debug)]
struct Arrived {
    whole: Whole,
    fields: Arc<Head>,
    number: usize,
}

/// An upstream that keeps every byte until it is a request in the strictest form, and answers with a number.
struct Recorder {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Result<Arrived, String>>>>,
    is_over: Arc<AtomicBool>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (all, over, numbers) =
            (Arc::clone(&arrived), Arc::clone(&is_over), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (all, numbers) = (Arc::clone(&all), Arc::clone(&numbers));
                std::thread::spawn(move || serve(stream, &all, &numbers));
            }
        });
        Self { address, arrived, is_over }
    }

    fn take(&self) -> Vec<Result<Arrived, String>> {
        std::mem::take(&mut *self.arrived.lock().expect("no line panicked"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<Vec<Result<Arrived, String>>>, numbers: &AtomicUsize) {
    let _ = stream.set_nodelay(true);
    let (mut came, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            return;
        }
        came.extend_from_slice(&buffer[..read]);
        let arrived = match strict::requests(&came) {
            Ok((wholes, _)) if wholes.is_empty() => continue,
            Ok((mut wholes, length)) if wholes.len() == 1 && length == came.len() => {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let Reading::Headed(fields) = head::read(&came) else { panic!("strict, but no head") };
                Ok(Arrived { whole: wholes.remove(0), fields: Arc::new(fields), number })
            }
            Ok(_) => Err(format!("more than one request: {}", came.escape_ascii())),
            Err(why) => Err(why),
        };
        came.clear();
        let answer = arrived.as_ref().map(answer_to);
        let answer = answer.map_err(Clone::clone);
        all.lock().expect("no line panicked").push(arrived);
        let Ok(answer) = answer else { return };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer_to(arrived: &Arrived) -> String {
    let number = arrived.number;
    let body = format!("answer {number}");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Number: {number}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if arrived.whole.line.starts_with("HEAD ") { head } else { head + &body }
}
