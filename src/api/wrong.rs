//! How a client is told which part of its request is not as it must be. What it sent is shown by its type alone, or in
//! a short piece where it cannot be a part of a prompt.

use std::borrow::Cow;

use crate::llm::json::{Kind, Value};
use crate::outcome::api_error::{ApiError, Details};

/// The most characters of a request that an error shows.
const SHOWN: usize = 64;

/// What an error calls a member that is not there, as JavaScript does.
pub(super) const UNDEFINED: &str = "undefined";

/// A 400: `field` is something else than `expected`.
pub(super) fn wrong(
    field: impl Into<Cow<'static, str>>,
    expected: impl Into<Cow<'static, str>>,
    received: impl Into<Cow<'static, str>>,
) -> ApiError {
    let (field, expected, received) = (field.into(), expected.into(), received.into());
    let message = format!("Invalid {field}: expected {expected}, received {received}");
    ApiError::invalid(message, Details { field, expected, received })
}

/// A 400 in words of its own.
pub(super) fn said(
    message: impl Into<Cow<'static, str>>,
    field: impl Into<Cow<'static, str>>,
    expected: impl Into<Cow<'static, str>>,
    received: impl Into<Cow<'static, str>>,
) -> ApiError {
    let details = Details { field: field.into(), expected: expected.into(), received: received.into() };
    ApiError::invalid(message, details)
}

/// The type of a value, as errors name it.
pub(super) fn type_of(value: Option<Value<'_>>) -> &'static str {
    match value.map(Value::kind) {
        None => UNDEFINED,
        Some(Kind::Null) => "null",
        Some(Kind::False | Kind::True) => "boolean",
        Some(Kind::Integer | Kind::Float) => "number",
        Some(Kind::Plain | Kind::Escaped | Kind::Respelled) => "string",
        Some(Kind::Array) => "array",
        Some(Kind::Object) => "object",
    }
}

/// A number as it was written, or else the type of the value.
pub(super) fn number_or_type(value: Value<'_>) -> Cow<'static, str> {
    match value.kind() {
        Kind::Integer | Kind::Float => cut(value.raw()).into(),
        _ => type_of(Some(value)).into(),
    }
}

/// A string where one word of a few is due, or else the type of the value.
pub(super) fn word_or_type(value: Option<Value<'_>>) -> Cow<'static, str> {
    match value.and_then(Value::as_str) {
        Some(word) => cut(&word).into(),
        None => type_of(value).into(),
    }
}

/// As much of `text` as an error shows.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
