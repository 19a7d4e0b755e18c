//! The head of an answer on its way to a client, and the framing of its body (RFC 9112 §4, §6).

use bytes::BufMut;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use pingora::http::ResponseHeader;

use crate::proxy::answer_framing;
use crate::proxy::fields::{FieldList, put_field, written_size};

/// An answer's head, without what its connection says itself: Date and Connection.
pub(super) enum ResponseHead {
    /// One that the gateway made, name by name.
    Plain(StatusCode, FieldList),
    /// One that is passed on as an upstream spelt it.
    Spelt(Box<ResponseHeader>),
}

/// How the end of an answer's body is told, and what of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    /// By a length that was announced.
    Length(u64),
    /// By a last chunk.
    Chunked,
    /// By the end of the connection.
    UntilEnd,
    /// The connection changes its protocol.
    Switched,
}

impl ResponseHead {
    /// The status code.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Plain(status, _) => *status,
            Self::Spelt(head) => head.status,
        }
    }

    /// How a body that follows it would be framed.
    pub(super) fn framing(&self) -> Framing {
        match self.status() {
            StatusCode::SWITCHING_PROTOCOLS => return Framing::Switched,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => return Framing::Nothing,
            _ => {}
        }
        if self.value(&TRANSFER_ENCODING).is_some() {
            return Framing::Chunked;
        }
        let length = self.value(&CONTENT_LENGTH).and_then(|length| answer_framing::digits(length.as_bytes()));
        length.map_or(Framing::UntilEnd, Framing::Length)
    }

    fn value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        match self {
            Self::Plain(_, fields) => fields.iter().find(|(other, _)| other == name).map(|(_, value)| value),
            Self::Spelt(head) => head.headers.get(name),
        }
    }

    /// Writes it to `text`, but for the empty line at its end.
    pub(super) fn put(&self, text: &mut Vec<u8>) {
        let (status, reason) = match self {
            Self::Plain(status, _) => (*status, status.canonical_reason()),
            Self::Spelt(head) => (head.status, head.get_reason_phrase()),
        };
        text.put_slice(b"HTTP/1.1 ");
        text.put_slice(status.as_str().as_bytes());
        text.put_u8(b' ');
        text.put_slice(reason.unwrap_or_default().as_bytes());
        text.put_slice(b"\r\n");
        match self {
            Self::Plain(_, fields) => {
                text.reserve(fields.iter().map(written_size).sum());
                for (name, value) in fields.iter() {
                    put_field(text, name, value.as_bytes());
                }
            }
            Self::Spelt(head) => head.header_to_h1_wire(text),
        }
    }

    /// The same as pingora has it.
    pub(super) fn into_header(self) -> Box<ResponseHeader> {
        match self {
            Self::Plain(status, fields) => Box::new(plain_header(status, fields.into())),
            Self::Spelt(head) => head,
        }
    }
}

/// A head as pingora has it, whose names are spelt anyhow.
pub(super) fn plain_header(status: StatusCode, fields: HeaderMap) -> ResponseHeader {
    let (mut parts, ()) = Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, fields);
    parts.into()
}
