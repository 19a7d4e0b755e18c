//! What is asked of the trail.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::number::{kept, read_time};
use crate::store::postgres::connections::Work;
use crate::store::postgres::text::sought;
use crate::store::sql::directory::rows::audit_of;

/// When the oldest change was made that the trail tells of.
pub(super) struct OldestOfTrail;

#[async_trait]
impl Work for OldestOfTrail {
    type Done = Option<UnixTime>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT min(at) FROM audit").fetch_one(connection).await?;
        Ok(oldest.map(read_time))
    }
}

#[async_trait]
impl Work for AuditOf {
    type Done = Vec<AuditRow>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let before = self.before.map_or(i64::MAX, kept);
        let select = match &self.account {
            Some(_) => {
                "SELECT id, at, actor, action, account, subject, detail FROM audit \
                 WHERE id < $1 AND account = $3 ORDER BY id DESC LIMIT $2"
            }
            None => {
                "SELECT id, at, actor, action, account, subject, detail FROM audit \
                 WHERE id < $1 ORDER BY id DESC LIMIT $2"
            }
        };
        let select = sqlx::query(select).bind(before).bind(i64::from(self.limit));
        let select = match &self.account {
            Some(account) => select.bind(sought(account.as_str())),
            None => select,
        };
        select.fetch_all(connection).await?.iter().map(audit_of).collect()
    }
}
