//! The admin listener itself: who may hold it up, and what it says of paths. Contract §6.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;
use tempfile::TempDir;

use crate::support::admin::{TOKEN, ask};
use crate::support::client::Client;
use crate::support::gateway::{Gateway, key};
use crate::support::tls::{Authority, GATEWAY, TlsClient};

#[track_caller]
fn is_served(address: SocketAddr, client: &Arc<ClientConfig>) {
    let mut tls = TlsClient::connect(address, Arc::clone(client)).expect("a handshake");
    tls.send("GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n");
    tls.until("ok\n");
}

#[test]
fn clients_of_the_admin_listener_that_say_nothing_hold_up_no_other() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new();
    authority.identity(GATEWAY).write(folder.path());
    let tls = "admin: {listen: {address: \"127.0.0.1:0\", tls: {cert: cert.pem, key: key.pem}}}\n";
    let gateway = Gateway::start_in(folder, &format!("{tls}keys:\n{}", key("one", "")));
    let address = gateway.running().admin_address();
    let client = authority.client(rustls::ALL_VERSIONS, &["http/1.1"]);
    let silent = |count: usize| -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect(address).expect("the port accepts")).collect()
    };
    let some = silent(40);
    is_served(address, &client);
    some[0].set_nonblocking(true).expect("a socket option");
    let kind = (&some[0]).read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::WouldBlock), "not even the first was waited for");
    let many = silent(100);
    is_served(address, &client);
    drop((some, many));
}

#[test]
fn a_path_that_is_not_there_is_not_there_with_or_without_a_token() {
    for admin in ["", &format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\n")] {
        let gateway = Gateway::start(&format!("{admin}keys:\n{}", key("one", "")));
        for line in
            ["GET /nowhere", "POST /metrics/", "GET /favicon.ico", "GET /admin/v1/nothing", "GET /admin"]
        {
            for token in [None, Some("wrong"), Some(TOKEN)] {
                let answer = ask(&gateway, line, token);
                assert_eq!(answer.status, 404, "{line} {token:?}");
                assert_eq!(answer.header("www-authenticate"), None, "{line}");
                assert_eq!(
                    answer.text(),
                    r#"{"error":"Not found","message":"There is nothing at this path of the admin listener","status":404}"#
                );
            }
        }
    }
}

#[test]
fn a_method_that_a_path_does_not_take_is_told_which_it_does() {
    let gateway = Gateway::start(&format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys:\n{}",
        key("one", "")
    ));
    for (line, allow) in [
        ("POST /metrics", "GET,HEAD"),
        ("DELETE /healthz", "GET,HEAD"),
        ("GET /admin/v1/reload", "POST"),
        ("GET /admin/v1/cache", "DELETE"),
        ("PUT /admin/v1/openapi.json", "GET,HEAD"),
    ] {
        let answer = ask(&gateway, line, Some(TOKEN));
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{line}");
        assert_eq!(
            answer.text(),
            r#"{"error":"Method not allowed","message":"This path takes the methods that Allow names","status":405}"#
        );
    }
}

#[test]
fn a_query_that_is_not_understood_is_refused_in_json() {
    let gateway = Gateway::start(&format!(
        "admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nkeys:\n{}",
        key("one", "")
    ));
    for query in ["force=maybe", "forced=true", "force=true&force=true", "force"] {
        let answer = ask(&gateway, &format!("POST /admin/v1/reload?{query}"), Some(TOKEN));
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["applied"], false, "{query}");
        assert!(answer.json()["message"].as_str().is_some_and(|why| why.contains("query")), "{query}");
    }
    assert_eq!(gateway.metric("safecache_key_ring_generation"), 1.0, "nothing was reloaded");
}

#[test]
fn what_needs_no_token_is_there_beside_the_console() {
    let gateway = Gateway::start(&format!("keys:\n{}", key("one", "")));
    for path in ["/healthz", "/readyz", "/metrics", "/log-in"] {
        assert_eq!(gateway.admin(path).status, 200, "{path}");
    }
}

#[test]
fn so_many_connect_and_whoever_comes_then_is_closed() {
    let gateway = Gateway::start(&format!("keys:\n{}", key("one", "")));
    let address = gateway.running().admin_address();
    let mut held: Vec<Client> = (0..1024).map(|_| Client::connect(address)).collect();
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    }
    let mut beyond = Client::connect(address);
    beyond.try_send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(beyond.is_closed(), "there is no place");
    let last = held.last_mut().expect("a client");
    assert_eq!(last.send("\r\n").answer().status, 303, "who has a place is served");
    drop(held);
    crate::support::client::eventually("there is room again", || {
        let mut client = Client::connect(address);
        client.try_send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_head().is_some_and(|answer| answer.status == 200)
    });
}
