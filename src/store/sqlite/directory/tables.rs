//! What edits of accounts and keys ask of the tables, in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::edit::{NewKey, Request, Which};
use crate::store::directory::key::NewSecret;
use crate::store::number::{kept, kept_time, read, read_time};
use crate::store::sql::directory::rows::list_of;
use crate::store::sql::directory::tables::{DirectoryTables, FoundKey, Inserted};
use crate::store::sql::trail::Step;

#[async_trait]
impl DirectoryTables for SqliteConnection {
    async fn leave(&mut self, step: Step<'_>) -> Result<(), sqlx::Error> {
        let Step { at, actor, action, account, subject, detail } = step;
        let insert = "INSERT INTO audit (at, actor, action, account, subject, detail) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let insert = sqlx::query(insert).bind(kept_time(at)).bind(actor.to_string()).bind(action);
        insert.bind(account).bind(subject).bind(detail).execute(&mut *self).await.map(drop)
    }

    async fn request(&mut self, maker: &str, name: &str) -> Result<Option<(Vec<u8>, KeyId)>, sqlx::Error> {
        let find = "SELECT content, key FROM requests WHERE maker = ?1 AND name = ?2";
        let find = sqlx::query_as::<_, (Vec<u8>, String)>(find).bind(maker).bind(name);
        let found = find.fetch_optional(&mut *self).await?;
        Ok(found.map(|(content, key)| (content, KeyId::new(&key))))
    }

    async fn older_request(&mut self, account: &AccountId, name: &str) -> Result<Option<KeyId>, sqlx::Error> {
        let find = "SELECT id FROM keys WHERE account = ?1 AND request = ?2 AND deleted_at IS NULL";
        let find = sqlx::query_scalar::<_, String>(find).bind(account.as_str()).bind(name);
        Ok(find.fetch_optional(&mut *self).await?.map(|id| KeyId::new(&id)))
    }

    async fn remember_request(
        &mut self,
        maker: &str,
        request: &Request,
        key: &KeyId,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO requests (maker, name, content, key, at) VALUES (?1, ?2, ?3, ?4, ?5)";
        let insert = sqlx::query(insert).bind(maker).bind(request.name.as_ref());
        let insert = insert.bind(request.content.as_slice()).bind(key.as_str()).bind(kept_time(now));
        insert.execute(&mut *self).await.map(drop)
    }

    async fn forget_requests(&mut self, key: &KeyId) -> Result<(), sqlx::Error> {
        let delete = sqlx::query("DELETE FROM requests WHERE key = ?1").bind(key.as_str());
        delete.execute(&mut *self).await.map(drop)
    }

    async fn has_account(&mut self, id: &AccountId) -> Result<bool, sqlx::Error> {
        let find = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)");
        find.bind(id.as_str()).fetch_one(&mut *self).await
    }

    async fn insert_account(
        &mut self,
        id: &AccountId,
        (name, plan): (&str, &PlanName),
        now: UnixTime,
    ) -> Result<Inserted, sqlx::Error> {
        let insert = "INSERT INTO accounts (id, name, plan, created_at) VALUES (?1, ?2, ?3, ?4) \
                      ON CONFLICT (id) DO NOTHING";
        let insert = sqlx::query(insert).bind(id.as_str()).bind(name).bind(plan.as_str());
        let inserted = insert.bind(kept_time(now)).execute(&mut *self).await?.rows_affected();
        Ok(if inserted > 0 { Inserted::Yes } else { Inserted::WasThere })
    }

    async fn given(&mut self, id: &AccountId) -> Result<(String, String), sqlx::Error> {
        let find = sqlx::query_as("SELECT name, plan FROM accounts WHERE id = ?1").bind(id.as_str());
        find.fetch_one(&mut *self).await
    }

    async fn give(
        &mut self,
        id: &AccountId,
        name: Option<&str>,
        plan: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let change = "UPDATE accounts SET name = coalesce(?2, name), plan = coalesce(?3, plan) WHERE id = ?1";
        let change = sqlx::query(change).bind(id.as_str()).bind(name).bind(plan);
        change.execute(&mut *self).await.map(drop)
    }

    async fn suspend(&mut self, id: &AccountId, since: Option<UnixTime>) -> Result<bool, sqlx::Error> {
        let suspend = "UPDATE accounts SET suspended_at = ?2 \
                       WHERE id = ?1 AND (suspended_at IS NULL) = (?2 IS NOT NULL)";
        let suspend = sqlx::query(suspend).bind(id.as_str()).bind(since.map(kept_time));
        if suspend.execute(&mut *self).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let count = sqlx::query("UPDATE revisions SET revision = revision + 1 WHERE of = 'suspended'");
        count.execute(&mut *self).await.map(|_| true)
    }

    async fn keys_in_force(&mut self, account: &AccountId) -> Result<u64, sqlx::Error> {
        let count = sqlx::query_scalar("SELECT count(*) FROM keys WHERE account = ?1 AND revoked_at IS NULL");
        count.bind(account.as_str()).fetch_one(&mut *self).await.map(read)
    }

    async fn find_key(&mut self, which: &Which) -> Result<Option<FoundKey>, sqlx::Error> {
        type Row = (String, Option<String>, bool, Option<i64>);
        let find = "SELECT account, name, revoked_at IS NOT NULL, expires_at FROM keys \
                    WHERE id = ?1 AND deleted_at IS NULL AND (?2 IS NULL OR account = ?2)";
        let find = sqlx::query_as::<_, Row>(find).bind(which.id.as_str());
        let find = find.bind(which.within.as_ref().map(AccountId::as_str));
        let found = find.fetch_optional(&mut *self).await?;
        Ok(found.map(|(account, name, is_revoked, expires_at)| FoundKey {
            account: AccountId::new(&account),
            name: name.map(Into::into),
            is_revoked,
            expires_at: expires_at.map(read_time),
        }))
    }

    async fn insert_key(&mut self, new: &NewKey, now: UnixTime, revision: u64) -> Result<(), sqlx::Error> {
        let NewKey { id, account, terms, secret: _, request: _, most: _, new_account: _ } = new;
        let insert = "INSERT INTO keys (id, account, name, environment, plan, expires_at, allowed_ips, allowed_models, \
                      created_at, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let insert = sqlx::query(insert)
            .bind(id.as_str())
            .bind(account.as_str())
            .bind(terms.name.as_deref())
            .bind(terms.environment.map(|environment| environment.as_str()))
            .bind(terms.plan.as_ref().map(PlanName::as_str))
            .bind(terms.expires_at.map(kept_time))
            .bind(list_of(&terms.allowed_ips)?)
            .bind(list_of(&terms.allowed_models)?)
            .bind(kept_time(now))
            .bind(kept(revision));
        insert.execute(&mut *self).await.map(drop)
    }

    async fn rename_key(&mut self, id: &KeyId, name: Option<&str>) -> Result<(), sqlx::Error> {
        let rename = sqlx::query("UPDATE keys SET name = ?2 WHERE id = ?1").bind(id.as_str()).bind(name);
        rename.execute(&mut *self).await.map(drop)
    }

    async fn revoke_key(&mut self, id: &KeyId, now: UnixTime) -> Result<(), sqlx::Error> {
        let revoke = sqlx::query("UPDATE keys SET revoked_at = ?2 WHERE id = ?1").bind(id.as_str());
        revoke.bind(kept_time(now)).execute(&mut *self).await.map(drop)
    }

    async fn delete_key(&mut self, id: &KeyId, now: UnixTime) -> Result<(), sqlx::Error> {
        let delete = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2), deleted_at = ?2, request = NULL \
                      WHERE id = ?1";
        let delete = sqlx::query(delete).bind(id.as_str()).bind(kept_time(now));
        delete.execute(&mut *self).await.map(drop)
    }

    async fn insert_secret(
        &mut self,
        key: &KeyId,
        secret: &NewSecret,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO key_secrets (digest, key, public_id, created_at) VALUES (?1, ?2, ?3, ?4)";
        let insert = sqlx::query(insert).bind(secret.digest.as_slice()).bind(key.as_str());
        insert.bind(secret.public_id.as_ref()).bind(kept_time(now)).execute(&mut *self).await.map(drop)
    }

    async fn valid_secrets(&mut self, key: &KeyId, now: UnixTime) -> Result<u64, sqlx::Error> {
        let count = "SELECT count(*) FROM key_secrets WHERE key = ?1 AND coalesce(ends_at > ?2, 1)";
        let count = sqlx::query_scalar(count).bind(key.as_str()).bind(kept_time(now));
        count.fetch_one(&mut *self).await.map(read)
    }

    async fn end_newest_secret(&mut self, key: &KeyId, ends_at: UnixTime) -> Result<(), sqlx::Error> {
        let end = sqlx::query("UPDATE key_secrets SET ends_at = ?2 WHERE key = ?1 AND ends_at IS NULL");
        end.bind(key.as_str()).bind(kept_time(ends_at)).execute(&mut *self).await.map(drop)
    }

    async fn end_older_secrets(&mut self, key: &KeyId, now: UnixTime) -> Result<u64, sqlx::Error> {
        let end = sqlx::query("UPDATE key_secrets SET ends_at = ?2 WHERE key = ?1 AND ends_at > ?2");
        let ended = end.bind(key.as_str()).bind(kept_time(now)).execute(&mut *self).await?;
        Ok(ended.rows_affected())
    }

    async fn mark_key(&mut self, id: &KeyId, revision: u64) -> Result<(), sqlx::Error> {
        let mark = sqlx::query("UPDATE keys SET revision = ?2 WHERE id = ?1").bind(id.as_str());
        mark.bind(kept(revision)).execute(&mut *self).await.map(drop)
    }

    async fn mark_keys_of(&mut self, account: &AccountId, revision: u64) -> Result<(), sqlx::Error> {
        let mark = sqlx::query("UPDATE keys SET revision = ?2 WHERE account = ?1 AND deleted_at IS NULL");
        mark.bind(account.as_str()).bind(kept(revision)).execute(&mut *self).await.map(drop)
    }

    async fn revision(&mut self) -> Result<u64, sqlx::Error> {
        let current = sqlx::query_scalar("SELECT revision FROM revisions WHERE of = 'keys'");
        current.fetch_one(&mut *self).await.map(read)
    }

    async fn next_revision(&mut self) -> Result<u64, sqlx::Error> {
        let next = "UPDATE revisions SET revision = revision + 1 WHERE of = 'keys' RETURNING revision";
        sqlx::query_scalar(next).fetch_one(&mut *self).await.map(read)
    }
}
