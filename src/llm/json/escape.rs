//! The escapes of JSON strings, undone.

use memchr::memchr;

/// The four hexadecimal digits that `bytes` begins with, and their value.
pub(super) fn hex_unit(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes.get(..4)?;
    let value =
        digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))?;
    Some((value, digits))
}

/// The low surrogate, if `bytes` begins with the escape of one.
pub(super) fn low_after(bytes: &[u8]) -> Option<u32> {
    let (unit, _) = hex_unit(bytes.strip_prefix(b"\\u")?)?;
    (0xdc00..0xe000).contains(&unit).then_some(unit)
}

/// The code point of the escape that follows `\\u` in `tail`, a lone surrogate's too, and how many bytes of `tail` it
/// takes.
fn code_point(tail: &[u8]) -> (u32, usize) {
    let Some((unit, _)) = hex_unit(tail) else { return (0, tail.len()) };
    let is_high = (0xd800..0xdc00).contains(&unit);
    match is_high.then(|| low_after(tail.get(4..).unwrap_or_default())).flatten() {
        Some(low) => (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 10),
        None => (unit, 4),
    }
}

/// The text between the quotes of a checked string, its escapes undone. A lone surrogate gets the three bytes that
/// its code point would have in UTF-8.
pub(super) fn unescape(inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, letter, tail)) = next_escape(rest) {
        out.extend_from_slice(plain);
        rest = tail;
        match letter {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (code, used) = code_point(tail);
                push_code_point(code, &mut out);
                rest = tail.get(used..).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Appends the text between the quotes of a checked string as RFC 8785 §3.2.2.2 spells it.
pub(super) fn respell(inner: &[u8], out: &mut Vec<u8>) {
    let mut rest = inner;
    while let Some((plain, letter, tail)) = next_escape(rest) {
        out.extend_from_slice(plain);
        rest = tail;
        match letter {
            b'/' => out.push(b'/'),
            b'u' => {
                let (code, used) = code_point(tail);
                push_spelled(code, out);
                rest = tail.get(used..).unwrap_or_default();
            }
            short => out.extend([b'\\', short]),
        }
    }
    out.extend_from_slice(rest);
}

/// Splits `text` at its first escape: what is before it, the letter after the backslash, and the rest.
fn next_escape(text: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (plain, escape) = text.split_at_checked(memchr(b'\\', text)?)?;
    match escape {
        [_, letter, tail @ ..] => Some((plain, *letter, tail)),
        _ => None,
    }
}

fn push_code_point(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend([0xed, 0x80 | (code >> 6 & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]),
    }
}

fn push_spelled(code: u32, out: &mut Vec<u8>) {
    match code {
        0x22 => out.extend(b"\\\""),
        0x5c => out.extend(b"\\\\"),
        0x08 => out.extend(b"\\b"),
        0x09 => out.extend(b"\\t"),
        0x0a => out.extend(b"\\n"),
        0x0c => out.extend(b"\\f"),
        0x0d => out.extend(b"\\r"),
        0x00..0x20 => {
            out.extend(b"\\u00");
            let digits =
                [code >> 4, code & 0xf].map(|digit| char::from_digit(digit, 16).unwrap_or('0') as u8);
            out.extend(digits);
        }
        _ => push_code_point(code, out),
    }
}
