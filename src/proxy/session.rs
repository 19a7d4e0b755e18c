//! A request and its answer, whichever version of HTTP the client speaks: 1.1 by a codec of our own, 2 by pingora.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{AsHeaderName, EXPECT, UPGRADE};
use http::{HeaderValue, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, OrErr, Result};

use crate::clock::UnixTime;
use crate::proxy::http1::{Http1, Part};
use crate::proxy::request_head::{RequestHead, is_plain};
use crate::proxy::response_head::ResponseHead;
use crate::proxy::revocation::Revocation;
use crate::proxy::upload::Fault;

/// One request over either version.
pub(super) struct Session {
    pub(super) carrier: Carrier,
    /// The client has been told to go on with its body.
    has_said_continue: bool,
    pub(super) revocation: Revocation,
}

/// What carries it.
#[expect(clippy::large_enum_variant, reason = "the large one is the common one")]
pub(super) enum Carrier {
    Http1(Http1),
    /// Boxed: it is large, and most connections are HTTP/1.1.
    Http2(Box<ServerSession>),
}

impl Session {
    pub(super) fn new(carrier: Carrier) -> Self {
        Self { carrier, has_said_continue: false, revocation: Revocation::default() }
    }

    /// Begins with another request over HTTP/1.1, whose head has been read.
    pub(super) fn take(&mut self, head: RequestHead) {
        self.has_said_continue = false;
        self.revocation = Revocation::default();
        if let Carrier::Http1(http1) = &mut self.carrier {
            http1.take(head);
        }
    }

    /// The request's head.
    pub(super) fn head(&self) -> &RequestHeader {
        match &self.carrier {
            Carrier::Http1(http1) => &http1.head.header,
            Carrier::Http2(http2) => http2.req_header(),
        }
    }

    /// A copy of the head to send on, each name spelt as it came; `None` cannot come up.
    pub(super) fn spelt_head(&self) -> Option<RequestHeader> {
        match &self.carrier {
            Carrier::Http1(http1) => http1.head.spelt(),
            Carrier::Http2(http2) => Some(http2.req_header().clone()),
        }
    }

    /// The first value of a field.
    pub(super) fn field(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.head().headers.get(name)
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.carrier, Carrier::Http2(_))
    }

    /// True for a [plain](is_plain) target.
    pub(super) fn has_plain_target(&self) -> bool {
        match &self.carrier {
            Carrier::Http1(http1) => http1.head.has_plain_target,
            Carrier::Http2(http2) => is_plain(http2.req_header().raw_path()),
        }
    }

    /// How long the head is, in bytes. HTTP/2 sends compressed fields: counted as RFC 9113 §6.5.2 counts a field list.
    pub(super) fn head_size(&self) -> usize {
        match &self.carrier {
            Carrier::Http1(http1) => http1.head.size(),
            Carrier::Http2(http2) => {
                let head = http2.req_header();
                let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
                fields.sum::<usize>().saturating_add(head.raw_path().len())
            }
        }
    }

    /// True if the client asks for another protocol (RFC 9110 §7.8).
    pub(super) fn asks_upgrade(&self) -> bool {
        let head = self.head();
        head.version == Version::HTTP_11 && head.headers.contains_key(UPGRADE)
    }

    /// The connection's other end, IPv4-mapped addresses as IPv4; unspecified if the system does not tell.
    pub(super) fn peer(&self) -> IpAddr {
        match &self.carrier {
            Carrier::Http1(http1) => http1.connection.peer(),
            Carrier::Http2(http2) => {
                let address = http2.client_addr().and_then(|address| address.as_inet());
                address.map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip().to_canonical())
            }
        }
    }

    /// How the client came: `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        match &self.carrier {
            Carrier::Http1(http1) => http1.connection.scheme(),
            Carrier::Http2(_) => "https",
        }
    }

    /// True if the head announces a body.
    pub(super) fn has_body(&mut self) -> bool {
        match &mut self.carrier {
            Carrier::Http1(http1) => http1.has_body(),
            Carrier::Http2(http2) => !http2.is_body_empty(),
        }
    }

    /// True if the body has come to its end.
    pub(super) fn is_body_over(&mut self) -> bool {
        match &mut self.carrier {
            Carrier::Http1(http1) => http1.is_body_over(),
            Carrier::Http2(http2) => http2.is_body_done(),
        }
    }

    /// Bytes of the body that have come.
    pub(super) fn body_read(&self) -> u64 {
        match &self.carrier {
            Carrier::Http1(http1) => http1.body_read,
            Carrier::Http2(http2) => http2.body_bytes_read() as u64,
        }
    }

    /// The next piece of the body; `None` at its end. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// There will be no more.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, Fault> {
        match &mut self.carrier {
            Carrier::Http1(http1) => http1.read().await,
            Carrier::Http2(http2) => http2.read_request_body().await.map_err(|error| fault_of(&error)),
        }
    }

    /// Bytes of the body that [`Session::read_body_to`] can read, if any.
    pub(super) fn body_left(&self) -> Option<u64> {
        match &self.carrier {
            Carrier::Http1(http1) => http1.length_left(),
            Carrier::Http2(_) => None,
        }
    }

    /// Reads some of what is [left](Session::body_left) of the body to the end of `body`, no more than it has room for.
    /// Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// There will be no more.
    pub(super) async fn read_body_to(&mut self, body: &mut Vec<u8>) -> Result<(), Fault> {
        match &mut self.carrier {
            Carrier::Http1(http1) => http1.read_to(body).await,
            Carrier::Http2(_) => Err(Fault::Broken),
        }
    }

    /// True if the client waits to be told to go on with its body (RFC 9110 §10.1.1).
    pub(super) fn expects_continue(&self) -> bool {
        !self.has_said_continue && self.field(EXPECT).is_some()
    }

    /// Tells the client to go on with its body, if it waits for that. Over HTTP/2 pingora sends no interim answer, and
    /// HTTP/1.0 knows none.
    ///
    /// # Errors
    /// The client left.
    pub(super) async fn say_continue(&mut self) -> Result<()> {
        if !self.expects_continue() {
            return Ok(());
        }
        self.has_said_continue = true;
        if self.is_body_over() || self.head().version == Version::HTTP_10 {
            return Ok(());
        }
        self.write_interim(ResponseHead::Plain(StatusCode::CONTINUE, Default::default())).await
    }

    /// Waits until the client leaves, or its key is revoked; to be awaited while nothing is read of it.
    pub(super) async fn left(&mut self) {
        let left = async {
            match &mut self.carrier {
                Carrier::Http1(http1) => http1.connection.left().await,
                Carrier::Http2(http2) => {
                    // A reset stands beside the body, not behind it.
                    let _ = http2.read_body_or_idle(true).await;
                }
            }
        };
        // Which of them it was, the revocation knows.
        let _ = self.revocation.unless_said(left).await;
    }

    /// The connection ends with this request, if it is the request's alone.
    pub(super) fn close(&mut self) {
        if let Carrier::Http1(http1) = &mut self.carrier {
            http1.close();
        }
    }

    /// Writes an answer before the answer.
    ///
    /// # Errors
    /// The client left.
    pub(super) async fn write_interim(&mut self, head: ResponseHead) -> Result<()> {
        match &mut self.carrier {
            Carrier::Http1(http1) => {
                http1.interim(&head).await.or_err(ErrorType::WriteError, "writing an interim answer")
            }
            Carrier::Http2(http2) => http2.write_response_header(head.into_header()).await,
        }
    }

    /// Writes the head of the answer; `now` is its Date.
    ///
    /// # Errors
    /// The client left.
    pub(super) async fn write_head(&mut self, head: ResponseHead, now: UnixTime) -> Result<()> {
        match &mut self.carrier {
            Carrier::Http1(http1) => {
                http1.begin(head, now).await.or_err(ErrorType::WriteError, "writing a head")
            }
            Carrier::Http2(http2) => http2.write_response_header(head.into_header()).await,
        }
    }

    /// Writes a piece of the answer's body.
    ///
    /// # Errors
    /// The client left, or was too slow; or its key is revoked.
    pub(super) async fn write_body(&mut self, piece: Bytes, part: Part) -> Result<()> {
        let Self { carrier, revocation, .. } = self;
        let writing = async {
            match carrier {
                Carrier::Http1(http1) => {
                    http1.write(piece, part).await.or_err(ErrorType::WriteError, "writing a body")
                }
                Carrier::Http2(http2) => http2.write_response_body(piece, part == Part::Last).await,
            }
        };
        match revocation.unless_said(writing).await {
            Some(written) => written,
            None => Error::e_explain(ErrorType::WriteError, "the key is revoked"),
        }
    }

    /// The status that was answered, if it is one; 101 is.
    pub(super) fn status(&self) -> Option<StatusCode> {
        let is_answer =
            |status: &StatusCode| !status.is_informational() || *status == StatusCode::SWITCHING_PROTOCOLS;
        match &self.carrier {
            Carrier::Http1(http1) => http1.status,
            Carrier::Http2(http2) => http2.response_written().map(|head| head.status).filter(is_answer),
        }
    }

    /// Bytes of the answer's body that were written.
    pub(super) fn body_sent(&self) -> u64 {
        match &self.carrier {
            Carrier::Http1(http1) => http1.body_sent,
            Carrier::Http2(http2) => http2.body_bytes_sent() as u64,
        }
    }
}

fn fault_of(error: &Error) -> Fault {
    match error.etype() {
        ErrorType::ReadTimedout => Fault::Slow,
        ErrorType::InvalidHTTPHeader => Fault::Broken,
        _ => Fault::Gone,
    }
}
