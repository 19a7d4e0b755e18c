//! The rows of the table.

use crate::outcome::finished::Outcome;
use crate::outcome::rejection::{Rejection, Row};

fn invalid(status: u16, title: &'static str, message: &'static str, code: &'static str) -> Row {
    Row { status, title, message, kind: "invalid_request_error", code, outcome: Outcome::Invalid }
}

/// Rows about the form of the request's head.
pub(super) fn of_head(rejection: Rejection) -> Option<Row> {
    Some(match rejection {
        Rejection::MissingHost => invalid(400, "Bad request", "The Host header is required", "missing_host"),
        Rejection::AmbiguousLength => invalid(
            400,
            "Bad request",
            "Content-Length and Transfer-Encoding must not be sent together",
            "ambiguous_length",
        ),
        Rejection::BadLength => {
            invalid(400, "Bad request", "The Content-Length header must be one number", "bad_length")
        }
        Rejection::BadHost => {
            invalid(400, "Bad request", "The Host header must be a host, with or without a port", "bad_host")
        }
        Rejection::UnknownCoding => invalid(
            501,
            "Not implemented",
            "The only Transfer-Encoding that is understood is chunked",
            "unknown_transfer_coding",
        ),
        Rejection::UnknownExpectation => invalid(
            417,
            "Expectation failed",
            "The only expectation that can be met is 100-continue",
            "unknown_expectation",
        ),
        Rejection::BadTarget => invalid(
            400,
            "Bad request",
            "The request target must be of ASCII characters, without a fragment",
            "bad_target",
        ),
        Rejection::AmbiguousPath => invalid(
            400,
            "Bad request",
            "The path must not contain dot segments, empty segments, %2e or %2f",
            "ambiguous_path",
        ),
        Rejection::BadForwardedFor => {
            invalid(400, "Bad request", "The X-Forwarded-For header cannot be read", "bad_forwarded_for")
        }
        Rejection::HeadTooLarge => {
            invalid(431, "Request header fields too large", "The request head is too large", "head_too_large")
        }
        Rejection::MethodNotAllowed => {
            invalid(405, "Method not allowed", "TRACE and CONNECT are not passed on", "method_not_allowed")
        }
        _ => return None,
    })
}

/// Rows about the request's body and what it asks for.
pub(super) fn of_request(rejection: Rejection) -> Option<Row> {
    Some(match rejection {
        Rejection::BodyTooLarge => {
            invalid(413, "Payload too large", "The request body is too large", "payload_too_large")
        }
        Rejection::BodyTimeout => {
            invalid(408, "Request timeout", "The request body did not arrive in time", "request_timeout")
        }
        Rejection::BodyBroken => {
            invalid(400, "Bad request", "The request body broke off or is badly framed", "bad_body")
        }
        Rejection::DuplicateMember => invalid(
            400,
            "Bad request",
            "A member name stands twice in one JSON object of the body",
            "duplicate_member",
        ),
        Rejection::OtherMethods(_) => invalid(
            405,
            "Method not allowed",
            "This path takes the methods that Allow names",
            "method_not_allowed",
        ),
        Rejection::NoRoute => Row {
            outcome: Outcome::NotFound,
            ..invalid(404, "Not found", "No route takes this path", "not_found")
        },
        _ => return None,
    })
}

/// Rows about the key and what it may do.
pub(super) fn of_key(rejection: Rejection) -> Option<Row> {
    let row = |status, title, message, code, outcome| Row {
        status,
        title,
        message,
        kind: "invalid_request_error",
        code,
        outcome,
    };
    Some(match rejection {
        Rejection::MissingKey => row(
            401,
            "Missing API key",
            "Authorization header is required",
            "missing_api_key",
            Outcome::Unauthorized,
        ),
        Rejection::MalformedKey => row(
            401,
            "Invalid authorization format",
            "Authorization header must be in format: Bearer YOUR_API_KEY",
            "invalid_authorization_format",
            Outcome::Unauthorized,
        ),
        Rejection::InvalidKey => row(
            401,
            "Invalid API key",
            "The provided API key is invalid or has been revoked",
            "invalid_api_key",
            Outcome::Unauthorized,
        ),
        Rejection::AddressDenied => row(
            403,
            "Access denied",
            "This API key may not be used from your address",
            "access_denied",
            Outcome::Forbidden,
        ),
        Rejection::ModelDenied => row(
            403,
            "Access denied",
            "This API key may not use the requested model",
            "model_not_allowed",
            Outcome::Forbidden,
        ),
        Rejection::TooManyFailures => Row {
            kind: "requests",
            ..row(
                429,
                "Rate limit exceeded",
                "Too many requests with an invalid API key came from your address. Please try again later.",
                "rate_limit_exceeded",
                Outcome::RateLimited,
            )
        },
        Rejection::RateLimited(_) => Row {
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
pub(super) fn of_servers(rejection: Rejection) -> Row {
    let row = |status, title, message, code, outcome| Row {
        status,
        title,
        message,
        kind: "server_error",
        code,
        outcome,
    };
    let upstream = Outcome::UpstreamError;
    match rejection {
        Rejection::Overloaded => row(
            503,
            "Service unavailable",
            "The gateway is at its limits. Please try again later.",
            "overloaded",
            Outcome::Overloaded,
        ),
        Rejection::UpstreamBusy => row(
            503,
            "Service unavailable",
            "The upstream is at its limits. Please try again later.",
            "upstream_busy",
            Outcome::Overloaded,
        ),
        Rejection::NotCached => row(
            504,
            "Not in cache",
            "Only a cached answer was asked for, and there is none",
            "not_cached",
            Outcome::NotFound,
        ),
        Rejection::UpstreamUnreachable => {
            row(502, "Bad gateway", "The upstream could not be reached", "upstream_unreachable", upstream)
        }
        Rejection::UpstreamConnectTimeout => row(
            504,
            "Gateway timeout",
            "The upstream could not be reached in time",
            "upstream_connect_timeout",
            upstream,
        ),
        Rejection::UpstreamFailed => {
            row(502, "Bad gateway", "The upstream failed to answer", "upstream_failed", upstream)
        }
        Rejection::UpstreamTimeout => {
            row(504, "Gateway timeout", "The upstream did not answer in time", "upstream_timeout", upstream)
        }
        _ => row(
            500,
            "Internal server error",
            "The gateway failed to handle this request",
            "internal_error",
            Outcome::InternalError,
        ),
    }
}
