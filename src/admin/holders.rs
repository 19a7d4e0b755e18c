//! The operator's calls about accounts, and the trail of changes.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::Standing;
use crate::accounts::holders::Holder;
use crate::accounts::refused::Refused;
use crate::admin::desk::Desk;
use crate::admin::input::{Asked, Body, Id, Limit, MOST_BODY, refuse};
use crate::admin::listed::{AccountList, AccountView, AuditTrail, ChangedAccount, PlanList, is_live};
use crate::ids::AccountId;
use crate::store::directory::audit::AuditOf;

/// An account to be made.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// Its id: 1 to 128 visible ASCII characters, and not `acct_…`.
    pub id: String,
    /// What people call it; left out: its id.
    pub name: Option<String>,
    /// Its plan; left out: `free`.
    pub plan: Option<String>,
}

/// What is to change of an account.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountChange {
    /// What people call it from now on.
    pub name: Option<String>,
    /// Its plan from now on, and that of its keys that have none of their own.
    pub plan: Option<String>,
}

/// The calls, of `desk`.
pub(super) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/admin/v1/accounts", get(list).post(create))
        .route("/admin/v1/accounts/{id}", get(show).patch(change))
        .route("/admin/v1/accounts/{id}/suspend", post(suspend))
        .route("/admin/v1/accounts/{id}/resume", post(resume))
        .route("/admin/v1/audit", get(audit))
        .route("/admin/v1/plans", get(plans))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(desk)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

async fn list(State(desk): State<Desk>, Asked(page): Asked<Page>) -> Response {
    let limit = page.limit.0;
    match desk.accounts.accounts(page.after.as_deref().unwrap_or_default(), limit).await {
        Ok(found) => Json(AccountList::of(found, limit)).into_response(),
        Err(refused) => refuse(&refused),
    }
}

async fn create(State(desk): State<Desk>, Body(new): Body<NewAccount>) -> Response {
    match desk.accounts.create_account(desk.author.clone(), &new.id, (new.name, new.plan)).await {
        Ok(account) => (StatusCode::CREATED, Json(AccountView::of(account))).into_response(),
        Err(refused) => refuse(&refused),
    }
}

async fn show(State(desk): State<Desk>, Id(id): Id) -> Response {
    match desk.accounts.account(&AccountId::new(&id)).await {
        Ok(account) => Json(AccountView::of(account)).into_response(),
        Err(refused) => refuse(&refused),
    }
}

async fn change(State(desk): State<Desk>, Id(id): Id, Body(change): Body<AccountChange>) -> Response {
    let AccountChange { name, plan } = change;
    tell(desk.accounts.change_account(desk.author.clone(), &AccountId::new(&id), (name, plan)).await)
}

async fn suspend(State(desk): State<Desk>, Id(id): Id) -> Response {
    tell(desk.accounts.suspend_account(desk.author.clone(), &AccountId::new(&id)).await)
}

async fn resume(State(desk): State<Desk>, Id(id): Id) -> Response {
    tell(desk.accounts.resume_account(desk.author.clone(), &AccountId::new(&id)).await)
}

fn tell(changed: Result<(Holder, Standing), Refused>) -> Response {
    match changed {
        Ok((account, standing)) => {
            let account = AccountView::of(account);
            Json(ChangedAccount { live: is_live(standing), account }).into_response()
        }
        Err(refused) => refuse(&refused),
    }
}

async fn plans(State(desk): State<Desk>) -> Json<PlanList> {
    Json(PlanList::of(&desk.accounts.plans()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrailPage {
    account: Option<String>,
    before: Option<u64>,
    #[serde(default)]
    limit: Limit,
}

async fn audit(State(desk): State<Desk>, Asked(page): Asked<TrailPage>) -> Response {
    let limit = page.limit.0;
    let of = AuditOf { account: page.account.as_deref().map(AccountId::new), before: page.before, limit };
    match desk.accounts.audit(of).await {
        Ok(rows) => Json(AuditTrail::of(rows, limit)).into_response(),
        Err(refused) => refuse(&refused),
    }
}
