//! What nobody has to learn of any more.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::store::directory::TOMBSTONE;
use crate::store::number::kept_time;
use crate::store::postgres::connections::Work;
use crate::store::postgres::directory::turns;

/// The most rows that are forgotten at once: others wait meanwhile.
const MOST_FORGOTTEN: u32 = 1000;

/// Deletes some of it.
pub(super) struct Forget {
    /// The trail begins here.
    pub(super) first: UnixTime,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for Forget {
    type Done = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        turns::take(connection).await?;
        let learnt = UnixTime::from_secs(self.now.as_secs().saturating_sub(TOMBSTONE.as_secs()));
        let learnt = kept_time(learnt);
        let mut forgotten = 0;
        for (delete, before) in [
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 LIMIT $2)",
                kept_time(self.first),
            ),
            (
                "DELETE FROM requests WHERE (maker, name) IN \
                 (SELECT maker, name FROM requests WHERE at < $1 LIMIT $2)",
                learnt,
            ),
            (
                "DELETE FROM key_secrets WHERE digest IN \
                 (SELECT digest FROM key_secrets WHERE ends_at < $1 LIMIT $2)",
                learnt,
            ),
            (
                "DELETE FROM key_secrets WHERE digest IN (SELECT s.digest FROM keys AS k JOIN key_secrets AS s \
                 ON s.key = k.id WHERE k.deleted_at < $1 LIMIT $2)",
                learnt,
            ),
            (
                "DELETE FROM keys WHERE id IN (SELECT k.id FROM keys AS k WHERE k.deleted_at < $1 AND NOT EXISTS \
                 (SELECT 1 FROM key_secrets AS s WHERE s.key = k.id) LIMIT $2)",
                learnt,
            ),
        ] {
            let delete = sqlx::query(delete).bind(before).bind(i64::from(MOST_FORGOTTEN));
            forgotten += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(forgotten)
    }
}
