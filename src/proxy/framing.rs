//! What of a head can be read and is refused all the same: contract §3 step 1.
//!
//! Two readers could understand it in two ways: a Content-Length beside a Transfer-Encoding (RFC 9112 §6.1), a length that
//! is said twice, a request without a Host (§3.2), a coding or an expectation that is not known, a path that would be
//! mended.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method};
use pingora::http::RequestHeader;

use crate::config::Limits;
use crate::outcome::rejection::Rejection;
use crate::proxy::session::Session;

/// Checks a request head.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check(session: &Session, limits: &Limits) -> Result<(), Rejection> {
    let head = session.head();
    if is_too_large(session, limits) {
        return Err(Rejection::HeadTooLarge);
    }
    if !is_for_origins(&head.method) {
        return Err(Rejection::MethodNotAllowed);
    }
    let seen = Seen::of(&head.headers);
    let has_authority = match session.is_http2() {
        true => head.uri.authority().is_some(),
        false => seen.host.first.is_some(),
    };
    if !has_authority {
        return Err(Rejection::MissingHost);
    }
    if !seen.host.is_at_most_one(is_host) {
        return Err(Rejection::BadHost);
    }
    if seen.coding.first.is_some() && seen.length.first.is_some() {
        return Err(Rejection::AmbiguousLength);
    }
    if !seen.coding.is_at_most_one(|coding| is_word(coding, "chunked")) {
        return Err(Rejection::UnknownCoding);
    }
    if !seen.expectation.is_at_most_one(|expected| is_word(expected, "100-continue")) {
        return Err(Rejection::UnknownExpectation);
    }
    if !seen.length.is_at_most_one(is_number) {
        return Err(Rejection::BadLength);
    }
    if !session.has_plain_target() {
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

/// The fields that decide, found in one walk through all of them.
#[derive(Default)]
struct Seen<'a> {
    host: Values<'a>,
    length: Values<'a>,
    coding: Values<'a>,
    expectation: Values<'a>,
}

/// The values of a field.
#[derive(Default)]
struct Values<'a> {
    first: Option<&'a HeaderValue>,
    has_more: bool,
}

impl<'a> Seen<'a> {
    fn of(fields: &'a HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in fields {
            if *name == HOST {
                seen.host.note(value);
            } else if *name == CONTENT_LENGTH {
                seen.length.note(value);
            } else if *name == TRANSFER_ENCODING {
                seen.coding.note(value);
            } else if *name == EXPECT {
                seen.expectation.note(value);
            }
        }
        seen
    }
}

impl<'a> Values<'a> {
    fn note(&mut self, value: &'a HeaderValue) {
        self.has_more = self.first.is_some();
        self.first = self.first.or(Some(value));
    }

    /// True if the field is not there, or once and right. Of a list of equal numbers (RFC 9110 §8.6) not every server reads
    /// the same; a transfer coding that is not known could not be taken off, and its name would not be sent on (RFC 9112
    /// §6.1); nor could another expectation (RFC 9110 §10.1.1).
    fn is_at_most_one(&self, is_right: impl Fn(&HeaderValue) -> bool) -> bool {
        !self.has_more && self.first.is_none_or(is_right)
    }
}

/// True if a value is this one word in whatever letters.
fn is_word(value: &HeaderValue, word: &str) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(word.as_bytes())
}

/// True for digits alone.
fn is_number(value: &HeaderValue) -> bool {
    let digits = value.as_bytes().trim_ascii();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// The path without query, as it came. For absolute-form targets the path part.
pub(super) fn path(head: &RequestHeader) -> &str {
    head.uri.path()
}

fn is_too_large(session: &Session, limits: &Limits) -> bool {
    session.head().headers.len() > limits.head_fields.get() as usize
        || session.head_size() as u64 > limits.head_bytes.as_u64()
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
