//! The chunks of a body (RFC 9112 §7.1), read strictly: a size, a line's end and an end of line where they
//! belong, or nothing. Extensions and trailers are skipped, within bounds.

use std::ops::Range;

/// What the line of a chunk's size may hold, extensions included, in bytes.
const LONGEST_LINE: usize = 8 * 1024;

/// What all trailers together may hold, in bytes.
const MOST_TRAILERS: usize = 64 * 1024;

/// The largest chunk, in bytes: whoever announces a larger one does not mean it.
const LARGEST: u64 = i64::MAX as u64;

/// A body that comes in chunks, between two reads.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// What of the chunk is still to come; while its size is read, that.
    left: u64,
    /// Bytes of the line that is being read, or of the trailers.
    line: usize,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The first digit of a size.
    #[default]
    Size,
    /// Another digit, or what follows the size.
    Digits,
    /// Space behind a size, an extension, or the line's end.
    Space,
    Extension,
    /// The LF of a size's line.
    SizeEnd,
    Data,
    /// CR LF behind a chunk.
    DataEnd,
    DataLineEnd,
    /// A trailer, or the CR of the last line.
    Trailer,
    TrailerField,
    TrailerEnd,
    /// The LF of the last line.
    LastEnd,
    Over,
    /// Nothing: what came is no chunk.
    Bad,
}

/// A byte that does not belong where it stands.
struct BadChunk;

impl Chunks {
    /// True if the last chunk and all behind it have come.
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// True if what came is no chunk: there will be no more.
    pub(super) fn is_bad(&self) -> bool {
        self.place == Place::Bad
    }

    /// Reads `bytes` as far as they belong to the body. Returns where in them what they carry is now, in one piece, and
    /// how many of them were read. Whether they became [bad](Chunks::is_bad) is to be asked then.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> (Range<usize>, usize) {
        let (mut at, mut carried) = (0, 0..0);
        while !matches!(self.place, Place::Over | Place::Bad) {
            if self.place == Place::Data {
                let came = bytes.len() - at;
                let taken = usize::try_from(self.left).map_or(came, |left| left.min(came));
                if carried.is_empty() {
                    carried = at..at;
                } else {
                    bytes.copy_within(at..at + taken, carried.end);
                }
                carried.end += taken;
                at += taken;
                self.left -= taken as u64;
                if self.left > 0 {
                    break;
                }
                self.place = Place::DataEnd;
            }
            let Some(&byte) = bytes.get(at) else { break };
            at += 1;
            self.place = self.step(byte).unwrap_or(Place::Bad);
        }
        (carried, at)
    }

    /// What is expected behind `byte`.
    fn step(&mut self, byte: u8) -> Result<Place, BadChunk> {
        Ok(match (self.place, byte) {
            (Place::Size | Place::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
                let size = self.left.checked_mul(16).ok_or(BadChunk)? + u64::from(digit);
                self.left = if size > LARGEST { return Err(BadChunk) } else { size };
                self.lengthen(LONGEST_LINE)?;
                Place::Digits
            }
            (Place::Digits | Place::Space, b' ' | b'\t') => {
                self.lengthen(LONGEST_LINE)?;
                Place::Space
            }
            (Place::Digits | Place::Space, b';') => Place::Extension,
            (Place::Digits | Place::Space | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.lengthen(LONGEST_LINE)?;
                Place::Extension
            }
            (Place::SizeEnd, b'\n') => {
                self.line = 0;
                if self.left == 0 { Place::Trailer } else { Place::Data }
            }
            (Place::DataEnd, b'\r') => Place::DataLineEnd,
            (Place::DataLineEnd, b'\n') => Place::Size,
            (Place::Trailer, b'\r') => Place::LastEnd,
            (Place::TrailerField, b'\r') => Place::TrailerEnd,
            (Place::Trailer | Place::TrailerField, b'\t' | b' '..=b'~' | 0x80..) => {
                self.lengthen(MOST_TRAILERS)?;
                Place::TrailerField
            }
            (Place::TrailerEnd, b'\n') => Place::Trailer,
            (Place::LastEnd, b'\n') => Place::Over,
            _ => return Err(BadChunk),
        })
    }

    fn lengthen(&mut self, longest: usize) -> Result<(), BadChunk> {
        self.line += 1;
        if self.line > longest { Err(BadChunk) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunks, LONGEST_LINE, MOST_TRAILERS};

    /// What `bytes` carry, read in pieces of `step` bytes, and what is left behind the body; `None` if they are bad.
    fn read(bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize, bool)> {
        let (mut chunks, mut carried, mut left) = (Chunks::default(), Vec::new(), 0);
        for piece in bytes.chunks(step) {
            let mut piece = piece.to_vec();
            let (range, taken) = chunks.read(&mut piece);
            carried.extend_from_slice(&piece[range]);
            left += piece.len() - taken;
        }
        (!chunks.is_bad()).then(|| (carried, left, chunks.is_over()))
    }

    fn of_any_step(bytes: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
        let whole = read(bytes, bytes.len().max(1));
        for step in 1..bytes.len() {
            assert_eq!(read(bytes, step), whole, "{:?} in steps of {step}", bytes.escape_ascii().to_string());
        }
        whole
    }

    #[test]
    fn chunks_are_read_however_they_come() {
        for (bytes, carried, left) in [
            ("0\r\n\r\n", "", 0),
            ("3\r\nabc\r\n0\r\n\r\n", "abc", 0),
            ("3\r\nabc\r\n0002\r\nde\r\n1;x=\"y\"\r\nf\r\n0\r\n\r\n", "abcdef", 0),
            ("A \t;a\r\n0123456789\r\n00\r\nX: y\r\nZ\r\n\r\nmore", "0123456789", 4),
            ("9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n\r\n", 0),
        ] {
            let expected = (carried.as_bytes().to_vec(), left, true);
            assert_eq!(of_any_step(bytes.as_bytes()), Some(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_part_is_no_end() {
        for bytes in ["", "3", "3\r\n", "3\r\nabc", "3\r\nabc\r\n", "0\r\n", "0\r\nX: y\r\n", "0\r\n\r"] {
            assert_eq!(of_any_step(bytes.as_bytes()).map(|(_, left, over)| (left, over)), Some((0, false)));
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bytes in [
            "\r\n",
            ";a\r\n",
            " 1\r\na\r\n",
            "0x1\r\na\r\n",
            "-1\r\na\r\n",
            "+1\r\na\r\n",
            "1\na\r\n",
            "1\ra\r\n",
            "1 2\r\na\r\n",
            "1;a\nb\r\n",
            "1;a\0\r\n",
            "2\r\nabc\r\n",
            "2\r\na\r\n",
            "1\r\na\n",
            "1\r\na0\r\n",
            "0\r\n\n",
            "0\r\nX\n\r\n",
            "0\r\nX\0\r\n\r\n",
            "0\r\n\rx",
            "8000000000000000\r\n",
            "fffffffffffffffe\r\n",
            "10000000000000000\r\n",
            "g\r\n",
        ] {
            assert_eq!(of_any_step(bytes.as_bytes()), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_came_before_it_is_read() {
        let mut bytes = *b"3\r\nabc\r\n2\r\nde-";
        let mut chunks = Chunks::default();
        let (carried, _) = chunks.read(&mut bytes);
        assert_eq!((&bytes[carried], chunks.is_bad(), chunks.is_over()), (&b"abcde"[..], true, false));
    }

    #[test]
    fn lines_and_trailers_have_a_bound() {
        let line = |length: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(length));
        assert!(read(line(LONGEST_LINE - 1).as_bytes(), 4096).is_some());
        assert_eq!(read(line(LONGEST_LINE).as_bytes(), 4096), None);
        let zeros = format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(LONGEST_LINE));
        assert_eq!(read(zeros.as_bytes(), 4096), None);
        let trailers = |count: usize| format!("0\r\n{}\r\n", "X: 12345\r\n".repeat(count));
        assert!(read(trailers(MOST_TRAILERS / 8).as_bytes(), 4096).is_some_and(|(.., is_over)| is_over));
        assert_eq!(read(trailers(MOST_TRAILERS / 8 + 1).as_bytes(), 4096), None);
    }
}
