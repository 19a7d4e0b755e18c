//! The page where operators see who changed what.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::config::key_rules::is_visible;
use crate::console::address::address;
use crate::console::answers::{self, Shell, page, told};
use crate::console::asked::Asked;
use crate::console::entering::Shared;
use crate::console::refusals::failed;
use crate::ids::{AccountId, PersonId};
use crate::store::directory::audit::{AuditOf, AuditRow};

/// Rows that a page shows.
const A_PAGE: usize = 50;

/// What every id of a person begins with.
const PERSON: &str = "prsn_";

#[derive(Template)]
#[template(path = "trail.html")]
struct Trail {
    shell: Shell,
    account: String,
    rows: Vec<Row>,
    newest: Option<String>,
    older: Option<String>,
}

struct Row {
    at: String,
    who: String,
    what: String,
    account: Option<String>,
    subject: String,
    detail: String,
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    let (account, before) = (asked.in_query("account"), asked.in_query("before"));
    let not_understood = || told(StatusCode::BAD_REQUEST, "There is no such page of the trail.");
    if !account.is_empty() && !is_visible(account) {
        return Err(not_understood());
    }
    let of = AuditOf {
        account: (!account.is_empty()).then(|| AccountId::new(account)),
        before: if before.is_empty() { None } else { Some(before.parse().map_err(|_| not_understood())?) },
        limit: u32::try_from(A_PAGE + 1).unwrap_or(u32::MAX),
    };
    let found = console.accounts.audit(of).await.map_err(|refused| failed(&refused))?;
    let shown = found.get(..A_PAGE).unwrap_or(&found);
    let people: Vec<PersonId> = shown.iter().flat_map(people_of).collect();
    let logins = console.people.logins(&member.visitor, &people).await;
    let logins = logins.map_err(|refusal| answers::failed(&refusal))?;
    let logins: HashMap<_, _> = logins.iter().map(|(id, login)| (id.as_str(), login.as_str())).collect();
    let last = shown.last().filter(|_| found.len() > A_PAGE);
    let trail = Trail {
        shell: Shell::of("What changed", &member),
        rows: shown.iter().map(|of| row(of, &logins)).collect(),
        newest: (!before.is_empty()).then(|| address("/accounts/audit", &[("account", account)])),
        older: last.map(|last| {
            address("/accounts/audit", &[("account", account), ("before", &last.id.to_string())])
        }),
        account: account.to_owned(),
    };
    Ok(page(StatusCode::OK, &trail))
}

/// The people that a row names by their ids.
fn people_of(row: &AuditRow) -> impl Iterator<Item = PersonId> {
    let named = [Some(&row.actor), row.subject.as_ref()].into_iter().flatten();
    named.filter(|name| name.starts_with(PERSON)).map(|name| PersonId::new(name))
}

fn row(row: &AuditRow, logins: &HashMap<&str, &str>) -> Row {
    let login = |id: &str| logins.get(id).copied().unwrap_or(id).to_owned();
    let who = match &*row.actor {
        "operator" => "operator's token".to_owned(),
        "gateway" => "the gateway".to_owned(),
        other => login(other),
    };
    // An account's own changes name it once.
    let subject =
        row.subject.as_deref().filter(|of| Some(*of) != row.account.as_ref().map(AccountId::as_str));
    Row {
        at: row.at.rfc3339(),
        who,
        what: said(&row.action).to_owned(),
        account: row.account.as_ref().map(ToString::to_string),
        subject: subject.map(login).unwrap_or_default(),
        detail: row.detail.as_deref().unwrap_or_default().to_owned(),
    }
}

/// What was done, as people say it; what is not known here, by the trail's own name.
fn said(action: &str) -> &str {
    match action {
        "account.create" => "made the account",
        "account.change" => "changed the account",
        "account.suspend" => "suspended the account",
        "account.resume" => "resumed the account",
        "key.create" => "made a key",
        "key.rename" => "renamed a key",
        "key.rotate" => "rotated a key",
        "key.end_overlap" => "ended a key's old secret",
        "key.revoke" => "revoked a key",
        "key.delete" => "deleted a key",
        "person.sign_up" => "signed up",
        "person.join" => "joined by a link",
        "person.change_password" => "changed a password",
        "person.reset_password" => "set a password by a link",
        "person.set_role" => "gave a role",
        "person.disable" => "disabled somebody",
        "person.enable" => "enabled somebody",
        "person.remove" => "removed somebody",
        "session.begin" => "logged in",
        "session.end" => "ended a session",
        "session.end_others" => "ended other sessions",
        "link.make" => "made a link",
        "link.end" => "revoked a link",
        other => other,
    }
}
