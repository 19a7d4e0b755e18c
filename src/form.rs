//! Form encoding (WHATWG URL Standard, `application/x-www-form-urlencoded` parsing), as query strings have it.

/// The pairs of `query` in its order, each as its decoded name and its value as it stands; a pair without `=` has an
/// empty value, and what stands between two `&` for nothing is a pair of nothing.
pub fn pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, &str)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), value)
    })
}

/// `text` with `+` as a space and `%XX` as its byte; a `%` without two digits stands for itself.
pub fn decoded(text: &str) -> Vec<u8> {
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
