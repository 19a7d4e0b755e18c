//! Who may do what.

use crate::accounts::people::refusal::Refusal;
use crate::ids::AccountId;
use crate::store::people::edit::Denial;
use crate::store::people::person::{Person, Role};

/// What can be wanted of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To look at it.
    Look,
    /// To make and end its keys.
    Keys,
    /// To say who belongs to it.
    People,
}

impl Right {
    /// The least role that has it.
    fn least(self) -> Role {
        match self {
            Self::Look => Role::Viewer,
            Self::Keys => Role::Admin,
            Self::People => Role::Owner,
        }
    }
}

/// True if somebody may do this with the account: their role in it says so, or they are an operator.
pub fn may(person: &Person, right: Right, account: &AccountId) -> bool {
    let by_role = person
        .membership
        .as_ref()
        .is_some_and(|membership| membership.account == *account && membership.role >= right.least());
    by_role || person.is_operator
}

/// Lets pass who may do this with the account.
///
/// # Errors
/// They may not.
pub fn require(person: &Person, right: Right, account: &AccountId) -> Result<(), Refusal> {
    if may(person, right, account) { Ok(()) } else { Err(Refusal::Forbidden) }
}

/// Lets operators pass.
///
/// # Errors
/// They are none.
pub fn require_operator(person: &Person) -> Result<(), Refusal> {
    if person.is_operator { Ok(()) } else { Err(Refusal::OperatorsOnly) }
}

/// Lets pass who may change `whom`: owners the people of their account, operators anybody. An operator is changed by
/// operators alone, whatever account they have a role in: else its owner could become one.
///
/// # Errors
/// They may not; who may not even look at them is told that there is nobody.
pub fn require_over(person: &Person, whom: &Person) -> Result<(), Refusal> {
    if person.is_operator {
        return Ok(());
    }
    let Some(membership) = &whom.membership else { return Err(Denial::NoPerson.into()) };
    if !may(person, Right::Look, &membership.account) {
        return Err(Denial::NoPerson.into());
    }
    if whom.is_operator {
        return Err(Refusal::OperatorsOnly);
    }
    require(person, Right::People, &membership.account)
}
