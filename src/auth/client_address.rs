//! Who the client is: the peer, or whom a trusted peer names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// A trusted peer's `X-Forwarded-For` holds something that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadForwardedFor;

/// A client as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The connection's other end, IPv4-mapped addresses as IPv4.
    pub peer: IpAddr,
    /// The address that rules go by.
    pub client: IpAddr,
    /// Whether what the peer says of others is believed.
    pub trust: Trust,
}

/// Whether a peer's `X-Forwarded-*` are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The peer is in `trusted_proxies`.
    Trusted,
    /// It is not.
    Untrusted,
}

/// What is counted as one address: whoever has an IPv6 address has as many as they want of its /64. IPv4-mapped ones are
/// IPv4.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// The client behind `peer`: the peer itself, or, if it is trusted, the rightmost address of `X-Forwarded-For` that
/// is not trusted.
///
/// # Errors
/// A trusted peer's `X-Forwarded-For` holds something that is no address.
pub fn resolve(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Result<ClientAddress, BadForwardedFor> {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if trusted.is_empty() || !is_trusted(&peer) {
        return Ok(ClientAddress { peer, client: peer, trust: Trust::Untrusted });
    }
    let mut client = peer;
    let lists: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    for list in lists.iter().rev() {
        let text = list.to_str().map_err(|_| BadForwardedFor)?;
        for entry in text.rsplit(',') {
            client = parse(entry.trim()).ok_or(BadForwardedFor)?;
            if !is_trusted(&client) {
                return Ok(ClientAddress { peer, client, trust: Trust::Trusted });
            }
        }
    }
    Ok(ClientAddress { peer, client, trust: Trust::Trusted })
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}
