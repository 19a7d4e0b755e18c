//! The URL of an upstream server.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use crate::upstream::settings::{Scheme, ServerUrl};

/// Why a URL cannot name a server. Never shows the URL: it could hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not http or https.
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    /// `user:password@`.
    #[error("the URL holds a user or password")]
    UserInfo,
    /// `?`.
    #[error("the URL holds a query")]
    Query,
    /// `#`.
    #[error("the URL holds a fragment")]
    Fragment,
    /// Empty, or not a name or address.
    #[error("the URL names no host")]
    Host,
    /// Not 1 to 65535.
    #[error("the URL's port is not 1 to 65535")]
    Port,
    /// Dot segments, empty segments, escapes, or characters that no path holds.
    #[error("the URL's base path cannot be")]
    Path,
}

impl UrlError {
    /// What would be right.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Scheme | Self::Port => "write http://127.0.0.1:8000 or https://api.example.com",
            Self::UserInfo => "credentials belong in `authorization`",
            Self::Query => "a base path is all that may follow the host",
            Self::Fragment => "no server would ever see it",
            Self::Host => "a name, an IPv4 address, or an IPv6 address in brackets",
            Self::Path => "plain segments such as /openai/v1, without `..`, `//` or `%`",
        }
    }
}

/// Reads `http(s)://host[:port][/base/path]`. The weight is 1. A `/` at the end means nothing.
///
/// # Errors
/// [`UrlError`], the first that applies.
pub fn parse_server_url(text: &str) -> Result<ServerUrl, UrlError> {
    let (scheme, rest) = match text.split_once("://") {
        Some((name, rest)) if name.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        Some((name, rest)) if name.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        _ => return Err(UrlError::Scheme),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(UrlError::Host)?;
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    if path.contains('#') {
        return Err(UrlError::Fragment);
    }
    if path.contains('?') {
        return Err(UrlError::Query);
    }
    let (host, port) = split_authority(authority)?;
    let default_port = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let port = port.unwrap_or(default_port);
    let base_path = path.trim_end_matches('/');
    check_path(base_path)?;
    let host = host.to_ascii_lowercase();
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let authority = if port == default_port { bracketed } else { format!("{bracketed}:{port}") };
    Ok(ServerUrl {
        scheme,
        host: host.into(),
        port,
        base_path: base_path.into(),
        authority: authority.into(),
        label: text.into(),
        weight: NonZeroU32::MIN,
    })
}

/// Splits `host[:port]`; brackets around an IPv6 address are taken off.
fn split_authority(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            match behind.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if behind.is_empty() => (host, None),
                None => return Err(UrlError::Host),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if !host.contains(':') && !is_host(host) {
        return Err(UrlError::Host);
    }
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse::<u16>().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?)
        }
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host, port))
}

/// True for an IPv4 address or a name of the DNS (underscores, as containers have them, allowed).
fn is_host(host: &str) -> bool {
    let looks_like_address = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if looks_like_address {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

fn check_path(path: &str) -> Result<(), UrlError> {
    let Some(segments) = path.strip_prefix('/') else {
        return if path.is_empty() { Ok(()) } else { Err(UrlError::Path) };
    };
    let is_segment = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| b.is_ascii_graphic() && !b"%\\\"<>^`{|}".contains(&b))
    };
    if segments.split('/').all(is_segment) { Ok(()) } else { Err(UrlError::Path) }
}
