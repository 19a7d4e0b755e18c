//! The key list changes while the gateway runs: however it is replaced, at once and without a lost request.
//! Contract §2.1.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use safecache::runtime::reload::Shrinking;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, key, secret, sha256};
use crate::support::upstream::{Upstream, gate};

/// Ten times the second in which a change is promised to be live.
const LATEST: Duration = Duration::from_secs(10);

fn list(ids: &[&str]) -> String {
    format!("keys:\n{}", ids.iter().map(|id| key(id, "")).collect::<String>())
}

fn lines(ids: &[&str]) -> String {
    let line = |id: &&str| {
        let hash = sha256(&secret(id));
        format!("{{\"id\":\"{id}\",\"account\":\"acme\",\"plan\":\"enterprise\",\"sha256\":\"{hash}\"}}\n")
    };
    ids.iter().map(line).collect()
}

/// A gateway on the list `file`, which a test's `prepare` has put into its folder.
fn follow(file: &str, prepare: impl FnOnce(&Path)) -> Gateway {
    let folder = TempDir::new().expect("a temporary folder");
    prepare(folder.path());
    // A clock that stands still refills nothing, and these tests ask again and again.
    let plans = "plans: {enterprise: {requests_per_minute: 60000000, burst: 60000000}}";
    Gateway::start_in(folder, &format!("{plans}\nkeys_file: {file}\n"))
}

/// True if the key is accepted: there is no route, so it is told so.
fn is_live(gateway: &Gateway, id: &str) -> bool {
    gateway.connect().get("/nowhere", &secret(id)).status == 404
}

#[expect(clippy::disallowed_methods, reason = "this test measures")]
fn clock() -> Instant {
    Instant::now()
}

/// Waits until `id` is accepted and says how long that took.
#[track_caller]
fn live_after(gateway: &Gateway, id: &str) -> Duration {
    let changed = clock();
    gateway.eventually("the change is live", |gateway| is_live(gateway, id));
    let took = changed.elapsed();
    assert!(took < LATEST, "{took:?}");
    took
}

#[test]
fn ten_changes_are_live_in_time() {
    let gateway = follow("keys.yaml", |folder| {
        std::fs::write(folder.join("keys.yaml"), list(&["first"])).expect("a list");
    });
    let path = gateway.folder.path().join("keys.yaml");
    let mut took = Vec::new();
    for n in 0..10 {
        let id = format!("key-{n}");
        let text = list(&["first", &id]);
        if n % 2 == 0 {
            std::fs::write(&path, text).expect("written in place");
        } else {
            let other = path.with_extension("new");
            std::fs::write(&other, text).expect("written beside");
            std::fs::rename(&other, &path).expect("put in its place");
        }
        took.push(live_after(&gateway, &id).as_millis());
        assert!(n == 0 || !is_live(&gateway, &format!("key-{}", n - 1)), "the key before is gone");
    }
    println!("changes of the key list, live after ms: {took:?}");
    assert!(is_live(&gateway, "first"));
    assert_eq!(gateway.metric("safecache_key_ring_generation"), 11.0, "one generation a change");
    assert_eq!(gateway.metric("safecache_config_reloads_total{result=\"applied\"}"), 10.0);
    assert_eq!(gateway.metric("safecache_config_last_reload_successful"), 1.0);
    assert_eq!(gateway.metric("safecache_keys{state=\"active\"}"), 2.0);
}

#[test]
fn a_config_map_is_followed_through_its_symlinks() {
    let version = |folder: &Path, name: &str, ids: &[&str]| {
        std::fs::create_dir(folder.join(name)).expect("a folder");
        std::fs::write(folder.join(name).join("keys.yaml"), list(ids)).expect("a list");
    };
    let gateway = follow("keys.yaml", |folder| {
        version(folder, "..2027_01", &["one"]);
        symlink("..2027_01", folder.join("..data")).expect("a link");
        symlink("..data/keys.yaml", folder.join("keys.yaml")).expect("a link");
    });
    assert!(is_live(&gateway, "one"));
    let folder = gateway.folder.path();
    for (n, id) in ["two", "three"].into_iter().enumerate() {
        let name = format!("..2027_02_{n}");
        version(folder, &name, &[id]);
        symlink(&name, folder.join("..data_tmp")).expect("a link");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
        println!("a swapped ConfigMap, live after {:?}", live_after(&gateway, id));
    }
    assert!(!is_live(&gateway, "one") && !is_live(&gateway, "two"));
}

#[test]
fn a_list_of_lines_is_followed_too() {
    let gateway = follow("keys.jsonl", |folder| {
        std::fs::write(folder.join("keys.jsonl"), lines(&["one"])).expect("a list");
    });
    assert!(is_live(&gateway, "one"));
    std::fs::write(gateway.folder.path().join("keys.jsonl"), lines(&["one", "two"])).expect("a list");
    println!("a changed .jsonl, live after {:?}", live_after(&gateway, "two"));
    assert!(is_live(&gateway, "one"));
}

#[test]
fn hangup_reloads_configuration_and_list_together() {
    let gateway = follow("keys.yaml", |folder| {
        std::fs::write(folder.join("keys.yaml"), list(&["one"])).expect("a list");
        std::fs::write(folder.join("other.yaml"), list(&["two", "three"])).expect("a list");
    });
    gateway.rewrite("keys_file: other.yaml\n");
    let change = gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(change.to_string(), "generation 2: 2 keys (2 added, 1 removed)");
    assert_eq!(["one", "two", "three"].map(|id| is_live(&gateway, id)), [false, true, true]);
}

#[test]
fn no_request_is_lost_while_the_list_changes() {
    let gateway = follow("keys.yaml", |folder| {
        std::fs::write(folder.join("keys.yaml"), list(&["stays"])).expect("a list");
    });
    let path = gateway.folder.path().join("keys.yaml");
    let address = gateway.address();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || {
            let mut client = Client::connect(address);
            let mut answered = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                assert_eq!(client.get("/nowhere", &secret("stays")).status, 404);
                answered += 1;
            }
            answered
        });
        for n in 0..3 {
            let id = format!("key-{n}");
            std::fs::write(&path, list(&["stays", &id])).expect("a list");
            live_after(&gateway, &id);
        }
        drop(stop);
        let answered: u32 = asking.join().expect("every request was answered");
        assert!(answered > 0);
    });
}

#[test]
fn a_stream_ends_on_the_keys_that_it_began_with() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: one\n\n");
        gate.wait();
        exchange.chunk("data: [DONE]\n\n");
        exchange.chunk("");
    });
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::write(folder.path().join("keys.yaml"), list(&["stays", "goes"])).expect("a list");
    let gateway = Gateway::start_in(
        folder,
        &format!(
            "limits: {{auth_failures: off}}\nkeys_file: keys.yaml\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
             routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n",
            upstream.url()
        ),
    );
    let goes = secret("goes");
    for line in ["POST /v1/chat/completions", "POST /v1/passed/on"] {
        let mut client = gateway.connect();
        client.request(line, &goes, "Content-Type: application/json\r\n", b"{\"stream\":true}");
        let head = client.head();
        assert_eq!(head.status, 200);
        assert_eq!(client.chunk(), Some(b"data: one\n\n".to_vec()));
        std::fs::write(gateway.folder.path().join("keys.yaml"), list(&["stays"])).expect("a list");
        gateway
            .eventually("the key is gone", |gateway| gateway.connect().get("/nowhere", &goes).status == 401);
        opener.open();
        let mut rest = Vec::new();
        while let Some(chunk) = client.chunk().filter(|chunk| !chunk.is_empty()) {
            rest.extend(chunk);
        }
        assert_eq!(rest, b"data: [DONE]\n\n", "{line}");
        assert_eq!(client.get("/v1/x", &goes).status, 401, "its next request");
        std::fs::write(gateway.folder.path().join("keys.yaml"), list(&["stays", "goes"])).expect("a list");
        live_after(&gateway, "goes");
    }
}
