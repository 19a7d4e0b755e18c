//! Errors of the cache API: nested bodies, and the codes that clients tell them apart by.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixTime;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ErrorCode)]
pub enum Code {
    /// Something of the request is not as it must be.
    InvalidInput,
    /// There is nothing.
    NotFound,
    /// The path takes other methods.
    MethodNotAllowed,
    /// The body is too large, or the account's quota used up.
    PayloadTooLarge,
    /// The body is no JSON by its Content-Type.
    UnsupportedMediaType,
    /// The gateway failed.
    InternalError,
    /// Something behind the gateway failed.
    UpstreamError,
    /// No room at the moment.
    Unavailable,
    /// It took too long.
    Timeout,
}

/// Which member is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ErrorDetails)]
pub struct Details {
    /// Where: `messages`, `messages[0].role`.
    #[schema(value_type = String)]
    pub field: Cow<'static, str>,
    /// What should be there.
    #[schema(value_type = String)]
    pub expected: Cow<'static, str>,
    /// What is there, at most a short piece of it.
    #[schema(value_type = String)]
    pub received: Cow<'static, str>,
}

/// An error that the cache API answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status code.
    pub status: u16,
    /// The kind of it.
    pub code: Code,
    /// What to do about it.
    pub message: Cow<'static, str>,
    /// What exactly is wrong, where one member is.
    pub details: Option<Details>,
}

/// The body of an error of the cache API.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NestedError<'a> {
    /// What is wrong.
    error: NestedReason<'a>,
    /// The response's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// When: ISO 8601, UTC.
    #[schema(format = DateTime)]
    timestamp: String,
}

/// What is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ErrorReason)]
struct NestedReason<'a> {
    /// The kind of error.
    code: Code,
    /// What to do about it.
    message: &'a str,
    /// What exactly is wrong, where one member is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    details: Option<&'a Details>,
}

impl Code {
    /// The code that goes with a status.
    fn of_status(status: u16) -> Self {
        match status {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 | 504 => Self::Timeout,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            502 => Self::UpstreamError,
            503 => Self::Unavailable,
            400..=499 => Self::InvalidInput,
            _ => Self::InternalError,
        }
    }
}

impl ApiError {
    /// An error without details; its code goes with its status.
    pub fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: Code::of_status(status), message: message.into(), details: None }
    }

    /// A 400 about one member.
    pub fn invalid(message: impl Into<Cow<'static, str>>, details: Details) -> Self {
        Self::new(400, message).about(details)
    }

    /// The same error with its details.
    #[must_use]
    pub fn about(self, details: Details) -> Self {
        Self { details: Some(details), ..self }
    }

    /// The same as `rejection`, in the cache API's words.
    pub fn of(rejection: Rejection) -> Self {
        let row = rejection.row();
        Self::new(row.status, row.message)
    }

    /// What is recorded.
    pub fn outcome(&self) -> Outcome {
        match self.code {
            Code::NotFound => Outcome::NotFound,
            Code::InternalError => Outcome::InternalError,
            Code::UpstreamError => Outcome::UpstreamError,
            Code::Unavailable => Outcome::Overloaded,
            Code::InvalidInput
            | Code::MethodNotAllowed
            | Code::PayloadTooLarge
            | Code::UnsupportedMediaType
            | Code::Timeout => Outcome::Invalid,
        }
    }

    /// The body, at the time `at`.
    pub fn body(&self, at: UnixTime) -> String {
        let Self { status, code, message, details } = self;
        let error = NestedReason { code: *code, message, details: details.as_ref() };
        let body = NestedError { error, status: *status, timestamp: at.rfc3339() };
        // Strings and numbers are always JSON.
        serde_json::to_string(&body).unwrap_or_default()
    }
}
