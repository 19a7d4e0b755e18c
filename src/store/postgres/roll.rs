//! Which gateways are there, by PostgreSQL's clock.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::ids::ReplicaId;
use crate::store::failure::StoreError;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::connections::Work;

const SAY: &str = "INSERT INTO replicas (id, seen_at) VALUES ($1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";

const COUNT: &str =
    "SELECT count(*) FROM replicas WHERE seen_at > clock_timestamp() - make_interval(secs => $1)";

/// Those of long ago, so that the table stays small.
const FORGET: &str = "DELETE FROM replicas WHERE seen_at < clock_timestamp() - interval '1 day'";

const LEAVE: &str = "DELETE FROM replicas WHERE id = $1";

/// Says that a gateway is there, and counts.
struct Beat<'a> {
    replica: &'a ReplicaId,
    within: Duration,
}

struct Leave<'a>(&'a ReplicaId);

#[async_trait]
impl Work for Beat<'_> {
    type Done = u32;

    async fn run(&self, connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
        sqlx::query(SAY).bind(self.replica.as_str()).execute(&mut *connection).await?;
        sqlx::query(FORGET).execute(&mut *connection).await?;
        let count = sqlx::query_scalar::<_, i64>(COUNT).bind(self.within.as_secs_f64());
        Ok(u32::try_from(count.fetch_one(connection).await?).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl Work for Leave<'_> {
    type Done = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(LEAVE).bind(self.0.as_str()).execute(connection).await.map(drop)
    }
}

impl PostgresStore {
    /// Says that `replica` is there; how many have said so `within` this time.
    ///
    /// # Errors
    /// PostgreSQL cannot be asked.
    pub async fn beat(&self, replica: &ReplicaId, within: Duration) -> Result<u32, StoreError> {
        self.connections.reach().await?;
        self.connections.change(&Beat { replica, within }).await
    }

    /// `replica` is there no more.
    ///
    /// # Errors
    /// PostgreSQL cannot be asked.
    pub async fn leave(&self, replica: &ReplicaId) -> Result<(), StoreError> {
        self.connections.change(&Leave(replica)).await
    }
}
