//! Stored answers in PostgreSQL. Whoever puts or deletes has the account's total locked, so that its quota holds however
//! many do so at once.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::answer::{Answer, NewAnswer, PromptHash, Put, Question, Which, allowed, checksum, may_see};
use crate::store::number::{kept, kept_time, read, read_size, read_time};
use crate::store::postgres::connections::Work;
use crate::store::postgres::text::{text, text_of};
use crate::units::ByteSize;

/// The most answers that are deleted at once: others wait meanwhile.
const MOST_DELETED: u32 = 5000;

// === impl NewAnswer ===

#[async_trait]
impl Work for NewAnswer {
    type Done = Put;

    async fn run(&self, connection: &mut PgConnection) -> Result<Put, sqlx::Error> {
        let counted = self.counted().as_u64();
        let fits = |used: u64| used.saturating_add(counted) <= self.quota.as_u64();
        lock_for_put(&self.account, connection).await?;
        if !fits(used_beside(self, connection).await?) {
            delete_expired(self, connection).await?;
            let used = used_beside(self, connection).await?;
            if !fits(used) {
                return Ok(Put::OverQuota { used: ByteSize::bytes(used) });
            }
        }
        delete_place(self, connection).await?;
        insert(self, connection).await?;
        Ok(Put::Kept)
    }
}

/// Locks the account's total, and makes it if there is none.
async fn lock_for_put(account: &AccountId, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let lock = "INSERT INTO stored_totals (account, bytes) VALUES ($1, 0) \
                ON CONFLICT (account) DO UPDATE SET bytes = stored_totals.bytes";
    sqlx::query(lock).bind(account.as_str()).execute(connection).await.map(drop)
}

/// Locks the totals of accounts, in their order; one that is not there has no answers.
pub(super) async fn lock(accounts: &[&str], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let lock = "SELECT 1 FROM stored_totals WHERE account = ANY($1) ORDER BY account FOR UPDATE";
    sqlx::query(lock).bind(accounts).execute(connection).await.map(drop)
}

/// What the account's answers take, but for the one in the same place.
async fn used_beside(new: &NewAnswer, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let used = "SELECT coalesce((SELECT bytes FROM stored_totals WHERE account = $1), 0) \
                - coalesce((SELECT sum(bytes) FROM stored_answers \
                            WHERE account = $1 AND prompt_hash = $2 AND model IS NOT DISTINCT FROM $3), 0)::bigint";
    let used = sqlx::query_scalar(used).bind(new.account.as_str()).bind(&new.prompt_hash.0[..]);
    Ok(read(used.bind(new.model.as_deref().map(str::as_bytes)).fetch_one(connection).await?))
}

/// Deletes what has expired of an account, in part if that is much.
async fn delete_expired(new: &NewAnswer, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let delete = "DELETE FROM stored_answers WHERE id IN \
                  (SELECT id FROM stored_answers WHERE account = $1 AND expires_at <= $2 LIMIT $3)";
    let delete = sqlx::query(delete).bind(new.account.as_str()).bind(kept_time(new.created_at));
    delete.bind(i64::from(MOST_DELETED)).execute(connection).await.map(drop)
}

async fn delete_place(new: &NewAnswer, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let delete = "DELETE FROM stored_answers \
                  WHERE account = $1 AND prompt_hash = $2 AND model IS NOT DISTINCT FROM $3";
    let delete = sqlx::query(delete).bind(new.account.as_str()).bind(&new.prompt_hash.0[..]);
    delete.bind(new.model.as_deref().map(str::as_bytes)).execute(connection).await.map(drop)
}

async fn insert(new: &NewAnswer, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO stored_answers \
                  (account, prompt_hash, model, tokens, bytes, created_at, expires_at, uses, metadata, answer, crc) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10)";
    sqlx::query(insert)
        .bind(new.account.as_str())
        .bind(&new.prompt_hash.0[..])
        .bind(new.model.as_deref().map(str::as_bytes))
        .bind(new.tokens.map(kept))
        .bind(kept(new.counted().as_u64()))
        .bind(kept_time(new.created_at))
        .bind(kept_time(new.expires_at))
        .bind(new.metadata.as_deref().map(str::as_bytes))
        .bind(new.answer.as_bytes())
        .bind(checksum(&new.answer, new.metadata.as_deref()))
        .execute(connection)
        .await
        .map(drop)
}

// === finding ===

/// What is found, and the number of its row.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The answer, and how often it was used so far.
    Answer(i64, Box<Answer>),
    /// Something else than was put.
    Damaged(i64),
}

/// The newest answer that fits.
pub(super) struct Find<'a> {
    /// What is asked.
    pub(super) question: &'a Question,
    /// When.
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for Find<'_> {
    type Done = Found;

    async fn run(&self, connection: &mut PgConnection) -> Result<Found, sqlx::Error> {
        let Some(id) = self.id(connection).await? else { return Ok(Found::Nothing) };
        let select = "SELECT answer, model, tokens, metadata, created_at, expires_at, uses, crc \
                      FROM stored_answers WHERE id = $1";
        type Row = (Vec<u8>, Option<Vec<u8>>, Option<i64>, Option<Vec<u8>>, i64, i64, i64, i64);
        let row: Option<Row> = sqlx::query_as(select).bind(id).fetch_optional(connection).await?;
        let Some((answer, model, tokens, metadata, created_at, expires_at, uses, crc)) = row else {
            return Ok(Found::Nothing);
        };
        let (Some(answer), Some(metadata)) = (text(answer), text_of(metadata)) else {
            return Ok(Found::Damaged(id));
        };
        if crc != checksum(&answer, metadata.as_deref()) {
            return Ok(Found::Damaged(id));
        }
        let answer = Answer {
            answer,
            model: text_of(model).flatten().map(Into::into),
            tokens: tokens.map(read),
            metadata,
            created_at: read_time(created_at),
            expires_at: read_time(expires_at),
            usage_count: read(uses),
        };
        Ok(Found::Answer(id, Box::new(answer)))
    }
}

impl Find<'_> {
    async fn id(&self, connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        let Question { account, prompt_hash, model, allowed_models } = self.question;
        let select = "SELECT id, model FROM stored_answers WHERE account = $1 AND prompt_hash = $2 \
                      AND expires_at > $3 AND ($4::bytea IS NULL OR model = $4) ORDER BY id DESC LIMIT $5";
        let mut candidates = sqlx::query_as::<_, (i64, Option<Vec<u8>>)>(select)
            .bind(account.as_str())
            .bind(&prompt_hash.0[..])
            .bind(kept_time(self.now))
            .bind(model.as_deref().map(str::as_bytes))
            // Where all are allowed it is the first.
            .bind(allowed_models.is_empty().then_some(1_i64))
            .fetch(connection);
        while let Some((id, model)) = candidates.try_next().await? {
            if may_see(allowed_models, text_of(model).flatten().as_deref()) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// Counts one more use of an answer.
pub(super) struct CountUse {
    /// Which.
    pub(super) id: i64,
}

#[async_trait]
impl Work for CountUse {
    /// How often it was used now; `None` if it is gone.
    type Done = Option<u64>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Option<u64>, sqlx::Error> {
        let count = "UPDATE stored_answers SET uses = uses + 1 WHERE id = $1 RETURNING uses";
        let uses: Option<i64> = sqlx::query_scalar(count).bind(self.id).fetch_optional(connection).await?;
        Ok(uses.map(read))
    }
}

/// What the account's answers take.
pub(super) struct StoredBytes<'a>(pub(super) &'a AccountId);

#[async_trait]
impl Work for StoredBytes<'_> {
    type Done = ByteSize;

    async fn run(&self, connection: &mut PgConnection) -> Result<ByteSize, sqlx::Error> {
        let select = "SELECT bytes FROM stored_totals WHERE account = $1";
        let bytes: Option<i64> =
            sqlx::query_scalar(select).bind(self.0.as_str()).fetch_optional(connection).await?;
        Ok(bytes.map_or(ByteSize::bytes(0), read_size))
    }
}

// === deleting ===

/// Deletes one answer.
pub(super) struct DropAnswer<'a> {
    /// Whose.
    pub(super) account: &'a AccountId,
    /// Which.
    pub(super) id: i64,
}

#[async_trait]
impl Work for DropAnswer<'_> {
    type Done = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        lock(&[self.account.as_str()], connection).await?;
        sqlx::query("DELETE FROM stored_answers WHERE id = $1")
            .bind(self.id)
            .execute(connection)
            .await
            .map(drop)
    }
}

#[async_trait]
impl Work for Which {
    /// How many there were, at most so many at once.
    type Done = u64;

    async fn run(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let account = self.account.as_str();
        let hash = self.prompt_hash.as_ref().map(|PromptHash(hash)| &hash[..]);
        lock(&[account], connection).await?;
        let (models, delete) = match hash {
            Some(_) => (
                "SELECT DISTINCT model FROM stored_answers \
                 WHERE account = $1 AND prompt_hash = $2 AND model IS NOT NULL",
                "DELETE FROM stored_answers WHERE id IN (SELECT id FROM stored_answers \
                 WHERE account = $1 AND prompt_hash = $2 AND ($3::bytea[] IS NULL OR model = ANY($3)) LIMIT $4)",
            ),
            None => (
                "SELECT DISTINCT model FROM stored_answers \
                 WHERE account = $1 AND $2::bytea IS NULL AND model IS NOT NULL",
                "DELETE FROM stored_answers WHERE id IN (SELECT id FROM stored_answers \
                 WHERE account = $1 AND $2::bytea IS NULL AND ($3::bytea[] IS NULL OR model = ANY($3)) LIMIT $4)",
            ),
        };
        let wanted = if self.allowed_models.is_empty() {
            None
        } else {
            let models = sqlx::query_scalar(models).bind(account).bind(hash);
            let models = models.fetch_all(&mut *connection).await?.into_iter().filter_map(text).collect();
            Some(allowed(models, &self.allowed_models).map(String::into_bytes).collect::<Vec<_>>())
        };
        let delete = sqlx::query(delete).bind(account).bind(hash).bind(wanted).bind(i64::from(MOST_DELETED));
        Ok(delete.execute(connection).await?.rows_affected())
    }
}
