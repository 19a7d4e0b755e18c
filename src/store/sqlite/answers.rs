//! Stored answers in SQLite.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::store::answer::{Answer, NewAnswer, PromptHash, Put, Question, Which, allowed, checksum, may_see};
use crate::store::number::{kept, kept_time, read, read_size, read_time};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

// === impl NewAnswer ===

#[async_trait]
impl Change for NewAnswer {
    type Done = Put;

    fn size(&self) -> ByteSize {
        self.counted()
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Put, sqlx::Error> {
        let counted = self.counted().as_u64();
        let fits = |used: u64| used.saturating_add(counted) <= self.quota.as_u64();
        if !fits(used_beside(self, connection).await?) {
            delete_expired(&self.account, self.created_at, connection).await?;
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

/// The most answers that are deleted at once: others wait meanwhile.
pub(super) const MOST_DELETED: u32 = 5000;

/// What the account's answers take, but for the one in the same place.
async fn used_beside(new: &NewAnswer, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let used = "SELECT coalesce((SELECT bytes FROM stored_totals WHERE account = ?1), 0) \
                - coalesce((SELECT sum(bytes) FROM stored_answers INDEXED BY stored_answers_by_prompt \
                            WHERE account = ?1 AND prompt_hash = ?2 AND model IS ?3), 0)";
    let used = sqlx::query_scalar(used).bind(new.account.as_str()).bind(&new.prompt_hash.0[..]);
    Ok(read(used.bind(new.model.as_deref()).fetch_one(connection).await?))
}

/// Deletes what has expired of an account, in part if that is much; how many there were.
async fn delete_expired(
    account: &AccountId,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    let delete = "DELETE FROM stored_answers WHERE id IN \
                  (SELECT id FROM stored_answers INDEXED BY stored_answers_by_owners_end \
                  WHERE account = ?1 AND expires_at <= ?2 LIMIT ?3)";
    let delete = sqlx::query(delete).bind(account.as_str()).bind(kept_time(now)).bind(MOST_DELETED);
    Ok(delete.execute(connection).await?.rows_affected())
}

async fn delete_place(new: &NewAnswer, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let delete = "DELETE FROM stored_answers INDEXED BY stored_answers_by_prompt \
                  WHERE account = ?1 AND prompt_hash = ?2 AND model IS ?3";
    let delete = sqlx::query(delete).bind(new.account.as_str()).bind(&new.prompt_hash.0[..]);
    delete.bind(new.model.as_deref()).execute(connection).await?;
    Ok(())
}

async fn insert(new: &NewAnswer, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO stored_answers \
                  (account, prompt_hash, model, tokens, bytes, created_at, expires_at, metadata, answer, crc) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    sqlx::query(insert)
        .bind(new.account.as_str())
        .bind(&new.prompt_hash.0[..])
        .bind(new.model.as_deref())
        .bind(new.tokens.map(kept))
        .bind(kept(new.counted().as_u64()))
        .bind(kept_time(new.created_at))
        .bind(kept_time(new.expires_at))
        .bind(new.metadata.as_deref())
        .bind(new.answer.as_str())
        .bind(checksum(&new.answer, new.metadata.as_deref()))
        .execute(connection)
        .await?;
    Ok(())
}

// === finding ===

/// What is found, and the number of its row.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The answer, its uses not counted yet.
    Answer(i64, Box<Answer>),
    /// Something else than was put.
    Damaged(i64),
}

/// The newest answer that fits.
pub(super) async fn find(
    readers: &SqlitePool,
    question: &Question,
    now: UnixTime,
) -> Result<Found, sqlx::Error> {
    let Some(id) = find_id(readers, question, now).await? else { return Ok(Found::Nothing) };
    let select = "SELECT answer, model, tokens, metadata, created_at, expires_at, crc FROM stored_answers \
                  WHERE id = ?1";
    type Row = (String, Option<String>, Option<i64>, Option<String>, i64, i64, Option<i64>);
    let row: Option<Row> = sqlx::query_as(select).bind(id).fetch_optional(readers).await?;
    let Some((answer, model, tokens, metadata, created_at, expires_at, kept)) = row else {
        return Ok(Found::Nothing);
    };
    if kept.is_some_and(|kept| kept != checksum(&answer, metadata.as_deref())) {
        return Ok(Found::Damaged(id));
    }
    let answer = Answer {
        answer,
        model: model.map(Into::into),
        tokens: tokens.map(read),
        metadata,
        created_at: read_time(created_at),
        expires_at: read_time(expires_at),
        usage_count: 0,
    };
    Ok(Found::Answer(id, Box::new(answer)))
}

/// Deletes one answer.
pub(super) struct DropAnswer {
    /// Which.
    pub(super) id: i64,
}

#[async_trait]
impl Change for DropAnswer {
    type Done = ();

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM stored_answers WHERE id = ?1").bind(self.id).execute(connection).await?;
        Ok(())
    }
}

async fn find_id(
    readers: &SqlitePool,
    question: &Question,
    now: UnixTime,
) -> Result<Option<i64>, sqlx::Error> {
    let select = "SELECT id, model FROM stored_answers INDEXED BY stored_answers_by_prompt \
                  WHERE account = ?1 AND prompt_hash = ?2 AND expires_at > ?3 AND (?4 IS NULL OR model = ?4) \
                  ORDER BY id DESC";
    let mut candidates = sqlx::query_as::<_, (i64, Option<String>)>(select)
        .bind(question.account.as_str())
        .bind(&question.prompt_hash.0[..])
        .bind(kept_time(now))
        .bind(question.model.as_deref())
        .fetch(readers);
    while let Some((id, model)) = candidates.try_next().await? {
        if may_see(&question.allowed_models, model.as_deref()) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Counts one more use of an answer.
pub(super) struct CountUse {
    /// Which.
    pub(super) id: i64,
}

#[async_trait]
impl Change for CountUse {
    /// How often it was used now; `None` if it is gone.
    type Done = Option<u64>;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Option<u64>, sqlx::Error> {
        let count = "INSERT INTO stored_uses (answer, uses) SELECT id, 1 FROM stored_answers WHERE id = ?1 \
                     ON CONFLICT (answer) DO UPDATE SET uses = uses + 1 RETURNING uses";
        let uses: Option<i64> = sqlx::query_scalar(count).bind(self.id).fetch_optional(connection).await?;
        Ok(uses.map(read))
    }
}

/// How often an answer was used so far.
pub(super) async fn uses(readers: &SqlitePool, id: i64) -> Result<u64, sqlx::Error> {
    let select = "SELECT uses FROM stored_uses WHERE answer = ?1";
    let uses: Option<i64> = sqlx::query_scalar(select).bind(id).fetch_optional(readers).await?;
    Ok(uses.map_or(0, read))
}

/// What the account's answers take.
pub(super) async fn stored_bytes(readers: &SqlitePool, account: &AccountId) -> Result<ByteSize, sqlx::Error> {
    let select = "SELECT bytes FROM stored_totals WHERE account = ?1";
    let bytes: Option<i64> =
        sqlx::query_scalar(select).bind(account.as_str()).fetch_optional(readers).await?;
    Ok(bytes.map_or(ByteSize::bytes(0), read_size))
}

// === impl Which ===

#[async_trait]
impl Change for Which {
    type Done = u64;

    fn size(&self) -> ByteSize {
        ByteSize::bytes(0)
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let account = self.account.as_str();
        let hash = self.prompt_hash.as_ref().map(|PromptHash(hash)| &hash[..]);
        if self.allowed_models.is_empty() {
            let delete = match hash {
                Some(_) => {
                    "DELETE FROM stored_answers WHERE id IN \
                     (SELECT id FROM stored_answers INDEXED BY stored_answers_by_prompt WHERE account = ?1 AND prompt_hash = ?2 LIMIT ?3)"
                }
                None => {
                    "DELETE FROM stored_answers WHERE id IN \
                     (SELECT id FROM stored_answers WHERE account = ?1 AND ?2 IS NULL LIMIT ?3)"
                }
            };
            let delete = sqlx::query(delete).bind(account).bind(hash).bind(MOST_DELETED);
            return Ok(delete.execute(connection).await?.rows_affected());
        }
        let (models, delete) = match hash {
            Some(_) => (
                "SELECT DISTINCT model FROM stored_answers INDEXED BY stored_answers_by_prompt \
                 WHERE account = ?1 AND prompt_hash = ?2 AND model IS NOT NULL",
                "DELETE FROM stored_answers WHERE id IN \
                 (SELECT id FROM stored_answers INDEXED BY stored_answers_by_prompt WHERE account = ?1 AND prompt_hash = ?2 AND model = ?3 LIMIT ?4)",
            ),
            None => (
                "SELECT DISTINCT model FROM stored_answers WHERE account = ?1 AND ?2 IS NULL AND model IS NOT NULL",
                "DELETE FROM stored_answers WHERE id IN \
                 (SELECT id FROM stored_answers WHERE account = ?1 AND ?2 IS NULL AND model = ?3 LIMIT ?4)",
            ),
        };
        let models = sqlx::query_scalar(models).bind(account).bind(hash).fetch_all(&mut *connection).await?;
        let mut deleted = 0;
        for model in allowed(models, &self.allowed_models) {
            let room = u64::from(MOST_DELETED).saturating_sub(deleted);
            let delete = sqlx::query(delete).bind(account).bind(hash).bind(model).bind(kept(room));
            deleted += delete.execute(&mut *connection).await?.rows_affected();
        }
        Ok(deleted)
    }
}
