//! What would be right where a value is of the wrong kind.

use crate::config::node::{Kind, Node};

/// For a value that is not the scalar that was `expected`.
pub(super) fn of_value(node: &Node<'_>, expected: &str) -> String {
    let is_quoted = match &node.kind {
        Kind::Str(text) => {
            !node.interpolated && (text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok())
        }
        _ => false,
    };
    let is = |what: &str| expected.starts_with(what);
    let wants_plain = is("a whole number") || is("a number") || is("true or false");
    let hint = match () {
        () if wants_plain && is_quoted => "take the quotes away",
        () if is("a whole number") => "digits alone, such as 8",
        () if is("a number") => "such as 0.5",
        () if is("true or false") => "one of these words, without quotes",
        () if is("a size") => "a whole number and its unit, such as 64KiB",
        () if is("a duration") => "a whole number and its unit, such as 30s",
        () if is("an address") => "the prefix of IPv4 is at most 32, of IPv6 at most 128",
        () => "the gateway.yaml that ships explains every key",
    };
    hint.to_owned()
}

/// For a value of another type than what was `expected`.
pub(super) fn of_type(node: &Node<'_>, expected: &str) -> String {
    let hint = match node.kind {
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) if expected == "text" => "put it in quotes",
        Kind::Null if expected == "a mapping" => "write {} or remove the key",
        Kind::Null if expected == "a list" => "write [] or remove the key",
        Kind::Null => "remove the key",
        Kind::Str(_) | Kind::Int(_) if expected == "a list" => "write it between [ and ]",
        _ if expected == "a mapping" => "write `key: value` lines below it",
        _ if expected.starts_with("a list") => "write one `- ` line for each, or [a, b]",
        _ => "the gateway.yaml that ships shows an example",
    };
    hint.to_owned()
}
