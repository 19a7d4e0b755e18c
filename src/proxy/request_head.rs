//! A request's head as bytes of HTTP/1.1 (RFC 9112 §3, §5), read strictly: what is doubtful is refused, not mended.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, Uri, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::authority::validate_request_authority;

use crate::config::MOST_HEAD_FIELDS;
use crate::proxy::answer_framing::Length;
use crate::proxy::copied::Copied;

/// A head that has been read.
pub(super) struct RequestHead {
    pub(super) header: RequestHeader,
    /// All of it as it came, of which its fields' values are slices.
    text: Bytes,
    /// True for a [plain](is_plain) target.
    pub(super) has_plain_target: bool,
    pub(super) body: Announced,
    /// The client lets its connection carry another request (RFC 9112 §9.3).
    pub(super) is_persistent: bool,
}

/// What a head says of the body behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunks,
}

/// What is looked for among a head's fields as they are read.
struct Seen {
    hosts: usize,
    length: Length,
    /// Whether the last coding is `chunked`, if there is one.
    coding: Option<LastCoding>,
    says_close: bool,
    says_keep_alive: bool,
}

/// The last of a list of transfer codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastCoding {
    Chunked,
    Other,
}

/// Why what comes is not read as a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is none, or one that two readers could read in two ways.
    Doubtful,
    /// It has more than [`MOST_HEAD_FIELDS`].
    TooManyFields,
}

impl RequestHead {
    /// The head that `bytes` begin with; `None` if it has not come to its end.
    ///
    /// # Errors
    /// They begin with none that is read.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_HEAD_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let end = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Unreadable::TooManyFields),
            Err(_) => return Err(Unreadable::Doubtful),
        };
        let copied = bytes.get(..end).map(Copied::of).ok_or(Unreadable::Doubtful)?;
        Self::of(&parsed, &copied).ok_or(Unreadable::Doubtful).map(Some)
    }

    /// No head: what stands in the place of one between two requests.
    pub(super) fn none() -> Self {
        let (parts, ()) = Request::new(()).into_parts();
        let (text, body) = (Bytes::new(), Announced::Length(0));
        Self { header: parts.into(), text, has_plain_target: true, body, is_persistent: false }
    }

    /// The head that was parsed and `copied`; `None` if it is none, or is doubtful.
    fn of(parsed: &httparse::Request<'_, '_>, copied: &Copied) -> Option<Self> {
        let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
        let version = if parsed.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let (mut fields, mut seen) = (HeaderMap::with_capacity(parsed.headers.len()), Seen::nothing());
        for field in &*parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            seen.note(&name, field.value);
            fields.append(name, copied.value(field.value));
        }
        let body = seen.body(version)?;
        let target = parsed.path?;
        let has_plain_target = is_plain(target.as_bytes());
        let mut header = match Uri::from_maybe_shared(copied.slice(target.as_bytes())) {
            Ok(uri) if target.starts_with('/') => {
                let (mut parts, ()) = Request::new(()).into_parts();
                (parts.method, parts.uri, parts.headers) = (method, uri, fields);
                RequestHeader::from(parts)
            }
            // Another form (RFC 9112 §3.2), of which pingora keeps the authority as it came.
            _ => {
                let mut header = RequestHeader::build_no_case(method, target.as_bytes(), None).ok()?;
                for (name, value) in &fields {
                    header.append_header(name, value.clone()).ok()?;
                }
                header
            }
        };
        header.set_version(version);
        let is_persistent = !seen.says_close && (seen.says_keep_alive || version == Version::HTTP_11);
        let names_one_host =
            seen.hosts < 2 && (target.starts_with('/') || validate_request_authority(&header).is_ok());
        let text = copied.text().clone();
        names_one_host.then_some(Self { header, text, has_plain_target, body, is_persistent })
    }

    /// How many bytes it is long.
    pub(super) fn size(&self) -> usize {
        self.text.len()
    }

    /// The same with each field's name spelt as it came; `None` cannot come up.
    pub(super) fn spelt(&self) -> Option<RequestHeader> {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_HEAD_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        parsed.parse_with_uninit_headers(&self.text, &mut fields).ok()?;
        let copied = Copied::from(&self.text);
        let count = Some(parsed.headers.len());
        let mut header =
            RequestHeader::build(self.header.method.clone(), self.header.raw_path(), count).ok()?;
        for field in &*parsed.headers {
            header.append_header(copied.slice(field.name.as_bytes()), copied.value(field.value)).ok()?;
        }
        header.set_version(self.header.version);
        Some(header)
    }
}

/// True for a target of ASCII without a fragment, which is none (RFC 9112 §3.2): not every server would read it.
pub(super) fn is_plain(target: &[u8]) -> bool {
    target.is_ascii() && memchr::memchr(b'#', target).is_none()
}

impl Seen {
    fn nothing() -> Self {
        let length = Length::Unsaid;
        Self { hosts: 0, length, coding: None, says_close: false, says_keep_alive: false }
    }

    fn note(&mut self, name: &HeaderName, value: &[u8]) {
        if *name == CONTENT_LENGTH {
            self.length = self.length.and(value);
        } else if *name == HOST {
            self.hosts += 1;
        } else if *name == CONNECTION {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.says_close |= option.eq_ignore_ascii_case(b"close");
                self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if *name == TRANSFER_ENCODING {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.coding = Some(if is_chunked { LastCoding::Chunked } else { LastCoding::Other });
        }
    }

    /// The body that is announced; `None` if it is not clear where it ends: with more than one length, or a coding that
    /// does not end in `chunked` (RFC 9112 §6.3), or any in HTTP/1.0, which knows none (§6.1).
    fn body(&self, version: Version) -> Option<Announced> {
        match (self.coding, self.length) {
            (Some(LastCoding::Chunked), _) if version == Version::HTTP_11 => Some(Announced::Chunks),
            (Some(_), _) | (None, Length::Contradictory) => None,
            (None, Length::Of(length)) => Some(Announced::Length(length)),
            (None, Length::Unsaid) => Some(Announced::Length(0)),
        }
    }
}
