//! The page where operators see which policy is in force, and have it read anew.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::console::Console;
use crate::console::answers::{Shell, page};
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::console::measures::grouped;
use crate::console::operated::{Reloaded, ServerState};
use crate::runtime::journal::Part;
use crate::runtime::reload::Shrinking;

#[derive(Template)]
#[template(path = "config.html")]
struct Config {
    shell: Shell,
    form_token: String,
    version: &'static str,
    since: String,
    facts: Vec<(&'static str, String)>,
    file: Option<String>,
    list: Option<String>,
    now: Option<Ended>,
    last: Option<(String, Ended)>,
    problems: Vec<Problem>,
    servers: Vec<ServerState>,
}

/// How a reload ended.
struct Ended {
    is_taken: bool,
    /// What it changed, or what is wrong, a line each.
    text: String,
}

/// A refusal that still stands.
struct Problem {
    of: &'static str,
    at: String,
    text: String,
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    Ok(page(StatusCode::OK, &gather(&console, &member, None)))
}

/// Reads the configuration anew, and says what came of it.
pub(super) async fn reload(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    let shrinking = if asked.text("force").is_empty() { Shrinking::Guarded } else { Shrinking::Forced };
    tracing::info!(person = %member.visitor.person.id, ?shrinking, "a reload was asked for in the console");
    let (status, ended) = ended(console.operated.reload(shrinking).await);
    Ok(page(status, &gather(&console, &member, Some(ended))))
}

fn ended(reloaded: Reloaded) -> (StatusCode, Ended) {
    match reloaded {
        Some(Ok(change)) => (StatusCode::OK, Ended { is_taken: true, text: change.to_string() }),
        Some(Err(refusal)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Ended { is_taken: false, text: refusal.to_string() })
        }
        None => {
            let text = "the reload did not come to its end; the gateway's log says why".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, Ended { is_taken: false, text })
        }
    }
}

fn gather(console: &Console, member: &Member, now: Option<Ended>) -> Config {
    let state = console.operated.state();
    let count = |number: usize| grouped(u64::try_from(number).unwrap_or(u64::MAX));
    let last = state.last.map(|last| {
        let ended = match last.result {
            Ok(change) => Ended { is_taken: true, text: change.to_string() },
            Err(text) => Ended { is_taken: false, text },
        };
        (last.at.rfc3339(), ended)
    });
    let problems = state.standing.into_iter().map(|standing| Problem {
        of: said(standing.part),
        at: standing.at.rfc3339(),
        text: standing.message,
    });
    Config {
        shell: Shell::of("Config", member),
        form_token: member.form_token.clone(),
        version: env!("CARGO_PKG_VERSION"),
        since: console.operated.since().rfc3339(),
        facts: vec![
            ("Generation", grouped(state.generation)),
            ("Keys", count(state.keys)),
            ("Plans", count(state.plans)),
            ("Routes", count(state.routes)),
            ("Upstreams", count(state.upstreams)),
        ],
        file: state.file.map(|file| file.display().to_string()),
        list: state.list.map(|list| list.display().to_string()),
        last: last.filter(|_| now.is_none()),
        now,
        problems: problems.collect(),
        servers: console.operated.servers(),
    }
}

/// What was refused, as people say it.
fn said(part: Part) -> &'static str {
    match part {
        Part::Configuration => "Configuration",
        Part::KeyList => "Key list",
        Part::Certificates => "Certificates",
        Part::StoredKeys => "Keys of the store",
    }
}
