//! The gateway's own calls under `/api/v1/`: read and bounded here, answered by whoever knows what they mean.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use pingora::Result;

use crate::limits::verdict::{Verdict, decimal};
use crate::llm::usage::Usage;
use crate::memory::Permit;
use crate::outcome::api_error::ApiError;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::admit::take_room;
use crate::proxy::answer::read_body;
use crate::proxy::body;
use crate::proxy::ctx::Ctx;
use crate::proxy::fields::FieldList;
use crate::proxy::finish::count_saved;
use crate::proxy::http1::Part;
use crate::proxy::reject::reject;
use crate::proxy::respond;
use crate::proxy::response_head::ResponseHead;
use crate::proxy::send::Sent;
use crate::proxy::session::Session;
use crate::proxy::shared::Held;
use crate::runtime::answerer::{Asked, Call, Refusal, Told};

/// Answers an admitted call.
///
/// # Errors
/// The client left.
pub(super) async fn answer(shared: &Held, session: &mut Session, ctx: &mut Ctx, call: Call) -> Result<Sent> {
    let mut memory = shared.permit(ctx);
    match told(shared, session, ctx, (call, &mut memory)).await {
        Ok(Some(told)) => {
            ctx.outcome = Some(told.outcome);
            ctx.class = Some(told.class);
            ctx.model = told.model;
            if told.tokens_saved > 0 {
                let saved = Usage { completion: told.tokens_saved, ..Usage::default() };
                count_saved(shared, ctx, Some(saved));
            }
            send(session, ctx, StatusCode::OK, told.body.into()).await?;
        }
        Ok(None) => return Ok(Sent::ClientGone),
        Err(Refusal::Rejection(rejection)) => reject(session, ctx, rejection).await?,
        Err(Refusal::Error(error)) => refuse(session, ctx, &error).await?,
    }
    Ok(Sent::Whole)
}

/// Sends the description of the API.
///
/// # Errors
/// The client left.
pub(super) async fn describe(shared: &Held, session: &mut Session, ctx: &mut Ctx) -> Result<Sent> {
    ctx.outcome = Some(Outcome::Forwarded);
    send(session, ctx, StatusCode::OK, Cow::Borrowed(shared.answerer.openapi())).await?;
    Ok(Sent::Whole)
}

/// What the answerer says; `None` if the client has left.
async fn told(
    shared: &Held,
    session: &mut Session,
    ctx: &mut Ctx,
    (call, memory): (Call, &mut Permit),
) -> std::result::Result<Option<Told>, Refusal> {
    let key = ctx.key.clone().ok_or(Rejection::Internal)?;
    let policy = Arc::clone(&ctx.policy);
    let config = &policy.snapshot.config;
    let body = match call.has_body() {
        false => Bytes::new(),
        true if is_encoded(session) => return Err(ApiError::new(415, ENCODED).into()),
        true => match read_body(session, ctx, &config.limits, memory).await {
            Ok(body) => body,
            Err(Some(rejection)) => return Err(rejection.into()),
            Err(None) => return Ok(None),
        },
    };
    ctx.room = Some(take_room(shared, config)?);
    let head = session.head();
    let asked = Asked {
        call,
        key,
        query: head.uri.query().map(Into::into),
        content_type: head.headers.get(CONTENT_TYPE).cloned(),
        body,
        remaining: ctx.verdict.as_ref().map_or(0, Verdict::remaining),
        config: Arc::clone(config),
        now: ctx.started,
    };
    let told = shared.answerer.answer(asked).await?;
    // The request is of no use any more; its answer may take long to be sent.
    memory.shrink_to(0);
    if !memory.try_grow_to(told.body.len() as u64) {
        return Err(Rejection::Overloaded.into());
    }
    Ok(Some(told))
}

/// What is said of a body in a coding of its own.
const ENCODED: &str = "The body must be sent as it is, without a Content-Encoding";

fn is_encoded(session: &Session) -> bool {
    session.field(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

async fn refuse(session: &mut Session, ctx: &mut Ctx, error: &ApiError) -> Result<()> {
    ctx.outcome = Some(error.outcome());
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    send(session, ctx, status, error.body(ctx.clock.unix()).into()).await
}

/// Sends an answer, once what is left of the request's body has been read away.
async fn send(
    session: &mut Session,
    ctx: &mut Ctx,
    status: StatusCode,
    body: Cow<'static, str>,
) -> Result<()> {
    let policy = Arc::clone(&ctx.policy);
    if !body::drain(session, &policy.snapshot.config.limits).await {
        session.close();
    }
    let mut fields = FieldList::with_capacity(16);
    fields.push(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.push(CONTENT_LENGTH, decimal(body.len() as u64));
    fields.push(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.push(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    respond::decorate(&mut fields, session, ctx)?;
    ctx.answered = Some(ctx.clock.monotonic());
    respond::begin(session, ctx, ResponseHead::Plain(status, fields)).await?;
    session.write_body(respond::bytes(body), Part::Last).await
}
