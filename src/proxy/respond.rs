//! Heads of answers: what the gateway adds to each, whoever wrote the rest.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AGE, ALLOW, CONTENT_LENGTH, CONTENT_TYPE,
    DATE, ORIGIN, RETRY_AFTER, TRANSFER_ENCODING, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::Result;

use crate::cache::admit::is_kept;
use crate::cache::control::CacheStatus;
use crate::cache::policy::Scope;
use crate::cache::recording::AnswerHead;
use crate::limits::verdict::{X_SHOULD_RETRY, decimal};
use crate::outcome::api_error::ApiError;
use crate::outcome::rejection::{Rejection, RetryHint};
use crate::proxy::ctx::Ctx;
use crate::proxy::fields::{FieldList, Fields};
use crate::proxy::framing;
use crate::proxy::headers::{CACHE_STATUS, X_CACHE, X_REQUEST_ID};
use crate::proxy::response_head::ResponseHead;
use crate::proxy::session::Session;
use crate::routing::route::ErrorShape;
use crate::runtime::answerer::PREFIX;

/// Room for the fields that the gateway adds.
const OWN_FIELDS: usize = 12;

/// Headers that scripts of a listed origin may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, ratelimit, ratelimit-policy, \
     retry-after, retry-after-ms, cache-status, x-cache, age",
);

/// The head of a recorded answer, as the client gets it. `age` is a hit's.
///
/// # Errors
/// None that can come up: every field was one before.
pub(super) fn recorded(
    session: &Session,
    ctx: &Ctx,
    answer: &AnswerHead,
    age: Option<Duration>,
) -> Result<ResponseHead> {
    let mut fields = FieldList::with_capacity(answer.fields.len() + OWN_FIELDS);
    let is_anothers = ctx.cache_status == Some(CacheStatus::Collapsed);
    let policy = ctx.route.as_ref().and_then(|live| live.route.cache.as_ref()).filter(|_| is_anothers);
    for (name, value) in &answer.fields {
        if *name != DATE && policy.is_none_or(|policy| is_kept(policy, name)) {
            fields.push(name.clone(), value.clone());
        }
    }
    let has_body = !matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match answer.length {
        Some(length) if has_body => fields.push(CONTENT_LENGTH, decimal(length)),
        None if session.head().version == Version::HTTP_11 => {
            fields.push(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        _ => {}
    }
    if let Some(age) = age.filter(|_| scope(ctx) == Scope::Account) {
        fields.push(AGE, decimal(age.as_secs()));
    }
    decorate(&mut fields, session, ctx)?;
    Ok(ResponseHead::Plain(answer.status, fields))
}

/// Sends the head of an answer. While the gateway drains it tells that the connection ends with the answer.
///
/// # Errors
/// The client left.
pub(super) async fn begin(session: &mut Session, ctx: &Ctx, head: ResponseHead) -> Result<()> {
    if ctx.open.is_draining() {
        session.close();
    }
    session.write_head(head, ctx.clock.unix()).await
}

/// The head and the body of a refusal.
///
/// # Errors
/// None that can come up.
pub(super) fn rejected(
    session: &Session,
    ctx: &Ctx,
    rejection: Rejection,
) -> Result<(ResponseHead, Cow<'static, str>)> {
    let body = if is_nested(session, rejection) {
        Cow::Owned(ApiError::of(rejection).body(ctx.clock.unix()))
    } else {
        rejection.body(ctx.route.as_ref().map_or(ErrorShape::Safecache, |live| live.route.errors))
    };
    let mut fields = FieldList::with_capacity(OWN_FIELDS + 4);
    fields.push(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.push(CONTENT_LENGTH, decimal(body.len() as u64));
    if let Some(challenge) = rejection.challenge() {
        fields.push(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(methods) = rejection.allowed_methods() {
        fields.push(ALLOW, HeaderValue::from_static(methods));
    }
    let (retry_after, is_hopeless) = match rejection.retry_hint() {
        RetryHint::Unsaid => (None, false),
        RetryHint::Never => (None, true),
        RetryHint::After(seconds) => (Some(seconds), false),
        RetryHint::NeverSoon(seconds) => (Some(seconds), true),
    };
    if let Some(seconds) = retry_after {
        fields.push(RETRY_AFTER, decimal(seconds));
    }
    if is_hopeless {
        fields.push(X_SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    decorate(&mut fields, session, ctx)?;
    let status = StatusCode::from_u16(rejection.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok((ResponseHead::Plain(status, fields), body))
}

/// True if the cache API says it in its own words: all but what is flat everywhere.
fn is_nested(session: &Session, rejection: Rejection) -> bool {
    framing::path(session.head()).starts_with(PREFIX) && !matches!(rejection.row().status, 401 | 403 | 429)
}

/// A body as it is written; nothing is copied.
pub(super) fn bytes(body: Cow<'static, str>) -> Bytes {
    match body {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

/// Adds what the gateway says on every answer; an upstream's own of these names have been taken out before.
///
/// # Errors
/// None that can come up.
pub(super) fn decorate(head: &mut impl Fields, session: &Session, ctx: &Ctx) -> Result<()> {
    if let Some(id) = &ctx.request_id {
        head.append(X_REQUEST_ID, id.clone())?;
    }
    if let Some(verdict) = &ctx.verdict {
        let mut result = Ok(());
        verdict.put_headers(|name, value| {
            if result.is_ok() {
                result = head.append(name, value);
            }
        });
        result?;
    }
    if let Some(status) = ctx.cache_status.and_then(|status| status.told_in(scope(ctx))) {
        head.append(CACHE_STATUS, status.header())?;
        head.append(X_CACHE, status.x_cache())?;
    }
    allow_origin(head, session, ctx)
}

fn scope(ctx: &Ctx) -> Scope {
    let policy = ctx.route.as_ref().and_then(|live| live.route.cache.as_ref());
    policy.map_or(Scope::Account, |policy| policy.scope)
}

/// The request's origin, if it is a listed one.
fn listed_origin(session: &Session, ctx: &Ctx) -> Option<HeaderValue> {
    let origins = &ctx.policy.snapshot.config.cors_origins;
    if origins.is_empty() {
        return None;
    }
    let origin = session.field(ORIGIN)?;
    origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn allow_origin(head: &mut impl Fields, session: &Session, ctx: &Ctx) -> Result<()> {
    let Some(origin) = listed_origin(session, ctx) else { return Ok(()) };
    head.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
    head.remove(&ACCESS_CONTROL_ALLOW_CREDENTIALS);
    head.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)?;
    head.append(VARY, HeaderValue::from_static("origin"))
}

/// The answer to a preflight (Fetch standard, CORS protocol) from a listed origin; `None` if it is none.
///
/// # Errors
/// None that can come up.
pub(super) fn preflight(session: &Session, ctx: &Ctx) -> Result<Option<ResponseHead>> {
    let request = session.head();
    if request.method != Method::OPTIONS {
        return Ok(None);
    }
    let Some(method) = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD) else { return Ok(None) };
    if listed_origin(session, ctx).is_none() {
        return Ok(None);
    }
    let mut fields = FieldList::with_capacity(OWN_FIELDS);
    fields.push(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(headers) = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        fields.push(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
    fields.push(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    decorate(&mut fields, session, ctx)?;
    Ok(Some(ResponseHead::Plain(StatusCode::NO_CONTENT, fields)))
}
