//! The admin listener: what operators and their tools ask.
//!
//! - `GET /` -- which of these need no token.
//! - `GET /metrics` -- Prometheus text.
//! - `GET /healthz` -- 200 while the process lives.
//! - `GET /readyz` -- 200 once the data port accepts; 503 while starting or draining.
//! - `GET /admin/v1/config` -- the policy's generation, its size, how the newest reload ended, and every
//!   refused one that still stands.
//! - `POST /admin/v1/reload[?force=true]` -- reloads, and says what changed or what is wrong.
//! - `DELETE /admin/v1/cache` -- forgets every cached answer, those that are on their way as well.
//!
//! Any other path is a 404. All under `/admin/v1/` want the operator's token; without one configured they are not there at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::runtime::journal::{LastReload, Standing};
use crate::runtime::reload::{Reloader, Shrinking};
use crate::runtime::snapshot::Snapshot;
use crate::telemetry::access_log::rfc3339;
use crate::telemetry::metrics::Metrics;

/// What the listener shows and works on.
pub struct Admin<D> {
    /// Shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Brings gauges up to date that nobody keeps.
    pub refresh: Box<dyn Fn() + Send + Sync>,
    /// Forgets every cached answer; about how many there were.
    pub purge: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Whether `/readyz` says yes.
    pub ready: Arc<AtomicBool>,
    /// Reloads.
    pub reloader: Arc<Reloader<D>>,
}

/// The routes of the admin listener.
pub fn router<D: Send + Sync + 'static>(admin: Arc<Admin<D>>) -> Router {
    let operator = Router::new()
        .route("/admin/v1/cache", delete(purge::<D>))
        .route("/admin/v1/config", get(config::<D>))
        .route("/admin/v1/reload", post(reload::<D>))
        .route_layer(from_fn_with_state(Arc::clone(&admin), operators_only::<D>));
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics::<D>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<D>))
        .merge(operator)
        .fallback(not_found)
        .with_state(admin)
}

/// What is here, for people who look.
const INDEX: &str =
    "safecache, the operator's side\n\n/healthz  alive\n/readyz   takes requests\n/metrics  for Prometheus\n";

async fn not_found() -> Response {
    let body = json!({
        "error": "Not found",
        "message": "There is nothing at this path of the admin listener",
        "status": 404,
    });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
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

async fn ready<D>(State(admin): State<Arc<Admin<D>>>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Lets a request pass that carries the operator's token. Without a token configured, nothing is there.
async fn operators_only<D>(State(admin): State<Arc<Admin<D>>>, request: Request, next: Next) -> Response {
    let loaded = admin.reloader.policy();
    let Some(token) = &loaded.snapshot.config.admin.token else {
        return problem(StatusCode::NOT_FOUND, "the operator's API is off: no admin.token is configured");
    };
    let presented = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let bearer = presented.and_then(|value| {
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    if bearer.is_some_and(|bearer| token.matches(bearer)) {
        return next.run(request).await;
    }
    let mut refused = problem(StatusCode::UNAUTHORIZED, "the operator's token is required");
    refused
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"safecache admin\""));
    refused
}

async fn config<D>(State(admin): State<Arc<Admin<D>>>) -> Json<Value> {
    let loaded = admin.reloader.policy();
    let Snapshot { generation, config, ring } = &loaded.snapshot;
    Json(json!({
        "generation": generation,
        "keys": ring.len(),
        "plans": config.plans.len(),
        "routes": config.routes.iter().count(),
        "upstreams": config.upstreams.len(),
        "last_reload": admin.reloader.last().as_ref().map(last_reload),
        "problems": admin.reloader.standing().iter().map(standing).collect::<Vec<_>>(),
    }))
}

fn last_reload(last: &LastReload) -> Value {
    let (applied, message) = match &last.result {
        Ok(change) => (true, change.to_string()),
        Err(why) => (false, why.clone()),
    };
    json!({"at": rfc3339(last.at), "applied": applied, "message": message})
}

fn standing(standing: &Standing) -> Value {
    let Standing { part, at, message } = standing;
    json!({"source": part.as_str(), "at": rfc3339(*at), "message": message})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    #[serde(default)]
    force: bool,
}

async fn reload<D: Send + Sync + 'static>(
    State(admin): State<Arc<Admin<D>>>,
    Query(query): Query<ReloadQuery>,
) -> Response {
    let shrinking = if query.force { Shrinking::Forced } else { Shrinking::Guarded };
    let reloader = Arc::clone(&admin.reloader);
    let reloaded = tokio::task::spawn_blocking(move || reloader.reload(shrinking)).await;
    match reloaded {
        Ok(Ok(change)) => Json(json!({
            "applied": true,
            "message": change.to_string(),
            "generation": change.generation,
            "keys": change.keys,
            "added": change.added,
            "removed": change.removed,
        }))
        .into_response(),
        Ok(Err(refusal)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &refusal.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the reload did not end"),
    }
}

async fn purge<D: Send + Sync + 'static>(State(admin): State<Arc<Admin<D>>>) -> Response {
    match tokio::task::spawn_blocking(move || (admin.purge)()).await {
        Ok(purged) => {
            Json(json!({"applied": true, "message": format!("{purged} answers forgotten"), "purged": purged}))
                .into_response()
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the purge did not end"),
    }
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"applied": false, "message": message}))).into_response()
}
