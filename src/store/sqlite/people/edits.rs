//! Changes of people, and the trail that they and those of sessions and links leave.
//!
//! Whatever may be denied is looked at before anything is written: what a denied edit has written would be committed with
//! the edits of others.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId, PlanName};
use crate::store::number::{kept_time, read};
use crate::store::people::MOST_PEOPLE;
use crate::store::people::edit::{Actor, Denial, NewPerson, PeopleEdit};
use crate::store::people::person::{LoginName, Membership, PasswordHash, Role};
use crate::store::sqlite::directory::accounts::{Inserted, insert};
use crate::store::sqlite::people::{links, sessions};
use crate::store::sqlite::trail::{self, Step};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// What an edit holds while it waits, about: none of its texts is long.
const SIZE: ByteSize = ByteSize::kib(2);

/// An edit, and whose and of when it is.
pub(super) struct Signed {
    pub(super) edit: PeopleEdit,
    pub(super) actor: Actor,
    pub(super) now: UnixTime,
}

/// What an edit was about, for the trail.
pub(super) struct About {
    pub(super) account: Option<AccountId>,
    pub(super) person: Option<PersonId>,
}

pub(super) type Verdict<T> = Result<Result<T, Denial>, sqlx::Error>;

#[async_trait]
impl Change for Signed {
    type Done = Result<Option<PersonId>, Denial>;

    fn size(&self) -> ByteSize {
        SIZE
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Verdict<Option<PersonId>> {
        match self.make(connection).await? {
            Ok(about) => {
                self.trail(self.edit.action(), &about, connection).await?;
                Ok(Ok(about.person))
            }
            Err(denial) => {
                if let (Denial::NameTaken, PeopleEdit::SignUp { .. }) = (denial, &self.edit) {
                    let about = About { account: None, person: None };
                    self.trail("person.sign_up_refused", &about, connection).await?;
                }
                Ok(Err(denial))
            }
        }
    }
}

impl Signed {
    async fn trail(
        &self,
        action: &str,
        about: &About,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let step = Step {
            at: self.now,
            actor: &self.actor,
            action,
            account: about.account.as_ref().map(AccountId::as_str),
            subject: about.person.as_ref().map(PersonId::as_str),
            detail: self.edit.detail(),
        };
        trail::leave(step, connection).await
    }

    async fn make(&self, connection: &mut SqliteConnection) -> Verdict<About> {
        let now = self.now;
        match &self.edit {
            PeopleEdit::SignUp { account, account_name, plan, owner } => {
                sign_up((account, account_name, plan), owner, now, connection).await
            }
            PeopleEdit::BeginSession { person, session } => {
                sessions::begin(person, session, now, connection).await
            }
            PeopleEdit::EndSession { person, session } => sessions::end(person, session, connection).await,
            PeopleEdit::EndOtherSessions { person, but } => {
                let found = granted!(find(person, connection).await?);
                sessions::end_all(person, Some(but), connection).await?;
                Ok(Ok(found.about()))
            }
            PeopleEdit::ChangePassword { person, password, but } => {
                let found = granted!(find(person, connection).await?);
                set_password(person, password, now, connection).await?;
                sessions::end_all(person, Some(but), connection).await?;
                Ok(Ok(found.about()))
            }
            PeopleEdit::MakeLink(link) => links::make(link, &self.actor, now, connection).await,
            PeopleEdit::EndLink { link, within } => links::end(link, within.as_ref(), now, connection).await,
            PeopleEdit::Join { link, person } => {
                let joins = granted!(links::joining(link, now, connection).await?);
                let about = granted!(join(joins, person, now, connection).await?);
                links::mark_used(link, now, connection).await?;
                Ok(Ok(about))
            }
            PeopleEdit::Reset { link, password } => {
                let person = granted!(links::resetting(link, now, connection).await?);
                let found = granted!(find(&person, connection).await?);
                links::mark_used(link, now, connection).await?;
                set_password(&person, password, now, connection).await?;
                withdraw(&person, connection).await?;
                Ok(Ok(found.about()))
            }
            PeopleEdit::SetRole { person, role } => set_role(person, *role, connection).await,
            PeopleEdit::Disable(person) => {
                let found = granted!(find(person, connection).await?);
                granted!(found.spared());
                set_disabled(person, Some(now), connection).await?;
                withdraw(person, connection).await?;
                Ok(Ok(found.about()))
            }
            PeopleEdit::Enable(person) => {
                let found = granted!(find(person, connection).await?);
                set_disabled(person, None, connection).await?;
                Ok(Ok(found.about()))
            }
            PeopleEdit::Remove(person) => remove(person, connection).await,
        }
    }
}

/// Somebody who is there, and whether others could take their place.
pub(super) struct FoundPerson {
    id: PersonId,
    account: Option<AccountId>,
    role: Option<Role>,
    is_operator: bool,
    is_disabled: bool,
    other_owners: u64,
    other_operators: u64,
}

impl FoundPerson {
    pub(super) fn about(self) -> About {
        About { account: self.account, person: Some(self.id) }
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    /// Denied if the account, or the gateway, would be nobody's without them.
    fn spared(&self) -> Result<(), Denial> {
        if self.is_disabled {
            return Ok(());
        }
        if self.role == Some(Role::Owner) && self.other_owners == 0 {
            return Err(Denial::LastOwner);
        }
        if self.is_operator && self.other_operators == 0 {
            return Err(Denial::LastOperator);
        }
        Ok(())
    }
}

pub(super) async fn find(id: &PersonId, connection: &mut SqliteConnection) -> Verdict<FoundPerson> {
    type Row = (Option<String>, Option<String>, bool, bool, i64, i64);
    let find = "SELECT account, role, is_operator = 1, disabled_at IS NOT NULL, \
                (SELECT count(*) FROM people AS o WHERE o.account = p.account AND o.role = 'owner' \
                 AND o.id <> p.id AND o.disabled_at IS NULL), \
                (SELECT count(*) FROM people AS o WHERE o.is_operator = 1 AND o.id <> p.id \
                 AND o.disabled_at IS NULL) FROM people AS p WHERE id = ?1";
    let row = sqlx::query_as::<_, Row>(find).bind(id.as_str()).fetch_optional(connection).await?;
    let Some((account, role, is_operator, is_disabled, other_owners, other_operators)) = row else {
        return Ok(Err(Denial::NoPerson));
    };
    Ok(Ok(FoundPerson {
        id: id.clone(),
        account: account.as_deref().map(AccountId::new),
        role: role.as_deref().and_then(Role::of_name),
        is_operator,
        is_disabled,
        other_owners: read(other_owners),
        other_operators: read(other_operators),
    }))
}

/// What somebody comes to be.
pub(super) struct Joining {
    pub(super) membership: Option<Membership>,
    pub(super) is_operator: bool,
}

async fn sign_up(
    (account, account_name, plan): (&AccountId, &str, &PlanName),
    owner: &NewPerson,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    if is_taken(&owner.login, connection).await? {
        return Ok(Err(Denial::NameTaken));
    }
    if insert((account, account_name, plan), now, connection).await? == Inserted::WasThere {
        return Ok(Err(Denial::AccountExists));
    }
    let membership = Membership { account: account.clone(), role: Role::Owner };
    let joins = Joining { membership: Some(membership), is_operator: false };
    insert_person(joins, owner, now, connection).await.map(Ok)
}

async fn is_taken(login: &LoginName, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let find = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM people WHERE login = ?1)");
    find.bind(login.as_str()).fetch_one(connection).await
}

async fn join(
    joins: Joining,
    person: &NewPerson,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Verdict<About> {
    if is_taken(&person.login, connection).await? {
        return Ok(Err(Denial::NameTaken));
    }
    let count = "SELECT (SELECT count(*) FROM people WHERE account = ?1), \
                 (SELECT count(*) FROM people WHERE is_operator = 1)";
    let count = sqlx::query_as::<_, (i64, i64)>(count);
    let count = count.bind(joins.membership.as_ref().map(|membership| membership.account.as_str()));
    let (people, operators) = count.fetch_one(&mut *connection).await?;
    let counted = if joins.is_operator { people.max(operators) } else { people };
    if read(counted) >= u64::from(MOST_PEOPLE) {
        return Ok(Err(Denial::TooManyPeople));
    }
    insert_person(joins, person, now, connection).await.map(Ok)
}

async fn insert_person(
    joins: Joining,
    person: &NewPerson,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<About, sqlx::Error> {
    let Joining { membership, is_operator } = joins;
    let NewPerson { id, login, name, password } = person;
    let insert = "INSERT INTO people (id, login, name, account, role, is_operator, password, password_changed_at, \
                  created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)";
    let insert = sqlx::query(insert)
        .bind(id.as_str())
        .bind(login.as_str())
        .bind(name.as_ref())
        .bind(membership.as_ref().map(|membership| membership.account.as_str()))
        .bind(membership.as_ref().map(|membership| membership.role.as_str()))
        .bind(is_operator)
        .bind(password.0.as_ref())
        .bind(kept_time(now));
    insert.execute(connection).await?;
    Ok(About { account: membership.map(|membership| membership.account), person: Some(id.clone()) })
}

/// Sets a password, and ends the links that would set it again.
async fn set_password(
    person: &PersonId,
    password: &PasswordHash,
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let change = sqlx::query("UPDATE people SET password = ?2, password_changed_at = ?3 WHERE id = ?1");
    let change = change.bind(person.as_str()).bind(password.0.as_ref()).bind(kept_time(now));
    change.execute(&mut *connection).await?;
    links::end_about(person, connection).await
}

/// Ends what somebody has begun: their sessions, and the links that they made.
async fn withdraw(person: &PersonId, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sessions::end_all(person, None, connection).await?;
    links::end_made_by(person, connection).await
}

async fn set_role(person: &PersonId, role: Role, connection: &mut SqliteConnection) -> Verdict<About> {
    let found = granted!(find(person, connection).await?);
    let Some(old) = found.role else { return Ok(Err(Denial::NoPerson)) };
    if role < Role::Owner && old == Role::Owner && !found.is_disabled && found.other_owners == 0 {
        return Ok(Err(Denial::LastOwner));
    }
    let change = sqlx::query("UPDATE people SET role = ?2 WHERE id = ?1").bind(person.as_str());
    change.bind(role.as_str()).execute(&mut *connection).await?;
    if role < old {
        links::end_made_by(person, connection).await?;
    }
    Ok(Ok(found.about()))
}

/// Since when somebody cannot log in; `None`: they can.
async fn set_disabled(
    person: &PersonId,
    since: Option<UnixTime>,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let change = "UPDATE people SET disabled_at = \
                  CASE WHEN ?2 IS NULL THEN NULL ELSE coalesce(disabled_at, ?2) END WHERE id = ?1";
    let change = sqlx::query(change).bind(person.as_str()).bind(since.map(kept_time));
    change.execute(connection).await.map(drop)
}

async fn remove(person: &PersonId, connection: &mut SqliteConnection) -> Verdict<About> {
    let found = granted!(find(person, connection).await?);
    granted!(found.spared());
    withdraw(person, connection).await?;
    links::end_about(person, connection).await?;
    let delete = sqlx::query("DELETE FROM people WHERE id = ?1").bind(person.as_str());
    delete.execute(connection).await?;
    Ok(Ok(found.about()))
}
