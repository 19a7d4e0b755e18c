//! The pages by which people come and go.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::people::entering::{LoggedIn, Newcomer};
use crate::accounts::people::links::Opened;
use crate::accounts::people::refusal::Refusal;
use crate::config::SignUp;
use crate::console::Console;
use crate::console::answers::{
    Shell, failed, hinted, page, see_other, sentence, status_of, told, with_session, without_session,
};
use crate::console::asked::Asked;
use crate::store::people::edit::Denial;
use crate::store::people::link::Purpose;

/// The console, as handlers are given it.
pub(super) type Shared = State<Arc<Console>>;

#[derive(Template)]
#[template(path = "log_in.html")]
struct LogIn<'a> {
    shell: Shell,
    login: &'a str,
    problem: Option<String>,
    is_open: bool,
}

/// The form to log in with; who is logged in already goes on.
pub(super) async fn show_log_in(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    if asked.visitor(&console).await?.is_some() {
        return Ok(see_other("/"));
    }
    Ok(page(StatusCode::OK, &log_in_form(&console, "", None)))
}

fn log_in_form<'a>(console: &Console, login: &'a str, problem: Option<String>) -> LogIn<'a> {
    let is_open = (console.sign_up)() == SignUp::Open;
    LogIn { shell: Shell::outside("Log in"), login, problem, is_open }
}

/// Begins a session.
pub(super) async fn log_in(State(console): Shared, asked: Asked) -> Response {
    let login = asked.text("login").trim();
    match console.people.log_in(login, &asked.secret("password"), asked.caller()).await {
        Ok(logged_in) => enter(&asked, &logged_in),
        Err(refusal) => {
            let form = log_in_form(&console, login, Some(sentence(&refusal)));
            hinted(&refusal, page(status_of(&refusal), &form))
        }
    }
}

fn enter(asked: &Asked, logged_in: &LoggedIn) -> Response {
    with_session(see_other("/"), &logged_in.token, asked.transport)
}

/// Ends the session.
pub(super) async fn log_out(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    match console.people.log_out(&member.visitor).await {
        Ok(()) | Err(Refusal::Denied(Denial::NoSession)) => {
            Ok(without_session(see_other("/log-in"), asked.transport))
        }
        Err(refusal) => Err(failed(&refusal)),
    }
}

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUpPage<'a> {
    shell: Shell,
    login: &'a str,
    name: &'a str,
    problem: Option<String>,
    is_done: bool,
}

/// What is said where sign-up is closed: as if there had never been one.
fn closed() -> Response {
    told(StatusCode::NOT_FOUND, "There is nothing at this address.")
}

/// The form to sign up with.
pub(super) async fn show_sign_up(State(console): Shared) -> Response {
    if (console.sign_up)() == SignUp::Closed {
        return closed();
    }
    let shell = Shell::outside("Sign up");
    page(StatusCode::OK, &SignUpPage { shell, login: "", name: "", problem: None, is_done: false })
}

/// Makes an account and its owner. What is answered does not tell whether the name was free.
pub(super) async fn sign_up(State(console): Shared, asked: Asked) -> Response {
    if (console.sign_up)() == SignUp::Closed {
        return closed();
    }
    let (login, name) = (asked.text("login").trim(), asked.text("name").trim());
    let done = console.people.sign_up(newcomer(&asked), asked.caller()).await;
    let shell = Shell::outside("Sign up");
    match done {
        Ok(()) => page(StatusCode::OK, &SignUpPage { shell, login, name, problem: None, is_done: true }),
        Err(refusal) => {
            let problem = Some(sentence(&refusal));
            let form = SignUpPage { shell, login, name, problem, is_done: false };
            hinted(&refusal, page(status_of(&refusal), &form))
        }
    }
}

fn newcomer(asked: &Asked) -> Newcomer {
    Newcomer {
        login: asked.text("login").to_owned(),
        name: asked.text("name").to_owned(),
        password: asked.secret("password"),
    }
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'a> {
    shell: Shell,
    /// What the link does, as a sentence.
    purpose: String,
    /// Whose password it sets; `None`: it lets somebody in.
    whose: Option<String>,
    login: &'a str,
    name: &'a str,
    problem: Option<String>,
}

fn link_page<'a>(opened: &Opened, asked: &'a Asked, problem: Option<String>) -> LinkPage<'a> {
    let (title, purpose) = match &opened.link.purpose {
        Purpose::Invite(place) => {
            ("Join", format!("You are invited to the account {} as {}.", place.account, place.role))
        }
        Purpose::Operator => ("Join", "You are invited to operate this gateway.".to_owned()),
        Purpose::FirstOperator(_) => {
            ("Welcome", "Make the first operator of this gateway: choose a name and a password.".to_owned())
        }
        Purpose::Reset(_) => ("Set a password", "Set a new password.".to_owned()),
    };
    LinkPage {
        shell: Shell::outside(title),
        purpose,
        whose: opened.login.as_ref().map(ToString::to_string),
        login: asked.text("login"),
        name: asked.text("name"),
        problem,
    }
}

/// What a link is for, and the form that uses it. Looking does not use it.
pub(super) async fn show_link(State(console): Shared, Path(token): Path<String>, asked: Asked) -> Response {
    match console.people.open(&token, asked.caller()).await {
        Ok(Some(opened)) => page(StatusCode::OK, &link_page(&opened, &asked, None)),
        Ok(None) => failed(&Refusal::Denied(Denial::NoLink)),
        Err(refusal) => failed(&refusal),
    }
}

/// Uses a link, and logs in who has used it.
pub(super) async fn use_link(State(console): Shared, Path(token): Path<String>, asked: Asked) -> Response {
    let opened = match console.people.open(&token, asked.caller()).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return failed(&Refusal::Denied(Denial::NoLink)),
        Err(refusal) => return failed(&refusal),
    };
    let used = if opened.login.is_some() {
        console.people.set_password(&token, &asked.secret("password"), asked.caller()).await
    } else {
        console.people.join(&token, newcomer(&asked), asked.caller()).await
    };
    match used {
        Ok(logged_in) => enter(&asked, &logged_in),
        Err(refusal) => {
            let form = link_page(&opened, &asked, Some(sentence(&refusal)));
            hinted(&refusal, page(status_of(&refusal), &form))
        }
    }
}
