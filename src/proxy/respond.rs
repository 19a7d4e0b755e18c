//! Heads of answers: what the gateway adds to each, whoever wrote the rest.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AGE, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN,
    RETRY_AFTER, TRANSFER_ENCODING, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::cache::policy::Scope;
use crate::cache::recording::AnswerHead;
use crate::limits::verdict::X_SHOULD_RETRY;
use crate::outcome::rejection::{Rejection, RetryHint};
use crate::proxy::ctx::Ctx;
use crate::proxy::headers::{CACHE_STATUS, X_CACHE, X_REQUEST_ID};
use crate::routing::route::ErrorShape;

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
) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(answer.status, Some(answer.fields.len() + OWN_FIELDS))?;
    for (name, value) in &answer.fields {
        head.append_header(name.clone(), value.clone())?;
    }
    let has_body = !matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match answer.length {
        Some(length) if has_body => head.insert_header(CONTENT_LENGTH, HeaderValue::from(length))?,
        None if session.req_header().version == Version::HTTP_11 => {
            head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
        }
        _ => {}
    }
    if let Some(age) = age.filter(|_| scope(ctx) == Scope::Account) {
        head.insert_header(AGE, HeaderValue::from(age.as_secs()))?;
    }
    decorate(&mut head, session, ctx)?;
    Ok(head)
}

/// The head and the body of a refusal.
///
/// # Errors
/// None that can come up.
pub(super) fn rejected(
    session: &Session,
    ctx: &Ctx,
    rejection: Rejection,
) -> Result<(ResponseHeader, std::borrow::Cow<'static, str>)> {
    let shape = ctx.route.as_ref().map_or(ErrorShape::Safecache, |live| live.route.errors);
    let body = rejection.body(shape);
    let mut head = ResponseHeader::build_no_case(rejection.row().status, Some(OWN_FIELDS + 4))?;
    head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))?;
    head.insert_header(CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    if let Some(challenge) = rejection.challenge() {
        head.insert_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))?;
    }
    let never = HeaderValue::from_static("false");
    match rejection.retry_hint() {
        RetryHint::Unsaid => {}
        RetryHint::Never => head.insert_header(X_SHOULD_RETRY, never)?,
        RetryHint::After(seconds) => head.insert_header(RETRY_AFTER, HeaderValue::from(seconds))?,
        RetryHint::NeverSoon(seconds) => {
            head.insert_header(RETRY_AFTER, HeaderValue::from(seconds))?;
            head.insert_header(X_SHOULD_RETRY, never)?;
        }
    }
    decorate(&mut head, session, ctx)?;
    Ok((head, body))
}

/// Adds what the gateway says on every answer.
///
/// # Errors
/// None that can come up.
pub(super) fn decorate(head: &mut ResponseHeader, session: &Session, ctx: &Ctx) -> Result<()> {
    if let Some(id) = &ctx.request_id {
        head.insert_header(X_REQUEST_ID, id.clone())?;
    }
    if let Some(verdict) = &ctx.verdict {
        let mut result = Ok(());
        verdict.put_headers(|name, value| {
            if result.is_ok() {
                result = head.insert_header(name, value);
            }
        });
        result?;
    }
    if let Some(status) = ctx.cache_status.and_then(|status| status.told_in(scope(ctx))) {
        head.insert_header(CACHE_STATUS, status.header())?;
        head.insert_header(X_CACHE, status.x_cache())?;
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
    let origin = session.get_header(ORIGIN)?;
    origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn allow_origin(head: &mut ResponseHeader, session: &Session, ctx: &Ctx) -> Result<()> {
    let Some(origin) = listed_origin(session, ctx) else { return Ok(()) };
    head.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
    head.remove_header(&ACCESS_CONTROL_ALLOW_CREDENTIALS);
    head.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)?;
    head.append_header(VARY, HeaderValue::from_static("origin"))?;
    Ok(())
}

/// The answer to a preflight (Fetch standard, CORS protocol) from a listed origin; `None` if it is none.
///
/// # Errors
/// None that can come up.
pub(super) fn preflight(session: &Session, ctx: &Ctx) -> Result<Option<ResponseHeader>> {
    let request = session.req_header();
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    let Some(method) = method.filter(|_| request.method == Method::OPTIONS) else { return Ok(None) };
    if listed_origin(session, ctx).is_none() {
        return Ok(None);
    }
    let mut head = ResponseHeader::build_no_case(StatusCode::NO_CONTENT, Some(OWN_FIELDS))?;
    head.insert_header(ACCESS_CONTROL_ALLOW_METHODS, method.clone())?;
    if let Some(headers) = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        head.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone())?;
    }
    head.insert_header(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"))?;
    decorate(&mut head, session, ctx)?;
    Ok(Some(head))
}
