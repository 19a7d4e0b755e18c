//! Whose changes the calls about accounts, keys and people make; and how they are asked without a listener, by the command line.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use crate::accounts::Accounts;
use crate::accounts::people::PeopleService;
use crate::admin::{holders, keys, people};
use crate::store::directory::edit::Author;

/// The most of an answer that is read, in bytes: of keys that name as many models as they may, a page is of some megabytes.
const MOST_ANSWER: usize = 64 << 20;

/// The services, and who asks them.
#[derive(Clone)]
pub struct Desk {
    /// Accounts and their keys.
    pub accounts: Arc<Accounts>,
    /// Who may log in.
    pub people: Arc<PeopleService>,
    /// Who makes the changes.
    pub author: Author,
}

impl Desk {
    /// All calls about accounts, keys and people.
    pub(super) fn routes(&self) -> Router {
        let calls = keys::routes(self.clone()).merge(holders::routes(self.clone()));
        calls.merge(people::routes(self.clone()))
    }

    /// Asks one of them: the status of the answer, and what it says.
    pub async fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(target).header(CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let Ok(request) = request.body(body) else { return (StatusCode::BAD_REQUEST, Value::Null) };
        // A router refuses no request.
        let Ok(response) = self.routes().oneshot(request).await;
        let status = response.status();
        let said = to_bytes(response.into_body(), MOST_ANSWER).await.unwrap_or_default();
        (status, serde_json::from_slice(&said).unwrap_or(Value::Null))
    }
}
