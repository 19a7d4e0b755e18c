//! What changes of sessions without a trail.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::store::number::kept_time;
use crate::store::people::TokenDigest;
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// The most rows that are forgotten at once: others wait meanwhile.
const MOST_FORGOTTEN: u32 = 1000;

/// Notes that a session was used.
pub(super) struct See {
    pub(super) digest: TokenDigest,
    pub(super) now: UnixTime,
    pub(super) ends_at: UnixTime,
}

#[async_trait]
impl Change for See {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let see = "UPDATE sessions SET seen_at = ?2, ends_at = ?3 WHERE digest = ?1 AND ends_at > ?2";
        let see = sqlx::query(see).bind(self.digest.as_slice()).bind(kept_time(self.now));
        see.bind(kept_time(self.ends_at)).execute(connection).await.map(drop)
    }
}

/// Deletes some of what has ended.
pub(super) struct ForgetEnded {
    pub(super) now: UnixTime,
}

#[async_trait]
impl Change for ForgetEnded {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let mut forgotten = 0;
        for delete in [
            "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE ends_at <= ?1 LIMIT ?2)",
            "DELETE FROM links WHERE digest IN (SELECT digest FROM links WHERE ends_at <= ?1 LIMIT ?2)",
        ] {
            let delete = sqlx::query(delete).bind(kept_time(self.now)).bind(MOST_FORGOTTEN);
            forgotten += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(forgotten)
    }
}
