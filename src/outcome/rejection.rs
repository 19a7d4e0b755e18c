//! Everything a client may be told instead of an answer: the one table.

use std::borrow::Cow;

use crate::outcome::finished::Outcome;
use crate::routing::route::ErrorShape;

mod table;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No Host, or no `:authority`.
    MissingHost,
    /// A Host that is no host.
    BadHost,
    /// Content-Length beside Transfer-Encoding.
    AmbiguousLength,
    /// A Content-Length that is not one number.
    BadLength,
    /// A transfer coding beside `chunked`.
    UnknownCoding,
    /// An expectation beside `100-continue`.
    UnknownExpectation,
    /// A fragment, or bytes beyond ASCII, in the target.
    BadTarget,
    /// Dot segments, `%2e`, `%2f` or `//` in the path.
    AmbiguousPath,
    /// A trusted proxy sent an X-Forwarded-For that cannot be read.
    BadForwardedFor,
    /// The head is over its bounds.
    HeadTooLarge,
    /// TRACE or CONNECT.
    MethodNotAllowed,
    /// The path takes other methods: these.
    OtherMethods(&'static str),
    /// No route takes the path.
    NoRoute,
    /// No credentials.
    MissingKey,
    /// Credentials in no form that is known.
    MalformedKey,
    /// A key that may not pass.
    InvalidKey,
    /// Too many refused keys from this address.
    TooManyFailures,
    /// The key may not be used from there.
    AddressDenied,
    /// The bucket is empty; a request would pass after so many seconds, at least 1. The verdict's headers say when
    /// to try again.
    RateLimited(u64),
    /// The body is over its bound.
    BodyTooLarge,
    /// The body did not come in time.
    BodyTimeout,
    /// The body's framing broke off or is no HTTP.
    BodyBroken,
    /// One object names a member twice.
    DuplicateMember,
    /// The key may not ask for this model.
    ModelDenied,
    /// No place for one more request or its body.
    Overloaded,
    /// The upstream takes no more requests at once.
    UpstreamBusy,
    /// `only-if-cached`, and it is not.
    NotCached,
    /// No server could be reached: the request was not sent.
    UpstreamUnreachable,
    /// No server could be connected to in time: the request was not sent.
    UpstreamConnectTimeout,
    /// The connection to the upstream failed after the request was sent.
    UpstreamFailed,
    /// The upstream took too long.
    UpstreamTimeout,
    /// The gateway failed.
    Internal,
}

/// Whether the official SDKs are told to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryHint {
    /// Nothing is said: they decide.
    Unsaid,
    /// `x-should-retry: false`.
    Never,
    /// `Retry-After`, in seconds.
    After(u64),
    /// Both: not by themselves, and not before so many seconds.
    NeverSoon(u64),
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The status code.
    pub status: u16,
    /// `error` of the flat body.
    pub title: &'static str,
    /// What to do about it.
    pub message: &'static str,
    /// `error.type` of OpenAI's shape.
    pub kind: &'static str,
    /// `error.code` of OpenAI's shape.
    pub code: &'static str,
    /// What is recorded.
    pub outcome: Outcome,
}

/// The wait named to an address with too many refused keys: its window, in seconds.
const FAILURES_WINDOW: u64 = 60;

impl Rejection {
    /// Every rejection, as the README prints them; the wait is an example.
    pub const ALL: [Self; 32] = [
        Self::MissingHost,
        Self::BadHost,
        Self::AmbiguousLength,
        Self::BadLength,
        Self::UnknownCoding,
        Self::UnknownExpectation,
        Self::BadTarget,
        Self::AmbiguousPath,
        Self::BadForwardedFor,
        Self::HeadTooLarge,
        Self::MethodNotAllowed,
        Self::OtherMethods("GET, HEAD"),
        Self::NoRoute,
        Self::MissingKey,
        Self::MalformedKey,
        Self::InvalidKey,
        Self::TooManyFailures,
        Self::AddressDenied,
        Self::RateLimited(1),
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BodyBroken,
        Self::DuplicateMember,
        Self::ModelDenied,
        Self::Overloaded,
        Self::UpstreamBusy,
        Self::NotCached,
        Self::UpstreamUnreachable,
        Self::UpstreamConnectTimeout,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::Internal,
    ];

    /// What the table says of it.
    pub fn row(self) -> Row {
        table::of_head(self)
            .or_else(|| table::of_request(self))
            .or_else(|| table::of_key(self))
            .unwrap_or_else(|| table::of_servers(self))
    }

    /// `WWW-Authenticate` of a 401 (RFC 6750 §3).
    pub fn challenge(self) -> Option<&'static str> {
        match self {
            Self::MissingKey | Self::MalformedKey => Some("Bearer realm=\"safecache\""),
            Self::InvalidKey => Some("Bearer realm=\"safecache\", error=\"invalid_token\""),
            _ => None,
        }
    }

    /// `Allow` of a 405 (RFC 9110 §10.2.1).
    pub fn allowed_methods(self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed => Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            Self::OtherMethods(methods) => Some(methods),
            _ => None,
        }
    }

    /// What the client's library is told about trying again.
    pub fn retry_hint(self) -> RetryHint {
        match self {
            Self::Overloaded | Self::UpstreamBusy => RetryHint::After(1),
            Self::UnknownCoding
            | Self::NotCached
            | Self::UpstreamFailed
            | Self::UpstreamTimeout
            | Self::Internal => RetryHint::Never,
            Self::TooManyFailures => RetryHint::NeverSoon(FAILURES_WINDOW),
            _ => RetryHint::Unsaid,
        }
    }

    /// True if the answer ends the connection.
    pub fn closes(self) -> bool {
        matches!(
            self,
            Self::MissingHost
                | Self::BadHost
                | Self::AmbiguousLength
                | Self::BadLength
                | Self::UnknownCoding
                | Self::UnknownExpectation
                | Self::BadTarget
                | Self::AmbiguousPath
                | Self::HeadTooLarge
                | Self::MethodNotAllowed
                | Self::BodyTooLarge
                | Self::BodyTimeout
                | Self::BodyBroken
        )
    }

    /// Seconds for `retry_after` of the flat body.
    fn retry_after_seconds(self) -> Option<u64> {
        match self {
            Self::RateLimited(seconds) => Some(seconds),
            Self::TooManyFailures => Some(FAILURES_WINDOW),
            _ => None,
        }
    }

    /// The body, in the shape of the route. What never changes is not formatted.
    pub fn body(self, shape: ErrorShape) -> Cow<'static, str> {
        let row = self.row();
        match (shape, self.retry_after_seconds()) {
            (ErrorShape::Openai, _) => Cow::Owned(format!(
                r#"{{"error":{{"message":"{}","type":"{}","param":null,"code":"{}"}}}}"#,
                row.message, row.kind, row.code
            )),
            (ErrorShape::Safecache, Some(seconds)) => Cow::Owned(format!(
                r#"{{"error":"{}","message":"{}","retry_after":{seconds},"status":{}}}"#,
                row.title, row.message, row.status
            )),
            (ErrorShape::Safecache, None) => match self {
                Self::InvalidKey => Cow::Borrowed(INVALID_KEY_BODY),
                _ => Cow::Owned(format!(
                    r#"{{"error":"{}","message":"{}","status":{}}}"#,
                    row.title, row.message, row.status
                )),
            },
        }
    }
}

/// The body of the commonest refusal, ready made.
const INVALID_KEY_BODY: &str = concat!(
    r#"{"error":"Invalid API key","message":"The provided API key is invalid or has been revoked","#,
    r#""status":401}"#
);
