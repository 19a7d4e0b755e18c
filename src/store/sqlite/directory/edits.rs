//! Edits of accounts and keys in the queue of the writer, and what is forgotten.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::store::directory::TOMBSTONE;
use crate::store::directory::edit::{Denial, Edited};
use crate::store::number::kept_time;
use crate::store::sql::directory::edits::{Signed, Verdict};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// What an edit holds while it waits, about: none of its texts is long.
const SIZE: ByteSize = ByteSize::kib(4);

/// The most rows that are forgotten at once: others wait meanwhile.
const MOST_FORGOTTEN: u32 = 1000;

#[async_trait]
impl Change for Signed {
    type Done = Result<Edited, Denial>;

    fn size(&self) -> ByteSize {
        SIZE
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Verdict<Edited> {
        self.carry_out(connection).await
    }
}

/// Deletes some of what nobody has to learn of any more.
pub(super) struct Forget {
    /// The trail begins here.
    pub(super) first: UnixTime,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Change for Forget {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let learnt = UnixTime::from_secs(self.now.as_secs().saturating_sub(TOMBSTONE.as_secs()));
        let learnt = kept_time(learnt);
        let mut forgotten = 0;
        for (delete, before) in [
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 LIMIT ?2)",
                kept_time(self.first),
            ),
            (
                "DELETE FROM requests WHERE (maker, name) IN \
                 (SELECT maker, name FROM requests WHERE at < ?1 LIMIT ?2)",
                learnt,
            ),
            (
                "DELETE FROM key_secrets WHERE digest IN \
                 (SELECT digest FROM key_secrets WHERE ends_at < ?1 LIMIT ?2)",
                learnt,
            ),
            (
                "DELETE FROM key_secrets WHERE digest IN (SELECT s.digest FROM keys AS k JOIN key_secrets AS s \
                 ON s.key = k.id WHERE k.deleted_at < ?1 LIMIT ?2)",
                learnt,
            ),
            (
                "DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE deleted_at < ?1 AND NOT EXISTS \
                 (SELECT 1 FROM key_secrets WHERE key = keys.id) LIMIT ?2)",
                learnt,
            ),
        ] {
            let delete = sqlx::query(delete).bind(before).bind(MOST_FORGOTTEN);
            forgotten += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(forgotten)
    }
}
