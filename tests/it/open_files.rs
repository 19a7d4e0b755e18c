//! Open files: the soft limit is raised, more connections than they allow are refused, and where they run out all the
//! same the gateway says so, serves on, and recovers. With the real binary under `prlimit`.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::{Client, eventually};
use crate::support::gateway::{key, secret};
use crate::support::process::{Process, safecache, write_config};
use crate::support::upstream::{Opener, Upstream, gate};

fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

/// The binary with `limits` on its open files: the soft and the hard one.
fn held_to(limits: (u32, u32), folder: &TempDir) -> Command {
    let plain = safecache(folder.path());
    let mut command = Command::new("prlimit");
    command.env_clear().current_dir(folder.path());
    command.arg(format!("--nofile={}:{}", limits.0, limits.1)).arg(plain.get_program());
    command
}

/// `safecache serve` under `limits`, once it serves.
fn serve(limits: (u32, u32), folder: &TempDir, yaml: &str) -> Process {
    write_config(folder.path(), yaml);
    let process = Process::start(held_to(limits, folder).arg("serve"));
    process.stderr().wait_for("admin: ");
    process
}

fn config(upstream: &Upstream, limits: &str) -> String {
    format!(
        "plans: {{ample: {{requests_per_minute: 6000000, burst: 1000000}}}}\n\
         upstreams: {{llm: {{servers: [\"{}\"]}}}}\nroutes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         limits: {{{limits}}}\nkeys:\n{}",
        upstream.url(),
        key("one", "plan: ample")
    )
}

/// An upstream that answers each request when the gate opens.
fn waiting() -> (Upstream, Opener) {
    let (wait, open) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if request.line.contains("wait") {
            wait.wait();
        }
        exchange.answer("200 OK", "text/plain", "{}");
    });
    (upstream, open)
}

#[test]
fn more_connections_than_files_allow_are_refused_in_one_line() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    write_config(folder.path(), &config(&upstream, "max_connections: 10000"));
    let ended = Process::start(held_to((256, 256), &folder).arg("serve")).wait();
    let line = "limits.max_connections: 10000 needs 20000 open files, and this process may have 256: raise its hard \
                limit, as with `ulimit -Hn 20000` or systemd's LimitNOFILE=20000, or write 128 or less";
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains(line), "{ended:?}");
    // The file may be meant for another machine.
    let checked = Process::start(held_to((256, 256), &folder).arg("check")).wait();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn a_reload_to_more_connections_than_files_allow_changes_nothing() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let mut process = serve((256, 256), &folder, &config(&upstream, "max_connections: 128"));
    write_config(folder.path(), &config(&upstream, "max_connections: 129"));
    process.signal(Signal::HUP);
    let line = process.stderr().wait_for("reload refused");
    assert!(
        line.contains("limits.max_connections: 129 needs 258 open files, and this process may have 256"),
        "{line}"
    );
    assert_eq!(process.metric("safecache_config_last_reload_successful"), 0.0);
    write_config(folder.path(), &config(&upstream, "max_connections: 100"));
    process.signal(Signal::HUP);
    process.stderr().wait_for("generation 2");
    assert_eq!(process.metric("safecache_config_last_reload_successful"), 1.0);
    assert_eq!(process.connect().get("/v1/x", &secret("one")).status, 200);
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let process = serve((128, 4096), &folder, &config(&upstream, "max_connections: 2048"));
    assert_eq!(process.metric("process_max_fds"), 4096.0);
    let limits = "max_connections_per_address: 300";
    let mut clients: Vec<_> = (0..300).map(|_| process.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/healthz", "").status == 200), "{limits}");
}

#[test]
fn without_a_number_there_are_as_many_connections_as_files_allow() {
    let upstream = Upstream::json("{}");
    let folder = folder();
    let process = serve((100, 100), &folder, &config(&upstream, ""));
    let told = process.stderr().wait_for("max_connections");
    assert!(told.contains("connections=36"), "{told}");
    assert_eq!(process.connect().get("/v1/x", &secret("one")).status, 200);
}

#[test]
fn a_full_table_serves_the_old_connections_and_recovers() {
    const CLIENTS: usize = 100;
    let upstream = Upstream::json("{}");
    let folder = folder();
    let limits = "max_connections: 100, max_connections_per_address: 100";
    let process = serve((256, 256), &folder, &config(&upstream, limits));
    let before = process.metric("process_open_fds");
    for round in 0..3 {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| process.connect()).collect();
        let serve_all = |clients: &mut [Client]| {
            for (number, client) in clients.iter_mut().enumerate() {
                let body = format!("{{\"n\":\"{round} {number}\"}}");
                assert_eq!(client.post("/v1/chat/completions", &secret("one"), &body).status, 200);
                assert_eq!(client.get("/v1/x", &secret("one")).status, 200);
            }
        };
        serve_all(&mut clients);
        assert_eq!(process.metric("safecache_connections"), CLIENTS as f64);
        assert!((0..50).all(|_| process.connect().is_closed()));
        serve_all(&mut clients);
        drop(clients);
        eventually("all places are free", || process.metric("safecache_connections") == 0.0);
    }
    assert_eq!(process.metric("safecache_connections_refused_total{bound=\"all\"}"), 150.0);
    assert_eq!(process.metric("safecache_in_flight_requests"), 0.0);
    eventually("every file is closed", || process.metric("process_open_fds") <= before + 1.0);
    assert!(!process.stderr().text().contains("accepted"), "it never came to that");
}

/// The processor time that a process has taken, in hundredths of a second.
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[test]
fn where_files_run_out_clients_are_told_to_come_back_and_no_server_is_blamed() {
    const CLIENTS: usize = 128;
    let (upstream, open) = waiting();
    let folder = folder();
    let limits = "max_connections: 128, max_connections_per_address: 128";
    let mut process = serve((256, 256), &folder, &config(&upstream, limits));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| process.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/healthz", "").status, 200);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        // Both ways upstream.
        let path = ["/v1/chat/completions?wait", "/v1/wait"][number % 2];
        client.request(&format!("POST {path}"), &secret("one"), "", format!("{{\"n\":{number}}}").as_bytes());
    }
    let told = |process: &Process| process.stdout().text().matches("\"outcome\":\"overloaded\"").count();
    eventually("each waits or is told", || upstream.count() + told(&process) == CLIENTS);
    let refused = told(&process);
    assert!((1..CLIENTS / 2).contains(&refused), "{refused} of {CLIENTS}");
    // Whoever comes now waits for a file, and costs nothing meanwhile.
    let mut late = Client::connect(process.gateway());
    process.stderr().wait_for("no connection can be accepted");
    let before = ticks(&process);
    assert_eq!(late.pending(Duration::from_millis(500)), b"");
    let taken = ticks(&process) - before;
    assert!(taken < 15, "{taken} hundredths of a second of work in half a second of waiting");
    assert!(process.is_running());
    (0..CLIENTS).for_each(|_| open.open());
    let mut statuses = [0, 0];
    for client in &mut clients {
        let answer = client.answer();
        match answer.status {
            200 => statuses[0] += 1,
            503 => {
                statuses[1] += 1;
                assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
                assert!(answer.text().contains("The gateway is at its limits"), "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(statuses, [CLIENTS - refused, refused]);
    // No server was passed over for it.
    for client in &mut clients[..10] {
        assert_eq!(client.get("/v1/x", &secret("one")).status, 200);
    }
    drop(clients);
    eventually("all have left", || process.metric("safecache_connections") <= 1.0);
    let server = upstream.address();
    assert_eq!(
        process.metric(&format!("safecache_upstream_up{{server=\"http://{server}\",upstream=\"llm\"}}")),
        1.0
    );
    assert_eq!(process.metric("safecache_in_flight_requests"), 0.0);
    assert_eq!(process.metric("safecache_buffer_bytes"), 0.0);
    drop(late);
    assert_eq!(process.connect().get("/v1/x", &secret("one")).status, 200);
    let lines = process.stderr().text().matches("no connection can be accepted").count();
    println!("measured out of files: {refused} of {CLIENTS} told, {lines} lines, {taken} ticks of waiting");
    assert!(lines < 10, "{lines} lines");
    assert_eq!(process.end(Signal::TERM).code, Some(0));
}
