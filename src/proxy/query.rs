//! Query strings, read as form encoding has them (WHATWG URL Standard, `application/x-www-form-urlencoded` parsing).

/// The value of the one pair named `name`, decoded. `None` if there is none, or a second one, which another reader
/// might prefer; a name in other letters, `Model` say, counts as one, as some readers make no difference between them.
pub(super) fn only_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decoded(key);
        key.eq_ignore_ascii_case(name.as_bytes()).then_some((key, value))
    });
    let (key, value) = pairs.next()?;
    let is_only = key == name.as_bytes() && pairs.next().is_none();
    String::from_utf8(decoded(value)).ok().filter(|_| is_only)
}

/// `text` with `+` as a space and `%XX` as its byte; a `%` without two digits stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, after @ ..] = rest {
        let escaped = match (byte, after) {
            (b'%', [high, low, after @ ..]) => digit(*high).zip(digit(*low)).map(|pair| (pair, after)),
            _ => None,
        };
        if let Some(((high, low), after)) = escaped {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(if *byte == b'+' { b' ' } else { *byte });
            rest = after;
        }
    }
    out
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::only_value;

    #[test]
    fn one_value_is_found_however_it_is_written() {
        for query in ["model=a%20b", "x=1&model=a+b&y", "%6Dodel=a%20%62", "model=a b&models=c"] {
            assert_eq!(only_value(query, "model").as_deref(), Some("a b"), "{query}");
        }
        assert_eq!(only_value("model=100%&x", "model").as_deref(), Some("100%"));
        assert_eq!(only_value("model", "model").as_deref(), Some(""));
    }

    #[test]
    fn no_value_or_two_are_none() {
        for query in [
            "",
            "models=a",
            "Model=a",
            "model=a&model=a",
            "model=a&Model=a",
            "MODEL=a&model=b",
            "model=a&%6dodel=b",
            "model=a&%4dODEL=b",
            "model=%ff",
        ] {
            assert_eq!(only_value(query, "model"), None, "{query}");
        }
    }
}
