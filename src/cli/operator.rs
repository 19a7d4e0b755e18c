//! The operator's API of the running gateway, asked from the command line.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::config::Config;
use crate::secret::Secret;

/// The longest call that is waited for: a reload of a million keys takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read: of keys that name as many models as they may, a page is of some megabytes.
const MOST_ANSWER: u64 = 64 << 20;

/// Where the API is, and what it wants to see.
pub struct Operator {
    address: SocketAddr,
    token: Secret,
}

/// Why the API cannot be asked, as far as the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// There is no token.
    #[error("admin.token is not configured, so the operator's API is off")]
    NoToken,
    /// It speaks TLS, and this does not.
    #[error("the admin listener speaks TLS, which this command does not")]
    Tls,
}

impl Operator {
    /// The API that `config` describes.
    ///
    /// # Errors
    /// It describes none that can be asked.
    pub fn of(config: &Config) -> Result<Self, Unasked> {
        let token = config.admin.token.clone().ok_or(Unasked::NoToken)?;
        if config.admin.listen.tls.is_some() {
            return Err(Unasked::Tls);
        }
        Ok(Self { address: reachable(config.admin.listen.address), token })
    }

    /// A connection to it.
    ///
    /// # Errors
    /// Nobody listens there, or the connection does not come about.
    pub fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect_timeout(&self.address, CONNECT_PATIENCE)
    }

    /// Asks it over `connection`: the status of the answer, and what it says.
    ///
    /// # Errors
    /// It breaks off, or is no answer of the API's.
    pub fn ask(
        &self,
        connection: TcpStream,
        (method, target): (Method, &str),
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let address = self.address;
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.token.expose(),
            body.len()
        );
        let answer = exchange(connection, &request)
            .with_context(|| format!("the gateway's admin listener at {address} cannot be asked"))?;
        understood(&answer).ok_or_else(|| anyhow!("what {address} answers is not the operator's API"))
    }
}

/// Where a listener on every address can be reached from here.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

fn exchange(mut connection: TcpStream, request: &str) -> std::io::Result<String> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.take(MOST_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

fn understood(answer: &str) -> Option<(StatusCode, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// What an answer says to people.
pub fn message(said: &Value) -> &str {
    said.get("message").and_then(Value::as_str).unwrap_or("the gateway does not say why")
}
