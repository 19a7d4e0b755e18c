//! The page that people come to: what their account does, and what to do next.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::refused::Kind;
use crate::console::Console;
use crate::console::answers::{Shell, page};
use crate::console::asked::Asked;
use crate::console::charts::{Chart, hit_rate, requests, tokens};
use crate::console::entering::Shared;
use crate::console::figures::{Figure, figures};
use crate::console::ranges::Ranges;
use crate::console::refusals::failed;
use crate::console::reports::report;
use crate::ids::AccountId;
use crate::store::people::person::Role;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    name: String,
    account: Option<String>,
    /// None of its keys was ever used.
    is_new: bool,
    is_suspended: bool,
    is_owner: bool,
    is_operator: bool,
    ranges: Ranges,
    figures: Vec<Figure>,
    charts: Vec<Chart>,
}

/// What there is, and what to do next.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let account = asked.account(&member)?;
    let person = &member.visitor.person;
    let report = match account.clone() {
        Some(account) => Some(report(&console, &asked, account, (0, 1)).await?),
        None => None,
    };
    let is_suspended = match &account {
        Some(account) => is_suspended(&console, account).await?,
        None => false,
    };
    let charts = report.as_ref().map(|report| vec![requests(report), hit_rate(report), tokens(report)]);
    let overview = Overview {
        shell: Shell::of("Overview", &member),
        name: person.name.to_string(),
        is_new: report.as_ref().is_none_or(|report| report.sums.keys == 0),
        is_suspended,
        is_owner: person.membership.as_ref().is_some_and(|place| place.role == Role::Owner),
        is_operator: person.is_operator,
        ranges: Ranges::of("/", report.as_ref(), &member),
        figures: report.as_ref().map(figures).unwrap_or_default(),
        charts: charts.unwrap_or_default(),
        account: account.map(|account| account.to_string()),
    };
    Ok(page(StatusCode::OK, &overview))
}

async fn is_suspended(console: &Console, account: &AccountId) -> Result<bool, Response> {
    match console.accounts.account(account).await {
        Ok(holder) => Ok(holder.suspended_at.is_some()),
        Err(refused) if refused.kind() == Kind::Absent => Ok(false),
        Err(refused) => Err(failed(&refused)),
    }
}
