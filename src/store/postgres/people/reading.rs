//! What is asked of people, sessions and links.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::number::{kept_time, read};
use crate::store::people::link::Link;
use crate::store::people::person::{Credentials, LoginName, PeopleOf, Person};
use crate::store::people::session::{Known, Session};
use crate::store::people::{MOST_SESSIONS, TokenDigest};
use crate::store::postgres::connections::Work;
use crate::store::postgres::text::{behind, sought};
use crate::store::sql::people::rows::{credentials_of, known_of, link_of, login_of, person_of, session_of};

/// People, by the columns that `person_of` reads.
macro_rules! select_people {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.login, p.name, p.account, p.role, p.is_operator, p.password, ",
            "p.password_changed_at, p.created_at, p.disabled_at ",
            $rest
        )
    };
}

/// Somebody, with the hash of their password.
pub(super) struct FindCredentials<'a>(pub(super) &'a LoginName);

#[async_trait]
impl Work for FindCredentials<'_> {
    type Done = Option<Credentials>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = sqlx::query(select_people!("FROM people AS p WHERE p.login = $1"));
        let row = select.bind(self.0.as_str()).fetch_optional(connection).await?;
        row.as_ref().map(credentials_of).transpose()
    }
}

/// Somebody.
pub(super) struct OnePerson<'a>(pub(super) &'a PersonId);

#[async_trait]
impl Work for OnePerson<'_> {
    type Done = Option<Person>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = sqlx::query(select_people!("FROM people AS p WHERE p.id = $1"));
        let row = select.bind(sought(self.0.as_str())).fetch_optional(connection).await?;
        row.as_ref().map(person_of).transpose()
    }
}

#[async_trait]
impl Work for PeopleOf {
    type Done = Vec<Person>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let Self { account, after, limit } = self;
        let select = match account {
            Some(_) => {
                select_people!("FROM people AS p WHERE p.id > $1 AND p.account = $3 ORDER BY p.id LIMIT $2")
            }
            None => select_people!("FROM people AS p WHERE p.id > $1 ORDER BY p.id LIMIT $2"),
        };
        let select = sqlx::query(select).bind(behind(after)).bind(i64::from(*limit));
        let select = match account {
            Some(account) => select.bind(sought(account.as_str())),
            None => select,
        };
        select.fetch_all(connection).await?.iter().map(person_of).collect()
    }
}

/// What some of them log in with.
pub(super) struct Logins<'a>(pub(super) &'a [PersonId]);

#[async_trait]
impl Work for Logins<'_> {
    type Done = Vec<(PersonId, LoginName)>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let ids: Vec<_> = self.0.iter().map(|id| sought(id.as_str())).collect();
        let select = sqlx::query_as("SELECT id, login FROM people WHERE id = ANY($1)").bind(ids);
        let rows: Vec<(String, String)> = select.fetch_all(connection).await?;
        rows.into_iter().map(|(id, login)| Ok((PersonId::new(&id), login_of(&login)?))).collect()
    }
}

/// How many people some accounts have.
pub(super) struct CountPeople<'a>(pub(super) &'a [AccountId]);

#[async_trait]
impl Work for CountPeople<'_> {
    type Done = Vec<(AccountId, u64)>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let accounts: Vec<_> = self.0.iter().map(|account| sought(account.as_str())).collect();
        let select = "SELECT account, count(*) FROM people WHERE account = ANY($1) GROUP BY account";
        let rows: Vec<(String, i64)> = sqlx::query_as(select).bind(accounts).fetch_all(connection).await?;
        Ok(rows.into_iter().map(|(account, count)| (AccountId::new(&account), read(count))).collect())
    }
}

/// Whose session it is.
pub(super) struct Who<'a> {
    pub(super) digest: &'a TokenDigest,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for Who<'_> {
    type Done = Option<Known>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = select_people!(
            ", s.id AS session, s.created_at AS began_at, s.seen_at, s.ends_at, s.address, s.agent \
             FROM sessions AS s JOIN people AS p ON p.id = s.person \
             WHERE s.digest = $1 AND s.ends_at > $2 AND p.disabled_at IS NULL"
        );
        let select = sqlx::query(select).bind(self.digest.as_slice()).bind(kept_time(self.now));
        select.fetch_optional(connection).await?.as_ref().map(known_of).transpose()
    }
}

/// Somebody's sessions.
pub(super) struct SessionsOf<'a> {
    pub(super) person: &'a PersonId,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for SessionsOf<'_> {
    type Done = Vec<Session>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = "SELECT id AS session, created_at AS began_at, seen_at, ends_at, address, agent FROM sessions \
                      WHERE person = $1 AND ends_at > $2 ORDER BY created_at DESC, id DESC LIMIT $3";
        let select = sqlx::query(select).bind(sought(self.person.as_str())).bind(kept_time(self.now));
        let rows = select.bind(i64::from(MOST_SESSIONS)).fetch_all(connection).await?;
        rows.iter().map(session_of).collect()
    }
}

/// A link that waits to be used.
pub(super) struct OneLink<'a> {
    pub(super) digest: &'a TokenDigest,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for OneLink<'_> {
    type Done = Option<Link>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = "SELECT id, kind, account, role, person, made_by, created_at, ends_at FROM links \
                      WHERE digest = $1 AND used_at IS NULL AND ends_at > $2";
        let select = sqlx::query(select).bind(self.digest.as_slice()).bind(kept_time(self.now));
        select.fetch_optional(connection).await?.as_ref().map(link_of).transpose()
    }
}

/// Links that wait to be used, of an account or all.
pub(super) struct SomeLinks<'a> {
    pub(super) account: Option<&'a AccountId>,
    pub(super) limit: u32,
    pub(super) now: UnixTime,
}

#[async_trait]
impl Work for SomeLinks<'_> {
    type Done = Vec<Link>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let select = "SELECT id, kind, account, role, person, made_by, created_at, ends_at FROM links \
                      WHERE ($1::text IS NULL OR account = $1) AND used_at IS NULL AND ends_at > $2 \
                      ORDER BY created_at DESC, id DESC LIMIT $3";
        let select = sqlx::query(select).bind(self.account.map(|account| sought(account.as_str())));
        let select = select.bind(kept_time(self.now)).bind(i64::from(self.limit));
        select.fetch_all(connection).await?.iter().map(link_of).collect()
    }
}

/// Whether there is an operator who is not disabled.
pub(super) struct HasOperator;

#[async_trait]
impl Work for HasOperator {
    type Done = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let find = "SELECT EXISTS (SELECT 1 FROM people WHERE is_operator AND disabled_at IS NULL)";
        sqlx::query_scalar(find).fetch_one(connection).await
    }
}
