//! Every change that can be made to people, sessions and links, and why one is denied.

use std::fmt;

use crate::ids::{AccountId, PersonId, PlanName};
use crate::store::directory::edit::Author;
use crate::store::people::link::NewLink;
use crate::store::people::person::{LoginName, PasswordHash, Role};
use crate::store::people::session::NewSession;
use crate::store::people::{MOST_LINKS, MOST_PEOPLE, TokenDigest};

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum PeopleEdit {
    /// Makes an account and its owner.
    SignUp {
        /// The account's id.
        account: AccountId,
        /// What people call it.
        account_name: Box<str>,
        /// Its plan.
        plan: PlanName,
        /// The owner.
        owner: NewPerson,
    },
    /// Somebody logs in. More than [`MOST_SESSIONS`](crate::store::people::MOST_SESSIONS) are not kept: the oldest end.
    BeginSession {
        /// Who.
        person: PersonId,
        /// What begins.
        session: NewSession,
    },
    /// Ends one session of somebody.
    EndSession {
        /// Whose.
        person: PersonId,
        /// Its id.
        session: Box<str>,
    },
    /// Ends all sessions of somebody but one.
    EndOtherSessions {
        /// Whose.
        person: PersonId,
        /// The one that stays.
        but: Box<str>,
    },
    /// Sets a password, and ends all sessions but one, and all links that would set it again.
    ChangePassword {
        /// Whose.
        person: PersonId,
        /// The new one.
        password: PasswordHash,
        /// The session that stays.
        but: Box<str>,
    },
    /// Makes a link. A [first operator's](crate::store::people::link::Purpose::FirstOperator) ends those before it.
    MakeLink(NewLink),
    /// Ends a link that waits to be used.
    EndLink {
        /// Its id.
        link: Box<str>,
        /// The account that it must be about; `None`: any, or none.
        within: Option<AccountId>,
    },
    /// Uses a link that lets somebody in.
    Join {
        /// What the link is recognised by.
        link: TokenDigest,
        /// Who comes in.
        person: NewPerson,
    },
    /// Uses a link that sets a password, and ends all sessions of its person and all links that they made.
    Reset {
        /// What the link is recognised by.
        link: TokenDigest,
        /// The new one.
        password: PasswordHash,
    },
    /// Gives somebody of an account another role.
    SetRole {
        /// Who.
        person: PersonId,
        /// What they may do from now on.
        role: Role,
    },
    /// Lets somebody log in no more, and ends their sessions and the links that they made.
    Disable(PersonId),
    /// Ends that.
    Enable(PersonId),
    /// Forgets somebody, with their sessions and the links that they made or that are about them.
    Remove(PersonId),
}

/// Somebody who comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPerson {
    /// Their id.
    pub id: PersonId,
    /// What they log in with.
    pub login: LoginName,
    /// What others see of them.
    pub name: Box<str>,
    /// Of their password.
    pub password: PasswordHash,
}

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who is logged in.
    Person(PersonId),
    /// Whoever has the operator's token.
    Operator,
    /// Whoever may write to the data folder.
    CommandLine,
    /// The gateway itself, as it starts.
    Gateway,
    /// Somebody who is not known yet, or logs in.
    Visitor,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Other gateways would not see it.
    #[error(
        "nobody can be let in here: several gateways share Redis alone; PostgreSQL (cluster.postgres) would keep people \
         for all of them"
    )]
    ListOnly,
    /// Somebody has the name to log in with.
    #[error("somebody has this name already; take another one")]
    NameTaken,
    /// There is an account with this id.
    #[error("there is an account with this id already")]
    AccountExists,
    /// There is nobody with this id.
    #[error("there is no such person")]
    NoPerson,
    /// There is no such session.
    #[error("there is no such session")]
    NoSession,
    /// There is no such link, or it has ended, or was used.
    #[error("this link was used, has ended, or never was one; ask for another")]
    NoLink,
    /// Nobody else could say who belongs to the account.
    #[error("this is the account's last owner; make somebody else an owner first")]
    LastOwner,
    /// Nobody else could do an operator's work.
    #[error("this is the last operator; invite another one first")]
    LastOperator,
    /// The account, or the circle of operators, is full.
    #[error("there are {MOST_PEOPLE} people already, the most there can be; remove somebody first")]
    TooManyPeople,
    /// Too many links of its maker wait to be used.
    #[error("{MOST_LINKS} links of yours wait to be used, the most there can be; revoke some first")]
    TooManyLinks,
}

impl PeopleEdit {
    /// What the trail calls it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::SignUp { .. } => "person.sign_up",
            Self::BeginSession { .. } => "session.begin",
            Self::EndSession { .. } => "session.end",
            Self::EndOtherSessions { .. } => "session.end_others",
            Self::ChangePassword { .. } => "person.change_password",
            Self::MakeLink(_) => "link.make",
            Self::EndLink { .. } => "link.end",
            Self::Join { .. } => "person.join",
            Self::Reset { .. } => "person.reset_password",
            Self::SetRole { .. } => "person.set_role",
            Self::Disable(_) => "person.disable",
            Self::Enable(_) => "person.enable",
            Self::Remove(_) => "person.remove",
        }
    }

    /// More of it, for people.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::SignUp { owner, .. } => Some(owner.login.to_string()),
            Self::Join { person, .. } => Some(person.login.to_string()),
            Self::BeginSession { session, .. } => Some(format!("{} from {}", session.id, session.address)),
            Self::EndSession { session, .. } => Some(session.to_string()),
            Self::MakeLink(link) => Some(format!("{} {}", link.purpose.as_str(), link.id)),
            Self::EndLink { link, .. } => Some(link.to_string()),
            Self::SetRole { role, .. } => Some(role.to_string()),
            Self::EndOtherSessions { .. }
            | Self::ChangePassword { .. }
            | Self::Reset { .. }
            | Self::Disable(_)
            | Self::Enable(_)
            | Self::Remove(_) => None,
        }
    }
}

impl From<Author> for Actor {
    fn from(author: Author) -> Self {
        match author {
            Author::Operator => Self::Operator,
            Author::CommandLine => Self::CommandLine,
            Author::Person(id) => Self::Person(id),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => f.write_str(id.as_str()),
            Self::Operator => f.write_str("operator"),
            Self::CommandLine => f.write_str("command line"),
            Self::Gateway => f.write_str("gateway"),
            Self::Visitor => f.write_str("visitor"),
        }
    }
}
