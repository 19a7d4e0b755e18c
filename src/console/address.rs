//! Addresses of the console's pages.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// `path` with those of `fields` in its query that say something.
pub(super) fn address(path: &str, fields: &[(&str, &str)]) -> String {
    let said = fields.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = said
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}
