//! What the operator's API reads: bodies in JSON and queries, refused in our own words.

use axum::Json;
use axum::body::HttpBody;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::accounts::keys::MOST_A_PAGE;
use crate::accounts::refused::Refused;
use crate::admin::answers::problem;

/// The longest body, in bytes: far more than any needs.
pub(super) const MOST_BODY: usize = 64 * 1024;

/// A body in JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(problem(status_of(&rejection), rejection.body_text())),
        }
    }
}

/// A body in JSON, or none at all.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        Body::from_request(request, state).await.map(|Body(body)| Self(body))
    }
}

/// Entries on a page where the query does not say.
pub(super) const PER_PAGE: u32 = 20;

/// How many entries of a page are wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Limit(pub(super) u32);

impl Default for Limit {
    fn default() -> Self {
        Self(PER_PAGE)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(wanted: u32) -> Result<Self, String> {
        match (1..=MOST_A_PAGE).contains(&wanted) {
            true => Ok(Self(wanted)),
            false => Err(format!("from 1 to {MOST_A_PAGE}")),
        }
    }
}

/// What stands in a path for an id.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let found = Path::<String>::from_request_parts(parts, state).await;
        // What is no text is nobody's id.
        found.map(|Path(id)| Self(id)).map_err(|_| problem(StatusCode::NOT_FOUND, NO_SUCH_ID))
    }
}

/// What a request is known by if it is sent again.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The name by which a request is known if it is sent again, if it was given one.
pub(super) struct Named(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match parts.headers.get(IDEMPOTENCY_KEY).map(|name| name.to_str()).transpose() {
            Ok(name) => Ok(Self(name.map(str::to_owned))),
            Err(_) => {
                Err(problem(StatusCode::BAD_REQUEST, "Idempotency-Key: visible ASCII characters alone"))
            }
        }
    }
}

/// What is said where an id names nothing.
pub(super) const NO_SUCH_ID: &str = "nothing has this id";

/// What is wrong with what is in a body is the same 400 whether or not it is JSON.
fn status_of(rejection: &JsonRejection) -> StatusCode {
    match rejection.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    }
}

/// A query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let asked: Result<_, QueryRejection> = Query::<T>::from_request_parts(parts, state).await;
        match asked {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(problem(StatusCode::BAD_REQUEST, rejection.body_text())),
        }
    }
}

/// Tells why something was not done.
pub(super) fn refuse(refused: &Refused) -> Response {
    problem(refused.status(), refused.to_string())
}
