//! Starting and stopping, contract §7, on processes of their own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::{Client, eventually};
use crate::support::gateway::{key, secret};
use crate::support::process::{Ended, Process, safecache, write_config};
use crate::support::upstream::{Opener, Upstream, gate};

/// What contract §7 gives an idle process; tests allow ten times that.
const IDLE: Duration = Duration::from_secs(1);

fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n{more}\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    )
}

/// The first event of a stream.
const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";

/// A request for one.
const STREAMED: &[u8] = br#"{"model":"m","stream":true}"#;

/// An upstream whose streams have a first event at once and a second when the gate opens.
fn streaming() -> (Upstream, Opener) {
    let (wait, open) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if request.line.contains("silent") {
            return exchange.wait_for_close();
        }
        exchange.begin("text/event-stream");
        exchange.chunk(FIRST);
        wait.wait();
        exchange.chunk("data: [DONE]\n\n");
        exchange.chunk("");
    });
    (upstream, open)
}

/// Begins a stream on one of the two ways, and reads its first event.
fn begin_stream(process: &Process, path: &str) -> Client {
    let mut client = process.connect();
    client.request(&format!("POST {path}"), &secret("one"), "", STREAMED);
    assert_eq!(client.head().status, 200);
    assert!(client.chunk().as_deref() == Some(FIRST.as_bytes()));
    client
}

/// Two streams that have begun, one on each way, and a request on each that has no answer yet.
fn begin_all(process: &Process, upstream: &Upstream) -> [Client; 4] {
    let [cached, other] = ["/v1/chat/completions", "/v1/other"];
    let streams = [cached, other].map(|path| begin_stream(process, path));
    let silent = [cached, other].map(|path| {
        let mut client = process.connect();
        client.request(&format!("POST {path}?silent"), &secret("one"), "", STREAMED);
        client
    });
    upstream.wait_for(4);
    let mut all = streams.into_iter().chain(silent);
    std::array::from_fn(|_| all.next().unwrap())
}

/// The access log tells each of the four once, with what is known of it.
#[track_caller]
fn all_told(ended: &Ended) {
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by_key(|line| line["status"].as_u64());
    let ids: BTreeSet<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), ids.len()), (4, 4), "{}", ended.stdout);
    for (line, status) in lines.iter().zip([0, 0, 200, 200]) {
        let sent = if status == 200 { FIRST.len() } else { 0 };
        assert_eq!((&line["outcome"], &line["status"]), (&"internal_error".into(), &status.into()), "{line}");
        assert_eq!((&line["key"], &line["route"]), (&"one".into(), &"/v1/*".into()), "{line}");
        assert_eq!(line["bytes_received"], STREAMED.len(), "{line}");
        assert_eq!(line["bytes_sent"], sent, "{line}");
        assert!(line["duration_ms"].as_f64() > Some(0.0), "{line}");
        assert_eq!(line["upstream_first_byte_ms"].as_f64() > Some(0.0), status == 200, "{line}");
        let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().expect("a time");
        assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 60, "{line}");
    }
}

#[track_caller]
fn ended_well(ended: &Ended) {
    assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended:?}");
}

#[test]
fn an_idle_gateway_ends_at_once_when_told_to() {
    let upstream = Upstream::json("{}");
    for connections in ["none", "fresh", "kept", "both ways used"] {
        let folder = folder();
        let process = Process::serve(folder.path(), &config(&upstream, ""));
        let mut client = (connections != "none").then(|| process.connect());
        if let Some(client) = client.as_mut().filter(|_| connections != "fresh") {
            assert_eq!(client.get("/v1/models", &secret("one")).status, 200);
            if connections != "kept" {
                assert_eq!(client.post("/v1/chat/completions", &secret("one"), "{}").status, 200);
            }
        }
        let ended = process.end(Signal::TERM);
        println!("idle TERM, connections: {connections}: {:?}", ended.took);
        ended_well(&ended);
        assert!(ended.took < IDLE * 10, "{:?}", ended.took);
        assert!(client.is_none_or(|mut client| client.is_closed()));
    }
}

#[test]
fn streams_in_flight_come_to_their_end_while_draining() {
    let (upstream, open) = streaming();
    let folder = folder();
    let mut process = Process::serve(folder.path(), &config(&upstream, ""));
    let address = process.gateway();
    let mut streams = ["/v1/chat/completions", "/v1/other"].map(|path| begin_stream(&process, path));
    assert_eq!(process.ask_admin("/readyz").status, 200);
    process.signal(Signal::TERM);
    eventually("the listener closes", || TcpStream::connect(address).is_err());
    assert_eq!(process.ask_admin("/readyz").status, 503);
    assert_eq!(process.ask_admin("/healthz").status, 200);
    assert!(process.is_running());
    // Either may have come to the gate first.
    streams.iter().for_each(|_| open.open());
    for stream in &mut streams {
        assert_eq!(stream.chunk().as_deref(), Some(&b"data: [DONE]\n\n"[..]));
        assert_eq!(stream.chunk().as_deref(), Some(&b""[..]), "it ends cleanly");
        assert!(stream.is_closed());
    }
    let ended = process.wait();
    ended_well(&ended);
    assert_eq!(ended.stdout.lines().count(), 2, "their access lines are written: {}", ended.stdout);
}

#[test]
fn streams_that_do_not_end_are_cut_after_the_timeout() {
    let (upstream, _open) = streaming();
    let folder = folder();
    let process = Process::serve(folder.path(), &config(&upstream, "shutdown: {timeout: 200ms}"));
    let mut clients = begin_all(&process, &upstream);
    let ended = process.end(Signal::TERM);
    ended_well(&ended);
    assert!(ended.took >= Duration::from_millis(200), "{:?}", ended.took);
    assert!(ended.stderr.contains("after shutdown.timeout"), "{}", ended.stderr);
    for stream in &mut clients[..2] {
        assert_eq!(stream.chunk(), None, "it does not look whole");
    }
    all_told(&ended);
}

#[test]
fn requests_are_served_for_the_delay_while_readyz_says_no() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let mut process = Process::serve(folder.path(), &config(&upstream, "shutdown: {delay: 1h}"));
    process.signal(Signal::TERM);
    eventually("it is not ready", || process.ask_admin("/readyz").status == 503);
    let mut client = process.connect();
    let answer = client.get("/v1/models", &secret("one"));
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    // A second TERM does not wait for the hour.
    let ended = process.end(Signal::TERM);
    println!("second TERM: {:?}", ended.took);
    ended_well(&ended);
}

#[test]
fn the_delay_comes_to_its_end() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let process = Process::serve(folder.path(), &config(&upstream, "shutdown: {delay: 200ms}"));
    let ended = process.end(Signal::TERM);
    ended_well(&ended);
    assert!(ended.took >= Duration::from_millis(200), "{:?}", ended.took);
}

#[test]
fn a_second_signal_and_an_interrupt_end_at_once() {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::TERM, Signal::INT], &[Signal::INT]] {
        let (upstream, _open) = streaming();
        let folder = folder();
        let mut process = Process::serve(folder.path(), &config(&upstream, "shutdown: {timeout: 1h}"));
        let mut clients = begin_all(&process, &upstream);
        for signal in signals {
            process.signal(*signal);
            if signals.len() > 1 {
                process.stderr().wait_for("draining");
            }
        }
        let ended = process.wait();
        println!("{signals:?}: {:?}", ended.took);
        ended_well(&ended);
        assert!(ended.took < IDLE * 10, "{:?}", ended.took);
        for stream in &mut clients[..2] {
            assert_eq!(stream.chunk(), None);
        }
        all_told(&ended);
    }
}

#[test]
fn a_taken_port_ends_the_start_with_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let upstream = Upstream::json("{}");
    let named = |ended: &Ended| {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(&format!("cannot listen on {address}: ")), "{ended:?}");
        assert_eq!(ended.stdout, "");
    };
    for more in [format!("listen: {address}"), format!("admin: {{listen: \"{address}\"}}")] {
        let folder = folder();
        write_config(folder.path(), &config(&upstream, &more));
        named(&Process::run(folder.path(), &["serve"], ""));
    }
    let any = "127.0.0.1:0";
    for (listen, admin) in [(address.to_string(), any.to_owned()), (any.to_owned(), address.to_string())] {
        let folder = folder();
        let mut command = safecache(folder.path());
        command.env("TMPDIR", folder.path()).args(["demo", "--listen", &listen, "--admin", &admin]);
        named(&Process::start(&mut command).wait());
        assert_eq!(entries(folder.path()), 0, "no temporary folder stays");
    }
}

#[test]
fn a_hangup_reloads_and_does_not_end() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let mut process = Process::serve(folder.path(), &config(&upstream, ""));
    let mut client = process.connect();
    assert_eq!(client.get("/v1/models", &secret("two")).status, 401);
    write_config(folder.path(), &(config(&upstream, "") + &key("two", "")));
    process.signal(Signal::HUP);
    eventually("the new key works", || client.get("/v1/models", &secret("two")).status == 200);
    process.stderr().wait_for("2 keys (1 added, 0 removed)");
    std::fs::write(folder.path().join("gateway.yaml"), "nonsense: true\n").unwrap();
    process.signal(Signal::HUP);
    process.stderr().wait_for("nonsense");
    assert_eq!(client.get("/v1/models", &secret("two")).status, 200, "the last good one stays");
    assert!(process.is_running());
    ended_well(&process.end(Signal::TERM));
}

/// Puts a pipe in the place of the configuration: a reload goes on for as long as the test wants.
fn pipe_instead_of_config(folder: &Path) -> PathBuf {
    let path = folder.join("gateway.yaml");
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path
}

/// Waits until a reload reads from the pipe, and holds its other end.
fn held_reload(pipe: &Path) -> File {
    let mut writing = None;
    eventually("a reload reads the configuration", || {
        writing = rustix::fs::open(pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
        writing.is_some()
    });
    File::from(writing.unwrap())
}

#[test]
fn a_reload_that_takes_long_holds_nothing_up() {
    let upstream = Upstream::json("{}");
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder();
        let mut process = Process::serve(folder.path(), &config(&upstream, ""));
        let pipe = pipe_instead_of_config(folder.path());
        process.signal(Signal::HUP);
        let _held = held_reload(&pipe);
        assert_eq!(process.ask_admin("/readyz").status, 200);
        assert_eq!(process.connect().get("/v1/models", &secret("one")).status, 200);
        let ended = process.end(signal);
        println!("{signal:?} during a reload: {:?}", ended.took);
        ended_well(&ended);
        assert!(ended.took < IDLE * 10, "{:?}", ended.took);
    }
}

#[test]
fn hangups_during_a_reload_are_one_more_reload() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let mut process = Process::serve(folder.path(), &config(&upstream, ""));
    let text = std::fs::read_to_string(folder.path().join("gateway.yaml")).unwrap();
    let pipe = pipe_instead_of_config(folder.path());
    process.signal(Signal::HUP);
    let mut first = held_reload(&pipe);
    process.signal(Signal::HUP);
    process.signal(Signal::HUP);
    first.write_all((text.clone() + &key("two", "")).as_bytes()).unwrap();
    drop(first);
    process.stderr().wait_for("generation 2: 2 keys");
    let mut second = held_reload(&pipe);
    second.write_all((text + &key("two", "") + &key("three", "")).as_bytes()).unwrap();
    drop(second);
    process.stderr().wait_for("generation 3: 3 keys");
    assert_eq!(process.connect().get("/v1/models", &secret("three")).status, 200);
    ended_well(&process.end(Signal::TERM));
}

#[test]
fn a_kill_in_mid_stream_leaves_nothing_torn() {
    let (upstream, _open) = streaming();
    let folder = folder();
    let process = Process::serve(folder.path(), &config(&upstream, ""));
    let mut stream = begin_stream(&process, "/v1/chat/completions");
    let ended = process.end(Signal::KILL);
    assert_eq!(ended.signal, Some(9));
    assert_eq!(stream.chunk(), None);
    let process = Process::serve(folder.path(), &config(&upstream, ""));
    begin_stream(&process, "/v1/chat/completions");
    assert_eq!(process.ask_admin("/readyz").status, 200);
    ended_well(&process.end(Signal::INT));
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn the_file_that_ships_starts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder();
    // Free ports in place of the ones that it shows.
    let shipped = std::fs::read_to_string(root.join("gateway.yaml")).unwrap();
    let free = shipped.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9091", "127.0.0.1:0");
    std::fs::write(folder.path().join("gateway.yaml"), free).unwrap();
    std::fs::copy(root.join("keys.example.yaml"), folder.path().join("keys.example.yaml")).unwrap();
    let process = Process::start(safecache(folder.path()).arg("serve"));
    process.stderr().wait_for("admin: ");
    assert_eq!(process.ask_admin("/readyz").status, 200);
    assert_eq!(process.connect().get("/v1/models", "nobody").status, 401);
    ended_well(&process.end(Signal::TERM));
}
