//! A plan: how fast and how far ahead a key may go. Policy only; levels are kept in `limiter`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::ids::{PlanName, is_config_name};
use crate::limits::bucket::Rate;
use crate::spread::Spread;
use crate::units::ByteSize;

/// Most requests a minute that a plan may allow: one a microsecond.
pub const MAX_REQUESTS_PER_MINUTE: u32 = 60_000_000;

/// Longest time that a plan may take to fill an empty bucket.
pub const MAX_FILL_TIME: Duration = Duration::from_secs(24 * 3600);

/// What an account's stored answers may take where its plan does not say.
pub const DEFAULT_STORED_BYTES: ByteSize = ByteSize::mib(256);

/// Keys that an account may have where its plan does not say.
pub const DEFAULT_MAX_KEYS: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Whose bucket a request draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Per {
    /// Every key has a bucket of its own.
    Key,
    /// All keys of an account share one.
    Account,
}

/// The checked numbers of a plan.
#[derive(Clone, Debug)]
pub struct Plan {
    per: Per,
    rate: Rate,
    stored_bytes: ByteSize,
    max_keys: NonZeroU32,
    /// Held by each request: once for each worker.
    terms: Arc<Spread<Arc<Terms>>>,
}

/// What answers tell of a plan.
#[derive(Debug, PartialEq, Eq)]
#[repr(align(128))]
pub struct Terms {
    name: PlanName,
    requests_per_minute: NonZeroU32,
    burst: NonZeroU32,
    limit_header: HeaderValue,
    policy_header: HeaderValue,
}

/// Why a plan's numbers cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More than [`MAX_REQUESTS_PER_MINUTE`].
    #[error("at most {MAX_REQUESTS_PER_MINUTE} requests a minute can be told apart")]
    TooFast,
    /// An empty bucket would need more than [`MAX_FILL_TIME`].
    #[error("burst / requests_per_minute is more than a day: an empty bucket would not fill in 24h")]
    TooDeep,
    /// The name is not of the form `[a-z0-9_-]{1,32}`.
    #[error("a plan's name has 1 to 32 characters of a-z, 0-9, _ and -")]
    Name,
}

impl Plan {
    /// Checks a plan's numbers.
    ///
    /// # Errors
    /// [`PlanError`] where the bucket's arithmetic could not hold them, or a header the name.
    pub fn new(
        name: PlanName,
        requests_per_minute: NonZeroU32,
        burst: NonZeroU32,
        per: Per,
    ) -> Result<Self, PlanError> {
        if requests_per_minute.get() > MAX_REQUESTS_PER_MINUTE {
            return Err(PlanError::TooFast);
        }
        let rate = Rate::new(requests_per_minute, burst);
        if rate.fill_time() > MAX_FILL_TIME {
            return Err(PlanError::TooDeep);
        }
        if !is_config_name(name.as_str()) {
            return Err(PlanError::Name);
        }
        let fill_seconds = rate.fill_time().as_nanos().div_ceil(1_000_000_000);
        let policy = format!("\"{name}\";q={burst};w={fill_seconds}");
        HeaderValue::from_str(&policy).map_err(|_| PlanError::Name)?;
        let terms = Spread::for_cores(|_| {
            Arc::new(Terms {
                name: name.clone(),
                requests_per_minute,
                burst,
                limit_header: HeaderValue::from(requests_per_minute.get()),
                // Checked above.
                policy_header: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("")),
            })
        });
        Ok(Self {
            per,
            rate,
            stored_bytes: DEFAULT_STORED_BYTES,
            max_keys: DEFAULT_MAX_KEYS,
            terms: Arc::new(terms),
        })
    }

    /// The same plan with another quota of stored answers.
    #[must_use]
    pub fn with_stored_bytes(self, stored_bytes: ByteSize) -> Self {
        Self { stored_bytes, ..self }
    }

    /// The same plan with another number of keys.
    #[must_use]
    pub fn with_max_keys(self, max_keys: NonZeroU32) -> Self {
        Self { max_keys, ..self }
    }

    /// How many keys an account on this plan may have in the store.
    pub fn max_keys(&self) -> NonZeroU32 {
        self.max_keys
    }

    /// What the answers may take that an account stores over the cache API.
    pub fn stored_bytes(&self) -> ByteSize {
        self.stored_bytes
    }

    /// What answers tell of it.
    pub fn terms(&self) -> &Arc<Terms> {
        self.terms.mine()
    }

    /// The plan's name.
    pub fn name(&self) -> &PlanName {
        &self.terms().name
    }

    /// Requests a minute, once the burst is spent.
    pub fn requests_per_minute(&self) -> NonZeroU32 {
        self.terms().requests_per_minute
    }

    /// What a full bucket holds, in requests.
    pub fn burst(&self) -> NonZeroU32 {
        self.terms().burst
    }

    /// Whose bucket it is.
    pub fn per(&self) -> Per {
        self.per
    }

    /// The same numbers as the bucket's arithmetic takes them.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.per == other.per
            && self.rate == other.rate
            && self.stored_bytes == other.stored_bytes
            && self.max_keys == other.max_keys
            && self.terms() == other.terms()
    }
}

impl Eq for Plan {}

impl Terms {
    /// The plan's name.
    pub fn name(&self) -> &PlanName {
        &self.name
    }

    /// Requests a minute, once the burst is spent.
    pub fn requests_per_minute(&self) -> NonZeroU32 {
        self.requests_per_minute
    }

    /// What a full bucket holds, in requests.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// `X-RateLimit-Limit`: requests a minute.
    pub fn limit_header(&self) -> &HeaderValue {
        &self.limit_header
    }

    /// `RateLimit-Policy`: `"PLAN";q=BURST;w=SECONDS_TO_FILL`, seconds rounded up.
    pub fn policy_header(&self) -> &HeaderValue {
        &self.policy_header
    }
}
