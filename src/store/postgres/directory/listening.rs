//! What others say of the keys: each edit that changes something of them tells so, when it is committed.
//!
//! What is told while nobody listens is lost, so whoever waits is woken each time that listening begins, too. While the
//! server is away it is tried again, ever more rarely.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::store::postgres::connections::Connections;

/// Where edits tell that something of the keys has changed, or of who is suspended.
pub(super) const CHANNEL: &str = "safecache_keys";

/// How long a connection may keep silent before it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(30);

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Before a connection that was lost is made again; the next time it is twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Listens as long as it is there.
#[derive(Debug)]
pub(super) struct Listening {
    told: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Begins to listen, by a task of the current runtime.
    pub(super) fn start(connections: &Arc<Connections>) -> Self {
        let told = Arc::new(Notify::new());
        let task = tokio::spawn(listen(Arc::clone(connections), Arc::clone(&told)));
        Self { told, task }
    }

    /// Something may have changed since this returned last.
    pub(super) async fn changed(&self) {
        self.told.notified().await;
    }

    /// Listens no more.
    pub(super) fn end(&self) {
        self.task.abort();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

/// Listens over one connection after the other.
async fn listen(connections: Arc<Connections>, told: Arc<Notify>) {
    let mut pause = FIRST_PAUSE;
    let mut fails = false;
    loop {
        let Err(error) = listen_once(&connections, &told, (&mut pause, &mut fails)).await;
        if !std::mem::replace(&mut fails, true) {
            tracing::warn!(
                place = ?connections, %error,
                "what others change of the keys is not told; it is looked up every few seconds"
            );
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Listens until the connection is lost. It is good when something was heard over it: before that, nothing is known of how
/// long it lasts.
async fn listen_once(
    connections: &Connections,
    told: &Notify,
    (pause, fails): (&mut Duration, &mut bool),
) -> Result<Infallible, sqlx::Error> {
    let mut listener = connections.listener().await?;
    within(ANSWER, listener.listen(CHANNEL)).await?;
    told.notify_one();
    loop {
        heard(&mut listener).await?;
        *pause = FIRST_PAUSE;
        if std::mem::take(fails) {
            tracing::info!(place = ?connections, "what others change of the keys is told again");
        }
        told.notify_one();
    }
}

/// Waits until something is told, or the connection has shown that it is still there: then somebody looks once more than
/// needed.
async fn heard(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    match tokio::time::timeout(SILENCE, listener.try_recv()).await {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(Ok(None)) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
        Ok(Err(error)) => Err(error),
        Err(_) => within(ANSWER, sqlx::query("SELECT 1").execute(listener)).await.map(drop),
    }
}

async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silence = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
    tokio::time::timeout(time, answer).await.unwrap_or_else(silence)
}
