//! A request whose body is read: from the cache, or by one upstream call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use crate::auth::authenticate::allows_model;
use crate::cache::admit::lookable;
use crate::cache::control::{CacheStatus, RequestControl};
use crate::cache::entries::{Entry, Slot, Variant};
use crate::cache::key::{EntryKey, KeyParts, Owner, ScannedBody};
use crate::cache::memo::{Body, Known};
use crate::cache::policy::{OnDisconnect, RoutePolicy, Scope};
use crate::cache::recording::{WINDOW, attach, begin};
use crate::llm::json::JsonFault;
use crate::llm::request::Api;
use crate::memory::Permit;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::admit::take_room;
use crate::proxy::body;
use crate::proxy::client_address::ClientAddress;
use crate::proxy::ctx::Ctx;
use crate::proxy::derived::LiveRoute;
use crate::proxy::fetch::{Fetch, OutboundHead};
use crate::proxy::fields::Fields;
use crate::proxy::finish::count_tokens;
use crate::proxy::headers::{self, Outbound};
use crate::proxy::reading::Storing;
use crate::proxy::send::{self, ClientWatch, Sent, rejection_of};
use crate::proxy::shared::Shared;

/// Answers the request, or says why not.
///
/// # Errors
/// The client is still to be told.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    session: &mut ServerSession,
    ctx: &mut Ctx,
) -> Result<Sent, Rejection> {
    let (Some(live), Some(address)) = (ctx.route.clone(), ctx.address) else {
        return Err(Rejection::Internal);
    };
    let mut memory = shared.permit(ctx);
    let config = Arc::clone(&ctx.policy.snapshot.config);
    let before = shared.clock.monotonic();
    let body = body::read(session, &config.limits, &mut memory).await?;
    ctx.body_wait = shared.clock.monotonic().saturating_since(before);
    let nominated = headers::nominated(&session.req_header().headers);
    let request = Request { shared, live: &live, address: &address, nominated, memory, body };
    let plan = request.plan(session, ctx)?;
    ctx.room = Some(take_room(shared, &config)?);
    if let Some((entry, age)) = request.find(&plan, ctx) {
        request.remember(plan, ctx);
        // The body was of use for its key alone: its memory is given back before the answer is sent.
        drop(request);
        return Ok(send_hit(shared, session, ctx, &entry, age).await);
    }
    if plan.control.only_if_cached {
        return Err(Rejection::NotCached);
    }
    request.forward(session, ctx, plan).await
}

/// A request with its body.
struct Request<'a> {
    shared: &'a Arc<Shared>,
    live: &'a Arc<LiveRoute>,
    address: &'a ClientAddress,
    /// The fields that its Connection names.
    nominated: Vec<HeaderName>,
    memory: Permit,
    body: Bytes,
}

/// What the cache has to do with a request.
struct Plan {
    control: RequestControl,
    /// Where its answer is looked for; `None`: nowhere.
    slot: Option<(Slot, Arc<RoutePolicy>)>,
    api: Api,
    /// What was read in the body; `None` if it had been read before.
    fresh: Option<ScannedBody>,
}

/// A body that was read, now or before.
enum Scan {
    Fresh(ScannedBody),
    Known(Arc<Known>),
}

impl Scan {
    fn body(&self) -> &ScannedBody {
        match self {
            Self::Fresh(scanned) => scanned,
            Self::Known(known) => known.scanned(),
        }
    }
}

impl Request<'_> {
    /// Steps 6 and 7, and what the cache has to do with the request.
    fn plan(&self, session: &ServerSession, ctx: &mut Ctx) -> Result<Plan, Rejection> {
        let head = session.req_header();
        let path = head.uri.path();
        let api = Api::of(path);
        let policy = self.live.route.cache.as_ref();
        let cached = policy.filter(|policy| head.method == Method::POST && policy.takes(path));
        let scan = self.scan(ctx, api, cached)?;
        let scanned = scan.as_ref().map(Scan::body);
        let model = scanned.and_then(|scanned| scanned.fields.model.as_deref());
        if let Some(key) = ctx.key.as_ref().filter(|key| key.is_bound_to_models())
            && !allows_model(key, model)
        {
            return Err(Rejection::ModelDenied);
        }
        let control = RequestControl::read(&head.headers);
        let slot = cached.zip(scanned).and_then(|(policy, scanned)| {
            lookable(policy, &scanned.fields).ok()?;
            let variant =
                Variant { stream: scanned.fields.stream, include_usage: scanned.fields.include_usage };
            let key = self.key(session, ctx, policy, scanned)?;
            Some((Slot { key, variant }, Arc::clone(policy)))
        });
        ctx.cache_status = cached.map(|_| match (&slot, control.may_read, control.may_write) {
            (None, ..) => CacheStatus::Bypass,
            (Some(_), true, _) => CacheStatus::MissStored,
            (Some(_), false, true) => CacheStatus::RequestStored,
            (Some(_), false, false) => CacheStatus::Request,
        });
        let fresh = match scan {
            Some(Scan::Fresh(scanned)) => Some(scanned),
            _ => None,
        };
        Ok(Plan { control, slot, api, fresh })
    }

    /// Reads the body, unless it was read before; `None` if it is no JSON that can be read.
    fn scan(
        &self,
        ctx: &Ctx,
        api: Api,
        cached: Option<&Arc<RoutePolicy>>,
    ) -> Result<Option<Scan>, Rejection> {
        let known = cached.and_then(|policy| self.shared.bodies.find(&self.known_as(ctx, api, policy)?));
        if let Some(known) = known {
            return Ok(Some(Scan::Known(known)));
        }
        let ignore = cached.map_or(&[][..], |policy| &policy.ignore);
        match ScannedBody::read(&self.body, api, ignore) {
            Ok(scanned) => Ok(Some(Scan::Fresh(scanned))),
            Err(JsonFault::Duplicate) => Err(Rejection::DuplicateMember),
            Err(_) => Ok(None),
        }
    }

    /// Remembers the body of a hit: it has come at least twice. Bodies that come once would only push out others.
    fn remember(&self, plan: Plan, ctx: &Ctx) {
        let Some(((_, policy), fresh)) = plan.slot.zip(plan.fresh) else { return };
        if let Some(body) = self.known_as(ctx, plan.api, &policy) {
            self.shared.bodies.remember(&body, fresh);
        }
    }

    fn known_as<'a>(&'a self, ctx: &'a Ctx, api: Api, policy: &'a Arc<RoutePolicy>) -> Option<Body<'a>> {
        Some(Body { account: ctx.key.as_ref()?.account(), api, policy, bytes: &self.body })
    }

    fn key(
        &self,
        session: &ServerSession,
        ctx: &Ctx,
        policy: &RoutePolicy,
        scanned: &ScannedBody,
    ) -> Option<EntryKey> {
        let head = session.req_header();
        let account = ctx.key.as_ref()?.holder().account();
        Some(EntryKey::of(&KeyParts {
            owner: if policy.scope == Scope::Global { Owner::Everyone } else { Owner::Account(account) },
            route: &self.live.route.label,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &headers::without(&head.headers, &self.nominated),
            policy,
            body: scanned.digest.as_ref().ok()?,
        }))
    }

    fn find(&self, plan: &Plan, ctx: &Ctx) -> Option<(Arc<Entry>, Duration)> {
        let counters = &self.shared.counters;
        let Some((slot, _)) = plan.slot.as_ref().filter(|_| plan.control.may_read) else {
            counters.bypasses.inc();
            return None;
        };
        let found = self.shared.entries.find(slot, ctx.started.monotonic);
        let found = found.filter(|(_, age)| plan.control.accepts(*age));
        if found.is_some() {
            counters.hits.inc()
        } else {
            counters.misses.inc()
        }
        found
    }

    /// Calls the upstream and sends what it answers.
    async fn forward(
        self,
        session: &mut ServerSession,
        ctx: &mut Ctx,
        plan: Plan,
    ) -> Result<Sent, Rejection> {
        let upstream = &self.live.upstream;
        let Some(place) = ClientWatch::default().until_gone(session, upstream.place()).await else {
            ctx.outcome = Some(Outcome::ClientClosed);
            return Ok(Sent::ClientGone);
        };
        let place = place?;
        if let Some(room) = &mut ctx.room {
            room.upstream = Some(place);
        }
        let mut recording = self.shared.permit(ctx);
        if !recording.try_grow(WINDOW) {
            return Err(Rejection::Overloaded);
        }
        let (writer, reader) = begin(recording);
        let recording = Arc::clone(writer.recording());
        let storing = plan.slot.filter(|_| plan.control.may_write).map(|(slot, policy)| Storing {
            slot,
            policy,
            max_entry: ctx.policy.snapshot.config.cache.max_entry.as_u64(),
        });
        let finishes =
            storing.as_ref().is_some_and(|storing| storing.policy.on_disconnect == OnDisconnect::Finish);
        let fetch = Fetch {
            shared: Arc::clone(self.shared),
            upstream: Arc::clone(upstream),
            route: Arc::clone(&self.live.route),
            head: self.outbound_head(session, ctx)?,
            body: self.body,
            writer,
            storing,
            api: plan.api,
            report: Arc::clone(&ctx.report),
        };
        let memory = self.memory;
        let call = Box::pin(async move {
            fetch.run().await;
            drop(memory);
        });
        let (sent, unfinished) = send::lead(session, ctx, call, reader).await;
        if let Some(call) = unfinished.filter(|_| finishes && sent == Sent::ClientGone && recording.is_kept())
        {
            let (room, report, shared) = (ctx.room.take(), Arc::clone(&ctx.report), Arc::clone(self.shared));
            tokio::spawn(async move {
                call.await;
                count_tokens(&shared, &report);
                drop(room);
            });
        }
        match sent {
            Sent::Unbegun(failure) => Err(rejection_of(failure)),
            sent => {
                ctx.outcome = Some(sent.outcome(Outcome::Forwarded));
                Ok(sent)
            }
        }
    }

    /// The head as it is sent on, but for what depends on the server.
    fn outbound_head(&self, session: &ServerSession, ctx: &Ctx) -> Result<OutboundHead, Rejection> {
        let Some(request_id) = &ctx.request_id else { return Err(Rejection::Internal) };
        let head = session.req_header();
        let mut fields = headers::message_fields(&head.headers, &self.nominated);
        let outbound = Outbound {
            route: &self.live.route,
            upstream: &self.live.upstream.settings,
            address: self.address,
            request_id,
            path: head.uri.path(),
            host: headers::host_of(head),
            scheme: headers::scheme_of(session),
        };
        headers::to_upstream(&mut fields, &outbound)
            .and_then(|()| fields.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len())))
            .map_err(|_| Rejection::Internal)?;
        Ok(OutboundHead {
            method: head.method.clone(),
            uri: head.uri.clone(),
            target: odd_target(head),
            fields,
        })
    }
}

/// The target's bytes where they are more than its URI tells.
fn odd_target(head: &RequestHeader) -> Option<Box<[u8]>> {
    let told = head.uri.path_and_query().map(|target| target.as_str().as_bytes());
    let raw = head.raw_path();
    (raw.starts_with(b"/") && told != Some(raw)).then(|| raw.into())
}

async fn send_hit(
    shared: &Shared,
    session: &mut ServerSession,
    ctx: &mut Ctx,
    entry: &Entry,
    age: Duration,
) -> Sent {
    ctx.cache_status = Some(CacheStatus::Hit { ttl: entry.ttl.saturating_sub(age) });
    let Some(reader) = attach(&entry.recording) else { return Sent::ClientGone };
    if let Some(usage) = entry.usage {
        shared.metrics.tokens_saved.inc_by(usage.prompt.saturating_add(usage.completion));
    }
    let sent = send::follow(session, ctx, reader, Some(age)).await;
    ctx.outcome = Some(sent.outcome(Outcome::ExactHit));
    sent
}
