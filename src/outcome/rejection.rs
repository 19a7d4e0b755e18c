//! Everything a client may be told instead of an answer: the one table.

use std::borrow::Cow;

use crate::outcome::finished::Outcome;
use crate::routing::route::ErrorShape;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No Host, or no `:authority`.
    MissingHost,
    /// Content-Length beside Transfer-Encoding.
    AmbiguousLength,
    /// Dot segments, `%2e`, `%2f` or `//` in the path.
    AmbiguousPath,
    /// A trusted proxy sent an X-Forwarded-For that cannot be read.
    BadForwardedFor,
    /// The head is over its bounds.
    HeadTooLarge,
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
    pub const ALL: [Self; 25] = [
        Self::MissingHost,
        Self::AmbiguousLength,
        Self::AmbiguousPath,
        Self::BadForwardedFor,
        Self::HeadTooLarge,
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
        self.request_row().or_else(|| self.key_row()).unwrap_or_else(|| self.server_row())
    }

    /// Rows about the request's own form.
    fn request_row(self) -> Option<Row> {
        let invalid = |status, title, message, code| Row {
            status,
            title,
            message,
            kind: "invalid_request_error",
            code,
            outcome: Outcome::Invalid,
        };
        Some(match self {
            Self::MissingHost => invalid(400, "Bad request", "The Host header is required", "missing_host"),
            Self::AmbiguousLength => invalid(
                400,
                "Bad request",
                "Content-Length and Transfer-Encoding must not be sent together",
                "ambiguous_length",
            ),
            Self::AmbiguousPath => invalid(
                400,
                "Bad request",
                "The path must not contain dot segments, empty segments, %2e or %2f",
                "ambiguous_path",
            ),
            Self::BadForwardedFor => {
                invalid(400, "Bad request", "The X-Forwarded-For header cannot be read", "bad_forwarded_for")
            }
            Self::HeadTooLarge => invalid(
                431,
                "Request header fields too large",
                "The request head is too large",
                "head_too_large",
            ),
            Self::BodyTooLarge => {
                invalid(413, "Payload too large", "The request body is too large", "payload_too_large")
            }
            Self::BodyTimeout => {
                invalid(408, "Request timeout", "The request body did not arrive in time", "request_timeout")
            }
            Self::BodyBroken => {
                invalid(400, "Bad request", "The request body broke off or is badly framed", "bad_body")
            }
            Self::DuplicateMember => invalid(
                400,
                "Bad request",
                "A member name stands twice in one JSON object of the body",
                "duplicate_member",
            ),
            Self::NoRoute => Row {
                status: 404,
                title: "Not found",
                message: "No route takes this path",
                kind: "invalid_request_error",
                code: "not_found",
                outcome: Outcome::NotFound,
            },
            _ => return None,
        })
    }

    /// Rows about the key and what it may do.
    fn key_row(self) -> Option<Row> {
        let row = |status, title, message, code, outcome| Row {
            status,
            title,
            message,
            kind: "invalid_request_error",
            code,
            outcome,
        };
        Some(match self {
            Self::MissingKey => row(
                401,
                "Missing API key",
                "Authorization header is required",
                "missing_api_key",
                Outcome::Unauthorized,
            ),
            Self::MalformedKey => row(
                401,
                "Invalid authorization format",
                "Authorization header must be in format: Bearer YOUR_API_KEY",
                "invalid_authorization_format",
                Outcome::Unauthorized,
            ),
            Self::InvalidKey => row(
                401,
                "Invalid API key",
                "The provided API key is invalid or has been revoked",
                "invalid_api_key",
                Outcome::Unauthorized,
            ),
            Self::AddressDenied => row(
                403,
                "Access denied",
                "This API key may not be used from your address",
                "access_denied",
                Outcome::Forbidden,
            ),
            Self::ModelDenied => row(
                403,
                "Access denied",
                "This API key may not use the requested model",
                "model_not_allowed",
                Outcome::Forbidden,
            ),
            Self::TooManyFailures => Row {
                kind: "requests",
                ..row(
                    429,
                    "Rate limit exceeded",
                    "Too many requests with an invalid API key came from your address. Please try again later.",
                    "rate_limit_exceeded",
                    Outcome::RateLimited,
                )
            },
            Self::RateLimited(_) => Row {
                kind: "requests",
                ..row(
                    429,
                    "Rate limit exceeded",
                    "You have exceeded your rate limit. Please try again later.",
                    "rate_limit_exceeded",
                    Outcome::RateLimited,
                )
            },
            _ => return None,
        })
    }

    /// Rows about the gateway and what is behind it.
    fn server_row(self) -> Row {
        let row = |status, title, message, code, outcome| Row {
            status,
            title,
            message,
            kind: "server_error",
            code,
            outcome,
        };
        let upstream = Outcome::UpstreamError;
        match self {
            Self::Overloaded => row(
                503,
                "Service unavailable",
                "The gateway is at its limits. Please try again later.",
                "overloaded",
                Outcome::Overloaded,
            ),
            Self::UpstreamBusy => row(
                503,
                "Service unavailable",
                "The upstream is at its limits. Please try again later.",
                "upstream_busy",
                Outcome::Overloaded,
            ),
            Self::NotCached => row(
                504,
                "Not in cache",
                "Only a cached answer was asked for, and there is none",
                "not_cached",
                Outcome::NotFound,
            ),
            Self::UpstreamUnreachable => {
                row(502, "Bad gateway", "The upstream could not be reached", "upstream_unreachable", upstream)
            }
            Self::UpstreamConnectTimeout => row(
                504,
                "Gateway timeout",
                "The upstream could not be reached in time",
                "upstream_connect_timeout",
                upstream,
            ),
            Self::UpstreamFailed => {
                row(502, "Bad gateway", "The upstream failed to answer", "upstream_failed", upstream)
            }
            Self::UpstreamTimeout => row(
                504,
                "Gateway timeout",
                "The upstream did not answer in time",
                "upstream_timeout",
                upstream,
            ),
            _ => row(
                500,
                "Internal server error",
                "The gateway failed to handle this request",
                "internal_error",
                Outcome::InternalError,
            ),
        }
    }

    /// `WWW-Authenticate` of a 401 (RFC 6750 §3).
    pub fn challenge(self) -> Option<&'static str> {
        match self {
            Self::MissingKey | Self::MalformedKey => Some("Bearer realm=\"safecache\""),
            Self::InvalidKey => Some("Bearer realm=\"safecache\", error=\"invalid_token\""),
            _ => None,
        }
    }

    /// What the client's library is told about trying again.
    pub fn retry_hint(self) -> RetryHint {
        match self {
            Self::Overloaded | Self::UpstreamBusy => RetryHint::After(1),
            Self::NotCached | Self::UpstreamFailed | Self::UpstreamTimeout | Self::Internal => {
                RetryHint::Never
            }
            Self::TooManyFailures => RetryHint::NeverSoon(FAILURES_WINDOW),
            _ => RetryHint::Unsaid,
        }
    }

    /// True if the answer ends the connection.
    pub fn closes(self) -> bool {
        matches!(
            self,
            Self::MissingHost
                | Self::AmbiguousLength
                | Self::AmbiguousPath
                | Self::HeadTooLarge
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
