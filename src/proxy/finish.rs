//! The one explicit end of every request: metrics, and its line in the access log.

use std::time::Duration;

use http::Method;

use crate::llm::usage::{Tokens, Usage};
use crate::outcome::finished::{Finished, Outcome};
use crate::proxy::ctx::{Ctx, Report};
use crate::proxy::session::Session;
use crate::proxy::shared::Shared;
use crate::telemetry::metrics::Times;

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
    count_tokens(shared, &ctx.report);
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

/// Counts what a call cost, unless that has been done.
pub(super) fn count_tokens(shared: &Shared, report: &Report) {
    let counters = &shared.counters;
    match report.tokens_to_count() {
        None => {}
        Some(Tokens::Told(usage)) => {
            counters.prompt_tokens.inc_by(usage.prompt);
            counters.completion_tokens.inc_by(usage.completion);
            counters.cached_tokens.inc_by(usage.cached);
        }
        Some(Tokens::Estimated(usage)) => {
            counters.estimated_prompt_tokens.inc_by(usage.prompt);
            counters.estimated_completion_tokens.inc_by(usage.completion);
        }
    }
}

/// Counts what an answer would have cost that nobody had to be asked for.
pub(super) fn count_saved(shared: &Shared, usage: Option<Usage>) {
    if let Some(usage) = usage {
        shared.metrics.tokens_saved.inc_by(usage.prompt.saturating_add(usage.completion));
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
