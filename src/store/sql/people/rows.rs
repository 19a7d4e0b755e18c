//! What the rows of people, sessions and links mean.

use crate::ids::{AccountId, PersonId};
use crate::store::number::read_time;
use crate::store::people::link::{Link, Purpose};
use crate::store::people::person::{Credentials, LoginName, Membership, PasswordHash, Person, Role};
use crate::store::people::session::{Known, Session};
use crate::store::sql::columns::{Columns, unknown};

/// Somebody, by all columns but the password.
pub(in crate::store) fn person_of(row: &impl Columns) -> Result<Person, sqlx::Error> {
    Ok(Person {
        id: PersonId::new(&row.text("id")?),
        login: login_of(&row.text("login")?)?,
        name: row.text("name")?.into(),
        membership: membership_of(row)?,
        is_operator: row.flag("is_operator")?,
        created_at: read_time(row.number("created_at")?),
        password_changed_at: read_time(row.number("password_changed_at")?),
        disabled_at: row.maybe_number("disabled_at")?.map(read_time),
    })
}

/// A name to log in with.
pub(in crate::store) fn login_of(text: &str) -> Result<LoginName, sqlx::Error> {
    LoginName::new(text).ok_or_else(|| unknown(text))
}

/// Somebody, and their password.
pub(in crate::store) fn credentials_of(row: &impl Columns) -> Result<Credentials, sqlx::Error> {
    Ok(Credentials { person: person_of(row)?, password: PasswordHash(row.text("password")?.into()) })
}

/// The account and role of a person or link.
fn membership_of(row: &impl Columns) -> Result<Option<Membership>, sqlx::Error> {
    let (Some(account), Some(role)) = (row.maybe_text("account")?, row.maybe_text("role")?) else {
        return Ok(None);
    };
    let role = Role::of_name(&role).ok_or_else(|| unknown(&role))?;
    Ok(Some(Membership { account: AccountId::new(&account), role }))
}

/// Somebody and their session.
pub(in crate::store) fn known_of(row: &impl Columns) -> Result<Known, sqlx::Error> {
    Ok(Known { session: session_of(row)?, person: person_of(row)? })
}

/// A session: `session, began_at, seen_at, ends_at, address, agent`.
pub(in crate::store) fn session_of(row: &impl Columns) -> Result<Session, sqlx::Error> {
    let address = row.text("address")?;
    Ok(Session {
        id: row.text("session")?.into(),
        created_at: read_time(row.number("began_at")?),
        seen_at: read_time(row.number("seen_at")?),
        ends_at: read_time(row.number("ends_at")?),
        address: address.parse().map_err(|_| unknown(&address))?,
        agent: row.maybe_text("agent")?.map(Into::into),
    })
}

/// A link: `id, kind, account, role, person, made_by, created_at, ends_at`.
pub(in crate::store) fn link_of(row: &impl Columns) -> Result<Link, sqlx::Error> {
    Ok(Link {
        id: row.text("id")?.into(),
        purpose: purpose_of(row)?,
        made_by: row.text("made_by")?.into(),
        created_at: read_time(row.number("created_at")?),
        ends_at: read_time(row.number("ends_at")?),
    })
}

/// What the link of a row is for: `kind, account, role, person`.
pub(in crate::store) fn purpose_of(row: &impl Columns) -> Result<Purpose, sqlx::Error> {
    let (kind, person) = (row.text("kind")?, row.maybe_text("person")?);
    match (kind.as_str(), membership_of(row)?, person) {
        ("invite", Some(membership), None) => Ok(Purpose::Invite(membership)),
        ("operator", None, None) => Ok(Purpose::Operator),
        ("first_operator", membership, None) => Ok(Purpose::FirstOperator(membership)),
        ("reset", _, Some(person)) => Ok(Purpose::Reset(PersonId::new(&person))),
        _ => Err(unknown(&kind)),
    }
}
