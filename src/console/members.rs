//! What owners and operators do with others: roles, invitations, resets.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::people::members::Deed;
use crate::accounts::people::refusal::{Refusal, Unfit};
use crate::accounts::refused::Kind;
use crate::config::key_rules::is_visible;
use crate::console::Console;
use crate::console::answers::told;
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::console::refusals;
use crate::console::settings::{Section, Shown, done, refused, render};
use crate::ids::{AccountId, PersonId};
use crate::secret::Secret;
use crate::store::people::person::Role;

/// What is said to a form that none of our pages holds.
fn not_understood() -> Response {
    told(StatusCode::BAD_REQUEST, "This form is not understood. Open the page anew, and try again.")
}

/// Does something with somebody: gives them a role, lets them log in no more or again, forgets them.
pub(super) async fn deal(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let whom = PersonId::new(asked.text("person"));
    let (deed, text) = match (asked.text("deed"), Role::of_name(asked.text("role"))) {
        ("role", Some(role)) => (Deed::SetRole(role), "The role is changed."),
        ("disable", _) => (Deed::Disable, "They can log in no more, and their sessions are ended."),
        ("enable", _) => (Deed::Enable, "They can log in again."),
        ("remove", _) => (Deed::Remove, "They are removed."),
        _ => return Err(not_understood()),
    };
    Ok(match console.people.deal(&member.visitor, &whom, deed).await {
        Ok(()) => {
            // Whoever has changed themselves sees the page as who they are now.
            let member = asked.member(&console).await?;
            done(&console, &member, Section::People, text).await
        }
        Err(refusal) => refused(&console, &member, Section::People, &refusal).await,
    })
}

/// Makes a link, and shows it this once.
pub(super) async fn make_link(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let (purpose, made) = match asked.text("purpose") {
        "invite" => ("Whoever opens it first joins the account.", invite(&console, &member, &asked).await?),
        "operator" => {
            let made = console.people.invite_operator(&member.visitor).await;
            ("Whoever opens it first becomes an operator.", made)
        }
        "reset" => {
            let whom = PersonId::new(asked.text("person"));
            (
                "It sets a new password, and ends their sessions.",
                console.people.reset(&member.visitor, &whom).await,
            )
        }
        _ => return Err(not_understood()),
    };
    Ok(match made {
        Ok(token) => {
            let shown = Shown { purpose, path: link_path(&token) };
            render(&console, &member, (StatusCode::OK, None, Some(shown))).await
        }
        Err(refusal) => refused(&console, &member, Section::People, &refusal).await,
    })
}

/// Where a link leads, on the console.
pub(super) fn link_path(token: &Secret) -> String {
    format!("/link/{}", token.expose())
}

/// A link into the account that the form names; without one, into one's own.
async fn invite(
    console: &Console,
    member: &Member,
    asked: &Asked,
) -> Result<Result<Secret, Refusal>, Response> {
    let Some(role) = Role::of_name(asked.text("role")) else { return Err(not_understood()) };
    let own = member.visitor.person.membership.as_ref().map(|place| &place.account);
    let account = match (asked.text("account").trim(), own) {
        ("", Some(own)) => own.clone(),
        ("", None) => return Err(not_understood()),
        (named, _) if is_visible(named) => AccountId::new(named),
        _ => return Ok(Err(Unfit::Account.into())),
    };
    if let Err(refused) = console.accounts.account(&account).await {
        return Ok(Err(match refused.kind() {
            Kind::Absent => Unfit::Account.into(),
            _ => return Err(refusals::failed(&refused)),
        }));
    }
    Ok(console.people.invite(&member.visitor, &account, role).await)
}

/// Ends a link that waits to be used.
pub(super) async fn end_link(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    Ok(match console.people.end_link(&member.visitor, asked.text("link")).await {
        Ok(()) => done(&console, &member, Section::People, "The link is good for nothing now.").await,
        Err(refusal) => refused(&console, &member, Section::People, &refusal).await,
    })
}
