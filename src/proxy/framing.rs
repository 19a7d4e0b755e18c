//! What of a head pingora lets through and we do not: contract §3 step 1.
//!
//! pingora drops a Content-Length beside a Transfer-Encoding before any filter runs, and accepts a request without a
//! Host; both are looked for in the head as it came (RFC 9112 §6.1 and §3.2). It knows of no transfer coding but
//! `chunked`, and passes over the others. A length that is said twice it reads, and would pass on as it came; a target
//! that is none, it mends.

use http::header::{CONTENT_LENGTH, EXPECT, GetAll, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use crate::config::Limits;
use crate::outcome::rejection::Rejection;

/// Checks a request head.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check(session: &ServerSession, limits: &Limits) -> Result<(), Rejection> {
    let head = session.req_header();
    if is_too_large(session, limits) {
        return Err(Rejection::HeadTooLarge);
    }
    if !is_for_origins(&head.method) {
        return Err(Rejection::MethodNotAllowed);
    }
    let hosts = head.headers.get_all(HOST);
    let has_authority = match session.is_http2() {
        true => head.uri.authority().is_some(),
        false => hosts.iter().next().is_some(),
    };
    if !has_authority {
        return Err(Rejection::MissingHost);
    }
    if !hosts.iter().all(is_host) {
        return Err(Rejection::BadHost);
    }
    let codings = head.headers.get_all(TRANSFER_ENCODING);
    if codings.iter().next().is_some() && raw_head_has_content_length(session) {
        return Err(Rejection::AmbiguousLength);
    }
    if !are_at_most_one(&codings, "chunked") {
        return Err(Rejection::UnknownCoding);
    }
    if !are_at_most_one(&head.headers.get_all(EXPECT), "100-continue") {
        return Err(Rejection::UnknownExpectation);
    }
    if !is_one_length(&head.headers.get_all(CONTENT_LENGTH)) {
        return Err(Rejection::BadLength);
    }
    if !has_plain_target(session) {
        return Err(Rejection::BadTarget);
    }
    if is_ambiguous(path(head)) {
        return Err(Rejection::AmbiguousPath);
    }
    Ok(())
}

/// False for the methods that ask for more than a resource: TRACE has the upstream send back what it was sent (RFC
/// 9110 §9.3.8), its API key with it, and CONNECT asks for a tunnel. In any letters: methods are told apart by case,
/// but not by every server.
fn is_for_origins(method: &Method) -> bool {
    ![Method::TRACE, Method::CONNECT]
        .iter()
        .any(|refused| refused.as_str().eq_ignore_ascii_case(method.as_str()))
}

/// True for a host with or without a port (RFC 9112 §3.2).
fn is_host(value: &HeaderValue) -> bool {
    if is_plain_host(value.as_bytes()) {
        return true;
    }
    let Ok(authority) = Authority::try_from(value.as_bytes()) else { return false };
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).and_then(|rest| match rest {
        "" => Some(""),
        rest => rest.strip_prefix(':'),
    });
    !host.is_empty() && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// True for a name or an IPv4 address, with or without a port: nearly every host, told without a parser.
fn is_plain_host(host: &[u8]) -> bool {
    let mut parts = host.splitn(2, |&byte| byte == b':');
    let name = parts.next().unwrap_or_default();
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let has_port = |port: &[u8]| !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    !name.is_empty() && is_name && parts.next().is_none_or(has_port)
}

/// True if a field is not there, or says this one word in whatever letters. A transfer coding that is not known could
/// not be taken off, and its name would not be sent on (RFC 9112 §6.1); nor could another expectation (RFC 9110
/// §10.1.1).
fn are_at_most_one(values: &GetAll<'_, HeaderValue>, word: &str) -> bool {
    let mut values = values.iter();
    let is_word = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(word.as_bytes());
    values.next().is_none_or(is_word) && values.next().is_none()
}

/// True if a body's length is not said, or said once, in digits: of a list of equal numbers (RFC 9110 §8.6), not every
/// server reads the same.
fn is_one_length(values: &GetAll<'_, HeaderValue>) -> bool {
    let mut values = values.iter();
    let is_number = |value: &HeaderValue| {
        let digits = value.as_bytes().trim_ascii();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    values.next().is_none_or(is_number) && values.next().is_none()
}

/// True for a target of ASCII without a fragment, which is none (RFC 9112 §3.2): of both, pingora makes a path that not
/// every server would read. White space and controls it has encoded before, for whoever looks at the target.
fn has_plain_target(session: &ServerSession) -> bool {
    match session.as_http1() {
        Some(h1) => is_plain(target_in(&h1.get_headers_raw_bytes())),
        None => is_plain(session.req_header().raw_path()),
    }
}

fn is_plain(target: &[u8]) -> bool {
    target.is_ascii() && memchr::memchr(b'#', target).is_none()
}

/// What stands between the method and the version in the first line of `head`.
fn target_in(head: &[u8]) -> &[u8] {
    let head = head.trim_ascii_start();
    let line = memchr::memchr(b'\n', head).and_then(|end| head.get(..end)).unwrap_or(head);
    let (Some(method), Some(version)) = (memchr::memchr(b' ', line), memchr::memrchr(b' ', line)) else {
        return line;
    };
    line.get(method + 1..version).unwrap_or(line)
}

/// The path without query, as it came. For absolute-form targets the path part.
pub(super) fn path(head: &RequestHeader) -> &str {
    head.uri.path()
}

fn is_too_large(session: &ServerSession, limits: &Limits) -> bool {
    let head = session.req_header();
    if head.headers.len() > limits.head_fields.get() as usize {
        return true;
    }
    let bytes = match session.as_http1() {
        Some(h1) => h1.get_headers_raw_bytes().len(),
        // HTTP/2 sends compressed fields: counted as RFC 9113 §6.5.2 counts a field list.
        None => head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum::<usize>()
            .saturating_add(head.raw_path().len()),
    };
    bytes as u64 > limits.head_bytes.as_u64()
}

/// True if a field line of the head as it came is a Content-Length.
fn raw_head_has_content_length(session: &ServerSession) -> bool {
    const NAME: &[u8] = b"content-length";
    let Some(h1) = session.as_http1() else { return false };
    h1.get_headers_raw_bytes().split(|byte| *byte == b'\n').skip(1).any(|line| {
        line.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
            name.eq_ignore_ascii_case(NAME) && rest.trim_ascii_start().starts_with(b":")
        })
    })
}

/// True if two readers of the path could take it for different resources: dot segments, empty segments, encoded dots
/// or slashes.
fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    let has_encoded = || {
        memchr::memchr_iter(b'%', bytes).any(|at| {
            let code = bytes.get(at + 1..at + 3).unwrap_or_default();
            code.eq_ignore_ascii_case(b"2e") || code.eq_ignore_ascii_case(b"2f")
        })
    };
    let has_dots = || bytes.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b".."));
    let is_doubtful = memchr::memchr2(b'.', b'%', bytes).is_some();
    bytes.windows(2).any(|pair| pair == b"//") || is_doubtful && (has_encoded() || has_dots())
}
