//! The way of an edit of people, sessions or links, and the trail that it leaves; what edits of links do stands in `links`.
//!
//! Whatever may be denied is looked at before anything is written: what a denied edit has written would be committed, in
//! SQLite with the edits of others.

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId, PlanName};
use crate::store::people::edit::{Actor, Denial, NewPerson, PeopleEdit};
use crate::store::people::person::{Membership, PasswordHash, Role};
use crate::store::people::session::NewSession;
use crate::store::people::{MOST_PEOPLE, MOST_SESSIONS};
use crate::store::sql::directory::tables::Inserted;
use crate::store::sql::people::links;
use crate::store::sql::people::tables::{FoundPerson, Joining, PeopleTables};
use crate::store::sql::trail::Step;

/// An edit, and whose and of when it is.
pub(in crate::store) struct Signed {
    pub(in crate::store) edit: PeopleEdit,
    pub(in crate::store) actor: Actor,
    pub(in crate::store) now: UnixTime,
}

/// What an edit was about, for the trail.
pub(in crate::store) struct About {
    pub(in crate::store) account: Option<AccountId>,
    pub(in crate::store) person: Option<PersonId>,
}

impl About {
    /// What a row says: account and person.
    pub(in crate::store) fn of_row((account, person): (Option<String>, Option<String>)) -> Self {
        let account = account.as_deref().map(AccountId::new);
        Self { account, person: person.as_deref().map(PersonId::new) }
    }

    /// An edit of somebody.
    pub(super) fn person(id: &PersonId, found: FoundPerson) -> Self {
        Self { account: found.account, person: Some(id.clone()) }
    }
}

pub(in crate::store) type Verdict<T> = Result<Result<T, Denial>, sqlx::Error>;

impl Signed {
    /// Makes the edit, and leaves its trail.
    pub(in crate::store) async fn carry_out(
        &self,
        tables: &mut dyn PeopleTables,
    ) -> Verdict<Option<PersonId>> {
        match self.make(tables).await? {
            Ok(about) => {
                self.trail(self.edit.action(), &about, tables).await?;
                Ok(Ok(about.person))
            }
            Err(denial) => {
                if let (Denial::NameTaken, PeopleEdit::SignUp { .. }) = (denial, &self.edit) {
                    let about = About { account: None, person: None };
                    self.trail("person.sign_up_refused", &about, tables).await?;
                }
                Ok(Err(denial))
            }
        }
    }

    async fn trail(
        &self,
        action: &str,
        about: &About,
        tables: &mut dyn PeopleTables,
    ) -> Result<(), sqlx::Error> {
        let step = Step {
            at: self.now,
            actor: &self.actor,
            action,
            account: about.account.as_ref().map(AccountId::as_str),
            subject: about.person.as_ref().map(PersonId::as_str),
            detail: self.edit.detail(),
        };
        tables.leave(step).await
    }

    async fn make(&self, tables: &mut dyn PeopleTables) -> Verdict<About> {
        let now = self.now;
        match &self.edit {
            PeopleEdit::SignUp { account, account_name, plan, owner } => {
                sign_up((account, account_name, plan), owner, now, tables).await
            }
            PeopleEdit::BeginSession { person, session } => begin_session(person, session, now, tables).await,
            PeopleEdit::EndSession { person, session } => {
                let found = granted!(find(person, tables).await?);
                let is_ended = tables.end_session(person, session).await?;
                Ok(if is_ended { Ok(About::person(person, found)) } else { Err(Denial::NoSession) })
            }
            PeopleEdit::EndOtherSessions { person, but } => {
                let found = granted!(find(person, tables).await?);
                tables.end_sessions(person, Some(but)).await?;
                Ok(Ok(About::person(person, found)))
            }
            PeopleEdit::ChangePassword { person, password, but } => {
                let found = granted!(find(person, tables).await?);
                set_password(person, password, now, tables).await?;
                tables.end_sessions(person, Some(but)).await?;
                Ok(Ok(About::person(person, found)))
            }
            PeopleEdit::MakeLink(link) => links::make(link, &self.actor, now, tables).await,
            PeopleEdit::EndLink { link, within } => {
                let ended = tables.end_link(link, within.as_ref(), now).await?;
                Ok(ended.ok_or(Denial::NoLink))
            }
            PeopleEdit::Join { link, person } => {
                let joins = granted!(links::joining(link, now, tables).await?);
                let about = granted!(join(joins, person, now, tables).await?);
                tables.mark_used(link, now).await?;
                Ok(Ok(about))
            }
            PeopleEdit::Reset { link, password } => {
                let person = granted!(links::resetting(link, now, tables).await?);
                let found = granted!(find(&person, tables).await?);
                tables.mark_used(link, now).await?;
                set_password(&person, password, now, tables).await?;
                withdraw(&person, tables).await?;
                Ok(Ok(About::person(&person, found)))
            }
            PeopleEdit::SetRole { person, role } => set_role(person, *role, tables).await,
            PeopleEdit::Disable(person) => {
                let found = granted!(find(person, tables).await?);
                granted!(found.spared());
                tables.set_disabled(person, Some(now)).await?;
                withdraw(person, tables).await?;
                Ok(Ok(About::person(person, found)))
            }
            PeopleEdit::Enable(person) => {
                let found = granted!(find(person, tables).await?);
                tables.set_disabled(person, None).await?;
                Ok(Ok(About::person(person, found)))
            }
            PeopleEdit::Remove(person) => remove(person, tables).await,
        }
    }
}

pub(super) async fn find(id: &PersonId, tables: &mut dyn PeopleTables) -> Verdict<FoundPerson> {
    Ok(tables.find_person(id).await?.ok_or(Denial::NoPerson))
}

async fn sign_up(
    (account, account_name, plan): (&AccountId, &str, &PlanName),
    owner: &NewPerson,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Verdict<About> {
    if tables.is_taken(&owner.login).await? {
        return Ok(Err(Denial::NameTaken));
    }
    if tables.insert_account(account, (account_name, plan), now).await? == Inserted::WasThere {
        return Ok(Err(Denial::AccountExists));
    }
    let membership = Membership { account: account.clone(), role: Role::Owner };
    let joins = Joining { membership: Some(membership), is_operator: false };
    insert_person(joins, owner, now, tables).await.map(Ok)
}

async fn join(
    joins: Joining,
    person: &NewPerson,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Verdict<About> {
    if tables.is_taken(&person.login).await? {
        return Ok(Err(Denial::NameTaken));
    }
    let account = joins.membership.as_ref().map(|membership| &membership.account);
    let (people, operators) = tables.count(account).await?;
    let counted = if joins.is_operator { people.max(operators) } else { people };
    if counted >= u64::from(MOST_PEOPLE) {
        return Ok(Err(Denial::TooManyPeople));
    }
    insert_person(joins, person, now, tables).await.map(Ok)
}

async fn insert_person(
    joins: Joining,
    person: &NewPerson,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Result<About, sqlx::Error> {
    tables.insert_person(person, &joins, now).await?;
    let account = joins.membership.map(|membership| membership.account);
    Ok(About { account, person: Some(person.id.clone()) })
}

async fn begin_session(
    person: &PersonId,
    session: &NewSession,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Verdict<About> {
    let found = granted!(find(person, tables).await?);
    if found.is_disabled {
        return Ok(Err(Denial::NoPerson));
    }
    tables.end_oldest_sessions(person, MOST_SESSIONS.saturating_sub(1)).await?;
    tables.insert_session(person, session, now).await?;
    Ok(Ok(About::person(person, found)))
}

/// Sets a password, and ends the links that would set it again.
async fn set_password(
    person: &PersonId,
    password: &PasswordHash,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Result<(), sqlx::Error> {
    tables.set_password(person, password, now).await?;
    tables.end_links_about(person).await
}

/// Ends what somebody has begun: their sessions, and the links that they made.
async fn withdraw(person: &PersonId, tables: &mut dyn PeopleTables) -> Result<(), sqlx::Error> {
    tables.end_sessions(person, None).await?;
    tables.end_links_made_by(person).await
}

async fn set_role(person: &PersonId, role: Role, tables: &mut dyn PeopleTables) -> Verdict<About> {
    let found = granted!(find(person, tables).await?);
    let Some(old) = found.role else { return Ok(Err(Denial::NoPerson)) };
    if role < Role::Owner && old == Role::Owner && !found.is_disabled && found.other_owners == 0 {
        return Ok(Err(Denial::LastOwner));
    }
    tables.set_role(person, role).await?;
    if role < old {
        tables.end_links_made_by(person).await?;
    }
    Ok(Ok(About::person(person, found)))
}

async fn remove(person: &PersonId, tables: &mut dyn PeopleTables) -> Verdict<About> {
    let found = granted!(find(person, tables).await?);
    granted!(found.spared());
    withdraw(person, tables).await?;
    tables.end_links_about(person).await?;
    tables.delete_person(person).await?;
    Ok(Ok(About::person(person, found)))
}
