//! Faults at random under mixed load: killed, told to end, reloaded, handed over, with servers that come and go; and a
//! wall clock that jumps. The contract holds meanwhile, and afterwards nothing is left of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use safecache::clock::{Clock, UnixTime};
use tempfile::TempDir;

use crate::support::client::{Answer, Client, eventually};
use crate::support::gateway::{Gateway, START, key, secret};
use crate::support::over::Over;
use crate::support::process::{Process, safecache, write_config};
use crate::support::turn::turn;
use crate::support::upstream::{Exchange, Request, Upstream};

/// Faults of an ordinary run; a soak goes on for [`SOAK`].
const FAULTS: usize = 12;
const SOAK: Duration = Duration::from_secs(600);

/// Clients at once.
const CLIENTS: usize = 8;

/// Requests between two faults, at least.
const BETWEEN: usize = 60;

fn is_soak() -> bool {
    std::env::var_os("SAFECACHE_SOAK").is_some()
}

fn seed() -> u64 {
    std::env::var_os("SAFECACHE_SEED").and_then(|seed| seed.to_str()?.parse().ok()).unwrap_or(1)
}

/// What a client asks: its number comes back in the answer, so that an answer that is another's shows.
fn question(number: usize) -> String {
    format!(
        r#"{{"model":"m","messages":["<{number}>"]{}}}"#,
        if is_stream(number) { r#","stream":true"# } else { "" }
    )
}

fn is_stream(number: usize) -> bool {
    number % 3 == 1
}

/// The number in a text, between angle brackets.
fn number_in(text: &str) -> Option<usize> {
    text.split_once('<')?.1.split_once('>')?.0.parse().ok()
}

fn content(number: usize) -> String {
    format!("<{number}>{}", "x".repeat(number * 31 % 20_000))
}

/// Answers what was asked; now and then a server fails, in one of the ways in which servers do.
fn answer(request: &Request, exchange: &mut Exchange) {
    let Some(number) = number_in(&String::from_utf8_lossy(&request.body)) else {
        return exchange.json("{\"models\":[]}");
    };
    match number % 101 {
        5 => return exchange.reset(),
        11 => return exchange.close(),
        17 => return exchange.answer("503 Service Unavailable", "application/json", "{}"),
        _ => {}
    }
    if !is_stream(number) {
        let text = content(number);
        return exchange.json(&format!(
            "{{\"choices\":[{{\"index\":0,\"message\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}"
        ));
    }
    exchange.begin("text/event-stream");
    for piece in content(number).as_bytes().chunks(4096) {
        let text = String::from_utf8_lossy(piece);
        exchange.chunk(format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
        ));
    }
    exchange.chunk(
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    exchange.chunk("");
}

/// A gateway before `upstreams`, with the `first` lines.
fn config(upstreams: &[Upstream], first: &str) -> String {
    let urls: Vec<_> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    format!(
        "{first}upstreams: {{llm: {{servers: [{}]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         plans: {{many: {{requests_per_minute: 60000000, burst: 1000000}}}}\n\
         limits: {{auth_failures: off}}\nkeys:\n{}",
        urls.join(", "),
        key("one", "plan: many")
    )
}

/// What may go wrong for a client now.
#[derive(Default)]
struct Weather {
    /// How many times the process has been killed or told to end, and has come back: odd while it is away.
    storms: AtomicUsize,
    /// The same of kills alone.
    kills: AtomicUsize,
    asked: AtomicUsize,
    is_over: AtomicBool,
}

/// How a request went.
enum Went {
    Answered(Answer),
    /// The connection ended within the answer, or was reset.
    Torn,
    /// There was no answer at all.
    Unanswered,
}

fn ask(address: SocketAddr, client: &mut Option<Client>, number: usize) -> Went {
    let Some(mut open) = client.take().or_else(|| Client::try_connect(address)) else {
        return Went::Unanswered;
    };
    let body = question(number / 2);
    let (line, key) = match number % 5 {
        4 => ("GET /v1/models".to_owned(), secret("one")),
        3 => ("POST /v1/chat/completions".to_owned(), "nobody".to_owned()),
        2 => ("POST /v1/others".to_owned(), secret("one")),
        _ => ("POST /v1/chat/completions".to_owned(), secret("one")),
    };
    let body = if line.starts_with("GET") { "" } else { &body };
    let head = format!(
        "{line} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    if !open.try_send(head) {
        return Went::Unanswered;
    }
    let Some(mut answer) = open.try_head() else { return Went::Unanswered };
    open.body_of(&mut answer);
    if !answer.is_whole {
        return Went::Torn;
    }
    if answer.header("connection") != Some("close") {
        *client = Some(open);
    }
    Went::Answered(answer)
}

/// Holds an answer to what was asked.
#[track_caller]
fn check(number: usize, answer: &Answer) {
    let text = answer.text();
    match (number % 5, answer.status) {
        (3, 401) => assert!(text.contains("Invalid API key"), "{answer:?}"),
        (4, 200) => assert_eq!(text, "{\"models\":[]}"),
        (0..=2, 200) => {
            assert_eq!(number_in(&text), Some(number / 2), "another's answer to {number}: {answer:?}");
            let length = text.matches('x').count();
            // Of `index` and `message` there is none in a stream's or an answer's own words but this.
            let own = text.matches("index").count();
            assert_eq!(length - own, number / 2 * 31 % 20_000, "{number}: {answer:?}");
        }
        // The server failed, or rests because it did.
        (0..=2 | 4, 502..=504) => {}
        _ => panic!("{number}: {answer:?}"),
    }
}

impl Weather {
    /// Asks until it is over. What fails must have a storm to blame.
    fn clients_turn(&self, address: SocketAddr) {
        let mut client = None;
        while !self.is_over.load(Ordering::SeqCst) {
            let storms = [&self.storms, &self.kills].map(|count| count.load(Ordering::SeqCst));
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            let went = ask(address, &mut client, number);
            let [stormed, killed] = [(&self.storms, storms[0]), (&self.kills, storms[1])]
                .map(|(count, before)| before % 2 == 1 || count.load(Ordering::SeqCst) != before);
            match went {
                Went::Answered(answer) => check(number, &answer),
                Went::Torn => assert!(killed, "{number} was torn, and nobody killed the process"),
                Went::Unanswered if stormed => client = None,
                Went::Unanswered => panic!("{number} was not answered, and the process was there"),
            }
        }
    }

    fn more_is_asked(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        eventually("more is asked", || self.asked.load(Ordering::SeqCst) > before + BETWEEN);
    }

    fn change(&self, counts: &[&AtomicUsize]) {
        for count in counts {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// kill -9, and a start.
    Kill,
    /// TERM, and a start.
    Term,
    /// HUP, with one more key in the configuration.
    Reload,
    /// QUIT, and another process that takes over.
    HandOver,
}

const ALL: [Fault; 4] = [Fault::Kill, Fault::Term, Fault::Reload, Fault::HandOver];

/// The process that they befall, one after another.
struct Victim<'a> {
    process: Process,
    folder: &'a Path,
    weather: &'a Weather,
    /// How many reloads this process has seen.
    reloads: usize,
}

impl Victim<'_> {
    fn suffer(&mut self, fault: Fault, config: &str) {
        let (storms, kills) = (&self.weather.storms, &self.weather.kills);
        match fault {
            Fault::Kill => self.restart(Signal::KILL, &[storms, kills]),
            Fault::Term => self.restart(Signal::TERM, &[storms]),
            Fault::Reload => {
                self.reloads += 1;
                write_config(self.folder, &(config.to_owned() + &key(&format!("more-{}", self.reloads), "")));
                self.process.signal(Signal::HUP);
                self.process.stderr().wait_for(&format!("generation {}: 2 keys", self.reloads + 1));
            }
            Fault::HandOver => {
                let next = Process::start(safecache(self.folder).args(["serve", "--upgrade"]));
                next.stderr().wait_for("to be told QUIT");
                self.process.signal(Signal::QUIT);
                next.stderr().wait_for("admin: ");
                self.replace(next, Some(0));
            }
        }
    }

    /// Ends the process and starts another; what clients lose meanwhile is counted by `counts`.
    fn restart(&mut self, signal: Signal, counts: &[&AtomicUsize]) {
        self.weather.change(counts);
        self.process.signal(signal);
        eventually("it ends", || !self.process.is_running());
        self.replace(serve(self.folder), (signal != Signal::KILL).then_some(0));
        self.weather.change(counts);
    }

    fn replace(&mut self, next: Process, code: Option<i32>) {
        let old = std::mem::replace(&mut self.process, next).wait();
        assert_eq!(old.code, code, "{}", old.stderr);
        assert!(!old.stderr.contains("panicked"), "{}", old.stderr);
        // The last line of one that was killed may be cut.
        let (lines, _) = old.stdout.rsplit_once('\n').unwrap_or_default();
        for line in lines.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
        self.reloads = 0;
    }
}

fn serve(folder: &Path) -> Process {
    let process = Process::start(safecache(folder).arg("serve"));
    process.stderr().wait_for("admin: ");
    process
}

/// On an address of its own, so that nobody takes its ports while it is away.
const OWN: &str = "listen: 127.0.0.77:0\nadmin: {listen: \"127.0.0.77:0\"}\n";

#[test]
fn faults_at_random_tear_nothing_that_they_may_not() {
    let _turn = turn();
    let seed = seed();
    let mut dice = fastrand::Rng::with_seed(seed);
    let is_down = Arc::new(AtomicBool::new(false));
    let goes = Arc::clone(&is_down);
    let flapping = Upstream::start(move |request, exchange| {
        if goes.load(Ordering::SeqCst) { exchange.reset() } else { answer(request, exchange) }
    });
    let upstreams = [Upstream::start(answer), flapping];
    let folder = TempDir::new().expect("a temporary folder");
    let first = Process::serve(folder.path(), &config(&upstreams, OWN));
    let (gateway, admin) = (first.gateway(), first.admin());
    assert_eq!(first.end(Signal::TERM).code, Some(0));
    let config = config(&upstreams, &format!("listen: {gateway}\nadmin: {{listen: \"{admin}\"}}\n"));
    write_config(folder.path(), &config);
    let weather = Weather::default();
    let process = serve(folder.path());
    let mut victim = Victim { process, folder: folder.path(), weather: &weather, reloads: 0 };
    let clock = Clock::system();
    let begun = clock.monotonic();
    let goes_on = |faults: usize| {
        if is_soak() { clock.monotonic().saturating_since(begun) < SOAK } else { faults < FAULTS }
    };
    let mut faults = 0;
    std::thread::scope(|scope| {
        let _over = Over(&weather.is_over);
        for _ in 0..CLIENTS {
            scope.spawn(|| weather.clients_turn(gateway));
        }
        while goes_on(faults) {
            weather.more_is_asked();
            // Each at least once, whatever the dice say.
            let fault = ALL.get(faults).copied().unwrap_or_else(|| ALL[dice.usize(..ALL.len())]);
            is_down.store(dice.bool(), Ordering::SeqCst);
            println!("seed {seed}, fault {faults}: {fault:?}");
            victim.suffer(fault, &config);
            faults += 1;
        }
        weather.more_is_asked();
    });
    let asked = weather.asked.load(Ordering::SeqCst);
    println!("measured faults at random: seed {seed}, {faults} faults, {asked} requests");
    let process = victim.process;
    for gauge in ["safecache_in_flight_requests", "safecache_connections", "safecache_buffer_bytes"] {
        eventually("nothing is left of it", || process.metric(gauge) == 0.0);
    }
    assert_eq!(process.ask_admin("/readyz").status, 200);
    assert_eq!(process.end(Signal::TERM).code, Some(0));
}

#[test]
fn a_wall_clock_that_jumps_changes_no_limit_and_no_age() {
    const HOUR: Duration = Duration::from_secs(3600);
    let upstream = Upstream::json(
        "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}",
    );
    let gateway = Gateway::start(&format!(
        "plans: {{small: {{requests_per_minute: 1, burst: 8}}}}\n\
         limits: {{auth_failures: 2}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 30m}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "plan: small")
    ));
    let mut client = gateway.connect();
    let ask = |client: &mut Client| client.post("/v1/chat/completions", &secret("one"), "{\"messages\":[]}");
    assert_eq!(ask(&mut client).header("x-cache"), Some("MISS"));
    let refused = |client: &mut Client| client.get("/v1/models", "nobody").status;
    assert_eq!([refused(&mut client), refused(&mut client), refused(&mut client)], [401, 401, 429]);
    let early = UnixTime::from_secs(START.as_secs() - HOUR.as_secs());
    for (jump, level) in [(START.saturating_add(HOUR), 6), (early, 5), (START, 4)] {
        gateway.clock.set_unix(jump);
        gateway.clock.advance(Duration::from_secs(1));
        let answer = ask(&mut client);
        assert_eq!(answer.header("x-cache"), Some("HIT"), "{answer:?}");
        assert_eq!(answer.header("age"), Some((7 - level).to_string().as_str()));
        assert!(
            answer.header("ratelimit").is_some_and(|told| told.contains(&format!("r={level};"))),
            "{answer:?}"
        );
        assert_eq!(refused(&mut client), 429);
    }
    for _ in 0..4 {
        assert_eq!(ask(&mut client).status, 200);
    }
    gateway.clock.set_unix(START.saturating_add(HOUR));
    let refused = ask(&mut client);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("57")), "{refused:?}");
    gateway.clock.set_unix(early);
    gateway.clock.advance(Duration::from_secs(57));
    assert_eq!(ask(&mut client).status, 200);
    assert_eq!(ask(&mut client).status, 429);
}
