//! What owners and operators may do with others.

use crate::accounts::people::PeopleService;
use crate::accounts::people::entering::Visitor;
use crate::accounts::people::refusal::Refusal;
use crate::accounts::people::rights::{Right, require, require_operator, require_over};
use crate::ids::{AccountId, PersonId};
use crate::store::people::MOST_PEOPLE;
use crate::store::people::edit::{Denial, PeopleEdit};
use crate::store::people::person::{LoginName, PeopleOf, Person, Role};

/// What is done with somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// They get another role in their account.
    SetRole(Role),
    /// They can log in no more.
    Disable,
    /// They can again.
    Enable,
    /// They are forgotten.
    Remove,
}

impl PeopleService {
    /// The people of an account, for who may look at it.
    ///
    /// # Errors
    /// The visitor may not.
    pub async fn people(&self, visitor: &Visitor, account: &AccountId) -> Result<Vec<Person>, Refusal> {
        require(&visitor.person, Right::Look, account)?;
        let of = PeopleOf { account: Some(account.clone()), after: "".into(), limit: MOST_PEOPLE };
        Ok(self.store.people(of).await?)
    }

    /// At most `limit` people of all accounts, in the order of their ids, behind `after`, for operators.
    ///
    /// # Errors
    /// The visitor is none.
    pub async fn everybody(
        &self,
        visitor: &Visitor,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Person>, Refusal> {
        require_operator(&visitor.person)?;
        Ok(self.store.people(PeopleOf { account: None, after: after.into(), limit }).await?)
    }

    /// What those of `ids` log in with who are there, in no order, for operators.
    ///
    /// # Errors
    /// The visitor is none.
    pub async fn logins(
        &self,
        visitor: &Visitor,
        ids: &[PersonId],
    ) -> Result<Vec<(PersonId, LoginName)>, Refusal> {
        require_operator(&visitor.person)?;
        Ok(self.store.logins(ids).await?)
    }

    /// How many people each of `accounts` has, for those that have any, in no order, for operators.
    ///
    /// # Errors
    /// The visitor is none.
    pub async fn count_people(
        &self,
        visitor: &Visitor,
        accounts: &[AccountId],
    ) -> Result<Vec<(AccountId, u64)>, Refusal> {
        require_operator(&visitor.person)?;
        Ok(self.store.count_people(accounts).await?)
    }

    /// Some people of an account, or of all, for who has the operator's token or may write to the data folder.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn listed(&self, of: PeopleOf) -> Result<Vec<Person>, Refusal> {
        let of = PeopleOf { limit: of.limit.min(MOST_PEOPLE), ..of };
        Ok(self.store.people(of).await?)
    }

    /// Does something with somebody.
    ///
    /// # Errors
    /// The visitor may not; or an account would be left without an owner, or the gateway without an operator.
    pub async fn deal(&self, visitor: &Visitor, whom: &PersonId, deed: Deed) -> Result<(), Refusal> {
        self.somebody(visitor, whom).await?;
        let person = whom.clone();
        let edit = match deed {
            Deed::SetRole(role) => PeopleEdit::SetRole { person, role },
            Deed::Disable => PeopleEdit::Disable(person),
            Deed::Enable => PeopleEdit::Enable(person),
            Deed::Remove => PeopleEdit::Remove(person),
        };
        self.edit(edit, visitor.actor()).await.map(drop)
    }

    /// Somebody whom the visitor may change.
    pub(super) async fn somebody(&self, visitor: &Visitor, whom: &PersonId) -> Result<Person, Refusal> {
        let person = self.store.person(whom).await?.ok_or(Denial::NoPerson)?;
        require_over(&visitor.person, &person)?;
        Ok(person)
    }
}
