//! What the limiter says, and the headers that tell it.
//!
//! `X-RateLimit-*` is what clients of LLM services look for; `RateLimit-Policy` and `RateLimit` follow
//! draft-ietf-httpapi-ratelimit-headers. What a plan alone decides is made once, in the plan.

use std::io::{Cursor, Write};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};

use crate::clock::UnixTime;
use crate::limits::bucket::Decision;
use crate::limits::link::WhenDown;
use crate::limits::plan::{Plan, Terms};

/// Requests a minute.
pub const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// Requests left, at most the limit.
pub const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// Unix seconds at which the remaining ones are back at their most.
pub const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// The plan's bucket.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The bucket's level.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `Retry-After` in milliseconds; OpenAI's clients prefer it.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// `false`: clients that know it give up.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// There while limits that gateways share are decided by each alone: by what.
pub const X_SAFECACHE_LIMITS: HeaderName = HeaderName::from_static("x-safecache-limits");

/// Clients are told not to wait by themselves for longer than this, in seconds.
const LONGEST_RETRY: u64 = 60;

/// What became of one request at its bucket.
#[derive(Clone, Debug)]
pub struct Verdict {
    decision: Decision,
    plan: Arc<Terms>,
    at: UnixTime,
    alone: Option<WhenDown>,
}

impl Verdict {
    /// The verdict on a request at the time `at`; `decision` must have been made at `plan`'s rate.
    pub fn new(decision: Decision, plan: &Plan, at: UnixTime) -> Self {
        Self { decision, plan: Arc::clone(plan.terms()), at, alone: None }
    }

    /// The same, made without those with whom the limit is shared.
    pub(super) fn alone(self, by: WhenDown) -> Self {
        Self { alone: Some(by), ..self }
    }

    /// By what it was made without those with whom the limit is shared; `None`: it was made with them.
    pub fn made_alone(&self) -> Option<WhenDown> {
        self.alone
    }

    /// True if the request may go on; a token is taken then.
    pub fn is_admitted(&self) -> bool {
        self.decision.wait().is_none()
    }

    /// The plan that decided.
    pub fn plan(&self) -> &Terms {
        &self.plan
    }

    /// Whole requests left in the bucket: the whole truth, up to the plan's burst.
    pub fn level(&self) -> u64 {
        self.decision.level()
    }

    /// `X-RateLimit-Remaining`: the level, at most the requests of a minute.
    pub fn remaining(&self) -> u64 {
        self.level().min(u64::from(self.plan.requests_per_minute().get()))
    }

    /// `X-RateLimit-Reset`: Unix seconds, rounded up, at which [`Verdict::remaining`] is back at its most; the
    /// second of the request if it is there.
    pub fn reset(&self) -> u64 {
        let most = self.plan.requests_per_minute().min(self.plan.burst());
        let wait = self.decision.time_to_level(u64::from(most.get()));
        if wait.is_zero() {
            return self.at.as_secs();
        }
        self.at.saturating_add(wait).as_nanos().div_ceil(1_000_000_000)
    }

    /// Whole seconds, rounded up and at least 1, after which one request would pass; `None` if this one did.
    pub fn retry_after(&self) -> Option<u64> {
        self.decision.wait().map(seconds_rounded_up)
    }

    /// Hands the headers of every answer to `put`, and those of a 429 if the request was refused.
    pub fn put_headers(&self, mut put: impl FnMut(HeaderName, HeaderValue)) {
        put(X_RATELIMIT_LIMIT, self.plan.limit_header().clone());
        put(X_RATELIMIT_REMAINING, decimal(self.remaining()));
        put(X_RATELIMIT_RESET, decimal(self.reset()));
        put(RATELIMIT_POLICY, self.plan.policy_header().clone());
        if let Some(value) = self.level_header() {
            put(RATELIMIT, value);
        }
        if let Some(by) = self.alone {
            put(X_SAFECACHE_LIMITS, HeaderValue::from_static(by.as_str()));
        }
        let Some(wait) = self.decision.wait() else { return };
        let seconds = seconds_rounded_up(wait);
        put(RETRY_AFTER, decimal(seconds));
        put(RETRY_AFTER_MS, decimal(milliseconds_rounded_up(wait)));
        if seconds > LONGEST_RETRY {
            put(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
    }

    /// `"PLAN";r=LEVEL`, and `;t=SECONDS` unless the bucket is full. Written on the stack: the longest plan name
    /// and two numbers of twenty digits fit. `None` cannot come up, as a plan's name is checked.
    fn level_header(&self) -> Option<HeaderValue> {
        let mut line = Cursor::new([0_u8; 96]);
        let mut digits = itoa::Buffer::new();
        line.write_all(b"\"").ok()?;
        line.write_all(self.plan.name().as_str().as_bytes()).ok()?;
        line.write_all(b"\";r=").ok()?;
        line.write_all(digits.format(self.level()).as_bytes()).ok()?;
        if let Some(time) = self.decision.time_to_one_more() {
            line.write_all(b";t=").ok()?;
            line.write_all(digits.format(seconds_rounded_up(time)).as_bytes()).ok()?;
        }
        let written = usize::try_from(line.position()).ok()?;
        HeaderValue::from_bytes(line.get_ref().get(..written)?).ok()
    }
}

/// A number as a header has it, in one piece of memory of its own: `HeaderValue`'s own conversion takes two.
pub fn decimal(number: u64) -> HeaderValue {
    // Digits are a value.
    HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or(HeaderValue::from_static("0"))
}

fn seconds_rounded_up(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

fn milliseconds_rounded_up(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
