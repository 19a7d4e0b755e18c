//! A request's own state, from its head to its log line.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;

use crate::auth::client_address::ClientAddress;
use crate::auth::key_record::KeyRecord;
use crate::cache::control::CacheStatus;
use crate::cache::recording::Failure;
use crate::clock::{Clock, Monotonic, Now, Waited, nanos};
use crate::limits::verdict::Verdict;
use crate::llm::usage::{Tokens, Usage};
use crate::outcome::finished::Outcome;
use crate::proxy::cut::Open;
use crate::proxy::derived::{Derived, LiveRoute};
use crate::proxy::places;
use crate::proxy::tunnel::Carried;
use crate::runtime::live::Policy;
use crate::spread::{Lending, Lent};
use crate::stock::Stock;
use crate::usage::record::Class;

/// What is known of a request so far.
pub struct Ctx {
    pub(super) clock: Clock,
    pub(super) started: Now,
    /// The policy that it began with, and ends with.
    pub(super) policy: Policy<Derived>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) route: Option<Arc<LiveRoute>>,
    pub(super) address: Option<ClientAddress>,
    pub(super) key: Option<Arc<KeyRecord>>,
    pub(super) verdict: Option<Verdict>,
    pub(super) room: Option<Room>,
    pub(super) outcome: Option<Outcome>,
    pub(super) cache_status: Option<CacheStatus>,
    /// Which model is asked, where the body says so and is read.
    pub(super) model: Option<Arc<str>>,
    /// How the request counts, where its status does not say so.
    pub(super) class: Option<Class>,
    /// What an answer would have cost that was there already.
    pub(super) saved: Option<Usage>,
    pub(super) report: Arc<Report>,
    /// Time spent reading the request body.
    pub(super) body_wait: Duration,
    /// Time spent waiting for what gateways share.
    pub(super) waited: Waited,
    /// When the answer's first byte was ready.
    pub(super) answered: Option<Monotonic>,
    /// What went through the tunnel that the request became.
    pub(super) carried: Option<Carried>,
    pub(super) open: Open,
}

/// A request's places: among `max_requests`, and among its upstream's.
pub(super) struct Room {
    pub(super) upstream: Option<places::Place>,
    _place: Place,
}

impl Room {
    /// A place here; the upstream's comes later.
    pub(super) fn new(place: Place) -> Self {
        Self { upstream: None, _place: place }
    }
}

/// One of the requests in flight; counted until dropped.
pub(super) struct Place(Arc<Lent<Stock>>);

impl Place {
    /// A place, if fewer than `max` are taken.
    pub(super) fn take(in_flight: &Lending<Stock>, max: u32) -> Option<Self> {
        let places = in_flight.lend();
        places.take(1, max.into()).then(|| Self(Arc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give(1);
    }
}

/// What an upstream call tells of itself; shared with the task that makes it.
#[derive(Debug, Default)]
pub(super) struct Report {
    sent: AtomicU64,
    first_byte: AtomicU64,
    tokens: OnceLock<Tokens>,
    is_counted: AtomicBool,
    is_stopped: AtomicBool,
}

impl Report {
    pub(super) fn sent(&self, at: Monotonic) {
        // The first attempt is the one that the gateway's own share is measured to.
        let _ = self.sent.compare_exchange(0, at.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn first_byte(&self, waited: Duration) {
        self.first_byte.store(nanos(waited).max(1), Ordering::Relaxed);
    }

    pub(super) fn tokens(&self, tokens: Option<Tokens>) {
        if let Some(tokens) = tokens {
            // One call reads one answer: there is never a second count.
            let _ = self.tokens.set(tokens);
        }
    }

    pub(super) fn sent_at(&self) -> Option<Monotonic> {
        Some(self.sent.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Monotonic::from_nanos)
    }

    pub(super) fn first_byte_after(&self) -> Option<Duration> {
        Some(self.first_byte.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    /// Nobody reads any more: the call is to tell what it has cost so far, and to end.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Drives `call` until it is [told to stop](Report::stop); then it is polled once more by whoever told it.
    pub(super) async fn unless_stopped<T>(
        &self,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut call = pin!(call);
        poll_fn(|cx| match self.is_stopped.load(Ordering::Relaxed) {
            true => Poll::Ready(Err(Failure::Stopped)),
            false => call.as_mut().poll(cx),
        })
        .await
    }

    /// What the call cost, if it is known: told to the first who asks, who counts it. A call may outlive its request.
    pub(super) fn tokens_to_count(&self) -> Option<Tokens> {
        let tokens = self.tokens_known()?;
        (!self.is_counted.swap(true, Ordering::Relaxed)).then_some(tokens)
    }

    pub(super) fn tokens_known(&self) -> Option<Tokens> {
        self.tokens.get().copied()
    }
}

impl Ctx {
    /// A request whose head has just been read.
    pub(super) fn new(clock: &Clock, policy: Policy<Derived>, open: Open) -> Self {
        Self {
            started: clock.now(),
            clock: clock.clone(),
            policy,
            request_id: None,
            route: None,
            address: None,
            key: None,
            verdict: None,
            room: None,
            outcome: None,
            cache_status: None,
            model: None,
            class: None,
            saved: None,
            report: Arc::default(),
            body_wait: Duration::ZERO,
            waited: Waited::default(),
            answered: None,
            carried: None,
            open,
        }
    }
}
