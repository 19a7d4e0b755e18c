//! The operator's calls about people: who there is, and a lost one's way back in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::people::refusal::{Broken, Refusal};
use crate::admin::answers::problem;
use crate::admin::desk::Desk;
use crate::admin::input::{Asked, Id, Limit};
use crate::admin::keys::SHOWN_ONCE;
use crate::admin::listed::is_full;
use crate::ids::AccountId;
use crate::store::failure::{StoreError, Trouble};
use crate::store::people::edit::Denial;
use crate::store::people::person::{PeopleOf, Person};

/// Somebody who may log in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Person)]
pub struct PersonView {
    /// Their id, by which the trail names them.
    pub id: String,
    /// What they log in with.
    pub login: String,
    /// What others see of them.
    pub name: String,
    /// Their account; null for operators without one.
    #[schema(required = true)]
    pub account: Option<String>,
    /// What they may do in it: `viewer`, `admin` or `owner`.
    #[schema(required = true)]
    pub role: Option<&'static str>,
    /// Whether they may do what the operator's token may.
    pub is_operator: bool,
    /// When they came.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Since when they cannot log in; null: they can.
    #[schema(required = true, format = DateTime)]
    pub disabled_at: Option<String>,
}

/// A page of people.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonList {
    /// In the order of their ids.
    pub items: Vec<PersonView>,
    /// `after` of the next page, which may be empty; null: there is none.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// A one-time link that sets somebody's password.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetLink {
    /// Where it is on the admin listener: whoever opens it there first, within 24 hours, sets the password. This is the only
    /// time that it is shown.
    pub path: String,
}

/// The calls, of `desk`.
pub(super) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/admin/v1/people", get(list))
        .route("/admin/v1/people/{login}/reset", post(reset))
        .with_state(desk)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    account: Option<String>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

async fn list(State(desk): State<Desk>, Asked(page): Asked<Page>) -> Response {
    let limit = page.limit.0;
    let account = page.account.as_deref().map(AccountId::new);
    let of = PeopleOf { account, after: page.after.unwrap_or_default().into(), limit };
    match desk.people.listed(of).await {
        Ok(people) => Json(PersonList::of(people, limit)).into_response(),
        Err(refusal) => refuse(&refusal),
    }
}

async fn reset(State(desk): State<Desk>, Id(login): Id) -> Response {
    match desk.people.reset_by_login(desk.author.clone(), &login).await {
        Ok(token) => {
            tracing::info!(author = %desk.author, %login, "a link that sets a password was made");
            (SHOWN_ONCE, Json(ResetLink::of(token.expose()))).into_response()
        }
        Err(refusal) => refuse(&refusal),
    }
}

impl PersonView {
    fn of(person: Person) -> Self {
        let (account, role) = match &person.membership {
            Some(place) => (Some(place.account.to_string()), Some(place.role.as_str())),
            None => (None, None),
        };
        Self {
            id: person.id.to_string(),
            login: person.login.to_string(),
            name: person.name.into(),
            account,
            role,
            is_operator: person.is_operator,
            created_at: person.created_at.rfc3339(),
            disabled_at: person.disabled_at.map(|at| at.rfc3339()),
        }
    }
}

impl PersonList {
    fn of(people: Vec<Person>, limit: u32) -> Self {
        let items: Vec<PersonView> = people.into_iter().map(PersonView::of).collect();
        let next = items.last().filter(|_| is_full(items.len(), limit)).map(|last| last.id.clone());
        Self { items, next }
    }
}

impl ResetLink {
    pub(super) fn of(token: &str) -> Self {
        Self { path: format!("/link/{token}") }
    }
}

fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::Denied(Denial::NoPerson) => StatusCode::NOT_FOUND,
        Refusal::Broken(Broken::Store(StoreError {
            trouble: Trouble::Busy | Trouble::Closed | Trouble::Full | Trouble::Unreachable(_),
            ..
        })) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Broken(_) => {
            tracing::error!(?refusal, "the operator's API could not use people");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        _ => StatusCode::CONFLICT,
    };
    problem(status, refusal.to_string())
}
