//! `POST /v1/chat/completions`: one answer as JSON, or word by word as server-sent events.

use std::convert::Infallible;
use std::time::Duration;
use std::vec;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::demo::DemoSettings;
use crate::demo::answer::{Answer, Message, answer};
use crate::demo::failure::{Failure, read_json};

/// The members of a request that change the answer; all others are accepted and ignored.
#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_completion_tokens: Option<usize>,
    max_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// What every object of one answer repeats.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct Completion<'a> {
    #[serde(flatten)]
    envelope: Envelope<'a>,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Serialize)]
struct Choice {
    index: u32,
    message: Spoken,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Spoken {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    envelope: &'a Envelope<'a>,
    choices: &'a [Increment<'a>],
    /// Absent unless usage was asked for; then null on every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Increment<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

/// What one streamed event waits for, and its bytes.
type Event = (Duration, Bytes);

/// Answers one request.
pub(super) async fn complete(
    State(settings): State<DemoSettings>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let request = read_json::<Request>(body)?;
    let missing = |what| Failure::invalid(Some(what), format!("you must provide a {what} parameter"));
    let model = request.model.as_deref().ok_or_else(|| missing("model"))?;
    let messages = request.messages.as_deref().ok_or_else(|| missing("messages"))?;
    if messages.is_empty() {
        return Err(Failure::invalid(Some("messages"), "[] is too short - 'messages'".to_owned()));
    }
    let limit = request.max_completion_tokens.or(request.max_tokens).unwrap_or(usize::MAX);
    let answer = answer(messages);
    let id = format!("chatcmpl-{}", answer.id);
    let envelope = Envelope {
        id: &id,
        object: "chat.completion",
        created: settings.clock.unix().as_secs(),
        model,
        system_fingerprint: "fp_safecache_demo",
    };
    if request.stream != Some(true) {
        return Ok(Json(completion(envelope, &answer, limit)).into_response());
    }
    let usage_wanted = request.stream_options.and_then(|options| options.include_usage) == Some(true);
    let envelope = Envelope { object: "chat.completion.chunk", ..envelope };
    let events = Chunks { envelope, usage_wanted, pace: settings.pace }.of(&answer, limit);
    Ok(event_stream(events))
}

fn completion<'a>(envelope: Envelope<'a>, answer: &Answer, limit: usize) -> Completion<'a> {
    let (pieces, finish_reason) = answer.pieces(limit);
    let message = Spoken { role: "assistant", content: pieces.concat(), refusal: None };
    let choice = Choice { index: 0, message, logprobs: None, finish_reason };
    Completion { envelope, choices: [choice], usage: usage(answer, pieces.len()) }
}

/// Writes the chunks of one stream.
struct Chunks<'a> {
    envelope: Envelope<'a>,
    usage_wanted: bool,
    pace: Duration,
}

impl Chunks<'_> {
    /// The role, the words, the finish reason, the usage if it was asked for, and `[DONE]`.
    fn of(&self, answer: &Answer, limit: usize) -> Vec<Event> {
        let (pieces, finish_reason) = answer.pieces(limit);
        let role = Delta { role: Some("assistant"), content: Some("") };
        let mut events = vec![(Duration::ZERO, self.increment(role, None))];
        for piece in &pieces {
            let word = Delta { role: None, content: Some(piece) };
            events.push((self.pace, self.increment(word, None)));
        }
        events.push((Duration::ZERO, self.increment(Delta::default(), Some(finish_reason))));
        if self.usage_wanted {
            events.push((Duration::ZERO, self.event(&[], Some(Some(usage(answer, pieces.len()))))));
        }
        events.push((Duration::ZERO, Bytes::from_static(b"data: [DONE]\n\n")));
        events
    }

    fn increment(&self, delta: Delta<'_>, finish_reason: Option<&'static str>) -> Bytes {
        let increment = Increment { index: 0, delta, logprobs: None, finish_reason };
        self.event(&[increment], self.usage_wanted.then_some(None))
    }

    fn event(&self, choices: &[Increment<'_>], usage: Option<Option<Usage>>) -> Bytes {
        let chunk = Chunk { envelope: &self.envelope, choices, usage };
        // Strings and numbers alone: there is nothing in a chunk that JSON cannot hold.
        let json = serde_json::to_string(&chunk).unwrap_or_default();
        Bytes::from(format!("data: {json}\n\n"))
    }
}

/// Sends `events`, each after its wait. Dropped when the client leaves, and with it what was not sent.
fn event_stream(events: Vec<Event>) -> Response {
    let body = stream::unfold(events.into_iter(), next_event);
    let head = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (head, Body::from_stream(body)).into_response()
}

async fn next_event(
    mut rest: vec::IntoIter<Event>,
) -> Option<(Result<Bytes, Infallible>, vec::IntoIter<Event>)> {
    let (wait, bytes) = rest.next()?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Some((Ok(bytes), rest))
}

fn usage(answer: &Answer, completion_tokens: usize) -> Usage {
    let prompt_tokens = answer.prompt_tokens;
    Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}
