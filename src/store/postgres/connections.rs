//! Connections to PostgreSQL, and how work is done over them.
//!
//! Every wait has a bound: for a connection, for a lock, for a statement, and for the whole of one piece of work, so that
//! neither a server nor a network that keeps silent holds anybody for ever. Work that met other work, or whose connection
//! was lost before it committed, is done again. Once somebody has waited for a connection in vain, others wait for one but
//! briefly until there is one again (the circuit breaker of a remote call).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, Executor, PgPool, Postgres};

use crate::dice;
use crate::store::failure::{StoreError, Trouble};
use crate::store::postgres::address::Address;
use crate::store::postgres::trouble::{self, Failure, Stage};

/// How often work that met other work is done at most.
const MOST_TRIES: u32 = 10;

/// The longest wait before work that met other work is done again; the first ones are shorter.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// How long work waits for a connection while there is none.
const BRIEFLY: Duration = Duration::from_secs(1);

/// A connection that was not used for so long is asked whether it is still there.
const LONG_IDLE: Duration = Duration::from_secs(1);

/// How long a connection that is given back may take to say that it is well.
const WELL_WITHIN: Duration = Duration::from_secs(2);

/// What one connection's session keeps to. The server ends sessions whose gateway is gone or stands still with a
/// transaction open, before those that wait for its locks give up.
const SETTINGS: &str = "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false), \
                        set_config('idle_in_transaction_session_timeout', $3, false), \
                        set_config('default_transaction_isolation', 'read committed', false), \
                        set_config('tcp_keepalives_idle', '10', false), \
                        set_config('tcp_keepalives_interval', '5', false), \
                        set_config('tcp_keepalives_count', '3', false)";

/// How many connections there are, and how long anybody waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections for what is short.
    pub connections: u32,
    /// Connections for reports and lists: nobody else waits for those.
    pub reporters: u32,
    /// How long work waits for a connection, and for each lock.
    pub wait: Duration,
    /// How long a statement may take, and so the server's answer.
    pub statement: Duration,
    /// How long one piece of work may take, all its statements together.
    pub work: Duration,
    /// How long it waits until the tables are there, if others are making them.
    pub form: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 8,
            reporters: 2,
            wait: Duration::from_secs(5),
            statement: Duration::from_secs(10),
            work: Duration::from_secs(15),
            form: Duration::from_secs(60),
        }
    }
}

/// Something that is done over one connection. What it does must be right if it is done again from the start: what was
/// done before is undone then.
#[async_trait]
pub(super) trait Work: Send + Sync {
    /// What its caller is told.
    type Done: Send;

    /// Does it.
    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error>;
}

/// What holds a piece of work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Nothing: each statement sees what is committed when it begins.
    None,
    /// All of it sees one moment, and changes nothing.
    Moment,
    /// All of it is committed, or nothing.
    Transaction,
}

impl Frame {
    const fn begin(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Moment => Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            Self::Transaction => Some("BEGIN"),
        }
    }
}

/// All connections of a store.
pub(super) struct Connections {
    pool: PgPool,
    reports: PgPool,
    place: PathBuf,
    bounds: Bounds,
    /// The last one who wanted a connection got none.
    is_missed: AtomicBool,
}

impl Connections {
    /// Connections to `address`, each made when it is needed.
    pub(super) fn new(address: &Address, bounds: Bounds) -> Self {
        let pool = |connections| pool(connections, address, bounds);
        Self {
            pool: pool(bounds.connections),
            reports: pool(bounds.reporters),
            place: address.place().to_owned(),
            bounds,
            is_missed: AtomicBool::new(false),
        }
    }

    /// Where they lead to, without user and password.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Within what everything is done.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Reads something, statement by statement.
    pub(super) async fn read<W: Work>(&self, work: &W) -> Result<W::Done, StoreError> {
        self.persist(&self.pool, work, (Frame::None, self.bounds.work)).await
    }

    /// Reads what takes longer, all of it as of one moment.
    pub(super) async fn report<W: Work>(&self, work: &W) -> Result<W::Done, StoreError> {
        self.persist(&self.reports, work, (Frame::Moment, self.bounds.work)).await
    }

    /// Changes something: all of it or, with an error, nothing; unless the error says that this is not known.
    pub(super) async fn change<W: Work>(&self, work: &W) -> Result<W::Done, StoreError> {
        self.change_within(work, self.bounds.work).await
    }

    /// The same of what takes so long at most.
    pub(super) async fn change_within<W: Work>(
        &self,
        work: &W,
        bound: Duration,
    ) -> Result<W::Done, StoreError> {
        self.persist(&self.pool, work, (Frame::Transaction, bound)).await
    }

    /// Does `work` until it is done or has failed of something that does not pass by itself.
    async fn persist<W: Work>(
        &self,
        pool: &PgPool,
        work: &W,
        (frame, bound): (Frame, Duration),
    ) -> Result<W::Done, StoreError> {
        let (mut met, mut lost) = (0, 0);
        loop {
            let (error, stage) = match self.once(pool, work, (frame, bound)).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            match trouble::of(&error, stage) {
                Failure::Met if met < MOST_TRIES => {
                    met += 1;
                    tokio::time::sleep(pause(met)).await;
                }
                // Each of the others may be lost, too.
                Failure::Lost if lost <= self.bounds.connections => lost += 1,
                _ => return Err(self.error(&error, stage)),
            }
        }
    }

    /// Does `work` once, over any connection.
    async fn once<W: Work>(
        &self,
        pool: &PgPool,
        work: &W,
        (frame, bound): (Frame, Duration),
    ) -> Result<W::Done, (sqlx::Error, Stage)> {
        let is_missed = self.is_missed.load(Ordering::Relaxed);
        let wait = if is_missed { BRIEFLY } else { self.bounds.wait };
        let acquired = self.acquire(pool, wait).await;
        let mut connection = acquired.map_err(|error| (error, Stage::Connecting))?;
        let mut stage = Stage::Working;
        let framed = framed(&mut connection, work, frame, &mut stage);
        let done = tokio::time::timeout(bound, framed).await.unwrap_or_else(|_| Err(silence()));
        done.map_err(|error| {
            if trouble::is_fatal(&error) {
                // Let go of at once, not given back: it is of no use to anybody.
                drop(connection.detach());
            }
            (error, stage)
        })
    }

    async fn acquire(&self, pool: &PgPool, wait: Duration) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let acquired = tokio::time::timeout(wait, pool.acquire()).await;
        let acquired = acquired.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        self.is_missed.store(acquired.is_err(), Ordering::Relaxed);
        acquired
    }

    /// Waits for a connection as long as anybody may, if there is none: others know then that there is one again, even if
    /// it takes longer than briefly to make.
    pub(super) async fn reach(&self) -> Result<(), StoreError> {
        if !self.is_missed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let reached = self.acquire(&self.pool, self.bounds.wait).await;
        reached.map(drop).map_err(|error| self.error(&error, Stage::Connecting))
    }

    /// Another connection, for who hears what is told.
    pub(super) async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        // Of a pool of its own: how a connection ends that is lost is nobody else's affair then.
        let options = self.pool.connect_options();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.bounds.wait)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(PgConnectOptions::clone(&options));
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        Ok(listener)
    }

    /// What `error` says of the store.
    pub(super) fn error(&self, error: &sqlx::Error, stage: Stage) -> StoreError {
        StoreError::new(&self.place, trouble::trouble(error, stage))
    }

    /// What is wrong with the store.
    pub(super) fn wrong(&self, trouble: Trouble) -> StoreError {
        StoreError::new(&self.place, trouble)
    }

    /// Ends all of them, when what is being done is done.
    pub(super) async fn close(&self) {
        self.reports.close().await;
        self.pool.close().await;
    }
}

/// Where it is, and no more: the options of a connection hold a password.
impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({})", self.place.display())
    }
}

/// Does `work` in its frame; `stage` says how far that came.
async fn framed<W: Work>(
    connection: &mut PgConnection,
    work: &W,
    frame: Frame,
    stage: &mut Stage,
) -> Result<W::Done, sqlx::Error> {
    let Some(begin) = frame.begin() else { return work.run(connection).await };
    let mut transaction = connection.begin_with(begin).await?;
    let done = work.run(&mut transaction).await?;
    if frame == Frame::Transaction {
        *stage = Stage::Committing;
    }
    transaction.commit().await?;
    Ok(done)
}

fn pool(connections: u32, address: &Address, bounds: Bounds) -> PgPool {
    let millis = |time: Duration| time.as_millis().to_string();
    let (statement, lock, still) = (millis(bounds.statement), millis(bounds.wait), millis(bounds.wait / 2));
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(bounds.wait)
        .after_connect(move |connection, _| {
            let settings =
                sqlx::query(SETTINGS).bind(statement.clone()).bind(lock.clone()).bind(still.clone());
            Box::pin(async move { connection.execute(settings.persistent(false)).await.map(drop) })
        })
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if LONG_IDLE < used.idle_for {
                    is_well(connection).await?;
                }
                Ok(true)
            })
        })
        // Who was not waited for may have left it in the middle of something.
        .after_release(|connection, _| {
            Box::pin(async move {
                is_well(connection).await?;
                Ok(true)
            })
        })
        .connect_lazy_with(address.options().clone())
}

/// Asks the server for an answer, and undoes what was left undone.
async fn is_well(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    tokio::time::timeout(WELL_WITHIN, connection.ping()).await.unwrap_or_else(|_| Err(silence()))
}

/// Nothing was heard in time.
fn silence() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// How long work waits that has met other work so often: of those that met each waits another time.
fn pause(met: u32) -> Duration {
    let longest = Duration::from_millis(5).saturating_mul(1 << met.min(10)).min(LONGEST_PAUSE);
    Duration::from_millis(u64::from(dice::below(u32::try_from(longest.as_millis()).unwrap_or(u32::MAX))))
}
