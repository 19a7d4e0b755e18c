//! What of the framing of a server's answer pingora lets through and we do not (RFC 9112 §6).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

/// True if the body's end can be found: a Transfer-Encoding, where there is one, says `chunked` and nothing else. A
/// coding that is not undone here would reach the client as if it were the body.
pub(super) fn is_readable(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// The length that is announced; `None` if there is none. Said more than once, it is the same: pingora sees to that.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    value.split(',').next()?.trim().parse().ok()
}

/// The length in place of several equal ones (RFC 9110 §8.6); `None` if it stands there once, or not at all.
pub(super) fn collapsed(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let is_list = values.next()?.as_bytes().contains(&b',') || values.next().is_some();
    is_list.then(|| length(headers).map(HeaderValue::from))?
}
