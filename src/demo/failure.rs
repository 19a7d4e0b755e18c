//! What the demo LLM says when it cannot answer, in the shape of OpenAI's errors.

use std::future::{Ready, ready};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One refusal: a status, and `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    error: Details,
}

#[derive(Debug, Serialize)]
struct Details {
    message: String,
    r#type: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Failure {
    /// The request makes no sense; `param` names the member at fault, if one is.
    pub(super) fn invalid(param: Option<&'static str>, message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Details { message, r#type: INVALID, param, code: None })
    }

    /// There is no model of that name.
    pub(super) fn unknown_model(name: &str) -> Self {
        let message = format!("The model '{name}' does not exist");
        let code = Some("model_not_found");
        Self::new(StatusCode::NOT_FOUND, Details { message, r#type: INVALID, param: Some("model"), code })
    }

    fn new(status: StatusCode, error: Details) -> Self {
        Self { status, body: Body { error } }
    }
}

/// OpenAI's `type` for everything that is the client's fault.
const INVALID: &str = "invalid_request_error";

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Reads a JSON body, whatever Content-Type it carries, as OpenAI does.
///
/// # Errors
/// 413 beyond the body limit, 400 for a body that broke off, is not JSON or lacks what `T` needs.
pub(super) fn read_json<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    let bytes = body.map_err(|rejection| {
        let message = rejection.body_text();
        Failure::new(rejection.status(), Details { message, r#type: INVALID, param: None, code: None })
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::invalid(None, format!("We could not parse the body of your request: {error}"))
    })
}

/// 404 for a path that is not served.
pub(super) fn unknown_path(method: Method, uri: Uri) -> Ready<Failure> {
    let message = format!("Unknown request URL: {method} {}", uri.path());
    let code = Some("unknown_url");
    ready(Failure::new(StatusCode::NOT_FOUND, Details { message, r#type: INVALID, param: None, code }))
}

/// 405 for a path that is served, but not so.
pub(super) fn unknown_method(method: Method, uri: Uri) -> Ready<Failure> {
    let message = format!("Not allowed to {method} on {}", uri.path());
    let code = Some("method_not_supported");
    ready(Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Details { message, r#type: INVALID, param: None, code },
    ))
}
