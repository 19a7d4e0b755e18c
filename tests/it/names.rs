//! The names of upstream servers: a resolver that does not answer holds up nothing but its own name. Contract §2.1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};

use safecache::proxy::resolver::Lookup;
use safecache::runtime::reload::Shrinking;
use tempfile::TempDir;

use crate::support::front::{PATHS, unstored};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

/// What the resolver knows of a name.
#[derive(Clone, Copy)]
enum Name {
    At(SocketAddr),
    Unheard,
}

/// A resolver as the test tells it. A name that it was not told is not there; one that is `Unheard` is not answered
/// until that changes, or until the test is over.
#[derive(Clone, Default)]
struct Names(Arc<(Mutex<HashMap<&'static str, Name>>, Condvar)>);

impl Names {
    fn tell(&self, host: &'static str, name: Name) {
        self.0.0.lock().expect("no lookup panicked").insert(host, name);
        self.0.1.notify_all();
    }

    fn lookup(&self) -> Lookup {
        let names = self.clone();
        Arc::new(move |host, _| {
            let known = names.0.0.lock().expect("no test panicked");
            let is_unheard = |known: &mut HashMap<_, _>| matches!(known.get(host), Some(Name::Unheard));
            let known = names.0.1.wait_while(known, is_unheard).expect("no test panicked");
            match known.get(host) {
                Some(Name::At(address)) => Ok(vec![*address]),
                _ => Err(std::io::Error::other("no such name")),
            }
        })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // The gateway's own clones wait in lookups; whoever drops one ends them all.
        self.0.0.lock().expect("no lookup panicked").clear();
        self.0.1.notify_all();
    }
}

fn yaml(servers: &str, more: &str) -> String {
    // A clock that stands still refills nothing, and these tests ask again and again.
    format!(
        "plans: {{enterprise: {{requests_per_minute: 60000000, burst: 60000000}}}}\n\
         upstreams: {{llm: {{servers: [{servers}]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n{more}"
    )
}

fn is_live(gateway: &Gateway, id: &str) -> bool {
    gateway.connect().post("/v1/plain", &secret(id), "{}").status == 200
}

#[test]
fn a_dead_name_holds_up_no_change_of_the_key_list() {
    let upstream = unstored();
    let names = Names::default();
    let folder = TempDir::new().expect("a temporary folder");
    let list = folder.path().join("keys.yaml");
    let both = format!("keys:\n{}{}", key("one", ""), key("two", ""));
    std::fs::write(&list, &both).expect("a list");
    let servers = format!("\"http://dead.test\", \"{}\"", upstream.url());
    let gateway = Gateway::start_resolving(folder, &yaml(&servers, "keys_file: keys.yaml\n"), names.lookup());
    assert!(is_live(&gateway, "one") && is_live(&gateway, "two"));
    names.tell("dead.test", Name::Unheard);
    std::fs::write(&list, format!("keys:\n{}", key("one", ""))).expect("a list");
    gateway.eventually("the key is gone", |gateway| !is_live(gateway, "two"));
    assert!(is_live(&gateway, "one"));
}

#[test]
fn a_reload_finds_the_names_that_it_brings_and_waits_for_no_dead_one() {
    for path in PATHS {
        let (first, second) = (unstored(), unstored());
        let names = Names::default();
        names.tell("second.test", Name::At(second.address()));
        names.tell("dead.test", Name::Unheard);
        let keys = format!("keys:\n{}", key("one", ""));
        let folder = TempDir::new().expect("a temporary folder");
        let before = yaml(&format!("\"{}\"", first.url()), &keys);
        let gateway = Gateway::start_resolving(folder, &before, names.lookup());
        gateway.rewrite(&yaml("\"http://dead.test\", \"http://second.test\"", &keys));
        gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
        let ask = || gateway.connect().post(path, &secret("one"), "{}").status;
        assert_eq!([ask(), ask(), ask()], [200, 200, 200], "{path}: the dead one is left out");
        assert_eq!((first.count(), second.count()), (0, 3), "{path}");
        names.tell("dead.test", Name::At(first.address()));
        gateway.eventually("a late answer is taken as it comes", |_| ask() == 200 && first.count() > 0);
    }
}

#[test]
fn connections_to_an_address_that_a_name_has_left_end() {
    for path in PATHS {
        let (ended, told) = channel();
        let ended = Mutex::new(ended);
        let first = Upstream::start(move |_, exchange| {
            exchange.answer("200 OK", "text/plain", "{}");
            exchange.wait_for_close();
            ended.lock().expect("no script panicked").send(()).expect("the test waits");
        });
        let second = unstored();
        let names = Names::default();
        names.tell("moves.test", Name::At(first.address()));
        let folder = TempDir::new().expect("a temporary folder");
        let yaml = yaml("\"http://moves.test\"", &format!("keys:\n{}", key("one", "")));
        let gateway = Gateway::start_resolving(folder, &yaml, names.lookup());
        let ask = || gateway.connect().post(path, &secret("one"), "{}").status;
        assert_eq!(ask(), 200, "{path}");
        names.tell("moves.test", Name::At(second.address()));
        // The clock stands still: it has not waited for too long.
        told.recv().expect("the script tells");
        assert_eq!((ask(), first.count(), second.count()), (200, 1, 1), "{path}");
    }
}

#[test]
fn a_dead_name_holds_up_no_other() {
    let servers: [Upstream; 2] = [unstored(), unstored()];
    let names = Names::default();
    names.tell("dead.test", Name::Unheard);
    names.tell("moves.test", Name::At(servers[0].address()));
    let keys = format!("keys:\n{}", key("one", ""));
    let folder = TempDir::new().expect("a temporary folder");
    let yaml = yaml("\"http://dead.test\", \"http://moves.test\"", &keys);
    let gateway = Gateway::start_resolving(folder, &yaml, names.lookup());
    assert!(is_live(&gateway, "one"), "not from the first question on");
    names.tell("moves.test", Name::At(servers[1].address()));
    gateway.eventually("nor in later ones", |gateway| is_live(gateway, "one") && servers[1].count() > 0);
}
