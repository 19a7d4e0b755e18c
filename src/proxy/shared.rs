//! What all requests share: the live policy, and the state that outlives every reload.

use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use pingora::connectors::TransportConnector;

use crate::auth::authenticate::AuthFailure;
use crate::cache::entries::Entries;
use crate::cache::flights::Flights;
use crate::cache::memo::BodyMemo;
use crate::clock::{Clock, Monotonic};
use crate::cluster::leases::Leases;
use crate::limits::limiter::Limiter;
use crate::memory::{Bounds, Buffers, Permit, Pool};
use crate::proxy::ctx::Ctx;
use crate::proxy::cut::Cut;
use crate::proxy::derived::Derived;
use crate::proxy::successor::Succession;
use crate::proxy::table::Table;
use crate::runtime::answerer::Answerer;
use crate::runtime::live::{Live, Policy};
use crate::shelf::Shelf;
use crate::spread::{Lending, Lent, Spread, cores};
use crate::stock::Stock;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::counted::Counter;
use crate::telemetry::metrics::{Lookup, Metrics};
use crate::usage::ledger::Ledger;

/// What all requests share, as what outlives a request holds on to it.
pub(super) type Held = Arc<Lent<Shared>>;

/// What all requests share.
pub struct Shared {
    pub(super) live: Arc<Live<Derived>>,
    pub(super) clock: Clock,
    pub(super) limiter: Limiter,
    /// Who asks for tokens that several gateways share; `None`: there is nobody to ask.
    pub(super) leases: Option<Arc<Leases>>,
    pub(super) entries: Entries,
    pub(super) shelf: Arc<Shelf>,
    pub(super) flights: Flights,
    /// Each worker remembers those that it read.
    pub(super) bodies: Spread<BodyMemo>,
    pub(super) metrics: Arc<Metrics>,
    /// The requests admitted and not yet finished, of `max_requests`.
    pub(super) in_flight: Lending<Stock>,
    pub(super) counters: Counters,
    /// Makes connections to upstreams.
    pub(super) transport: TransportConnector,
    pub(super) buffers: Buffers,
    pub(super) ledger: Ledger,
    pub(super) answerer: Arc<dyn Answerer>,
    pub(super) access: AccessLog,
    pub(super) cut: Cut,
    pub(super) succession: Succession,
    pub(super) table: Arc<Table>,
}

/// What [`Shared`] is made of.
pub struct Parts {
    /// The policy.
    pub live: Arc<Live<Derived>>,
    /// The clock.
    pub clock: Clock,
    /// The buckets.
    pub limiter: Limiter,
    /// Who asks for tokens that several gateways share.
    pub leases: Option<Arc<Leases>>,
    /// The cache in memory.
    pub entries: Entries,
    /// The same, with the disk behind it.
    pub shelf: Arc<Shelf>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Memory held for bodies and answers.
    pub buffers: Buffers,
    /// Where requests are counted for those who pay.
    pub ledger: Ledger,
    /// The cache API.
    pub answerer: Arc<dyn Answerer>,
    /// Where finished requests are told.
    pub access: AccessLog,
}

impl Shared {
    /// Joins the parts.
    pub fn new(parts: Parts) -> Arc<Self> {
        let metrics = &parts.metrics;
        let counters = Counters {
            hits: metrics.cache_lookups(Lookup::Hit),
            misses: metrics.cache_lookups(Lookup::Miss),
            bypasses: metrics.cache_lookups(Lookup::Bypass),
            prompt_tokens: metrics.tokens("prompt"),
            completion_tokens: metrics.tokens("completion"),
            cached_tokens: metrics.tokens("cached"),
            estimated_prompt_tokens: metrics.tokens("estimated_prompt"),
            estimated_completion_tokens: metrics.tokens("estimated_completion"),
            auth_failures: AuthFailure::ALL.map(|failure| (failure, metrics.auth_failures(failure.as_str()))),
        };
        let table = Table::new(metrics);
        Arc::new(Self {
            live: parts.live,
            clock: parts.clock,
            limiter: parts.limiter,
            leases: parts.leases,
            entries: parts.entries,
            shelf: parts.shelf,
            flights: Flights::default(),
            bodies: Spread::for_cores(|_| BodyMemo::one_of(cores())),
            metrics: parts.metrics,
            in_flight: Lending::default(),
            counters,
            transport: TransportConnector::new(None),
            buffers: parts.buffers,
            ledger: parts.ledger,
            answerer: parts.answerer,
            access: parts.access,
            cut: Cut::default(),
            succession: Succession::default(),
            table,
        })
    }

    /// A permit for bodies and answers, within the bounds of the request's key.
    pub(super) fn permit(&self, ctx: &Ctx) -> Permit {
        let limits = &ctx.policy.snapshot.config.limits;
        let bounds =
            Bounds { total: limits.buffer_memory.as_u64(), share: limits.buffer_memory_per_key.as_u64() };
        match &ctx.key {
            Some(key) => Permit::new(&self.buffers, key.buffered(), bounds),
            None => Permit::new(&self.buffers, &Pool::default(), bounds),
        }
    }

    /// Ends all connections to upstreams that wait for a request.
    pub(super) fn end_idle(&self) {
        self.policy()
            .derived
            .upstreams()
            .iter()
            .for_each(|upstream| upstream.end_idle(Monotonic::from_nanos(u64::MAX)));
    }

    /// Gives back some of the memory that was needed once.
    pub fn trim(&self) {
        self.buffers.blocks().trim();
    }

    /// The policy of this moment.
    pub fn policy(&self) -> Policy<Derived> {
        self.live.load()
    }

    /// Requests admitted and not yet finished.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.lend().used()
    }

    /// The clock that requests go by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The buckets.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Where the buckets are.
    pub fn succession(&self) -> &Succession {
        &self.succession
    }

    /// How all requests end at once.
    pub fn cut(&self) -> &Cut {
        &self.cut
    }
}

/// Counters that every request may touch, resolved once.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) bypasses: Counter,
    pub(super) prompt_tokens: Counter,
    pub(super) completion_tokens: Counter,
    pub(super) cached_tokens: Counter,
    pub(super) estimated_prompt_tokens: Counter,
    pub(super) estimated_completion_tokens: Counter,
    auth_failures: [(AuthFailure, Counter); AuthFailure::ALL.len()],
}

impl Counters {
    /// Counts a request without a valid key.
    pub(super) fn count_auth_failure(&self, failure: AuthFailure) {
        let counter = self.auth_failures.iter().find(|(counted, _)| *counted == failure);
        counter.into_iter().for_each(|(_, counter)| counter.inc());
    }
}

/// True if a file, such as a socket, was not opened because the process or the system has too many.
pub(super) fn are_files_out(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}
