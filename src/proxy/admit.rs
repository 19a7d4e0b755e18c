//! From a head to an admitted request: contract §3, in its order.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Method};

use crate::auth::authenticate::{AuthFailure, allows_address, allows_model, authenticate};
use crate::auth::client_address::{self, BadForwardedFor};
use crate::auth::key_record::KeyRecord;
use crate::clock::UnixTime;
use crate::config::Config;
use crate::dice;
use crate::outcome::rejection::Rejection;
use crate::proxy::auth_failures::Standing;
use crate::proxy::ctx::{Ctx, Place, Room};
use crate::proxy::framing;
use crate::proxy::headers::X_REQUEST_ID;
use crate::proxy::query::only_value;
use crate::proxy::session::Session;
use crate::proxy::shared::Shared;
use crate::proxy::successor;
use crate::runtime::answerer::{Call, NoCall, OPENAPI_PATH, PREFIX};

/// Longest request id that is taken over from a client.
const LONGEST_REQUEST_ID: usize = 128;

/// Tells whether the gateway is alive.
const HEALTH_PATH: &str = "/healthz";

/// How an admitted request goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Its body is read: it may be answered from the cache, or its model must be known.
    ReadBody,
    /// It is passed on as it comes.
    PassOn,
    /// It asks whether the gateway is alive.
    Health,
    /// It asks what the cache API is.
    Description,
    /// It is a call of the cache API.
    Call(Call),
}

/// Takes a request through steps 1 to 5. One whose body need not be read has been through steps 6 to 8 then, too.
///
/// # Errors
/// The first step that refuses it.
pub(super) async fn admit(shared: &Shared, session: &Session, ctx: &mut Ctx) -> Result<Next, Rejection> {
    find_route(session, ctx)?;
    let head = session.head();
    if let Some(open) = open_to_all(&head.method, framing::path(head)) {
        return Ok(open);
    }
    let key = identify(shared, session, ctx)?;
    charge(shared, ctx, &key).await?;
    let path = framing::path(head);
    if path.starts_with(PREFIX) {
        return Call::of(&head.method, path).map(Next::Call).map_err(|why| match why {
            NoCall::NotFound => Rejection::NoRoute,
            NoCall::Method(allowed) => Rejection::OtherMethods(allowed),
        });
    }
    if path == HEALTH_PATH {
        return Err(Rejection::OtherMethods("GET, HEAD"));
    }
    let Some(route) = &ctx.route else { return Err(Rejection::NoRoute) };
    let is_cached_path = route.route.cache.as_ref().is_some_and(|cache| cache.takes(framing::path(head)));
    if let Need::Body = needs_body(&key, &head.method, is_cached_path) {
        return Ok(Next::ReadBody);
    }
    if session.asks_upgrade() {
        check_queried_model(&key, head.uri.query())?;
    }
    ctx.room = Some(take_room(shared, &ctx.policy.snapshot.config)?);
    Ok(Next::PassOn)
}

/// Steps 1 and 2: the head is as it must be, and its route is known.
fn find_route(session: &Session, ctx: &mut Ctx) -> Result<(), Rejection> {
    let policy = Arc::clone(&ctx.policy);
    let config = policy.snapshot.config.as_ref();
    let path = framing::path(session.head());
    let is_built_in = path.starts_with(PREFIX) || path == HEALTH_PATH;
    let found = if is_built_in { None } else { config.routes.find(path) };
    // Known this early, it gives every refusal its shape.
    ctx.route = found.and_then(|(index, _)| policy.derived.route(index)).cloned();
    framing::check(session, &config.limits)
}

/// What needs no key.
fn open_to_all(method: &Method, path: &str) -> Option<Next> {
    let open = match path {
        HEALTH_PATH => Next::Health,
        OPENAPI_PATH => Next::Description,
        _ => return None,
    };
    matches!(*method, Method::GET | Method::HEAD).then_some(open)
}

/// Steps 3 and 4: the key that asks, from an address that it allows.
fn identify(shared: &Shared, session: &Session, ctx: &mut Ctx) -> Result<Arc<KeyRecord>, Rejection> {
    let policy = Arc::clone(&ctx.policy);
    let config = policy.snapshot.config.as_ref();
    let head = session.head();
    let peer = session.peer();
    let address = client_address::resolve(peer, &head.headers, &config.trusted_proxies)
        .map_err(|BadForwardedFor| Rejection::BadForwardedFor);
    ctx.address = address.ok();
    let key = known_key(shared, session, ctx, peer)?;
    ctx.key = Some(Arc::clone(&key));
    if !allows_address(&key, address?.client) {
        return Err(Rejection::AddressDenied);
    }
    Ok(key)
}

/// The client's request id, if it is one to keep, or a new one.
pub(super) fn request_id(session: &Session, now: UnixTime) -> HeaderValue {
    let theirs = session.field(X_REQUEST_ID).filter(|id| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    theirs.cloned().unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = dice::uuid_v7(now).hyphenated().encode_lower(&mut text);
        // A UUID is visible ASCII.
        HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// Step 3: the key. Its failures are counted by address.
fn known_key(
    shared: &Shared,
    session: &Session,
    ctx: &Ctx,
    peer: IpAddr,
) -> Result<Arc<KeyRecord>, Rejection> {
    let ring = &ctx.policy.snapshot.ring;
    let failure = match authenticate(ring, &session.head().headers, ctx.started.unix) {
        Ok(key) => return Ok(key),
        Err(failure) => failure,
    };
    shared.counters.count_auth_failure(failure);
    match failure {
        AuthFailure::Missing => Err(Rejection::MissingKey),
        AuthFailure::Malformed => Err(Rejection::MalformedKey),
        AuthFailure::Invalid(_) => {
            // A proxy that is believed yet not understood answers for its clients itself.
            let address = ctx.address.map_or(peer, |address| address.client);
            match ctx.policy.derived.failures.record(address, ctx.started.monotonic) {
                Standing::Within => Err(Rejection::InvalidKey),
                Standing::Beyond => Err(Rejection::TooManyFailures),
            }
        }
    }
}

/// Step 5: the bucket.
async fn charge(shared: &Shared, ctx: &mut Ctx, key: &KeyRecord) -> Result<(), Rejection> {
    let verdict = match shared.limiter.check(key.holder(), ctx.started) {
        Ok(verdict) => verdict,
        Err(undecided) => Box::pin(successor::decide(shared, key.holder(), undecided, ctx)).await?,
    };
    let refused = verdict.retry_after();
    if refused.is_some() {
        let plan = verdict.plan().name();
        match ctx.policy.derived.rate_limited(plan) {
            Some(counter) => counter.inc(),
            None => shared.metrics.rate_limited(plan.as_str()).inc(),
        }
    }
    ctx.verdict = Some(verdict);
    refused.map_or(Ok(()), |seconds| Err(Rejection::RateLimited(seconds)))
}

/// Step 7 of an upgrade: its model stands in the query.
fn check_queried_model(key: &KeyRecord, query: Option<&str>) -> Result<(), Rejection> {
    if !key.is_bound_to_models() {
        return Ok(());
    }
    let model = query.and_then(|query| only_value(query, "model"));
    if allows_model(key, model.as_deref()) { Ok(()) } else { Err(Rejection::ModelDenied) }
}

/// Step 8: a place among the requests in flight. A slow body has none yet: its memory is what bounds it.
pub(super) fn take_room(shared: &Shared, config: &Config) -> Result<Room, Rejection> {
    let place = Place::take(&shared.in_flight, config.limits.max_requests.get());
    place.map(Room::new).ok_or(Rejection::Overloaded)
}

/// Whether a request's body must be read before it is sent on.
enum Need {
    Body,
    Nothing,
}

#[expect(clippy::fn_params_excessive_bools, reason = "the route's answer to one question")]
fn needs_body(key: &KeyRecord, method: &Method, is_cached_path: bool) -> Need {
    let is_cached = is_cached_path && method == Method::POST;
    let must_name_model = key.is_bound_to_models() && carries_model(method);
    if is_cached || must_name_model { Need::Body } else { Need::Nothing }
}

/// True for the methods whose body names the model.
fn carries_model(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
