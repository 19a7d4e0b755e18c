//! A connection over HTTP/2: pingora reads the heads, each request is a task of its own, and here is what bounds them
//! together.
//!
//! A connection that has carried all its requests is told so (GOAWAY, RFC 9113 §6.8), as is every one when the listener
//! closes. pingora then waits for the client to agree, for ever; here it has [`PARTING`] once its answers are at their
//! end, and a client that goes on asking is cut.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, watch};

use crate::config::Limits;
use crate::proxy::gateway::Gateway;

/// What small DATA frames that nobody has read yet may take beside their bytes, in bytes on each connection: a client that
/// sends its body in pieces of a few bytes is slow, not hostile. The library's own bound cuts it after about a hundred.
const SMALL_DATA: usize = 1024 * 1024;

/// What one stream may have queued for its connection, at most, in bytes: it is counted no more.
const MOST_QUEUED: usize = 64 * 1024;

/// What a field counts beside its name and value (RFC 9113 §6.5.2).
const FIELD: u32 = 32;

/// So much of a head is read whatever its bound.
const LEAST_HEAD: u32 = 64 * 1024;

/// Requests that may still come after GOAWAY: those that were on their way, of a client with as many streams as it may
/// have.
const LATE_REQUESTS: u32 = 100;

/// How long a client that was told to go may take after its last answer.
const PARTING: Duration = Duration::from_secs(5);

/// What a connection is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Requests that it may carry.
    pub(super) requests: u32,
    /// How long it may be without one.
    pub(super) idle: Duration,
    /// Bytes of a head that is read, so that it can be refused in our words if they are too many.
    pub(super) head: u32,
}

impl Terms {
    pub(super) fn of(limits: &Limits) -> Self {
        let fields = limits.head_fields.get().saturating_mul(FIELD);
        let head = u32::try_from(limits.head_bytes.as_u64()).unwrap_or(u32::MAX).saturating_add(fields);
        Self {
            requests: limits.max_requests_per_connection.get(),
            idle: limits.keep_alive,
            head: head.max(LEAST_HEAD),
        }
    }
}

/// One connection, as its requests share it.
struct Http2 {
    gateway: Arc<Gateway>,
    options: HttpServerOptions,
    terms: Terms,
    /// Tells pingora to say GOAWAY.
    parting: watch::Sender<bool>,
    begun: AtomicU32,
    under_way: AtomicU32,
    /// A request has ended, or one too many has begun.
    changed: Notify,
}

/// Serves the requests of a connection that speaks HTTP/2, until either side ends it; how many there were. Once `closing`
/// is told it takes no more of them.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    stream: Stream,
    closing: &ShutdownWatch,
    terms: Terms,
) -> u32 {
    let (parting, told) = watch::channel(false);
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(terms.idle);
    let connection = Arc::new(Http2 {
        gateway,
        options,
        terms,
        parting,
        begun: AtomicU32::new(0),
        under_way: AtomicU32::new(0),
        changed: Notify::new(),
    });
    let serving = pin!(connection.process_new(stream, &told));
    tokio::select! {
        _ = serving => {}
        () = connection.part(closing.clone()) => {}
    }
    connection.begun.load(Ordering::Relaxed)
}

impl Http2 {
    /// Tells the client to go when it is time, and returns when it has had time to.
    async fn part(&self, mut closing: ShutdownWatch) {
        let mut told = self.parting.subscribe();
        tokio::select! {
            // Nobody is left who could tell: as if told.
            _ = closing.wait_for(|told| *told) => {}
            // This connection has the other end.
            _ = told.wait_for(|told| *told) => {}
        }
        self.parting.send_replace(true);
        loop {
            let changed = self.changed.notified();
            let begun = self.begun.load(Ordering::Relaxed);
            if begun > self.terms.requests.saturating_add(LATE_REQUESTS) {
                return;
            }
            if self.under_way.load(Ordering::Relaxed) > 0 {
                changed.await;
                continue;
            }
            tokio::time::sleep(PARTING).await;
            let is_over = self.begun.load(Ordering::Relaxed) == begun;
            if is_over && self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if begun == self.terms.requests {
            self.parting.send_replace(true);
        }
        let _under_way = UnderWay::of(self);
        if begun <= self.terms.requests.saturating_add(LATE_REQUESTS) {
            self.gateway.serve_http2(session).await;
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_send_buffer_size(MOST_QUEUED);
        options.data_frame_budget(SMALL_DATA);
        options.max_header_list_size(self.terms.head);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// A request that is being served.
struct UnderWay<'a>(&'a Http2);

impl<'a> UnderWay<'a> {
    fn of(connection: &'a Http2) -> Self {
        connection.under_way.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
