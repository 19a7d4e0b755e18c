//! The operator's calls about keys.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::Accounts;
use crate::accounts::draft::KeyDraft;
use crate::accounts::keys::{self, Absent, Changed, Wanted};
use crate::accounts::refused::Refused;
use crate::admin::answers::problem;
use crate::admin::desk::Desk;
use crate::admin::input::{Asked, Body, Id, Limit, MOST_BODY, Named, OptionalBody, refuse};
use crate::admin::listed::{ChangedKey, KeyList, KeyView, MadeKey, is_live};
use crate::auth::key::Environment;
use crate::ids::{AccountId, KeyId};
use crate::store::directory::edit::Which;
use crate::store::directory::key::{KeysOf, State as KeyState};
use crate::units::parse_duration;

/// Nobody between keeps a secret.
pub(super) const SHOWN_ONCE: [(HeaderName, HeaderValue); 1] =
    [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// How long an old secret stays valid where the request does not say.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// A key to be made.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Whose it is to be.
    pub account: String,
    /// Makes the account on the plan `free` if it is not there.
    #[serde(default)]
    pub create_account: bool,
    /// What people call it: 1 to 128 bytes.
    pub name: Option<String>,
    /// `development`, `staging` or `production`.
    pub environment: Option<String>,
    /// Its own plan; left out: its account's.
    pub plan: Option<String>,
    /// When it expires: after a span such as `90d`, or at a time such as `2027-01-01T00:00:00Z`.
    pub expires: Option<String>,
    /// Addresses or networks that may use it; left out or empty: all.
    #[serde(default)]
    pub allowed_ips: Vec<String>,
    /// Globs of models that it may ask for; left out or empty: all.
    #[serde(default)]
    pub allowed_models: Vec<String>,
}

/// What is to change of a key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// What people call it from now on; null: nothing.
    #[schema(required = true)]
    #[serde(deserialize_with = "Option::deserialize")]
    pub name: Option<String>,
}

/// How a key is to be rotated.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old secret stays valid: a span such as `24h`, which is the default; `0s` ends it at once.
    pub overlap: Option<String>,
}

/// The calls, of `desk`.
pub(super) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/admin/v1/keys", get(list).post(create))
        .route("/admin/v1/keys/{id}", get(show).patch(rename).delete(remove))
        .route("/admin/v1/keys/{id}/rotate", post(rotate))
        .route("/admin/v1/keys/{id}/end-overlap", post(end_overlap))
        .route("/admin/v1/keys/{id}/revoke", post(revoke))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(desk)
}

/// A key of whatever account.
fn any(id: &str) -> Which {
    Which { id: KeyId::new(id), within: None }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    account: Option<String>,
    state: Option<StateName>,
    environment: Option<EnvironmentName>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// A state by its name.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct StateName(KeyState);

impl TryFrom<String> for StateName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        KeyState::of_name(&name).map(Self).ok_or("active, suspended, expired or revoked")
    }
}

/// An environment by its name.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct EnvironmentName(Environment);

impl TryFrom<String> for EnvironmentName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Environment::of_name(&name).map(Self).ok_or("development, staging or production")
    }
}

async fn list(State(desk): State<Desk>, Asked(page): Asked<Page>) -> Response {
    let now = desk.accounts.now();
    let of = KeysOf {
        account: page.account.as_deref().map(AccountId::new),
        environment: page.environment.map(|name| name.0),
        state: page.state.map(|name| (name.0, now)),
        after: page.after.unwrap_or_default().into(),
        limit: page.limit.0,
    };
    match desk.accounts.page_of_keys(of).await {
        Ok(page) => Json(KeyList::of(page, now)).into_response(),
        Err(refused) => refuse(&refused),
    }
}

async fn create(State(desk): State<Desk>, Named(request): Named, Body(new): Body<NewKey>) -> Response {
    let NewKey { account, create_account, name, environment, plan, expires, allowed_ips, allowed_models } =
        new;
    let draft = KeyDraft { name, environment, plan, expires, allowed_ips, allowed_models };
    let absent = if create_account { Absent::Made } else { Absent::Refused };
    match desk.accounts.create_key(desk.author.clone(), Wanted { account, draft, request, absent }).await {
        Ok(made) => {
            let status = if made.secret.is_some() { StatusCode::CREATED } else { StatusCode::OK };
            (status, SHOWN_ONCE, Json(MadeKey::of(made, desk.accounts.now()))).into_response()
        }
        Err(refused) => refuse(&refused),
    }
}

async fn show(State(desk): State<Desk>, Id(id): Id) -> Response {
    match desk.accounts.key(any(&id)).await {
        Ok(key) => Json(KeyView::of(key, desk.accounts.now())).into_response(),
        Err(refused) => refuse(&refused),
    }
}

async fn rename(State(desk): State<Desk>, Id(id): Id, Body(change): Body<KeyChange>) -> Response {
    let changed = desk.accounts.rename_key(desk.author.clone(), any(&id), change.name).await;
    tell(&desk.accounts, changed)
}

async fn rotate(
    State(desk): State<Desk>,
    Id(id): Id,
    Named(request): Named,
    OptionalBody(rotation): OptionalBody<Rotation>,
) -> Response {
    let Some(overlap) = rotation.overlap.as_deref().map_or(Some(OVERLAP), parse_duration) else {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "overlap: a span such as 24h or 0s");
    };
    let rotation = keys::Rotation { overlap, request };
    match desk.accounts.rotate_key(desk.author.clone(), any(&id), rotation).await {
        Ok(made) => (SHOWN_ONCE, Json(MadeKey::of(made, desk.accounts.now()))).into_response(),
        Err(refused) => refuse(&refused),
    }
}

async fn end_overlap(State(desk): State<Desk>, Id(id): Id) -> Response {
    let changed = desk.accounts.end_overlap(desk.author.clone(), any(&id)).await;
    tell(&desk.accounts, changed)
}

async fn revoke(State(desk): State<Desk>, Id(id): Id) -> Response {
    let changed = desk.accounts.revoke_key(desk.author.clone(), any(&id)).await;
    tell(&desk.accounts, changed)
}

async fn remove(State(desk): State<Desk>, Id(id): Id) -> Response {
    let changed = desk.accounts.delete_key(desk.author.clone(), any(&id)).await;
    tell(&desk.accounts, changed)
}

fn tell(accounts: &Accounts, changed: Result<Changed, Refused>) -> Response {
    match changed {
        Ok(Changed { key, standing }) => {
            let key = key.map(|key| KeyView::of(key, accounts.now()));
            Json(ChangedKey { live: is_live(standing), key }).into_response()
        }
        Err(refused) => refuse(&refused),
    }
}
