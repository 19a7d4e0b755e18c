//! The connection to Redis: one, over which all questions go, each with its bound.
//!
//! Nobody who asks ever connects, or waits for who does: there is a connection or there is none. A task keeps it. It is
//! given up after [`MOST_LATE`] answers in a row that came too late, and at once when it breaks or when the server says that
//! it can serve nobody (the circuit breaker of a remote call). It is there again once over a new one all that gateways do
//! there was done [`PROBES`] times, each within [`ANSWER_WAIT`]: a server that is slow, that is full, that is a copy of
//! another or that lets do only some of it is as good as none.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Monotonic, Waited};
use crate::cluster::names::Names;
use crate::cluster::probe::Probe;
use crate::config::cluster::EngineUrl;

/// The longest that anybody waits for an answer, as a rule.
pub const ANSWER_WAIT: Duration = Duration::from_millis(50);

/// The longest that what is written behind requests may take: nobody waits for it, and it may be long.
const WRITE_WAIT: Duration = Duration::from_secs(1);

/// How long a new connection may take to come about.
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Between two attempts to connect: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A connection that was given up sooner than this was none: the next is waited for as if it had failed.
const STEADY: Duration = Duration::from_secs(5);

/// So many answers in a row come too late before a connection is given up.
const MOST_LATE: u32 = 3;

/// It does not fail.
const WELL: u64 = u64::MAX;

/// An answer that is of use when it comes late is waited for so long.
const LATEST: Duration = Duration::from_millis(500);

/// So many answers in time a new connection begins with.
const PROBES: u32 = 3;

/// What the server says, by its first word, to whoever asks next as well.
const SERVES_NOBODY: [&str; 12] = [
    "ASK",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "WRONGPASS",
];

/// Questions on their way at the same time; more are as good as unanswered.
const MOST_ASKED: usize = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// There is no connection.
    #[error("there is no connection to it")]
    Down,
    /// It took too long. What was asked for may have been done.
    #[error("it did not answer in time")]
    Late,
    /// The connection broke, or the server refused. What was asked for may have been done.
    #[error("{0}")]
    Failed(String),
}

/// The one connection. Shared by all who ask.
pub struct Link {
    client: Client,
    clock: Clock,
    label: Box<str>,
    names: Names,
    probe: Probe,
    /// The longest that anybody waits for an answer.
    wait: Duration,
    connection: ArcSwapOption<MultiplexedConnection>,
    late: AtomicU32,
    /// Nanoseconds of the clock; [`WELL`]: it does not fail.
    failing_since: AtomicU64,
    broken: Notify,
    /// Why the last connection was given up.
    given_up: Mutex<String>,
    is_up: watch::Sender<bool>,
}

impl Link {
    /// A link that has yet to connect, over which answers are waited for as long as `wait`. What lies at its other end is
    /// called by `names`.
    ///
    /// # Errors
    /// The URL cannot be used: why, without a secret.
    pub fn new(url: &EngineUrl, names: Names, clock: Clock, wait: Duration) -> Result<Arc<Self>, String> {
        let client = Client::open(url.secret().expose())
            .map_err(|error| format!("{}: {}", url.label(), why(&error)))?;
        Ok(Arc::new(Self {
            client,
            label: url.label().into(),
            names,
            probe: Probe::new(),
            wait,
            connection: ArcSwapOption::empty(),
            late: AtomicU32::new(0),
            failing_since: AtomicU64::new(clock.monotonic().as_nanos()),
            clock,
            broken: Notify::new(),
            given_up: Mutex::default(),
            is_up: watch::channel(false).0,
        }))
    }

    /// True if there is a connection. Costs one load.
    pub fn is_up(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Since when no question has been answered: the time of the first that was not. Now, if the last one was.
    pub fn failing_since(&self) -> Monotonic {
        match self.failing_since.load(Ordering::Relaxed) {
            WELL => self.clock.monotonic(),
            since => Monotonic::from_nanos(since),
        }
    }

    /// Tells when that changes.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.is_up.subscribe()
    }

    /// The longest that anybody waits for an answer.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// What it may be called by.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What things are called at its other end.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Asks, and waits for the answer no longer than it may: [`ANSWER_WAIT`], where nothing else was said.
    ///
    /// # Errors
    /// There is no answer; but for [`Unanswered::Down`], what was asked for may have been done all the same.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unanswered> {
        self.guarded(self.wait, async |mut connection| command.query_async(&mut connection).await).await
    }

    /// The same by a script, which is taken there first if it is not known there.
    ///
    /// # Errors
    /// As of [`Link::ask`].
    pub async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Unanswered> {
        self.guarded(self.wait, async |mut connection| call.invoke_async(&mut connection).await).await
    }

    /// The same for an answer that is of use also when it comes late: `late` is called then, and it is waited for a little
    /// longer.
    ///
    /// # Errors
    /// As of [`Link::ask`].
    pub async fn hear<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        late: impl FnOnce(),
    ) -> Result<T, Unanswered> {
        let held = self.connection.load_full().ok_or(Unanswered::Down)?;
        let mut connection = MultiplexedConnection::clone(&held);
        let mut asking = pin!(call.invoke_async(&mut connection));
        match within(self.wait, asking.as_mut()).await {
            Err(Fault::Late) => {
                self.note(&held, &Fault::Late, self.wait);
                late();
                within(LATEST.saturating_sub(self.wait), asking).await.map_err(Unanswered::from)
            }
            heard => self.noted(&held, heard, self.wait),
        }
    }

    /// The same for a request that has `waited` before: all its questions together have the bound of one.
    ///
    /// # Errors
    /// As of [`Link::ask`].
    pub async fn run_for<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        waited: &Waited,
    ) -> Result<T, Unanswered> {
        let left = waited.left_of(self.wait);
        if left.is_zero() {
            return Err(Unanswered::Late);
        }
        let begun = self.clock.monotonic();
        let answer =
            self.guarded(left, async |mut connection| call.invoke_async(&mut connection).await).await;
        waited.add(self.clock.monotonic().saturating_since(begun));
        answer
    }

    /// The same for what is written behind requests, which may take longer.
    ///
    /// # Errors
    /// As of [`Link::ask`].
    pub async fn write<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Unanswered> {
        let wait = self.wait.max(WRITE_WAIT);
        self.guarded(wait, async |mut connection| call.invoke_async(&mut connection).await).await
    }

    async fn guarded<T>(
        &self,
        wait: Duration,
        call: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Unanswered> {
        let held = self.connection.load_full().ok_or(Unanswered::Down)?;
        let answered = within(wait, call(MultiplexedConnection::clone(&held))).await;
        self.noted(&held, answered, wait)
    }

    /// Takes note of what came of a question over `held` whose answer was waited for as long as `wait`.
    fn noted<T>(
        &self,
        held: &Arc<MultiplexedConnection>,
        answered: Result<T, Fault>,
        wait: Duration,
    ) -> Result<T, Unanswered> {
        match answered {
            Ok(answer) => {
                self.note_well();
                Ok(answer)
            }
            Err(fault) => {
                self.note(held, &fault, wait);
                Err(fault.into())
            }
        }
    }

    fn note(&self, held: &Arc<MultiplexedConnection>, fault: &Fault, wait: Duration) {
        let now = self.clock.monotonic().as_nanos();
        // An error means that it has failed before.
        let _ = self.failing_since.compare_exchange(WELL, now, Ordering::Relaxed, Ordering::Relaxed);
        if self.is_too_much(fault, wait) {
            self.give_up(held, fault);
        }
    }

    fn note_well(&self) {
        self.late.store(0, Ordering::Relaxed);
        self.failing_since.store(WELL, Ordering::Relaxed);
    }

    fn is_too_much(&self, fault: &Fault, wait: Duration) -> bool {
        match fault {
            // Who had less time than others says nothing of the server.
            Fault::Late if wait < self.wait => false,
            Fault::Late => self.late.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= MOST_LATE,
            Fault::Error(error) => serves_nobody(error),
        }
    }

    /// Gives `held` up, unless another has done so.
    fn give_up(&self, held: &Arc<MultiplexedConnection>, fault: &Fault) {
        let was = self.connection.compare_and_swap(held, None);
        if was.as_ref().is_some_and(|was| Arc::ptr_eq(was, held)) {
            *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = fault.to_string();
            self.broken.notify_one();
        }
    }

    /// Keeps a connection, for as long as it is polled. What is lost again and again is told of once, and once when it holds.
    pub async fn keep(self: Arc<Self>) {
        let (shortest, longest) = RETRY;
        let (mut pause, mut is_told_missing) = (shortest, false);
        loop {
            match self.connect().await {
                Ok(connection) => {
                    let lived = self.hold(connection, &mut is_told_missing).await;
                    pause = if lived < STEADY { pause } else { shortest };
                    if !std::mem::replace(&mut is_told_missing, true) {
                        let why = self.given_up.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        tracing::error!(%why, "{} cannot be asked; until it can, this gateway goes on alone", self.label);
                    }
                }
                Err(error) if !std::mem::replace(&mut is_told_missing, true) => {
                    tracing::error!(%error, "{} cannot be asked; it is tried again and again", self.label);
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Lets all use `connection` until it is given up; how long that was.
    async fn hold(&self, connection: MultiplexedConnection, is_told_missing: &mut bool) -> Duration {
        let begun = self.clock.monotonic();
        self.note_well();
        self.connection.store(Some(Arc::new(connection)));
        self.is_up.send_replace(true);
        let mut broken = pin!(self.broken.notified());
        let steady = if *is_told_missing { STEADY } else { Duration::ZERO };
        if tokio::time::timeout(steady, broken.as_mut()).await.is_err() {
            tracing::info!("{} answers", self.label);
            *is_told_missing = false;
            broken.await;
        }
        self.is_up.send_replace(false);
        self.clock.monotonic().saturating_since(begun)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Unanswered> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_response_timeout(None)
            .set_concurrency_limit(MOST_ASKED);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = within(CONNECT_WAIT * 2, connecting).await?;
        // The first time the script is taken there.
        within(CONNECT_WAIT, self.probe.ask(&mut connection, &self.names)).await?;
        for _ in 0..PROBES {
            within(self.wait, self.probe.ask(&mut connection, &self.names)).await?;
        }
        Ok(connection)
    }
}

/// Waits for `asking` no longer than `most`; `None`: it took longer.
async fn within<T>(most: Duration, asking: impl Future<Output = Result<T, RedisError>>) -> Result<T, Fault> {
    match tokio::time::timeout(most, asking).await {
        Ok(answer) => answer.map_err(Fault::Error),
        Err(_) => Err(Fault::Late),
    }
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{}", Unanswered::Late)]
    Late,
    #[error("{}", why(.0))]
    Error(RedisError),
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Late => Self::Late,
            Fault::Error(error) => Self::Failed(why(&error)),
        }
    }
}

/// True if whoever asks next would be told the same.
fn serves_nobody(error: &RedisError) -> bool {
    let is_broken = error.is_io_error() || error.is_connection_dropped();
    let is_unfit = matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Parse);
    is_broken || is_unfit || error.code().is_some_and(|code| SERVES_NOBODY.contains(&code))
}

/// What the error says, without what was asked.
fn why(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}
