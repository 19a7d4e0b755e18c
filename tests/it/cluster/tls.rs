//! TLS to the engines: who shows the right certificate is asked, and nobody else is.

use serde_json::json;
use tempfile::TempDir;

use crate::cluster::engines::{ANSWER, member, yaml};
use crate::stored_keys::{make, status};
use crate::support::client::eventually;
use crate::support::gateway::secret;
use crate::support::postgres::{PASSWORD, Server, number};
use crate::support::process::{Ended, Process, safecache, write_config};
use crate::support::redis::Redis;
use crate::support::tls::{Authority, TlsFront};
use crate::support::upstream::Upstream;

/// How a gateway ends that is to use this PostgreSQL.
fn refusal(url: &str) -> Ended {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), &format!("cluster: {{postgres: '{url}', replicas: 2}}\n"));
    Process::start(safecache(folder.path()).arg("serve")).wait()
}

#[test]
fn postgresql_is_asked_over_tls_if_its_certificate_is_right() {
    let (upstream, authority, folder) = (Upstream::json(ANSWER), Authority::new(), TempDir::new().unwrap());
    let server = Server::secured(&authority.identity("127.0.0.1"));
    let (right, wrong) = (folder.path().join("right.pem"), folder.path().join("wrong.pem"));
    std::fs::write(&right, authority.pem()).unwrap();
    std::fs::write(&wrong, Authority::new().pem()).unwrap();
    let plain = server.address("postgres");
    let url = |root: &std::path::Path| {
        format!("{}?sslmode=verify-full&sslrootcert={}", plain.expose(), root.display())
    };
    let gateway = member(&upstream, &format!("postgres: '{}'", url(&right)));
    let (_, key) = make(&gateway, &json!({}));
    assert_eq!(status(&gateway, &key), 200);
    let ours = "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                WHERE application_name = 'safecache' AND ssl IS ";
    let (over_tls, without) = (ours.to_owned() + "TRUE", ours.to_owned() + "FALSE");
    assert!(number(plain.clone(), over_tls) > 0);
    assert_eq!(number(plain.clone(), without), 0);
    // Another authority, and another name.
    for url in [url(&wrong), url(&right).replace("127.0.0.1", "localhost")] {
        let ended = refusal(&url);
        println!("{}", ended.stderr);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("certificate") && ended.stderr.contains("PostgreSQL at "), "{ended:?}");
        assert!(!ended.stderr.contains(PASSWORD) && !ended.stderr.contains("safecache@"), "{ended:?}");
    }
}

#[test]
fn a_redis_whose_certificate_nobody_vouches_for_is_not_asked() {
    let (upstream, redis, authority) = (Upstream::json(ANSWER), Redis::start(), Authority::new());
    let front = TlsFront::before(redis.address(), &authority.identity("127.0.0.1"));
    let url = front.url().replace("https://", "rediss://:hunter2@");
    let folder = TempDir::new().unwrap();
    let gateway = Process::serve(folder.path(), &yaml(&upstream, &format!("redis: '{url}'"), ""));
    let told = gateway.stderr().wait_for("cannot be asked");
    println!("{told}");
    assert!(told.contains("certificate") && !told.contains("hunter2"), "{told}");
    eventually("it says so", || gateway.ask_admin("/readyz").text().contains("redis: cannot be asked"));
    assert_eq!(gateway.connect().get("/v1/models", &secret("listed")).status, 200, "it goes on alone");
}
