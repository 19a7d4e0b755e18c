//! The one explicit end of every request: metrics, its place in the sums of usage, and its line in the access log.

use std::time::Duration;

use http::Method;

use crate::auth::key::Environment;
use crate::auth::key_record::KeyRecord;
use crate::cache::control::CacheStatus;
use crate::clock::UnixTime;
use crate::llm::usage::{Tokens, Usage};
use crate::outcome::finished::{Finished, Outcome};
use crate::proxy::ctx::{Ctx, Report};
use crate::proxy::session::Session;
use crate::proxy::shared::Shared;
use crate::telemetry::metrics::route::Times;
use crate::usage::ledger::Counted;
use crate::usage::record::{Class, Sums};

/// Records the end of a request.
pub(super) fn finish(shared: &Shared, session: &Session, ctx: &mut Ctx) {
    let status = session.status().map_or(0, |status| status.as_u16());
    let outcome = ctx.outcome.unwrap_or(match status {
        0 => Outcome::ClientClosed,
        _ => Outcome::InternalError,
    });
    let duration = shared.clock.monotonic().saturating_since(ctx.started.monotonic);
    let times = Times { duration, overhead: overhead(ctx, duration) };
    let metrics = ctx.route.as_ref().map_or(&ctx.policy.derived.unrouted, |live| &live.metrics);
    metrics.finished(outcome, status, times);
    let spent = count_tokens(shared, &ctx.report);
    if let Some(key) = &ctx.key {
        let payer = Payer {
            key,
            model: ctx.model.as_deref(),
            class: class(ctx, outcome, status),
            at: ctx.started.unix,
        };
        payer.add(shared, Sums { requests: 1, ..sums(spent, ctx.saved) });
    }
    shared.access.record(|| Finished {
        at: ctx.started.unix,
        request_id: ctx.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default().into(),
        key: ctx.key.as_ref().map(|key| key.holder().key().clone()),
        route: ctx.route.as_ref().map(|live| std::sync::Arc::clone(&live.route.label)),
        method: method_name(&session.head().method),
        outcome,
        status,
        duration,
        upstream_first_byte: ctx.report.first_byte_after(),
        bytes_received: ctx.carried.map_or(session.body_read(), |carried| carried.from_client),
        bytes_sent: ctx.carried.map_or(session.body_sent(), |carried| carried.from_server),
        tokens: ctx.report.tokens_known(),
    });
    ctx.room = None;
}

/// The gateway's own share: until the request was sent on, or its answer was ready, without the wait for its body.
fn overhead(ctx: &Ctx, duration: Duration) -> Duration {
    let handed_on = ctx.report.sent_at().or(ctx.answered);
    let until = handed_on.map_or(duration, |at| at.saturating_since(ctx.started.monotonic));
    until.saturating_sub(ctx.body_wait)
}

/// Who is told what a request, or a call that outlives it, cost.
pub(super) struct Payer<'a> {
    pub(super) key: &'a KeyRecord,
    pub(super) model: Option<&'a str>,
    pub(super) class: Class,
    pub(super) at: UnixTime,
}

impl Payer<'_> {
    fn add(&self, shared: &Shared, sums: Sums) {
        let options = self.key.options();
        let counted = Counted {
            account: self.key.account(),
            key: self.key.id(),
            name: options.and_then(|options| options.name.as_deref()),
            environment: options.and_then(|options| options.environment).map(Environment::as_str),
            model: self.model.unwrap_or_default(),
            class: self.class,
            at: self.at,
        };
        shared.ledger.add(&counted, sums);
    }

    /// Counts what a call cost that went on without its request.
    pub(super) fn pay(&self, shared: &Shared, report: &Report) {
        let spent = count_tokens(shared, report);
        if spent.is_some() {
            self.add(shared, sums(spent, None));
        }
    }
}

/// How a request of a known key counts: in exactly one class. One that its client left before it was answered is an
/// error.
fn class(ctx: &Ctx, outcome: Outcome, status: u16) -> Class {
    if ctx.verdict.as_ref().is_some_and(|verdict| !verdict.is_admitted()) {
        return Class::RateLimited;
    }
    match (outcome, status) {
        (_, 0 | 400..) => Class::Error,
        (Outcome::Collapsed, _) => Class::Collapsed,
        _ => ctx.class.unwrap_or_else(|| class_of(ctx.cache_status)),
    }
}

/// How a request counts that is answered so.
pub(super) fn class_of(status: Option<CacheStatus>) -> Class {
    match status {
        Some(CacheStatus::Hit { .. }) => Class::ExactHit,
        Some(CacheStatus::Collapsed) => Class::Collapsed,
        Some(CacheStatus::Miss | CacheStatus::MissStored) => Class::Miss,
        Some(CacheStatus::Request | CacheStatus::RequestStored | CacheStatus::Bypass) | None => {
            Class::Uncached
        }
    }
}

fn sums(spent: Option<Usage>, saved: Option<Usage>) -> Sums {
    let (spent, saved) = (spent.unwrap_or_default(), saved.unwrap_or_default());
    Sums {
        prompt_tokens: spent.prompt,
        cached_tokens: spent.cached.min(spent.prompt),
        completion_tokens: spent.completion,
        saved_prompt_tokens: saved.prompt,
        saved_cached_tokens: saved.cached.min(saved.prompt),
        saved_completion_tokens: saved.completion,
        ..Sums::default()
    }
}

/// Counts what a call cost, unless that has been done; what it was.
fn count_tokens(shared: &Shared, report: &Report) -> Option<Usage> {
    let counters = &shared.counters;
    let tokens = report.tokens_to_count()?;
    match tokens {
        Tokens::Told(usage) => {
            counters.prompt_tokens.inc_by(usage.prompt);
            counters.completion_tokens.inc_by(usage.completion);
            counters.cached_tokens.inc_by(usage.cached);
        }
        Tokens::Estimated(usage) => {
            counters.estimated_prompt_tokens.inc_by(usage.prompt);
            counters.estimated_completion_tokens.inc_by(usage.completion);
        }
    }
    Some(tokens.usage())
}

/// Counts what an answer would have cost that nobody had to be asked for.
pub(super) fn count_saved(shared: &Shared, ctx: &mut Ctx, usage: Option<Usage>) {
    if let Some(usage) = usage {
        shared.metrics.tokens_saved.inc_by(usage.prompt.saturating_add(usage.completion));
        ctx.saved = Some(usage);
    }
}

/// The registered methods by name; a client may make up others.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}
