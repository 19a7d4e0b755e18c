//! `safecache reload`: asks the running gateway, over its admin API.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use crate::cli::ReloadArgs;
use crate::config;

/// The longest reload that is waited for: a million keys take a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer that is read: a report of problems is far smaller.
const MOST_ANSWER: u64 = 1 << 20;

/// Asks for a reload and prints what it changed.
///
/// # Errors
/// What is wrong with the new configuration; or the gateway cannot be asked.
pub fn run(args: &ReloadArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = config::load(&args.config.config, env)?;
    let Some(token) = &config.admin.token else {
        bail!("admin.token is not configured, so the operator's API is off; send the gateway HUP instead")
    };
    if config.admin.listen.tls.is_some() {
        bail!(
            "the admin listener speaks TLS: ask it with curl -X POST …/admin/v1/reload, or send the gateway HUP"
        )
    }
    let address = reachable(config.admin.listen.address);
    let query = if args.force { "?force=true" } else { "" };
    let request = format!(
        "POST /admin/v1/reload{query} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        token.expose()
    );
    let answer = ask(address, &request)
        .with_context(|| format!("the gateway's admin listener at {address} cannot be asked"))?;
    let (status, message) = understood(&answer).ok_or_else(|| anyhow!("the answer cannot be understood"))?;
    if status != 200 {
        bail!("{message}");
    }
    writeln!(out, "{message}")?;
    Ok(())
}

/// Where a listener on every address can be reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

fn ask(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.take(MOST_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The status and the message of an answer.
fn understood(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some((status, body.get("message")?.as_str()?.to_owned()))
}
