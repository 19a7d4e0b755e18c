//! JSON as it is written, but without white space between its parts; and long strings in pieces.

use crate::llm::json::{Kind, Value};

/// The longest piece of a text, in bytes: long enough that what surrounds it costs little, and short enough for
/// clients that read lines into small buffers.
pub(super) const PIECE: usize = 4096;

/// `value` without white space; nothing else is changed.
pub(super) fn text(value: Value<'_>) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Appends `value` without white space.
pub(super) fn write(value: Value<'_>, out: &mut String) {
    match value.kind() {
        Kind::Array => {
            out.push('[');
            for (index, element) in value.elements().enumerate() {
                if index != 0 {
                    out.push(',');
                }
                write(element, out);
            }
            out.push(']');
        }
        Kind::Object => {
            out.push('{');
            for (index, (name, value)) in value.members().enumerate() {
                if index != 0 {
                    out.push(',');
                }
                out.push_str(name.raw());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        _ => out.push_str(value.raw()),
    }
}

/// The text between a string's quotes in pieces that are strings themselves, of at most [`PIECE`] bytes: no character
/// and no escape is split, nor the two that a surrogate pair is written with.
pub(super) fn pieces(inner: &str) -> impl Iterator<Item = &str> {
    let mut rest = inner;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at_checked(piece_length(rest.as_bytes())).unwrap_or((rest, ""));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn piece_length(text: &[u8]) -> usize {
    let mut length = 0;
    while let Some(rest) = text.get(length..)
        && !rest.is_empty()
    {
        let next = length + unit_length(rest);
        if PIECE < next {
            break;
        }
        length = next;
    }
    length
}

/// How many bytes that belong together `text` begins with.
fn unit_length(text: &[u8]) -> usize {
    match text {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => 12,
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        [0xf0..=0xff, ..] => 4,
        [0xe0..=0xff, ..] => 3,
        [0xc0..=0xff, ..] => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{PIECE, pieces, text};
    use crate::llm::json::Tape;

    #[test]
    fn only_white_space_between_parts_goes() {
        let spread = " { \"a\" : [ 1.50 , -0 , 1E+400 , { } ] ,\r\n\t\"b \\u00e9\": \" \\/ \" , \"a\":[ ] } ";
        let mut tape = Tape::default();
        let compact = text(tape.read(spread.as_bytes()).expect("JSON").root());
        assert_eq!(compact, r#"{"a":[1.50,-0,1E+400,{}],"b \u00e9":" \/ ","a":[]}"#);
    }

    /// Each unit, shifted so that the bound falls on each of its bytes.
    #[test]
    fn what_belongs_together_is_not_split() {
        assert_eq!(pieces("").count(), 0);
        for unit in ["x", "é", "€", "😀", r"\n", r"\\", r"\u00e9", r"\ud83d\uDE00", r"\uD83D\ude00"] {
            for shift in 0..unit.len() {
                let inner = format!("{}{}", "y".repeat(shift), unit.repeat(2 * PIECE / unit.len()));
                let parts: Vec<&str> = pieces(&inner).collect();
                assert_eq!(parts.concat(), inner);
                for (index, part) in parts.iter().enumerate() {
                    let is_last = index + 1 == parts.len();
                    assert!(is_last || PIECE - unit.len() < part.len(), "{}", part.len());
                    assert!(part.len() <= PIECE, "{}", part.len());
                    assert_eq!((part.len() - if index == 0 { shift } else { 0 }) % unit.len(), 0, "{unit}");
                }
            }
        }
    }
}
