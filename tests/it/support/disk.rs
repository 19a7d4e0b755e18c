//! The file of answers from outside: read, changed and held by another than the gateway.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::runtime::{Builder, Runtime};

use crate::support::gateway::Gateway;

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The file of answers below a gateway's folder.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("data/answers.sqlite")
}

async fn connect(folder: &Path) -> SqliteConnection {
    open(&file(folder)).await
}

async fn open(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).connect().await.expect("the file")
}

/// Does something to the file of accounts below a gateway's folder.
pub(crate) fn accounts_sql(folder: &Path, sql: String) {
    run(async {
        let mut connection = open(&folder.join("data/accounts.sqlite")).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it is done");
    });
}

/// Does something to the file.
pub(crate) fn sql(folder: &Path, sql: String) {
    run(async {
        let mut connection = connect(folder).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it is done");
    });
}

/// The keys of the answers that are kept, the oldest first.
pub(crate) fn keys(folder: &Path) -> Vec<[u8; 32]> {
    let select = "SELECT entry_key FROM proxied_answers ORDER BY id";
    let keys: Vec<Vec<u8>> = run(async {
        sqlx::query_scalar(select).fetch_all(&mut connect(folder).await).await.expect("the keys")
    });
    keys.into_iter().map(|key| key.try_into().expect("a key")).collect()
}

/// The file, held so that nobody else can write to it. Who waits for it gives up after five seconds.
pub(crate) struct Held {
    runtime: Runtime,
    connection: SqliteConnection,
}

impl Held {
    /// Takes hold of the file.
    pub(crate) fn take(folder: &Path) -> Self {
        let runtime = runtime();
        let connection = runtime.block_on(async {
            let mut connection = connect(folder).await;
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.expect("it is held");
            connection
        });
        Self { runtime, connection }
    }

    /// Lets it go.
    pub(crate) fn release(mut self) {
        let done = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection);
        self.runtime.block_on(done).expect("it is let go");
    }
}

/// Waits until so many answers have been written.
pub(crate) fn written(gateway: &Gateway, count: usize) {
    gateway.eventually("the answers are written", |gateway| {
        gateway.metric("safecache_disk_writes_total{result=\"stored\"}") == count as f64
    });
}
