//! Checked query parameters. They are the API's alone, so one that it does not know is a mistake that would otherwise
//! pass for an answer, and is refused like one that stands twice.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::api::wrong::{cut, said, wrong};
use crate::clock::UnixTime;
use crate::form;
use crate::outcome::api_error::ApiError;

/// The parameters of a request, each once and each known.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<&'static str, String>);

/// A point in time, as a parameter names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Exactly then.
    At(UnixTime),
    /// A day of UTC, which begins then.
    Day(UnixTime),
}

impl Query {
    /// Reads what stands behind the `?`. Names are told apart by upper and lower case; `&&` and `?` alone say nothing.
    ///
    /// # Errors
    /// A 400: a name is not among the `known` ones or stands twice, or its value is not UTF-8.
    pub fn read(query: Option<&str>, known: &[&'static str]) -> Result<Self, ApiError> {
        let mut values = BTreeMap::new();
        for (name, value) in form::pairs(query.unwrap_or_default()) {
            if name.is_empty() && value.is_empty() {
                continue;
            }
            let Some(&name) = known.iter().find(|known| known.as_bytes() == name) else {
                return Err(unknown(&name, known));
            };
            let Ok(value) = String::from_utf8(form::decoded(value)) else {
                return Err(wrong(name, "UTF-8 text", "other bytes"));
            };
            if values.insert(name, value).is_some() {
                return Err(said(
                    format!("The query parameter {name} stands twice"),
                    name,
                    "one value",
                    "several values",
                ));
            }
        }
        Ok(Self(values))
    }

    /// A parameter as it is; `None` if it is not there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A whole number of decimal digits within `range`.
    ///
    /// # Errors
    /// A 400: it is something else.
    pub fn whole(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_plain && range.contains(number));
        let expected = || format!("whole number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| wrong(name, expected(), shown(text)))
    }

    /// One of a few words, as what it stands for.
    ///
    /// # Errors
    /// A 400: it is none of them.
    pub fn one_of<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text);
        let expected = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| wrong(name, expected(), shown(text)))
    }

    /// A time as RFC 3339 has it, or a date, `2027-01-15`; 1970 to 2554.
    ///
    /// # Errors
    /// A 400: it is neither.
    pub fn when(&self, name: &'static str) -> Result<Option<When>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let is_date = text.len() == "2027-01-15".len();
        let when = match is_date {
            true => UnixTime::of_rfc3339(&format!("{text}T00:00:00Z")).map(When::Day),
            false => UnixTime::of_rfc3339(text).map(When::At),
        };
        let expected = "date (2027-01-15) or RFC 3339 time (2027-01-15T08:00:00Z; a + is written %2B)";
        when.map(Some).ok_or_else(|| wrong(name, expected, shown(text)))
    }
}

/// A value as an error shows it.
fn shown(text: &str) -> String {
    if text.is_empty() { "empty string".to_owned() } else { cut(text) }
}

fn unknown(name: &[u8], known: &[&'static str]) -> ApiError {
    let name = cut(&String::from_utf8_lossy(name));
    let expected = match known {
        [] => "no query parameters".to_owned(),
        known => format!("none but {}", known.join(", ")),
    };
    said(format!("Unknown query parameter {name}"), "query", expected, name)
}
