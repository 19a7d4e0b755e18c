//! The page that asks a model with a key, as an application would.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::config::Config;
use crate::console::answers::{Shell, page};
use crate::console::asked::Asked;
use crate::console::entering::Shared;
use crate::console::relay::Question;
use crate::routing::route::PathPattern;
use crate::store::usage::{Period, Step, UsageOf};
use crate::usage::record::Hour;

/// The end of the paths at which models chat.
const CHAT: &str = "/chat/completions";

/// The days whose models are suggested.
const DAYS: u32 = 30;

#[derive(Template)]
#[template(path = "playground.html")]
struct Playground {
    shell: Shell,
    form_token: String,
    paths: Vec<String>,
    model: String,
    models: Vec<String>,
}

/// The paths of the configuration's routes at which models chat. One that is met by the route before it is left out.
fn chat_paths(config: &Config) -> Vec<String> {
    let path = |pattern: &PathPattern| match pattern {
        PathPattern::Prefix(prefix) => Some(format!("{}{CHAT}", prefix.trim_end_matches('/'))),
        PathPattern::Exact(exact) => exact.ends_with(CHAT).then(|| exact.to_string()),
    };
    let mut paths: Vec<String> = config.routes.iter().filter_map(|route| path(&route.pattern)).collect();
    paths.dedup();
    paths
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let paths = chat_paths(&console.accounts.config());
    let models = match asked.account(&member)? {
        Some(account) => {
            let to = Hour::of(console.accounts.now()).plus(1);
            let period = Period { from: to.minus(DAYS * Hour::A_DAY), to };
            let of = UsageOf { account, period, step: Step::Day, offset: 0, limit: 1 };
            // A suggestion: without the store there is none.
            let sums = console.store.usage(of).await.unwrap_or_default();
            sums.models().into_keys().filter(|model| !model.is_empty()).map(str::to_owned).collect()
        }
        None => Vec::new(),
    };
    let playground = Playground {
        shell: Shell::of("Playground", &member),
        form_token: member.form_token.clone(),
        paths,
        model: models.first().cloned().unwrap_or_default(),
        models,
    };
    Ok(page(StatusCode::OK, &playground))
}

/// Asks, and passes the answer on as it comes.
pub(super) async fn ask(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    asked.member(&console).await?;
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
    let question = Question { path, key: asked.secret("key"), body: body.to_string() };
    let Some(door) = (console.door)() else {
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "The gateway listens nowhere at the moment."));
    };
    let asked = console.relay.ask(&door, question).await;
    asked.map_err(|failure| refused(failure.status(), &failure.to_string()))
}

/// For the page's script, which shows it in its place.
fn refused(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({"message": text}))).into_response()
}
