//! The members of a request beside its `messages`.

use std::ops::RangeInclusive;

use crate::api::body::Body;
use crate::api::wrong::{UNDEFINED, number_or_type, said, type_of, wrong};
use crate::llm::json::{Kind, Value};
use crate::outcome::api_error::ApiError;
use crate::usage::ledger::LONGEST_MODEL;

/// The largest whole number that every reader of JSON has exactly: 2⁵³ − 1.
pub(super) const LARGEST_WHOLE: u64 = (1 << 53) - 1;

/// `model`: a string of 1 to [`LONGEST_MODEL`] bytes.
pub(super) fn model(body: Body<'_>) -> Result<Option<Box<str>>, ApiError> {
    let Some(value) = body.optional("model") else { return Ok(None) };
    let Some(name) = value.as_str() else { return Err(wrong("model", "string", type_of(Some(value)))) };
    let received = match name.len() {
        0 => "empty string".to_owned(),
        1..=LONGEST_MODEL => return Ok(Some(name.into())),
        length => format!("string of {length} bytes"),
    };
    Err(wrong("model", format!("string of 1 to {LONGEST_MODEL} bytes"), received))
}

/// A string that must be there and not be empty.
pub(super) fn required_text(body: Body<'_>, name: &'static str) -> Result<String, ApiError> {
    let Some(value) = body.member(name) else {
        return Err(said(format!("The {name} string is required"), name, "string", UNDEFINED));
    };
    match value.as_str() {
        Some(text) if text.is_empty() => Err(wrong(name, "non-empty string", "empty string")),
        Some(text) => Ok(text.into_owned()),
        None => Err(wrong(name, "string", type_of(Some(value)))),
    }
}

/// A whole number within `range`, `what` says of what. `1.0` and `1e0` are as whole as `1`: JSON has one type of numbers.
pub(super) fn whole(
    body: Body<'_>,
    name: &'static str,
    range: RangeInclusive<u64>,
    what: &str,
) -> Result<Option<u64>, ApiError> {
    let Some(value) = body.optional(name) else { return Ok(None) };
    match as_whole(value).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let expected = format!("whole number{what} from {} to {}", range.start(), range.end());
            Err(wrong(name, expected, number_or_type(value)))
        }
    }
}

fn as_whole(value: Value<'_>) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        let is_exact = (0.0..=LARGEST_WHOLE as f64).contains(&number);
        is_exact.then_some(number as u64)
    })
}

/// A number within `range`.
pub(super) fn number(
    body: Body<'_>,
    name: &'static str,
    range: RangeInclusive<f64>,
) -> Result<Option<f64>, ApiError> {
    let Some(value) = body.optional(name) else { return Ok(None) };
    match value.as_f64().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let expected = format!("number from {:?} to {:?}", range.start(), range.end());
            Err(wrong(name, expected, number_or_type(value)))
        }
    }
}

/// An object, as it was written, of at most `most` bytes.
pub(super) fn object(body: Body<'_>, name: &'static str, most: usize) -> Result<Option<String>, ApiError> {
    let Some(value) = body.optional(name) else { return Ok(None) };
    if value.kind() != Kind::Object {
        return Err(wrong(name, "object", type_of(Some(value))));
    }
    let length = value.raw().len();
    if length > most {
        let expected = format!("object of at most {most} bytes of JSON");
        return Err(wrong(name, expected, format!("{length} bytes")));
    }
    Ok(Some(value.raw().to_owned()))
}
