//! What edits of people, sessions and links ask of the tables, in the transaction of the edit.

use async_trait::async_trait;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::number::read;
use crate::store::people::TokenDigest;
use crate::store::people::edit::{Denial, NewPerson};
use crate::store::people::link::{NewLink, Purpose};
use crate::store::people::person::{LoginName, Membership, PasswordHash, Role};
use crate::store::people::session::NewSession;
use crate::store::sql::directory::tables::DirectoryTables;
use crate::store::sql::people::edits::About;

/// A connection to the tables, beside those of accounts and keys.
#[async_trait]
pub(in crate::store) trait PeopleTables: DirectoryTables {
    /// Somebody.
    async fn find_person(&mut self, id: &PersonId) -> Result<Option<FoundPerson>, sqlx::Error>;

    /// True if somebody logs in with this name.
    async fn is_taken(&mut self, login: &LoginName) -> Result<bool, sqlx::Error>;

    /// The people of an account, and the operators.
    async fn count(&mut self, account: Option<&AccountId>) -> Result<(u64, u64), sqlx::Error>;

    /// True if there is an operator who is not disabled.
    async fn has_operator(&mut self) -> Result<bool, sqlx::Error>;

    /// Makes somebody.
    async fn insert_person(
        &mut self,
        person: &NewPerson,
        joins: &Joining,
        now: UnixTime,
    ) -> Result<(), sqlx::Error>;

    /// Sets somebody's password.
    async fn set_password(
        &mut self,
        id: &PersonId,
        password: &PasswordHash,
        now: UnixTime,
    ) -> Result<(), sqlx::Error>;

    /// Gives somebody another role.
    async fn set_role(&mut self, id: &PersonId, role: Role) -> Result<(), sqlx::Error>;

    /// Since when somebody cannot log in, unless they cannot already; `None`: they can.
    async fn set_disabled(&mut self, id: &PersonId, since: Option<UnixTime>) -> Result<(), sqlx::Error>;

    /// Forgets somebody.
    async fn delete_person(&mut self, id: &PersonId) -> Result<(), sqlx::Error>;

    /// Ends all of somebody's sessions but the newest `kept`.
    async fn end_oldest_sessions(&mut self, person: &PersonId, kept: u32) -> Result<(), sqlx::Error>;

    /// Begins a session.
    async fn insert_session(
        &mut self,
        person: &PersonId,
        session: &NewSession,
        now: UnixTime,
    ) -> Result<(), sqlx::Error>;

    /// Ends a session of somebody; false: there is none of this id.
    async fn end_session(&mut self, person: &PersonId, id: &str) -> Result<bool, sqlx::Error>;

    /// Ends all sessions of somebody, or all but one.
    async fn end_sessions(&mut self, person: &PersonId, but: Option<&str>) -> Result<(), sqlx::Error>;

    /// How many links of a maker wait to be used, those of first operators not counted.
    async fn waiting_links(&mut self, maker: &str, now: UnixTime) -> Result<u64, sqlx::Error>;

    /// What a link that waits to be used is for.
    async fn waiting_link(
        &mut self,
        digest: &TokenDigest,
        now: UnixTime,
    ) -> Result<Option<Purpose>, sqlx::Error>;

    /// Makes a link, which is about what it is about.
    async fn insert_link(
        &mut self,
        link: &NewLink,
        about: &About,
        maker: &str,
        now: UnixTime,
    ) -> Result<(), sqlx::Error>;

    /// Marks a link as used.
    async fn mark_used(&mut self, digest: &TokenDigest, now: UnixTime) -> Result<(), sqlx::Error>;

    /// Ends a link that waits to be used, and what it was about; `None`: there is none of this id within the account.
    async fn end_link(
        &mut self,
        id: &str,
        within: Option<&AccountId>,
        now: UnixTime,
    ) -> Result<Option<About>, sqlx::Error>;

    /// Ends the links of first operators that wait to be used; where many gateways may each have shown one, the oldest of
    /// [`MOST_LINKS`](crate::store::people::MOST_LINKS).
    async fn end_first_operators_links(&mut self) -> Result<(), sqlx::Error>;

    /// Ends the links that wait to be used and are about somebody.
    async fn end_links_about(&mut self, person: &PersonId) -> Result<(), sqlx::Error>;

    /// Ends the links that wait to be used and that somebody has made.
    async fn end_links_made_by(&mut self, person: &PersonId) -> Result<(), sqlx::Error>;
}

/// What the store calls the purpose of which one link waits at most.
pub(in crate::store) const FIRST_OPERATOR: &str = "first_operator";

/// What somebody comes to be.
pub(in crate::store) struct Joining {
    pub(in crate::store) membership: Option<Membership>,
    pub(in crate::store) is_operator: bool,
}

/// Somebody who is there, and whether others could take their place.
pub(in crate::store) struct FoundPerson {
    pub(in crate::store) account: Option<AccountId>,
    pub(in crate::store) role: Option<Role>,
    pub(in crate::store) is_operator: bool,
    pub(in crate::store) is_disabled: bool,
    pub(in crate::store) other_owners: u64,
    pub(in crate::store) other_operators: u64,
}

/// Account, role, whether they are an operator and disabled, other owners of the account, other operators.
pub(in crate::store) type PersonRow = (Option<String>, Option<String>, bool, bool, i64, i64);

impl FoundPerson {
    pub(in crate::store) fn of_row(row: PersonRow) -> Self {
        let (account, role, is_operator, is_disabled, other_owners, other_operators) = row;
        Self {
            account: account.as_deref().map(AccountId::new),
            role: role.as_deref().and_then(Role::of_name),
            is_operator,
            is_disabled,
            other_owners: read(other_owners),
            other_operators: read(other_operators),
        }
    }

    /// Denied if the account, or the gateway, would be nobody's without them.
    pub(super) fn spared(&self) -> Result<(), Denial> {
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
