//! The page that asks a model with a key, as an application would.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::config::Config;
use crate::console::answers::{Shell, page};
use crate::console::asked::Asked;
use crate::console::entering::Shared;
use crate::console::relay::{Failure, Question};
use crate::routing::route::{PathPattern, Route};

/// The end of the paths at which models chat.
const CHAT: &str = "/chat/completions";

#[derive(Template)]
#[template(path = "playground.html")]
struct Playground {
    shell: Shell,
    form_token: String,
    paths: Vec<String>,
}

/// The paths of the configuration's routes at which models chat. One that is met by the route before it is left out.
fn chat_paths(config: &Config) -> Vec<String> {
    let path = |pattern: &PathPattern| match pattern {
        PathPattern::Prefix(prefix) => Some(format!("{}{CHAT}", prefix.trim_end_matches('/'))),
        PathPattern::Exact(exact) => exact.ends_with(CHAT).then(|| exact.to_string()),
    };
    let its_own = |route: &Arc<Route>| {
        let path = path(&route.pattern)?;
        let (_, found) = config.routes.find(&path)?;
        Arc::ptr_eq(found, route).then_some(path)
    };
    config.routes.iter().filter_map(its_own).collect()
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let paths = chat_paths(&console.accounts.config());
    asked.account(&member)?;
    let playground =
        Playground { shell: Shell::of("Playground", &member), form_token: member.form_token.clone(), paths };
    Ok(page(StatusCode::OK, &playground))
}

/// Asks, and passes the answer on as it comes.
pub(super) async fn ask(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let path = chat_paths(&console.accounts.config()).into_iter().find(|path| path == asked.text("path"));
    let Some(path) = path else {
        return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "There is no such route."));
    };
    let (model, question) = (asked.text("model").trim(), asked.text("question"));
    if model.is_empty() || question.trim().is_empty() {
        return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "Name a model, and ask something."));
    }
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": question}]});
    if !asked.text("stream").is_empty()
        && let Some(members) = body.as_object_mut()
    {
        members.insert("stream".to_owned(), json!(true));
        members.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    let (who, key) = (member.visitor.person.id.clone(), asked.secret("key"));
    // The gateway sees its own address, so what the key says of others is looked at here.
    if !(console.allows)(&key, asked.address) {
        return Err(refused(Failure::Address.status(), &Failure::Address.to_string()));
    }
    let question = Question { who, path, key, body: body.to_string() };
    let Some(door) = (console.door)() else {
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "The gateway listens nowhere at the moment."));
    };
    let asked = console.relay.ask(&door, question, console.accounts.monotonic()).await;
    asked.map_err(|failure| refused(failure.status(), &failure.to_string()))
}

/// For the page's script, which shows it in its place.
fn refused(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({"message": text}))).into_response()
}
