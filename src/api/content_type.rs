//! Whether a body is said to be JSON.

use http::HeaderValue;

use crate::api::wrong::{UNDEFINED, cut};
use crate::outcome::api_error::{ApiError, Details};

/// Refuses a body that is not said to be `application/json` or of a type that ends in `+json`, in UTF-8 where a charset
/// is named (RFC 8259 §8.1 knows no other). Other parameters say nothing here.
pub(super) fn require_json(content_type: Option<&HeaderValue>) -> Result<(), ApiError> {
    let text = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()));
    if text.as_deref().is_some_and(is_json) {
        return Ok(());
    }
    let received = text.map_or(UNDEFINED.to_owned(), |text| cut(&text));
    let details = Details {
        field: "Content-Type".into(),
        expected: "application/json".into(),
        received: received.into(),
    };
    Err(ApiError::new(415, "The Content-Type header must be application/json").about(details))
}

fn is_json(text: &str) -> bool {
    let mut parts = split_unquoted(text).map(str::trim);
    let essence = parts.next().unwrap_or_default();
    is_json_type(essence) && parts.all(|parameter| !names_another_charset(parameter))
}

fn is_json_type(essence: &str) -> bool {
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let lower = subtype.to_ascii_lowercase();
    let ends_in_json = lower.strip_suffix("+json").is_some_and(|name| !name.is_empty());
    let is_plain = kind.eq_ignore_ascii_case("application") && lower == "json";
    is_token(kind) && is_token(subtype) && (is_plain || ends_in_json)
}

fn names_another_charset(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    name.eq_ignore_ascii_case("charset") && !quoted.unwrap_or(value).eq_ignore_ascii_case("utf-8")
}

/// The parts of `text` between semicolons that are not within a quoted string (RFC 9110 §5.6.4).
fn split_unquoted(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        let ends = character == ';' && !is_quoted;
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        ends
    })
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}
