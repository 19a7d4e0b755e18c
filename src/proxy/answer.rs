//! A request whose body is read: from the cache, or by one upstream call.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, Method};

use crate::auth::authenticate::allows_model;
use crate::auth::client_address::ClientAddress;
use crate::cache::admit::lookable;
use crate::cache::control::{CacheStatus, RequestControl};
use crate::cache::entries::{Entry, Epoch, Origin, Slot};
use crate::cache::flights::FlightKey;
use crate::cache::key::{EntryKey, KeyParts, Owner, ScannedBody};
use crate::cache::memo::{Body, Known};
use crate::cache::policy::{RoutePolicy, Scope};
use crate::cache::recording::join;
use crate::config::Limits;
use crate::llm::json::JsonFault;
use crate::llm::request::Api;
use crate::llm::translate::AnswerForm;
use crate::memory::Permit;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::admit::take_room;
use crate::proxy::body;
use crate::proxy::ctx::Ctx;
use crate::proxy::derived::LiveRoute;
use crate::proxy::finish::count_saved;
use crate::proxy::forms::Wanted;
use crate::proxy::headers;
use crate::proxy::send::{self, Sent};
use crate::proxy::session::Session;
use crate::proxy::shared::{Held, Shared};
use crate::shelf::{self, Fetched};

/// Answers the request, or says why not.
///
/// # Errors
/// The client is still to be told.
pub(super) async fn answer(shared: &Held, session: &mut Session, ctx: &mut Ctx) -> Result<Sent, Rejection> {
    let (Some(live), Some(address)) = (ctx.route.clone(), ctx.address) else {
        return Err(Rejection::Internal);
    };
    let mut memory = shared.permit(ctx);
    let policy = Arc::clone(&ctx.policy);
    let config = policy.snapshot.config.as_ref();
    let body = match read_body(session, ctx, &config.limits, &mut memory).await {
        Ok(body) => body,
        Err(Some(rejection)) => return Err(rejection),
        Err(None) => return Ok(Sent::ClientGone),
    };
    let nominated = headers::nominated(&session.head().headers);
    let request = Request { shared, live: &live, address: &address, nominated, memory, body };
    let mut plan = request.plan(session, ctx)?;
    ctx.room = Some(take_room(shared, config)?);
    if let Some((entry, age)) = request.find(&mut plan, ctx).await {
        request.remember(plan, ctx);
        // The body was of use for its key alone: its memory is given back before the answer is sent.
        drop(request);
        return send_hit(shared, session, ctx, (&entry, age)).await;
    }
    if plan.control.only_if_cached {
        return Err(Rejection::NotCached);
    }
    request.call(session, ctx, plan).await
}

/// The whole body, as [`body::read`] has it; how long it was waited for is noted, by clocks that are read only if it was
/// not there.
pub(super) async fn read_body(
    session: &mut Session,
    ctx: &mut Ctx,
    limits: &Limits,
    memory: &mut Permit,
) -> Result<Bytes, Option<Rejection>> {
    let mut reading = pin!(body::read(session, limits, memory));
    if let Some(read) = reading.as_mut().now_or_never() {
        return read;
    }
    let before = ctx.clock.monotonic();
    let read = reading.await;
    ctx.body_wait = ctx.clock.monotonic().saturating_since(before);
    read
}

/// A request with its body.
pub(super) struct Request<'a> {
    pub(super) shared: &'a Held,
    pub(super) live: &'a Arc<LiveRoute>,
    pub(super) address: &'a ClientAddress,
    /// The fields that its Connection names.
    pub(super) nominated: Vec<HeaderName>,
    pub(super) memory: Permit,
    pub(super) body: Bytes,
}

/// What the cache has to do with a request.
pub(super) struct Plan {
    pub(super) control: RequestControl,
    /// Where its answer is looked for; `None`: nowhere.
    pub(super) slot: Option<(Slot, Arc<RoutePolicy>)>,
    pub(super) api: Api,
    /// What was read in the body, if it was read for this request.
    fresh: Option<ScannedBody>,
    /// How the answer is to be served; calls are shared only where it is the same.
    service_tier: Option<Box<str>>,
    /// When it was asked: neither an answer nor a call of before a purge is for it.
    pub(super) epoch: Epoch,
    /// The forms in which there is an answer that cannot be given in the one that is asked for.
    pub(super) apart: Vec<AnswerForm>,
    /// True if what lies behind memory could not be asked, and need not be asked again.
    pub(super) is_unasked: bool,
}

impl Plan {
    /// What must be equal for another request to share the call; `None` if none may.
    pub(super) fn flight(&self) -> Option<FlightKey> {
        let (slot, _) = self.slot.as_ref().filter(|_| self.control.may_read && self.control.may_write)?;
        Some(FlightKey { slot: *slot, service_tier: self.service_tier.clone() })
    }
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

    fn into_fresh(self) -> Option<ScannedBody> {
        match self {
            Self::Fresh(scanned) => Some(scanned),
            Self::Known(_) => None,
        }
    }
}

impl Request<'_> {
    /// Steps 6 and 7, and what the cache has to do with the request.
    fn plan(&self, session: &Session, ctx: &mut Ctx) -> Result<Plan, Rejection> {
        let head = session.head();
        let path = head.uri.path();
        let api = Api::of(path);
        let policy = self.live.route.cache.as_ref();
        let cached = policy.filter(|policy| head.method == Method::POST && policy.takes(path));
        let scan = self.scan(ctx, api, cached)?;
        let scanned = scan.as_ref().map(Scan::body);
        ctx.model = scanned.and_then(|scanned| scanned.fields.model.clone());
        let model = ctx.model.as_deref();
        if let Some(key) = ctx.key.as_ref().filter(|key| key.is_bound_to_models())
            && !allows_model(key, model)
        {
            return Err(Rejection::ModelDenied);
        }
        let control = RequestControl::read(&head.headers);
        let slot = cached.zip(scanned).and_then(|(policy, scanned)| {
            lookable(policy, &scanned.fields).ok()?;
            let key = self.key(session, ctx, policy, scanned)?;
            Some((Slot { key, form: scanned.fields.form() }, Arc::clone(policy)))
        });
        let service_tier = scanned.and_then(|scanned| scanned.fields.service_tier.clone());
        ctx.cache_status = cached.map(|_| match (&slot, control.may_read, control.may_write) {
            (None, ..) => CacheStatus::Bypass,
            (Some(_), true, _) => CacheStatus::MissStored,
            (Some(_), false, true) => CacheStatus::RequestStored,
            (Some(_), false, false) => CacheStatus::Request,
        });
        let epoch = self.shared.shelf.epoch();
        let fresh = scan.and_then(Scan::into_fresh);
        Ok(Plan { control, slot, api, fresh, service_tier, epoch, apart: Vec::new(), is_unasked: false })
    }

    /// Reads the body, unless it was read before; `None` if it is no JSON that can be read.
    fn scan(
        &self,
        ctx: &Ctx,
        api: Api,
        cached: Option<&Arc<RoutePolicy>>,
    ) -> Result<Option<Scan>, Rejection> {
        let known =
            cached.and_then(|policy| self.shared.bodies.mine().find(&self.known_as(ctx, api, policy)?));
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
            self.shared.bodies.mine().remember(&body, fresh);
        }
    }

    fn known_as<'a>(&'a self, ctx: &'a Ctx, api: Api, policy: &'a Arc<RoutePolicy>) -> Option<Body<'a>> {
        Some(Body { account: ctx.key.as_ref()?.account(), api, policy, bytes: &self.body })
    }

    fn key(
        &self,
        session: &Session,
        ctx: &Ctx,
        policy: &RoutePolicy,
        scanned: &ScannedBody,
    ) -> Option<EntryKey> {
        let head = session.head();
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

    async fn find(&self, plan: &mut Plan, ctx: &Ctx) -> Option<(Arc<Entry>, Duration)> {
        let counters = &self.shared.counters;
        let Some((slot, _)) = plan.slot.as_ref().filter(|_| plan.control.may_read) else {
            counters.bypasses.inc();
            return None;
        };
        let slot = *slot;
        let mut found = self.find_in_memory(plan, &slot, ctx).await;
        if found.is_none() && self.shared.shelf.may_have(&slot.key) {
            let fetched = self.fetch(plan, slot, ctx).await;
            plan.is_unasked = fetched == Fetched::Unasked;
            if fetched == Fetched::Something {
                found = self.find_in_memory(plan, &slot, ctx).await;
            }
        }
        if found.is_some() {
            counters.hits.inc()
        } else {
            counters.misses.inc()
        }
        found
    }

    /// The entry in memory, or the one that another form of it becomes.
    pub(super) async fn find_in_memory(
        &self,
        plan: &mut Plan,
        slot: &Slot,
        ctx: &Ctx,
    ) -> Option<(Arc<Entry>, Duration)> {
        let now = ctx.started.monotonic;
        let found = self.shared.entries.find(slot, now).filter(|(_, age)| plan.control.accepts(*age));
        if found.is_some() || plan.api != Api::ChatCompletions {
            return found;
        }
        let wanted = Wanted {
            entries: &self.shared.entries,
            shelf: &self.shared.shelf,
            slot,
            control: plan.control,
            now,
            most: ctx.policy.snapshot.config.cache.max_entry.as_usize(),
            memory: self.shared.permit(ctx),
        };
        match wanted.find().await {
            Ok(translated) => Some(translated),
            Err(apart) => {
                plan.apart = apart;
                None
            }
        }
    }

    /// Has what lies behind memory of the answer put there.
    pub(super) async fn fetch(&self, plan: &Plan, slot: Slot, ctx: &Ctx) -> Fetched {
        let others = slot.others().map(|other| other.form);
        let others: Vec<AnswerForm> = others.filter(|_| plan.api == Api::ChatCompletions).collect();
        let wanted = shelf::Wanted {
            slot,
            others: &others,
            origin: self.origin(ctx, plan),
            epoch: plan.epoch,
            now: ctx.started,
            waited: &ctx.waited,
            most: ctx.policy.snapshot.config.cache.max_entry.as_u64(),
            memory: self.shared.permit(ctx),
        };
        self.shared.shelf.fetch(wanted).await
    }

    /// Whose the answer is, and what it is an answer of.
    pub(super) fn origin(&self, ctx: &Ctx, plan: &Plan) -> Origin {
        let is_shared = plan.slot.as_ref().is_some_and(|(_, policy)| policy.scope == Scope::Global);
        let key = ctx.key.as_ref().filter(|_| !is_shared);
        Origin {
            account: key.map(|key| key.account().clone()),
            route: Arc::clone(&self.live.route.label),
            model: ctx.model.clone(),
        }
    }
}

/// Answers with an entry of that age.
pub(super) async fn send_hit(
    shared: &Shared,
    session: &mut Session,
    ctx: &mut Ctx,
    (entry, age): (&Entry, Duration),
) -> Result<Sent, Rejection> {
    let mut reader = join(&entry.recording, shared.permit(ctx)).ok_or(Rejection::Overloaded)?;
    ctx.cache_status = Some(CacheStatus::Hit { ttl: entry.ttl.saturating_sub(age) });
    count_saved(shared, ctx, entry.usage);
    let sent = send::follow(session, ctx, &mut reader, Some(age)).await;
    ctx.outcome = Some(sent.outcome(Outcome::ExactHit));
    Ok(sent)
}
