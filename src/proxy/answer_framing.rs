//! What a head says of its body's framing (RFC 9112 §6).

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

/// What a head says of its body's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing.
    Unsaid,
    /// One length, however often.
    Of(u64),
    /// Two, or what is none.
    Contradictory,
}

/// The length that is announced.
pub(super) fn announced(headers: &HeaderMap) -> Length {
    let values = headers.get_all(CONTENT_LENGTH).iter();
    values.fold(Length::Unsaid, |announced, value| announced.and(value.as_bytes()))
}

impl Length {
    /// What is said of it once a Content-Length of `value` has been read, too.
    pub(super) fn and(self, value: &[u8]) -> Self {
        let mut announced = self;
        for text in value.split(|byte| *byte == b',') {
            let length = digits(text.trim_ascii()).map_or(Self::Contradictory, Self::Of);
            if announced != Self::Unsaid && announced != length {
                return Self::Contradictory;
            }
            announced = length;
        }
        announced
    }
}

/// The number that digits stand for, and nothing but digits.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    let more = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    text.first()?;
    text.iter().try_fold(0, more)
}

/// The length that is announced, if it is one.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    match announced(headers) {
        Length::Of(length) => Some(length),
        Length::Unsaid | Length::Contradictory => None,
    }
}

/// The length in place of several equal ones (RFC 9110 §8.6); `None` if it stands there once, or not at all.
pub(super) fn collapsed(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let is_list = values.next()?.as_bytes().contains(&b',') || values.next().is_some();
    is_list.then(|| length(headers).map(HeaderValue::from))?
}
