//! A request as it is written to a server (RFC 9112 §3): its head as bytes, and the framing of its body.

use bytes::{BufMut, Bytes};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;

use crate::cache::recording::Failure;
use crate::proxy::answer_framing::{self, Length};
use crate::proxy::fields::{FieldList, put_field, written_size};
use crate::proxy::link::Link;

/// What the line of a head takes beside its method and target.
const LINE: usize = "  HTTP/1.1\r\n\r\n".len();

/// A request's head.
pub(super) struct Outgoing {
    pub(super) method: Method,
    /// The protocol that the server is asked to change to.
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) framing: Framing,
    /// All of it as it is sent.
    pub(super) text: Vec<u8>,
}

/// How the end of a request's body is told, and what of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a length that was announced.
    Length(u64),
    /// By a last chunk.
    Chunked,
}

/// A request that is sent on to one server, field by field.
pub(super) struct Lines<'a> {
    pub(super) method: &'a Method,
    pub(super) target: &'a [u8],
    /// The Host, in place of any among the fields.
    pub(super) host: &'a HeaderValue,
    pub(super) fields: &'a FieldList,
    /// The length of its body.
    pub(super) length: u64,
}

impl Outgoing {
    /// The head as pingora has it, each name spelt as it came.
    ///
    /// # Errors
    /// [`Failure::Invalid`]: it cannot be written as one.
    pub(super) fn of(head: &RequestHeader) -> Result<Self, Failure> {
        let framing = if head.headers.contains_key(TRANSFER_ENCODING) {
            Framing::Chunked
        } else {
            match answer_framing::announced(&head.headers) {
                Length::Of(length) => Framing::Length(length),
                Length::Unsaid => Framing::Length(0),
                Length::Contradictory => return Err(Failure::Invalid),
            }
        };
        let mut text = Vec::with_capacity(1024);
        put_line(&mut text, &head.method, head.raw_path())?;
        head.header_to_h1_wire(&mut text);
        text.put_slice(b"\r\n");
        let upgrade = head.headers.get(UPGRADE).cloned();
        Ok(Self { method: head.method.clone(), upgrade, framing, text })
    }

    /// The head of `lines`, with room for a small body behind it.
    ///
    /// # Errors
    /// [`Failure::Invalid`]: it cannot be written as one.
    pub(super) fn from_lines(lines: &Lines<'_>, room: usize) -> Result<Self, Failure> {
        let fields = || lines.fields.iter().filter(|(name, _)| *name != HOST && *name != CONTENT_LENGTH);
        let size: usize = fields().map(written_size).sum();
        let own = lines.host.len() + "host: \r\ncontent-length: 18446744073709551615\r\n".len();
        let line = lines.method.as_str().len() + lines.target.len() + LINE;
        let mut text = Vec::with_capacity(line + size + own + room);
        put_line(&mut text, lines.method, lines.target)?;
        put_field(&mut text, &HOST, lines.host.as_bytes());
        for (name, value) in fields() {
            put_field(&mut text, name, value.as_bytes());
        }
        put_field(&mut text, &CONTENT_LENGTH, itoa::Buffer::new().format(lines.length).as_bytes());
        text.put_slice(b"\r\n");
        let framing = Framing::Length(lines.length);
        Ok(Self { method: lines.method.clone(), upgrade: None, framing, text })
    }
}

/// The request line. What would end the target is none of it (RFC 9112 §3.2).
fn put_line(text: &mut Vec<u8>, method: &Method, target: &[u8]) -> Result<(), Failure> {
    if target.is_empty() || target.iter().any(|byte| matches!(byte, b'\0' | b'\n' | b'\r' | b' ')) {
        return Err(Failure::Invalid);
    }
    text.put_slice(method.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(target);
    text.put_slice(b" HTTP/1.1\r\n");
    Ok(())
}

impl Framing {
    /// Hands a piece of the body to `link`; no more than was announced.
    pub(super) fn send(&mut self, link: &mut Link, mut piece: Bytes) {
        match self {
            Self::Length(left) => {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
                link.send(b"", piece, b"");
            }
            Self::Chunked => link.send(format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"),
        }
    }

    /// Hands the end of the body to `link`.
    pub(super) fn end(&mut self, link: &mut Link) {
        if *self == Self::Chunked {
            link.close(b"0\r\n\r\n");
        }
    }

    /// True, once the end was handed over, if all came that was announced.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self, Self::Length(1..))
    }
}
