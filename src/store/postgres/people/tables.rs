//! What edits of people, sessions and links ask of the tables, in PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::number::{kept_time, read};
use crate::store::people::MOST_LINKS;
use crate::store::people::TokenDigest;
use crate::store::people::edit::NewPerson;
use crate::store::people::link::{NewLink, Purpose};
use crate::store::people::person::{LoginName, PasswordHash, Role};
use crate::store::people::session::NewSession;
use crate::store::postgres::text::sought;
use crate::store::sql::people::edits::About;
use crate::store::sql::people::rows::purpose_of;
use crate::store::sql::people::tables::{FIRST_OPERATOR, FoundPerson, Joining, PeopleTables};

#[async_trait]
impl PeopleTables for PgConnection {
    async fn find_person(&mut self, id: &PersonId) -> Result<Option<FoundPerson>, sqlx::Error> {
        let find = "SELECT account, role, is_operator, disabled_at IS NOT NULL, \
                    (SELECT count(*) FROM people AS o WHERE o.account = p.account AND o.role = 'owner' \
                     AND o.id <> p.id AND o.disabled_at IS NULL), \
                    (SELECT count(*) FROM people AS o WHERE o.is_operator AND o.id <> p.id \
                     AND o.disabled_at IS NULL) FROM people AS p WHERE id = $1";
        let row = sqlx::query_as(find).bind(sought(id.as_str())).fetch_optional(&mut *self).await?;
        Ok(row.map(FoundPerson::of_row))
    }

    async fn is_taken(&mut self, login: &LoginName) -> Result<bool, sqlx::Error> {
        let find = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM people WHERE login = $1)");
        find.bind(login.as_str()).fetch_one(&mut *self).await
    }

    async fn count(&mut self, account: Option<&AccountId>) -> Result<(u64, u64), sqlx::Error> {
        let count = "SELECT (SELECT count(*) FROM people WHERE account = $1), \
                     (SELECT count(*) FROM people WHERE is_operator)";
        let count = sqlx::query_as::<_, (i64, i64)>(count).bind(account.map(AccountId::as_str));
        let (people, operators) = count.fetch_one(&mut *self).await?;
        Ok((read(people), read(operators)))
    }

    async fn has_operator(&mut self) -> Result<bool, sqlx::Error> {
        let find = "SELECT EXISTS (SELECT 1 FROM people WHERE is_operator AND disabled_at IS NULL)";
        sqlx::query_scalar(find).fetch_one(&mut *self).await
    }

    async fn insert_person(
        &mut self,
        person: &NewPerson,
        joins: &Joining,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        let Joining { membership, is_operator } = joins;
        let NewPerson { id, login, name, password } = person;
        let insert = "INSERT INTO people (id, login, name, account, role, is_operator, password, \
                      password_changed_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
        let insert = sqlx::query(insert)
            .bind(id.as_str())
            .bind(login.as_str())
            .bind(name.as_ref())
            .bind(membership.as_ref().map(|membership| membership.account.as_str()))
            .bind(membership.as_ref().map(|membership| membership.role.as_str()))
            .bind(is_operator)
            .bind(password.0.as_ref())
            .bind(kept_time(now));
        insert.execute(&mut *self).await.map(drop)
    }

    async fn set_password(
        &mut self,
        id: &PersonId,
        password: &PasswordHash,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        let change = sqlx::query("UPDATE people SET password = $2, password_changed_at = $3 WHERE id = $1");
        let change = change.bind(id.as_str()).bind(password.0.as_ref()).bind(kept_time(now));
        change.execute(&mut *self).await.map(drop)
    }

    async fn set_role(&mut self, id: &PersonId, role: Role) -> Result<(), sqlx::Error> {
        let change = sqlx::query("UPDATE people SET role = $2 WHERE id = $1").bind(id.as_str());
        change.bind(role.as_str()).execute(&mut *self).await.map(drop)
    }

    async fn set_disabled(&mut self, id: &PersonId, since: Option<UnixTime>) -> Result<(), sqlx::Error> {
        let change = "UPDATE people SET disabled_at = \
                      CASE WHEN $2::bigint IS NULL THEN NULL ELSE coalesce(disabled_at, $2) END WHERE id = $1";
        let change = sqlx::query(change).bind(id.as_str()).bind(since.map(kept_time));
        change.execute(&mut *self).await.map(drop)
    }

    async fn delete_person(&mut self, id: &PersonId) -> Result<(), sqlx::Error> {
        let delete = sqlx::query("DELETE FROM people WHERE id = $1").bind(id.as_str());
        delete.execute(&mut *self).await.map(drop)
    }

    async fn end_oldest_sessions(&mut self, person: &PersonId, kept: u32) -> Result<(), sqlx::Error> {
        let end = "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE person = $1 \
                   ORDER BY created_at DESC, id DESC OFFSET $2)";
        let end = sqlx::query(end).bind(person.as_str()).bind(i64::from(kept));
        end.execute(&mut *self).await.map(drop)
    }

    async fn insert_session(
        &mut self,
        person: &PersonId,
        session: &NewSession,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO sessions (digest, id, person, created_at, seen_at, ends_at, address, agent) \
                      VALUES ($1, $2, $3, $4, $4, $5, $6, $7)";
        let insert = sqlx::query(insert)
            .bind(session.digest.as_slice())
            .bind(session.id.as_ref())
            .bind(person.as_str())
            .bind(kept_time(now))
            .bind(kept_time(session.ends_at))
            .bind(session.address.to_string())
            .bind(session.agent.as_deref());
        insert.execute(&mut *self).await.map(drop)
    }

    async fn end_session(&mut self, person: &PersonId, id: &str) -> Result<bool, sqlx::Error> {
        let end = sqlx::query("DELETE FROM sessions WHERE person = $1 AND id = $2").bind(person.as_str());
        Ok(end.bind(sought(id)).execute(&mut *self).await?.rows_affected() > 0)
    }

    async fn end_sessions(&mut self, person: &PersonId, but: Option<&str>) -> Result<(), sqlx::Error> {
        let end = sqlx::query("DELETE FROM sessions WHERE person = $1 AND id IS DISTINCT FROM $2");
        end.bind(person.as_str()).bind(but).execute(&mut *self).await.map(drop)
    }

    async fn waiting_links(&mut self, maker: &str, now: UnixTime) -> Result<u64, sqlx::Error> {
        let count = "SELECT count(*) FROM links \
                     WHERE made_by = $1 AND used_at IS NULL AND ends_at > $2 AND kind <> $3";
        let count = sqlx::query_scalar(count).bind(maker).bind(kept_time(now)).bind(FIRST_OPERATOR);
        count.fetch_one(&mut *self).await.map(read)
    }

    async fn waiting_link(
        &mut self,
        digest: &TokenDigest,
        now: UnixTime,
    ) -> Result<Option<Purpose>, sqlx::Error> {
        let find = "SELECT kind, account, role, person FROM links \
                    WHERE digest = $1 AND used_at IS NULL AND ends_at > $2";
        let find = sqlx::query(find).bind(digest.as_slice()).bind(kept_time(now));
        find.fetch_optional(&mut *self).await?.as_ref().map(purpose_of).transpose()
    }

    async fn insert_link(
        &mut self,
        link: &NewLink,
        about: &About,
        maker: &str,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO links (digest, id, kind, account, role, person, made_by, created_at, ends_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let insert = sqlx::query(insert)
            .bind(link.digest.as_slice())
            .bind(link.id.as_ref())
            .bind(link.purpose.as_str())
            .bind(about.account.as_ref().map(AccountId::as_str))
            .bind(link.purpose.role().map(Role::as_str))
            .bind(about.person.as_ref().map(PersonId::as_str))
            .bind(maker)
            .bind(kept_time(now))
            .bind(kept_time(link.ends_at));
        insert.execute(&mut *self).await.map(drop)
    }

    async fn mark_used(&mut self, digest: &TokenDigest, now: UnixTime) -> Result<(), sqlx::Error> {
        let mark = sqlx::query("UPDATE links SET used_at = $2 WHERE digest = $1").bind(digest.as_slice());
        mark.bind(kept_time(now)).execute(&mut *self).await.map(drop)
    }

    async fn end_link(
        &mut self,
        id: &str,
        within: Option<&AccountId>,
        now: UnixTime,
    ) -> Result<Option<About>, sqlx::Error> {
        let end = "DELETE FROM links WHERE id = $1 AND used_at IS NULL AND ends_at > $2 \
                   AND ($3::text IS NULL OR account = $3) RETURNING account, person";
        let end = sqlx::query_as(end)
            .bind(sought(id))
            .bind(kept_time(now))
            .bind(within.map(|account| sought(account.as_str())));
        Ok(end.fetch_optional(&mut *self).await?.map(About::of_row))
    }

    async fn end_first_operators_links(&mut self) -> Result<(), sqlx::Error> {
        let end = "DELETE FROM links WHERE kind = $1 AND used_at IS NULL AND id NOT IN \
                   (SELECT id FROM links WHERE kind = $1 AND used_at IS NULL ORDER BY created_at DESC LIMIT $2)";
        let end = sqlx::query(end).bind(FIRST_OPERATOR).bind(i64::from(MOST_LINKS) - 1);
        end.execute(&mut *self).await.map(drop)
    }

    async fn end_links_about(&mut self, person: &PersonId) -> Result<(), sqlx::Error> {
        let end =
            sqlx::query("DELETE FROM links WHERE person = $1 AND used_at IS NULL").bind(person.as_str());
        end.execute(&mut *self).await.map(drop)
    }

    async fn end_links_made_by(&mut self, person: &PersonId) -> Result<(), sqlx::Error> {
        let end =
            sqlx::query("DELETE FROM links WHERE made_by = $1 AND used_at IS NULL").bind(person.as_str());
        end.execute(&mut *self).await.map(drop)
    }
}
