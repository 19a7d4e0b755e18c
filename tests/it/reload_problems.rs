//! What cannot be taken stays a problem until it is mended, whatever else is reloaded meanwhile; and no file that an
//! operator puts in a followed place holds the eye on it up. Contract §2.1 and §6.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use safecache::runtime::reload::Shrinking;
use tempfile::TempDir;

use crate::support::admin::{TOKEN, ask};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::tls::{Authority, GATEWAY};

fn list(ids: &[&str]) -> String {
    format!("keys:\n{}", ids.iter().map(|id| key(id, "")).collect::<String>())
}

/// A gateway on a key list of `one`, with a certificate of `authority` on its second listener.
fn gateway(authority: &Authority) -> Gateway {
    let folder = TempDir::new().expect("a temporary folder");
    authority.identity(GATEWAY).write(folder.path());
    std::fs::write(folder.path().join("keys.yaml"), list(&["one"])).expect("a list");
    Gateway::start_in(folder, YAML.replace("TOKEN", TOKEN).as_str())
}

const YAML: &str = "listen: [\"127.0.0.1:0\", {address: \"127.0.0.2:0\", tls: {cert: cert.pem, key: key.pem}}]\n\
                    admin: {listen: \"127.0.0.1:0\", token: TOKEN}\n\
                    plans: {enterprise: {requests_per_minute: 60000000, burst: 60000000}}\n\
                    keys_file: keys.yaml\n";

fn is_live(gateway: &Gateway, id: &str) -> bool {
    gateway.connect().get("/nowhere", &secret(id)).status == 404
}

fn is_all_well(gateway: &Gateway) -> bool {
    gateway.metric("safecache_config_last_reload_successful") == 1.0
}

/// The problems that stand: each source and its message.
fn problems(gateway: &Gateway) -> Vec<(String, String)> {
    let shown = ask(gateway, "GET /admin/v1/config", Some(TOKEN)).json();
    let problems = shown["problems"].as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    assert!(problems.iter().all(|problem| problem["at"] == "2027-01-15T08:00:00Z"), "{problems:?}");
    problems.iter().map(|problem| (text(&problem["source"]), text(&problem["message"]))).collect()
}

fn sources(gateway: &Gateway) -> Vec<String> {
    problems(gateway).into_iter().map(|(source, _)| source).collect()
}

#[test]
fn one_good_reload_hides_no_problem_of_another_source() {
    let authority = Authority::new();
    let gateway = gateway(&authority);
    let folder = gateway.folder.path();
    let yaml = YAML.replace("TOKEN", TOKEN);
    let (keys, cert) = (folder.join("keys.yaml"), folder.join("cert.pem"));
    assert!(is_all_well(&gateway) && problems(&gateway).is_empty());

    gateway.rewrite(&format!("{yaml}bogus: 1\n"));
    gateway.running().reload(Shrinking::Guarded).expect_err("it is refused");
    std::fs::write(&keys, list(&["one", "two"])).expect("a list");
    gateway.eventually("the list is taken", |gateway| is_live(gateway, "two"));
    gateway.eventually("and told", |gateway| {
        gateway.metric("safecache_config_reloads_total{result=\"applied\"}") == 1.0
    });
    assert!(!is_all_well(&gateway));
    let [(source, message)] = &problems(&gateway)[..] else { panic!("{:?}", problems(&gateway)) };
    assert!(source == "configuration" && message.contains("unknown key `bogus`"), "{source}: {message}");

    std::fs::write(&keys, "keys: {").expect("no list");
    gateway.eventually("the list is refused", |gateway| sources(gateway).len() == 2);
    std::fs::write(&cert, "none").expect("no certificate");
    gateway.eventually("so is the certificate", |gateway| sources(gateway).len() == 3);
    assert_eq!(sources(&gateway), ["configuration", "key_list", "certificates"]);

    std::fs::write(&keys, list(&["one"])).expect("a list");
    gateway.eventually("the list is mended", |gateway| !is_live(gateway, "two"));
    gateway.eventually("and told", |gateway| sources(gateway) == ["configuration", "certificates"]);
    assert!(!is_all_well(&gateway));
    authority.identity(GATEWAY).write(folder);
    gateway.eventually("the certificate is mended", |gateway| sources(gateway) == ["configuration"]);
    assert!(!is_all_well(&gateway));
    gateway.rewrite(&yaml);
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(is_all_well(&gateway) && problems(&gateway).is_empty());
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
}

#[test]
fn what_is_no_regular_file_is_refused_and_holds_nothing_up() {
    let authority = Authority::new();
    let gateway = gateway(&authority);
    let folder = gateway.folder.path();
    type Make = fn(&Path);
    let table: [(&str, Make); 3] = [
        ("it is no regular file", make_fifo),
        ("it is a folder", |path| std::fs::create_dir(path).expect("a folder")),
        ("it is no regular file", |path| symlink("/dev/zero", path).expect("a link")),
    ];
    for file in ["keys.yaml", "cert.pem", "key.pem"] {
        for (why, make) in table {
            let path = folder.join(file);
            let before = std::fs::read(&path).expect("its content");
            std::fs::remove_file(&path).expect("removed");
            make(&path);
            gateway.eventually("it is refused", |gateway| {
                problems(gateway).iter().any(|(_, message)| message.contains(why) && message.contains(file))
            });
            let refusal = gateway.running().reload(Shrinking::Guarded).expect_err(file).to_string();
            assert!(refusal.contains(why), "{refusal}");
            std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path)).expect("removed");
            // A regular file behind a link is as good as one in its place.
            let kept = path.with_extension("kept");
            std::fs::write(&kept, before).expect("written");
            symlink(&kept, &path).expect("a link");
            gateway.eventually("it is taken again", |gateway| sources(gateway) == ["configuration"]);
            gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
            std::fs::remove_file(&path).expect("removed");
            std::fs::rename(&kept, &path).expect("put back");
        }
    }
}

#[test]
fn a_list_that_never_stands_still_is_told_and_taken_when_it_does() {
    let gateway = gateway(&Authority::new());
    let path = gateway.folder.path().join("keys.yaml");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("the list");
            while !is_over.load(Ordering::SeqCst) {
                file.write_all(b"#\n").expect("written");
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        let why = "keys.yaml: the key list cannot be read: it is still being written";
        gateway.eventually("it is told", |gateway| {
            problems(gateway).iter().any(|(source, message)| source == "key_list" && message.contains(why))
        });
        assert!(!is_all_well(&gateway));
        is_over.store(true, Ordering::SeqCst);
        writing.join().expect("the writer ends");
    });
    std::fs::write(&path, list(&["two"])).expect("a list");
    gateway.eventually("it is taken", |gateway| is_live(gateway, "two"));
    gateway.eventually("and told", |gateway| is_all_well(gateway) && problems(gateway).is_empty());
    let refused = gateway.metric("safecache_config_reloads_total{result=\"refused\"}");
    assert_eq!(refused, 1.0, "told once");
}
