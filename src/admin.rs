//! The admin listener: what operators and their tools ask.
//!
//! - `GET /metrics` -- Prometheus text.
//! - `GET /healthz` -- 200 while the process lives.
//! - `GET /readyz` -- 200 once the data port accepts; 503 while starting or draining. Behind that a line for each engine
//!   that gateways share.
//! - `GET /admin/v1/config` -- the policy's generation, its size, how the newest reload ended, and every
//!   refused one that still stands.
//! - `POST /admin/v1/reload[?force=true]` -- reloads, and says what changed or what is wrong.
//! - `DELETE /admin/v1/cache[?account=A|?route=R]` -- forgets every cached answer, or an account's, or a route's, by its
//!   path in the configuration; those that are on their way as well.
//! - `/admin/v1/keys`, `/admin/v1/accounts`, `/admin/v1/audit`, `/admin/v1/people`: keys, their accounts, who changed what,
//!   and who may log in (`keys`, `holders`, `people`, at one `desk`; what the first list stands in `listed`).
//! - `GET /admin/v1/openapi.json` -- all of these, described (`openapi`); what they answer stands in `answers`.
//!
//! The console has `/` and its own paths beside these. Any other path is a 404, any other method a 405. All under
//! `/admin/v1/` want the operator's token; without one configured they are not there at all.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;

use crate::accounts::Accounts;
use crate::accounts::people::PeopleService;
use crate::admin::answers::{ConfigState, Nowhere, Purged, Reloaded, problem};
use crate::admin::desk::Desk;
use crate::ids::AccountId;
use crate::runtime::reload::{Reloader, Shrinking};
use crate::store::directory::edit::Author;
use crate::store::failure::{StoreError, Trouble};
use crate::store::proxied::Purge;
use crate::telemetry::metrics::Metrics;

pub mod answers;
pub mod desk;
pub mod holders;
mod input;
pub mod keys;
pub mod listed;
pub mod openapi;
pub mod people;

/// Forgets cached answers; how many there were, or why those on the disk are still there.
pub type PurgeCache =
    Box<dyn Fn(Purge) -> Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send>> + Send + Sync>;

/// What the listener shows and works on.
pub struct Admin<D> {
    /// Shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Brings gauges up to date that nobody keeps.
    pub refresh: Box<dyn Fn() + Send + Sync>,
    /// Forgets cached answers; how many there were.
    pub purge: PurgeCache,
    /// Whether `/readyz` says yes.
    pub ready: Arc<AtomicBool>,
    /// What `/readyz` says of what gateways share, in lines; none of it makes one that is ready less so.
    pub standing: Box<dyn Fn() -> String + Send + Sync>,
    /// Reloads.
    pub reloader: Arc<Reloader<D>>,
    /// Accounts and their keys.
    pub accounts: Arc<Accounts>,
    /// Who may log in.
    pub people: Arc<PeopleService>,
}

/// The routes of the admin listener.
pub fn router<D: Send + Sync + 'static>(admin: Arc<Admin<D>>) -> Router {
    let (accounts, people) = (Arc::clone(&admin.accounts), Arc::clone(&admin.people));
    let desk = Desk { accounts, people, author: Author::Operator };
    let operator = Router::new()
        .route("/admin/v1/cache", delete(purge::<D>))
        .route("/admin/v1/config", get(config::<D>))
        .route("/admin/v1/openapi.json", get(describe))
        .route("/admin/v1/reload", post(reload::<D>))
        .with_state(Arc::clone(&admin))
        .merge(desk.routes())
        .route_layer(from_fn_with_state(Arc::clone(&admin), operators_only::<D>));
    Router::new()
        .route("/metrics", get(metrics::<D>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<D>))
        .with_state(admin)
        .merge(operator)
        .fallback(async || Nowhere::PATH)
        .method_not_allowed_fallback(async || Nowhere::METHOD)
}

/// What is said where nothing is done.
const API_OFF: &str = "the operator's API is off: no admin.token is configured";
const NO_TOKEN: &str = "the operator's token is required";
const NO_RELOAD: &str = "the reload did not end";
const EITHER: &str = "either `account` or `route`, or none of them";
const NO_PURGE: &str = "memory has forgotten, but the disk could not be changed";
const UNTOLD: &str = "this gateway's memory has forgotten, but the others' may not have";

async fn describe() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::COMMITTED).into_response()
}

async fn metrics<D>(State(admin): State<Arc<Admin<D>>>) -> Response {
    (admin.refresh)();
    match admin.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready<D>(State(admin): State<Arc<Admin<D>>>) -> (StatusCode, String) {
    let (status, said) = match admin.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    };
    (status, said.to_owned() + &(admin.standing)())
}

/// Lets a request pass that carries the operator's token. Without a token configured, nothing is there.
async fn operators_only<D>(State(admin): State<Arc<Admin<D>>>, request: Request, next: Next) -> Response {
    let loaded = admin.reloader.policy();
    let Some(token) = &loaded.snapshot.config.admin.token else {
        return problem(StatusCode::NOT_FOUND, API_OFF);
    };
    let presented = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let bearer = presented.and_then(|value| {
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    if bearer.is_some_and(|bearer| token.matches(bearer)) {
        return next.run(request).await;
    }
    let mut refused = problem(StatusCode::UNAUTHORIZED, NO_TOKEN);
    refused
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"safecache admin\""));
    refused
}

async fn config<D>(State(admin): State<Arc<Admin<D>>>) -> Json<ConfigState> {
    Json(ConfigState::of(&admin.reloader.state()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    #[serde(default)]
    force: bool,
}

async fn reload<D: Send + Sync + 'static>(
    State(admin): State<Arc<Admin<D>>>,
    query: Result<Query<ReloadQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let shrinking = if query.force { Shrinking::Forced } else { Shrinking::Guarded };
    match Arc::clone(&admin.reloader).reload_aside(shrinking).await {
        Some(Ok(change)) => Json(Reloaded::of(&change)).into_response(),
        Some(Err(refusal)) => problem(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()),
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, NO_RELOAD),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeQuery {
    account: Option<String>,
    route: Option<String>,
}

async fn purge<D: Send + Sync + 'static>(
    State(admin): State<Arc<Admin<D>>>,
    query: Result<Query<PurgeQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let purge = match (query.account, query.route) {
        (None, None) => Purge::All,
        (Some(account), None) => {
            Purge::Account { account: AccountId::new(&account), allowed_models: Box::default() }
        }
        (None, Some(route)) => Purge::Route(route.into()),
        (Some(_), Some(_)) => return problem(StatusCode::BAD_REQUEST, EITHER),
    };
    match (admin.purge)(purge).await {
        Ok(purged) => Json(Purged::of(purged)).into_response(),
        Err(error) => {
            let what = if matches!(error.trouble, Trouble::Untold(_)) { UNTOLD } else { NO_PURGE };
            problem(StatusCode::INTERNAL_SERVER_ERROR, format!("{what}: {error}"))
        }
    }
}
