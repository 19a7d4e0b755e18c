//! Asking the admin listener with a token, and reading an answer as the bytes that it is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::client::{Answer, Client, DEADLINE};
use crate::support::gateway::Gateway;

/// The operator's token of the tests' gateways.
pub(crate) const TOKEN: &str = "operator-token-of-the-tests";

/// Asks the admin listener; `line` is `METHOD TARGET`, `token` goes into `Authorization: Bearer`, if there is one.
pub(crate) fn ask(gateway: &Gateway, line: &str, token: Option<&str>) -> Answer {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    Client::connect(gateway.running().admin_address())
        .send(format!(
            "{line} HTTP/1.1\r\nHost: admin\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
        ))
        .answer()
}

/// Sends `request` on a connection of its own and returns every byte that comes until it closes.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the port accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("the gateway reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the gateway closes");
    answer
}

/// The part of a key that may be shown.
pub(crate) fn public_id(key: &str) -> &str {
    key.strip_prefix("sk-sc-").and_then(|rest| rest.split('_').next()).expect("a key")
}
