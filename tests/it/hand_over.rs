//! One process takes another's place (contract §1 and §7): QUIT, and `serve --upgrade`.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Answer, Client, DEADLINE, eventually};
use crate::support::gateway::{key, secret, sha256};
use crate::support::h2::{Frame, H2, HasBody, Stream};
use crate::support::over::Over;
use crate::support::process::{Ended, Process, safecache, write_config};
use crate::support::tls::{Authority, GATEWAY};
use crate::support::turn::turn;
use crate::support::upstream::{Opener, Upstream, gate};

/// The first event of a stream, and its last.
const FIRST: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
const LAST: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;

fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

/// A gateway before `upstream`; the key `few` has a burst of 100 and next to no rate.
fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        "plans: {{few: {{requests_per_minute: 1, burst: 100}}, \
                  many: {{requests_per_minute: 60000, burst: 1000000}}}}\n\
         limits: {{auth_failures: off, head: {{timeout: 1h}}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n{more}\nkeys:\n{}{}",
        upstream.url(),
        key("few", "plan: few"),
        key("many", "plan: many")
    )
}

/// An upstream that answers at once, but streams to their end only when the gate opens.
fn upstream() -> (Upstream, Opener) {
    let (wait, open) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if !request.line.contains("stream") {
            return exchange.json(ANSWER);
        }
        exchange.begin("text/event-stream");
        exchange.chunk(FIRST);
        wait.wait();
        exchange.chunk(LAST);
        exchange.chunk("");
    });
    (upstream, open)
}

/// Begins a request, so that its connection is not idle however long the test takes.
fn begin_head(client: &mut Client) {
    client.send("GET /v1/models HTTP/1.1\r\nHost: gateway\r\n");
}

fn end_head(client: &mut Client, key: &str) -> Answer {
    client.send(format!("Authorization: Bearer {key}\r\n\r\n")).answer()
}

/// Starts the process that is to take over, up to where it waits for the old one to be told.
fn next(folder: &Path) -> Process {
    let next = Process::start(safecache(folder).args(["serve", "--upgrade"]));
    next.stderr().wait_for("to be told QUIT");
    next
}

/// Has the next process take over.
fn hand_over(old: &mut Process, folder: &Path) -> Process {
    let next = next(folder);
    old.signal(Signal::QUIT);
    next.stderr().wait_for("admin: ");
    old.stderr().wait_for("a new process serves");
    assert_eq!(next.gateway(), old.gateway());
    assert_eq!(next.admin(), old.admin());
    next
}

#[track_caller]
fn ended_well(ended: &Ended) {
    assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended:?}");
}

/// What is left in the bucket after the request with this answer.
#[track_caller]
fn level(answer: &Answer) -> u32 {
    let told = answer.header("ratelimit").unwrap_or_else(|| panic!("no limit in {answer:?}"));
    let (_, level) = told.split_once("r=").expect("a level");
    level.split(';').next().and_then(|level| level.parse().ok()).expect("a number")
}

/// A client that asks all that there is to ask, one request after another, and connects anew when it is told to.
struct Asking {
    gateway: std::net::SocketAddr,
    client: Option<Client>,
}

impl Asking {
    /// Asks, and says whether a known key did.
    fn ask(&mut self, number: usize) -> bool {
        let key = secret("many");
        let mut client = self.client.take().unwrap_or_else(|| Client::connect(self.gateway));
        let fresh = format!(r#"{{"model":"m","messages":[{number}]}}"#);
        let (answer, status) = match number % 4 {
            0 => (client.post("/v1/chat/completions", &key, &fresh), 200),
            1 => (client.post("/v1/chat/completions", &key, r#"{"model":"m","messages":[]}"#), 200),
            2 => (client.get("/v1/models", &key), 200),
            _ => (client.get("/v1/models", "nobody"), 401),
        };
        assert_eq!((answer.status, answer.is_whole), (status, true), "{answer:?}");
        let stays = answer.header("connection") != Some("close");
        self.client = stays.then_some(client);
        status == 200
    }
}

/// Begins a stream and reads its first event.
fn begin_stream(process: &Process, number: usize) -> Client {
    let mut client = process.connect();
    let path = if number.is_multiple_of(2) { "/v1/stream/chat/completions" } else { "/v1/stream/other" };
    let body = format!(r#"{{"model":"m","stream":true,"messages":[{number}]}}"#);
    client.request(&format!("POST {path}"), &secret("many"), "", body.as_bytes());
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().as_deref(), Some(FIRST.as_bytes()));
    client
}

#[test]
fn no_request_and_no_stream_fails() {
    const REQUESTS: usize = 10_000;
    const STREAMS: usize = 50;
    const ASKING: usize = 8;
    let _turn = turn();
    let (upstream, open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let (gateway, admin) = (old.gateway(), old.admin());
    let mut streams: Vec<_> = (0..STREAMS).map(|number| begin_stream(&old, number)).collect();
    let (asked, is_over, known) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(STREAMS));
    // Ends all the others, whatever this one comes to.
    let goes_on = |number| number < REQUESTS || !is_over.load(Ordering::SeqCst);
    let new = std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..ASKING {
            scope.spawn(|| {
                let mut asking = Asking { gateway, client: None };
                let numbers = std::iter::repeat_with(|| asked.fetch_add(1, Ordering::SeqCst));
                let by_known =
                    numbers.take_while(|number| goes_on(*number)).filter(|number| asking.ask(*number));
                known.fetch_add(by_known.count(), Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let ready = Client::connect(admin)
                    .send("GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
                    .answer();
                assert_eq!(ready.status, 200);
            }
        });
        eventually("a third has been asked", || asked.load(Ordering::SeqCst) > REQUESTS / 3);
        let new = hand_over(&mut old, folder.path());
        let at_least = asked.load(Ordering::SeqCst) + REQUESTS / 3;
        eventually("more is asked", || asked.load(Ordering::SeqCst) > at_least);
        new
    });
    for _ in 0..STREAMS {
        open.open();
    }
    for stream in &mut streams {
        assert_eq!(stream.chunk().as_deref(), Some(LAST.as_bytes()));
        assert_eq!(stream.chunk().as_deref(), Some(&b""[..]), "it ends cleanly");
    }
    let old = old.wait();
    ended_well(&old);
    new.stderr().wait_for("the gateway before this one has ended");
    let usage = new.connect().get("/api/v1/usage", &secret("many")).json();
    assert_eq!(usage["totals"]["requests"], known.into_inner(), "both count: {usage}");
    let new = new.end(Signal::TERM);
    ended_well(&new);
    // Each thread took one number too many.
    let asked = asked.into_inner() - ASKING;
    let [by_old, by_new] = [&old, &new].map(|ended| ended.stdout.lines().count());
    println!("{asked} requests and {STREAMS} streams: {by_old} by the old process, {by_new} by the new one");
    assert_eq!(by_old + by_new, asked + STREAMS + 1, "each is told once, and who asked for the usage");
    assert!(by_old > REQUESTS / 4 && by_new > REQUESTS / 4, "{by_old} and {by_new}");
}

#[test]
fn a_key_has_one_bucket_across_the_hand_over() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let few = secret("few");
    let mut kept: Vec<_> = (0..30).map(|_| old.connect()).collect();
    let mut levels: Vec<_> = kept.iter_mut().map(|client| level(&client.get("/v1/models", &few))).collect();
    kept.iter_mut().for_each(begin_head);
    let new = hand_over(&mut old, folder.path());
    let mut fresh = new.connect();
    for client in &mut kept {
        let answer = end_head(client, &few);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
        levels.extend([level(&answer), level(&fresh.get("/v1/models", &few))]);
    }
    // Refilled by one a minute, if the machine is that slow.
    let expected: Vec<_> = (10..100).rev().collect();
    assert!(levels.iter().zip(&expected).all(|(level, due)| level - due <= 1), "{levels:?}");
    let passed = (0..20).filter(|_| fresh.get("/v1/models", &few).status == 200).count();
    assert!((10..=11).contains(&passed), "{passed} of ten");
    ended_well(&old.wait());
    ended_well(&new.end(Signal::TERM));
}

#[test]
fn a_chain_of_hand_overs_keeps_the_bucket() {
    let (upstream, open) = upstream();
    let folder = folder();
    let mut first = Process::serve(folder.path(), &config(&upstream, ""));
    let few = secret("few");
    let mut kept = first.connect();
    assert_eq!(level(&kept.get("/v1/models", &few)), 99);
    begin_head(&mut kept);
    // What keeps the first process here.
    let mut stream = begin_stream(&first, 0);
    let mut second = hand_over(&mut first, folder.path());
    let mut of_second = second.connect();
    assert_eq!(level(&of_second.get("/v1/models", &few)), 98);
    begin_head(&mut of_second);
    let third = hand_over(&mut second, folder.path());
    let mut of_third = third.connect();
    begin_head(&mut of_third);
    let levels = [&mut kept, &mut of_second, &mut of_third].map(|client| level(&end_head(client, &few)));
    assert_eq!(levels, [97, 96, 95], "one bucket, wherever it is asked for");
    open.open();
    assert_eq!(stream.chunk().as_deref(), Some(LAST.as_bytes()));
    ended_well(&first.wait());
    ended_well(&second.wait());
    ended_well(&third.end(Signal::TERM));
}

#[test]
fn a_connection_over_http2_ends_its_stream_and_is_told_to_come_back() {
    let (upstream, open) = upstream();
    let folder = folder();
    let authority = Authority::new();
    authority.identity(GATEWAY).write(folder.path());
    let listen = "listen: [{address: \"127.0.0.1:0\", tls: {cert: cert.pem, key: key.pem}}]";
    let mut old = Process::serve(folder.path(), &config(&upstream, listen));
    let mut client = H2::connect(old.gateway(), &authority);
    let key = secret("many");
    let mut stream = client.open(H2::request("POST /v1/stream/other", &key, &[]), HasBody::Yes);
    assert!(client.send(&mut stream, br#"{"stream":true}"#));
    assert_eq!(client.head(&mut stream).expect("an answer").status, 200);
    reads(&client, &mut stream, FIRST);
    assert!(client.is_open());
    let new = hand_over(&mut old, folder.path());
    eventually("it is told to go elsewhere", || !client.is_open());
    open.open();
    reads(&client, &mut stream, LAST);
    assert!(matches!(client.frame(&mut stream), Frame::End));
    ended_well(&old.wait());
    let mut again = H2::connect(new.gateway(), &authority);
    let mut stream = again.open(H2::request("GET /v1/models", &key, &[]), HasBody::No);
    assert_eq!(again.head(&mut stream).expect("an answer").status, 200);
    ended_well(&new.end(Signal::TERM));
}

fn reads(client: &H2, stream: &mut Stream, expected: &str) {
    let mut text = Vec::new();
    while text.len() < expected.len() {
        let Frame::Data(data) = client.frame(stream) else { panic!("it ended after {text:?}") };
        text.extend(data);
    }
    assert_eq!(text, expected.as_bytes());
}

#[test]
fn one_that_fails_on_its_way_changes_nothing() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let few = secret("few");
    let mut client = old.connect();
    assert_eq!(level(&client.get("/v1/models", &few)), 99);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("its address");
    write_config(folder.path(), &config(&upstream, &format!("listen: [\"127.0.0.1:0\", \"{taken}\"]")));
    let failing = next(folder.path());
    old.signal(Signal::QUIT);
    let failed = failing.wait();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains(&format!("cannot listen on {taken}: ")), "{failed:?}");
    old.stderr().wait_for("not handed over: the new process did not get ready");
    assert_eq!(level(&client.get("/v1/models", &few)), 98);
    let second = Process::run(folder.path(), &["serve"], "");
    let named = format!("process {}", old.id());
    assert!(second.stderr.contains(&named), "{named} has the folder: {second:?}");
    // And it can still be handed over.
    write_config(folder.path(), &config(&upstream, ""));
    let new = hand_over(&mut old, folder.path());
    assert_eq!(level(&new.connect().get("/v1/models", &few)), 97);
    drop(client);
    ended_well(&old.wait());
    ended_well(&new.end(Signal::TERM));
}

/// The test in the place of a process: what it says, and what it hears.
struct Talk(UnixStream);

impl Talk {
    fn with(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Self(stream)
    }

    /// Comes to the meeting point of the gateway in `folder`.
    fn meet(folder: &Path) -> Self {
        let mut met = None;
        eventually("the old process waits", || {
            met = UnixStream::connect(folder.join("data/hand-over")).ok();
            met.is_some()
        });
        Self::with(met.expect("it waits"))
    }

    fn say(&mut self, message: &Value) {
        let body = message.to_string();
        let length = u32::try_from(body.len()).expect("a short message").to_be_bytes();
        self.0.write_all(&[&length[..], body.as_bytes()].concat()).expect("the gateway listens");
    }

    fn hear(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("a message");
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).expect("a message");
        serde_json::from_slice(&body).expect("JSON")
    }

    /// Hears the offer; handles come as a byte each.
    fn hear_offer(&mut self) {
        let offer = self.hear();
        let sockets = offer["Offer"]["sockets"].as_array().expect("an offer").len();
        self.0.read_exact(&mut vec![0; sockets + 1]).expect("the handles of sockets and lock");
    }
}

#[test]
fn the_buckets_come_back_from_one_that_goes_away() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let few = secret("few");
    let mut client = old.connect();
    let mut due = 99;
    assert_eq!(level(&client.get("/v1/models", &few)), due);
    for (tries, said) in [vec![], vec![json!("Ready")], vec![json!("Ready"), json!("Ready")], vec![json!(17)]]
        .into_iter()
        .enumerate()
    {
        old.signal(Signal::QUIT);
        let mut talk = Talk::meet(folder.path());
        talk.hear_offer();
        for message in &said {
            talk.say(message);
        }
        if said.len() == 1 && said[0] == json!("Ready") {
            let told = talk.hear();
            assert_eq!(told["Levels"][0]["owner"], json!({"Key": "few"}));
            assert_eq!(talk.hear(), json!("LevelsEnd"));
            // Who asks now waits for what becomes of the buckets.
            client.request("GET /v1/models", &few, "", b"");
            assert_eq!(old.connect().get("/v1/models", "nobody").status, 401, "others do not");
            drop(talk);
            due -= 1;
            assert_eq!(level(&client.answer()), due);
        } else {
            drop(talk);
        }
        let failures = || old.stderr().text().matches("not handed over: ").count();
        eventually("it goes on", || failures() == tries + 1);
        due -= 1;
        assert_eq!(level(&client.get("/v1/models", &few)), due);
    }
    assert_eq!(old.ask_admin("/readyz").status, 200);
    ended_well(&old.end(Signal::TERM));
}

#[test]
fn without_an_answer_from_the_new_process_nothing_passes() {
    let (upstream, open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let few = secret("few");
    let [mut client, mut other] = [old.connect(), old.connect()];
    for client in [&mut client, &mut other] {
        client.get("/v1/models", &few);
    }
    let mut stream = begin_stream(&old, 0);
    old.signal(Signal::QUIT);
    let mut talk = Talk::meet(folder.path());
    talk.hear_offer();
    talk.say(&json!("Ready"));
    while talk.hear() != json!("LevelsEnd") {}
    talk.say(&json!("Loaded"));
    assert_eq!(talk.hear(), json!("Yours"));
    client.request("GET /v1/models", &few, "", b"");
    let asked = talk.hear();
    assert_eq!(asked["Charges"].as_array().map(Vec::len), Some(1), "{asked}");
    drop(talk);
    assert_eq!(client.answer().status, 503);
    assert_eq!(other.get("/v1/models", &few).status, 503);
    open.open();
    assert_eq!(stream.chunk().as_deref(), Some(LAST.as_bytes()), "what has passed goes on");
    ended_well(&old.wait());
}

#[test]
fn there_must_be_one_to_take_over_from() {
    let (upstream, _open) = upstream();
    let folder = folder();
    write_config(folder.path(), &config(&upstream, ""));
    let alone = Process::run(folder.path(), &["serve", "--upgrade"], "");
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert_eq!(alone.stderr.lines().count(), 1, "{alone:?}");
    assert!(alone.stderr.contains("start without --upgrade"), "{alone:?}");
}

#[test]
fn one_that_hands_over_in_another_form_is_refused() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let old = Process::serve(folder.path(), &config(&upstream, ""));
    let meeting = UnixListener::bind(folder.path().join("data/hand-over")).expect("a free path");
    let new = next(folder.path());
    let mut talk = Talk::with(meeting.accept().expect("it comes").0);
    talk.say(&json!({"Offer": {"version": 99, "sockets": []}}));
    let refused = new.wait();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("hands over in form 99, this one takes 1"), "{refused:?}");
    assert_eq!(old.connect().get("/v1/models", &secret("few")).status, 200);
    ended_well(&old.end(Signal::TERM));
}

#[test]
fn one_that_waits_for_the_next_serves_on_and_can_be_ended() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    old.signal(Signal::QUIT);
    old.stderr().wait_for("QUIT: waiting for a gateway that is started with --upgrade");
    // Told again, it still waits for one.
    old.signal(Signal::QUIT);
    assert_eq!(old.connect().get("/v1/models", &secret("few")).status, 200);
    assert_eq!(old.ask_admin("/readyz").status, 200);
    ended_well(&old.end(Signal::TERM));
    assert!(!folder.path().join("data/hand-over").exists(), "it leaves nothing");
}

#[test]
fn one_that_is_ended_while_it_waits_takes_over_from_nobody() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    for signal in [Signal::TERM, Signal::INT] {
        let ended = next(folder.path()).end(signal);
        assert_eq!(ended.signal, Some(signal.as_raw()), "{ended:?}");
    }
    assert_eq!(old.connect().get("/v1/models", &secret("few")).status, 200);
    let new = hand_over(&mut old, folder.path());
    ended_well(&old.wait());
    ended_well(&new.end(Signal::TERM));
}

#[test]
fn one_that_has_handed_over_drains_whether_it_is_told_to_or_not() {
    let (upstream, open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let mut stream = begin_stream(&old, 0);
    let new = hand_over(&mut old, folder.path());
    old.signal(Signal::TERM);
    old.stderr().wait_for("draining already");
    open.open();
    assert_eq!(stream.chunk().as_deref(), Some(LAST.as_bytes()));
    assert_eq!(stream.chunk().as_deref(), Some(&b""[..]));
    ended_well(&old.wait());
    ended_well(&new.end(Signal::TERM));
}

#[test]
fn a_head_that_has_begun_is_read_to_its_end() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let mut old = Process::serve(folder.path(), &config(&upstream, ""));
    let [mut half, mut idle] = [old.connect(), old.connect()];
    begin_head(&mut half);
    let new = hand_over(&mut old, folder.path());
    assert!(idle.is_closed(), "who says nothing for five seconds is not waited for");
    let answer = end_head(&mut half, &secret("few"));
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
    ended_well(&old.wait());
    ended_well(&new.end(Signal::TERM));
}

#[test]
fn one_stays_for_the_one_before_it() {
    let (upstream, open) = upstream();
    let folder = folder();
    let mut first = Process::serve(folder.path(), &config(&upstream, ""));
    let few = secret("few");
    let mut kept = first.connect();
    assert_eq!(level(&kept.get("/v1/models", &few)), 99);
    begin_head(&mut kept);
    let mut stream = begin_stream(&first, 0);
    let mut second = hand_over(&mut first, folder.path());
    let third = hand_over(&mut second, folder.path());
    // Nothing of its own is left to the second; the first asks it all the same.
    assert_eq!(level(&end_head(&mut kept, &few)), 98);
    open.open();
    assert_eq!(stream.chunk().as_deref(), Some(LAST.as_bytes()));
    ended_well(&first.wait());
    ended_well(&second.wait());
    ended_well(&third.end(Signal::TERM));
}

/// A list of many keys is read anew by the old process while it hands over; the new one follows it, too.
#[test]
fn a_reload_that_is_under_way_is_in_nobodys_way() {
    let (upstream, _open) = upstream();
    let folder = folder();
    let list = folder.path().join("keys.jsonl");
    let line = |id: &str| {
        format!(
            "{{\"id\":\"{id}\",\"account\":\"acme\",\"plan\":\"pro\",\"sha256\":\"{}\"}}\n",
            sha256(&secret(id))
        )
    };
    let mut keys: String = (0..50_000).map(|number| line(&format!("k{number}"))).collect();
    std::fs::write(&list, &keys).expect("a list");
    let mut old = Process::serve(folder.path(), &config(&upstream, "keys_file: keys.jsonl"));
    let next = next(folder.path());
    keys += &line("late");
    std::fs::write(&list, &keys).expect("a longer list");
    old.signal(Signal::HUP);
    old.signal(Signal::QUIT);
    next.stderr().wait_for("admin: ");
    old.stderr().wait_for("a new process serves");
    assert_eq!(next.connect().get("/v1/models", &secret("k49999")).status, 200);
    eventually("the new list is live", || next.connect().get("/v1/models", &secret("late")).status == 200);
    ended_well(&old.wait());
    ended_well(&next.end(Signal::TERM));
}
