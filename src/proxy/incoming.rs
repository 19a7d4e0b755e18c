//! An answer as it comes from a server: heads, then a body to its end, read off a link.
//!
//! What is read goes into a buffer on the stack and only what is kept of it into memory of its own, so that a request
//! that waits for its answer holds none.

use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use tokio::io::ReadBuf;

use crate::cache::recording::Failure;
use crate::proxy::answer_framing::{self, Length};
use crate::proxy::chunks::Chunks;
use crate::proxy::copied::Copied;
use crate::proxy::link::Link;
use crate::proxy::remainder::Remainder;
use crate::proxy::response_head::plain_header;

/// What is read at once, at most, in bytes.
const LARGEST_READ: usize = 64 * 1024;

/// What is read at once of an answer that little memory is reserved for, at most, in bytes.
const LITTLE: usize = 16 * 1024;

/// The most fields of a head.
const MOST_FIELDS: usize = 256;

/// The largest head, in bytes.
const LARGEST_HEAD: usize = 256 * 1024;

/// How much is read of a socket at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    /// As much as there is a buffer for.
    Whole,
    /// No more than an answer's first reservation has room for.
    Little,
}

/// How the names of an answer's fields are spelt for who reads its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As the server spells them.
    Kept,
    /// It does not matter.
    Lost,
}

/// What has been read of an answer.
pub(super) struct Incoming {
    spelling: Spelling,
    pub(super) portion: Portion,
    /// What has come and was not given out yet.
    kept: Vec<u8>,
    body: Body,
    /// Something came behind the answer, or it told of its end in two ways: the connection is not to be trusted.
    is_doubtful: bool,
}

/// What of a body is still to come.
enum Body {
    Framed(Remainder),
    /// Everything until the connection ends.
    UntilEnd,
    /// Nothing: the connection has ended.
    Ended,
}

impl Incoming {
    /// Nothing has come yet.
    pub(super) fn new(spelling: Spelling) -> Self {
        let body = Body::Framed(Remainder::Length(0));
        Self { spelling, portion: Portion::Whole, kept: Vec::new(), body, is_doubtful: false }
    }

    /// The next head. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// The connection ends before, or what comes is none.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
    ) -> Poll<Result<ResponseHeader, Failure>> {
        if !self.kept.is_empty() {
            let kept = mem::take(&mut self.kept);
            if let Some(head) = self.parse(&kept)? {
                return Poll::Ready(Ok(head));
            }
            self.kept = kept;
        }
        let mut space = [const { MaybeUninit::uninit() }; LITTLE];
        loop {
            let mut buf = ReadBuf::uninit(&mut space);
            ready!(link.poll_read(cx, &mut buf)).map_err(|_| Failure::Reset)?;
            if buf.filled().is_empty() {
                return Poll::Ready(Err(Failure::Reset));
            }
            let mut kept = mem::take(&mut self.kept);
            let head = if kept.is_empty() {
                self.parse(buf.filled())?
            } else {
                kept.extend_from_slice(buf.filled());
                self.parse(&kept)?
            };
            if let Some(head) = head {
                return Poll::Ready(Ok(head));
            }
            if kept.is_empty() {
                kept = buf.filled().to_vec();
            }
            if kept.len() > LARGEST_HEAD {
                return Poll::Ready(Err(Failure::Invalid));
            }
            self.kept = kept;
        }
    }

    /// The head that `bytes` begin with; what is behind it is kept. `None` if it has not come to its end.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<ResponseHeader>, Failure> {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let mut parser = httparse::ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let end = match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Failure::Invalid),
        };
        let (head, rest) = bytes.split_at_checked(end).ok_or(Failure::Invalid)?;
        self.kept = rest.to_vec();
        head_of(&parsed, head, self.spelling).ok_or(Failure::Invalid).map(Some)
    }

    /// Prepares for the body that follows `head`, which answers a request of `method`. A length beside chunks goes by
    /// the board (RFC 9112 §6.3).
    ///
    /// # Errors
    /// Where it would end cannot be told.
    pub(super) fn expect_body(&mut self, head: &mut ResponseHeader, method: &Method) -> Result<(), Failure> {
        if !answer_framing::is_readable(&head.headers) {
            return Err(Failure::Invalid);
        }
        let length = answer_framing::announced(&head.headers);
        let is_chunked = is_chunked(head);
        if is_chunked && length != Length::Unsaid {
            self.is_doubtful = true;
            head.remove_header(&CONTENT_LENGTH);
        }
        let is_bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.body = match length {
            Length::Contradictory => return Err(Failure::Invalid),
            _ if is_bodiless || *method == Method::HEAD => Body::Framed(Remainder::Length(0)),
            _ if is_chunked => Body::Framed(Remainder::Chunked(Chunks::default())),
            Length::Of(length) => Body::Framed(Remainder::Length(length)),
            Length::Unsaid => Body::UntilEnd,
        };
        Ok(())
    }

    /// The next piece of the body, never empty; `None` at its end. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// The connection ends before the body does, or the body is badly framed.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
    ) -> Poll<Result<Option<Bytes>, Failure>> {
        if !self.kept.is_empty() {
            let mut kept = mem::take(&mut self.kept);
            let carried = self.read(&mut kept);
            if carried.len() == kept.len() && !kept.is_empty() {
                return Poll::Ready(Ok(Some(Bytes::from(kept))));
            }
            if let Some(piece) = kept.get(carried).filter(|piece| !piece.is_empty()) {
                return Poll::Ready(Ok(Some(Bytes::copy_from_slice(piece))));
            }
        }
        let mut space = [const { MaybeUninit::uninit() }; LARGEST_READ];
        loop {
            if self.body.is_over() {
                return Poll::Ready(Ok(None));
            }
            if matches!(&self.body, Body::Framed(left) if left.is_bad()) {
                return Poll::Ready(Err(Failure::Invalid));
            }
            let portion = match self.portion {
                Portion::Whole => LARGEST_READ,
                Portion::Little => LITTLE,
            };
            let mut buf = ReadBuf::uninit(space.get_mut(..portion).unwrap_or_default());
            ready!(link.poll_read(cx, &mut buf)).map_err(|_| Failure::Reset)?;
            if buf.filled().is_empty() {
                match self.body {
                    Body::UntilEnd => self.body = Body::Ended,
                    _ => return Poll::Ready(Err(Failure::Reset)),
                }
            }
            let carried = self.read(buf.filled_mut());
            if let Some(piece) = buf.filled().get(carried).filter(|piece| !piece.is_empty()) {
                return Poll::Ready(Ok(Some(Bytes::copy_from_slice(piece))));
            }
        }
    }

    /// Takes what has come of the body. Where in `bytes` what it carries is now.
    fn read(&mut self, bytes: &mut [u8]) -> Range<usize> {
        let (carried, taken) = match &mut self.body {
            Body::Framed(left) => left.read(bytes),
            Body::UntilEnd => (0..bytes.len(), bytes.len()),
            Body::Ended => (0..0, 0),
        };
        self.is_doubtful |= taken < bytes.len();
        carried
    }

    /// True if the body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.body.is_over()
    }

    /// True if the answer has come to its own end and nothing behind it.
    pub(super) fn is_clean(&self) -> bool {
        let is_over = self.body.is_over() && !matches!(self.body, Body::Ended);
        is_over && self.kept.is_empty() && !self.is_doubtful
    }

    /// What has come behind the head, in another protocol.
    pub(super) fn into_rest(self) -> Bytes {
        Bytes::from(self.kept)
    }
}

impl Body {
    fn is_over(&self) -> bool {
        match self {
            Self::Framed(left) => left.is_over(),
            Self::UntilEnd => false,
            Self::Ended => true,
        }
    }
}

/// The head that was parsed from `bytes`: its values are slices of one copy. `None` if it is none.
fn head_of(parsed: &httparse::Response<'_, '_>, bytes: &[u8], spelling: Spelling) -> Option<ResponseHeader> {
    let status = StatusCode::from_u16(parsed.code?).ok()?;
    let copied = Copied::of(bytes);
    let mut head = match spelling {
        Spelling::Lost => {
            let mut fields = HeaderMap::with_capacity(parsed.headers.len());
            for field in &*parsed.headers {
                fields.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, copied.value(field.value));
            }
            plain_header(status, fields)
        }
        Spelling::Kept => {
            let mut head = ResponseHeader::build(status, Some(parsed.headers.len())).ok()?;
            head.set_reason_phrase(parsed.reason).ok()?;
            for field in &*parsed.headers {
                let name = Bytes::copy_from_slice(field.name.as_bytes());
                head.append_header(name, copied.value(field.value)).ok()?;
            }
            head
        }
    };
    head.set_version(if parsed.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 });
    Some(head)
}

/// True if the server keeps the connection for another request (RFC 9112 §9.3), as far as its version tells.
pub(super) fn is_persistent(head: &ResponseHeader) -> bool {
    let says_so =
        |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive") && !is_chunked(head);
    head.version == Version::HTTP_11 || head.headers.get(CONNECTION).is_some_and(says_so)
}

fn is_chunked(head: &ResponseHeader) -> bool {
    head.headers.contains_key(TRANSFER_ENCODING)
}
