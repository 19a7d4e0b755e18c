//! Certificates change while the gateway runs: the next handshake shows the new one, no connection is dropped, and
//! one that cannot be used changes nothing. Contract §2.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use safecache::runtime::reload::{Shrinking, Taken};
use tempfile::TempDir;

use crate::support::admin::{TOKEN, ask};
use crate::support::front::{CHAT, House, JSON, PASSED, PATHS, Piece, Plans, unstored};
use crate::support::gateway::{Gateway, bare_reloader, key, secret};
use crate::support::tls::{Authority, GATEWAY, Identity, TlsClient, TlsFront};
use crate::support::upstream::{Upstream, gate};

const MODEL: &str = "model.test";

#[track_caller]
fn reload(gateway: &Gateway) {
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
}

/// The certificate that a new handshake shows. A client that has been there before offers to resume its session.
fn shown(address: SocketAddr, client: &Arc<ClientConfig>) -> Vec<u8> {
    let mut tls = TlsClient::connect(address, Arc::clone(client)).expect("a handshake");
    // Tickets come with the first bytes.
    tls.send("GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n");
    tls.until("ok\n");
    tls.certificate()
}

fn plain_client(authority: &Authority) -> Arc<ClientConfig> {
    authority.client(rustls::ALL_VERSIONS, &["http/1.1"])
}

#[test]
fn a_reload_shows_the_new_certificate_and_open_connections_go_on() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |request, exchange| {
        if request.body.is_empty() {
            return exchange.answer("200 OK", "text/plain", "{}");
        }
        exchange.begin("text/event-stream");
        exchange.chunk("data: one\n\n");
        gate.wait();
        exchange.chunk("data: [DONE]\n\n");
        exchange.chunk("");
    });
    let house = House::before(&[upstream.url()]);
    let client = plain_client(&house.authority);
    let before = shown(house.tls_address(), &client);
    let mut open = TlsClient::connect(house.tls_address(), Arc::clone(&client)).expect("a handshake");
    let mut stream = house.h2();
    stream.send(&format!("POST {PASSED}"), JSON, CHAT.as_bytes());
    assert_eq!(stream.head().status, 200);
    assert_eq!(stream.piece(), Piece::Bytes(b"data: one\n\n".to_vec()));

    let renewed = house.authority.identity(GATEWAY);
    renewed.write(house.gateway.folder.path());
    reload(&house.gateway);
    let after = shown(house.tls_address(), &client);
    assert_eq!(after, renewed.der(), "the same client is shown the new one");
    assert_ne!(before, after);

    for _ in 0..2 {
        let bearer = format!("Authorization: Bearer {}\r\n", secret("one"));
        open.send(format!("GET {PASSED} HTTP/1.1\r\nHost: gateway\r\n{bearer}\r\n"));
        assert!(open.until("\r\n\r\n{}").starts_with("HTTP/1.1 200"));
    }
    opener.open();
    assert_eq!(stream.piece(), Piece::Bytes(b"data: [DONE]\n\n".to_vec()));
    assert_eq!(stream.piece(), Piece::End);
    assert_eq!(stream.ask(&format!("GET {PASSED}"), &[], b"").status, 200);
}

#[test]
fn a_reload_without_another_certificate_lets_sessions_be_resumed() {
    let house = House::before(&[unstored().url()]);
    let client = plain_client(&house.authority);
    shown(house.tls_address(), &client);
    reload(&house.gateway);
    let mut again = TlsClient::connect(house.tls_address(), client).expect("a handshake");
    assert_eq!(again.handshake(), Some(rustls::HandshakeKind::Resumed));
    again.send("GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n");
    again.until("ok\n");
}

/// A gateway whose certificate is reached like that of a Kubernetes Secret.
struct Mounted {
    gateway: Gateway,
    authority: Authority,
    client: Arc<ClientConfig>,
    versions: usize,
}

impl Mounted {
    fn start() -> Self {
        let (folder, authority) = (TempDir::new().expect("a temporary folder"), Authority::new());
        put_version(folder.path(), "..first", |folder| authority.identity(GATEWAY).write(folder));
        for name in ["cert.pem", "key.pem"] {
            symlink(format!("..data/{name}"), folder.path().join(name)).expect("a link");
        }
        let gateway = Gateway::start_in(
            folder,
            &format!(
                "listen: {{address: \"127.0.0.1:0\", tls: {{cert: cert.pem, key: key.pem}}}}\n\
                 admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys:\n{}",
                key("one", "")
            ),
        );
        let client = plain_client(&authority);
        Self { gateway, authority, client, versions: 0 }
    }

    /// Swaps in a version that `write` fills.
    fn swap(&mut self, write: impl FnOnce(&Path)) {
        self.versions += 1;
        put_version(self.gateway.folder.path(), &format!("..version-{}", self.versions), write);
    }

    fn shown(&self) -> Vec<u8> {
        shown(self.gateway.address(), &self.client)
    }

    fn renewed(&self) -> Identity {
        self.authority.identity(GATEWAY)
    }

    /// What the newest reload said.
    fn message(&self) -> String {
        let last = ask(&self.gateway, "GET /admin/v1/config", Some(TOKEN)).json();
        last["last_reload"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Writes a folder of files and turns the link `..data` to it in one step.
fn put_version(folder: &Path, name: &str, write: impl FnOnce(&Path)) {
    std::fs::create_dir(folder.join(name)).expect("a folder");
    write(&folder.join(name));
    symlink(name, folder.join("..data_tmp")).expect("a link");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
}

#[test]
fn a_changed_certificate_is_noticed_without_a_signal() {
    let mut mounted = Mounted::start();
    for n in 1..=2 {
        let renewed = mounted.renewed();
        mounted.swap(|folder| renewed.write(folder));
        mounted.gateway.eventually("the new certificate is shown", |_| mounted.shown() == renewed.der());
        let told = format!("generation {}: 1 keys (0 added, 0 removed), 1 certificate changed", n + 1);
        assert_eq!(mounted.message(), told);
    }
    assert_eq!(mounted.gateway.metric("safecache_config_reloads_total{result=\"applied\"}"), 2.0);
    assert_eq!(mounted.gateway.metric("safecache_config_reloads_total{result=\"refused\"}"), 0.0);
}

#[test]
fn a_certificate_that_is_written_in_place_is_noticed_too() {
    let mounted = Mounted::start();
    let renewed = mounted.renewed();
    renewed.write(mounted.gateway.folder.path());
    mounted.gateway.eventually("the new certificate is shown", |_| mounted.shown() == renewed.der());
    assert_eq!(mounted.gateway.metric("safecache_config_last_reload_successful"), 1.0);
}

#[test]
fn only_another_content_that_stands_still_is_a_reload() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new();
    let first = authority.identity(GATEWAY);
    first.write(folder.path());
    let tls = "listen: {address: \"127.0.0.1:0\", tls: {cert: cert.pem, key: key.pem}}\n";
    let reloader = bare_reloader(folder.path(), tls);
    let listed = || reloader.policy().snapshot.config.listen[0].tls.clone().expect("TLS");
    let before = listed();
    first.write(folder.path());
    assert_eq!(reloader.take_certificates(|| true), Taken::Looked);
    assert!(reloader.last().is_none(), "it was written again and is the same");
    authority.identity(GATEWAY).write(folder.path());
    assert_eq!(reloader.take_certificates(|| false), Taken::Moving);
    assert!(reloader.last().is_none() && listed() == before, "it may not have been written to its end");
    assert_eq!(reloader.take_certificates(|| true), Taken::Looked);
    assert!(reloader.last().is_some_and(|last| last.result.is_ok()) && listed() != before);
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_told() {
    let mut mounted = Mounted::start();
    let good = mounted.shown();
    let (one, other) = (mounted.renewed(), mounted.renewed());
    type Write<'a> = &'a dyn Fn(&Path);
    let table: [(Write<'_>, &str, &str); 5] = [
        (
            &|folder| {
                other.write(folder);
                std::fs::write(folder.join("cert.pem"), one.pem()).expect("written");
            },
            "key.pem",
            "does not belong to the certificate",
        ),
        (
            &|folder| {
                one.write(folder);
                std::fs::remove_file(folder.join("cert.pem")).expect("removed");
            },
            "cert.pem",
            "cannot be read: No such file or directory",
        ),
        (
            &|folder| {
                one.write(folder);
                std::fs::write(folder.join("cert.pem"), "").expect("written");
            },
            "cert.pem",
            "holds no certificate in PEM form",
        ),
        (
            &|folder| {
                one.write(folder);
                let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
                std::fs::write(folder.join("cert.pem"), one.pem() + bad).expect("written");
            },
            "cert.pem",
            "holds a certificate that cannot be used: number 2",
        ),
        (
            &|folder| {
                one.write(folder);
                std::fs::write(folder.join("key.pem"), one.pem()).expect("written");
            },
            "key.pem",
            "holds no private key in PEM form",
        ),
    ];
    for (write, file, why) in table {
        mounted.swap(write);
        let told = format!("{}: {why}", mounted.gateway.folder.path().join(file).display());
        mounted.gateway.eventually(why, |_| mounted.message().contains(&told));
        assert_eq!(mounted.gateway.metric("safecache_config_last_reload_successful"), 0.0, "{why}");
        assert_eq!(mounted.shown(), good, "{why}");
        let refusal = mounted.gateway.running().reload(Shrinking::Guarded).expect_err(why).to_string();
        assert!(refusal.contains(&format!("`{file}` {why}")), "{refusal}");
        assert!(refusal.contains("gateway.yaml:2:"), "{refusal}");
        assert_eq!(mounted.shown(), good, "{why}");
    }
    assert_eq!(mounted.gateway.metric("safecache_key_ring_generation"), 1.0);
    mounted.swap(|folder| one.write(folder));
    mounted.gateway.eventually("the repaired one is shown", |_| mounted.shown() == one.der());
    reload(&mounted.gateway);
    assert_eq!(mounted.gateway.metric("safecache_config_last_reload_successful"), 1.0);
}

#[test]
fn a_refused_certificate_that_is_put_back_is_told_as_well() {
    let mut mounted = Mounted::start();
    let good = mounted.shown();
    mounted.swap(|_| {});
    mounted.gateway.eventually("it is refused", |_| mounted.message().contains("cannot be read"));
    mounted.swap(|folder| {
        for name in ["cert.pem", "key.pem"] {
            std::fs::copy(folder.with_file_name("..first").join(name), folder.join(name)).expect("a copy");
        }
    });
    mounted.gateway.eventually("all is well again", |gateway| {
        gateway.metric("safecache_config_last_reload_successful") == 1.0
    });
    assert_eq!(mounted.shown(), good);
}

#[test]
fn a_reload_with_a_bad_certificate_takes_nothing_else() {
    let mounted = Mounted::start();
    let path = mounted.gateway.folder.path().join("gateway.yaml");
    let yaml = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, yaml + &key("two", "")).expect("written");
    std::fs::write(mounted.gateway.folder.path().join("cert.pem"), "nothing").expect("written");
    mounted.gateway.running().reload(Shrinking::Forced).expect_err("it is refused");
    let counted = mounted.gateway.metric("safecache_keys{state=\"active\"}");
    assert_eq!(counted, 1.0, "not even the keys");
}

#[test]
fn the_admin_listener_shows_the_new_certificate_too() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new();
    let first = authority.identity(GATEWAY);
    first.write(folder.path());
    let gateway = Gateway::start_in(
        folder,
        &format!(
            "admin: {{listen: {{address: \"127.0.0.1:0\", tls: {{cert: cert.pem, key: key.pem}}}}}}\nkeys:\n{}",
            key("one", "")
        ),
    );
    let address = gateway.running().admin_address();
    // As curl does: it would rather speak HTTP/2.
    let client = authority.client(rustls::ALL_VERSIONS, &["h2", "http/1.1"]);
    let mut open = TlsClient::connect(address, Arc::clone(&client)).expect("a handshake");
    assert_eq!((open.certificate(), open.alpn().as_deref()), (first.der(), Some("http/1.1")));
    let renewed = authority.identity(GATEWAY);
    renewed.write(gateway.folder.path());
    reload(&gateway);
    assert_eq!(shown(address, &client), renewed.der());
    open.send("GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n");
    assert!(open.until("ok\n").starts_with("HTTP/1.1 200"), "the open connection goes on");
}

/// A house before `front`, which trusts in `trusted` alone.
fn house_that_trusts(front: &TlsFront, trusted: &Authority, more: &str) -> House {
    let tls = format!(", tls: {{ca: trusted.pem, server_name: {MODEL}{more}}}");
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::write(folder.path().join("trusted.pem"), trusted.pem()).expect("written");
    let plans = Plans { upstream: &tls, ..Plans::default() };
    House::build_in(folder, &[front.url()], plans, Authority::new())
}

#[test]
fn another_authority_for_an_upstream_holds_from_the_next_request_on() {
    for path in PATHS {
        let upstream = unstored();
        let (trusted, stranger) = (Authority::new(), Authority::new());
        let front = TlsFront::before(upstream.address(), &trusted.identity(MODEL));
        let house = house_that_trusts(&front, &trusted, "");
        let file = house.gateway.folder.path().join("trusted.pem");
        assert_eq!(house.h1().chat(path).status, 200, "{path}");
        std::fs::write(&file, stranger.pem()).expect("written");
        reload(&house.gateway);
        assert_eq!(house.h1().chat(path).status, 502, "{path}: not even on a connection that is open");
        assert_eq!(upstream.count(), 1, "{path}");
        std::fs::write(&file, stranger.pem() + &trusted.pem()).expect("written");
        house.gateway.eventually("noticed without a signal", |_| house.h1().chat(path).status == 200);
    }
}

#[test]
fn another_certificate_of_ours_is_shown_to_an_upstream() {
    for path in PATHS {
        let upstream = unstored();
        let authority = Authority::new();
        let front = TlsFront::for_clients_of(&authority, upstream.address(), &authority.identity(MODEL));
        let folder = TempDir::new().expect("a temporary folder");
        let ours = folder.path().join("ours");
        std::fs::create_dir(&ours).expect("a folder");
        let first = authority.identity("client.test");
        first.write(&ours);
        let files = format!(", cert: {0}/cert.pem, key: {0}/key.pem", ours.display());
        let house = house_that_trusts(&front, &authority, &files);
        let mut client = house.h1();
        assert_eq!(client.chat(path).status, 200, "{path}");
        let renewed = authority.identity("client.test");
        renewed.write(&ours);
        reload(&house.gateway);
        assert_eq!(client.chat(path).status, 200, "{path}");
        assert_eq!(front.clients(), [first.der(), renewed.der()], "{path}");
    }
}

#[test]
fn other_tls_files_of_a_listener_need_a_restart() {
    let mounted = Mounted::start();
    let folder = mounted.gateway.folder.path();
    mounted.renewed().write(&{
        let other = folder.join("other");
        std::fs::create_dir(&other).expect("a folder");
        other
    });
    let path = folder.join("gateway.yaml");
    let yaml = std::fs::read_to_string(&path).expect("the configuration");
    for other in [
        yaml.replace("cert: cert.pem, key: key.pem", "cert: other/cert.pem, key: other/key.pem"),
        yaml.replace(", tls: {cert: cert.pem, key: key.pem}", ""),
    ] {
        std::fs::write(&path, other).expect("written");
        let refusal = mounted.gateway.running().reload(Shrinking::Guarded).expect_err("refused").to_string();
        assert_eq!(refusal, "needs a restart: listen");
    }
}
