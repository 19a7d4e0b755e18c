//! The demo LLM: an OpenAI-compatible server that makes its answers up, the same ones for the same question.
//!
//! `safecache demo` puts it behind the gateway over a real TCP connection; no production path leads here.
//!
//! - `POST /v1/chat/completions` -- JSON, or SSE at [`DemoSettings::pace`]; usage is counted, not guessed.
//! - `POST /v1/embeddings` -- unit vectors, as floats or base64.
//! - `GET /v1/models`, `GET /v1/models/{id}` -- a short list; chat and embeddings take any model name.
//! - anything else -- 404 in the shape of OpenAI's errors.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::clock::Clock;

mod answer;
mod chat;
mod embeddings;
mod failure;
mod models;

/// The largest request body that is read; more is answered with 413.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// How the demo LLM behaves.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// The wait before each streamed word; about 30 ms reads like a person typing, zero sends all at once.
    /// JSON answers are sent without a wait.
    pub pace: Duration,
    /// Tells the `created` of an answer.
    pub clock: Clock,
}

/// Answers on `listener` until `shutdown` resolves, then ends once the answers in flight have been sent.
///
/// # Errors
/// None today: failures to accept are waited out, failures of one connection end that connection.
pub async fn serve(
    listener: TcpListener,
    settings: DemoSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // A stream's words are small writes: with Nagle's algorithm they would wait for the client's ACKs. A socket
    // that refuses the option is only slower.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    axum::serve(listener, router(settings)).with_graceful_shutdown(shutdown).await
}

/// Every path that the demo LLM knows.
fn router(settings: DemoSettings) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::show))
        .fallback(failure::unknown_path)
        .method_not_allowed_fallback(failure::unknown_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(settings)
}
