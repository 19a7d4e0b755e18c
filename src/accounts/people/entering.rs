//! Sign-up, log-in and log-out, and who somebody is by what their browser shows.

use std::net::IpAddr;

use crate::accounts::FIRST_PLAN;
use crate::accounts::people::attempts::Standing;
use crate::accounts::people::passwords::{Checked, fit};
use crate::accounts::people::refusal::{Refusal, Unfit};
use crate::accounts::people::token;
use crate::accounts::people::{PeopleService, SESSION_IDLE, SESSION_LIFE};
use crate::clock::UnixTime;
use crate::ids::PlanName;
use crate::secret::Secret;
use crate::store::people::edit::{Actor, Denial, NewPerson, PeopleEdit};
use crate::store::people::person::{LoginName, PasswordHash, Person};
use crate::store::people::session::{NewSession, Session};

/// How much of what a browser says of itself is kept.
const AGENT_CHARACTERS: usize = 160;

/// A session's use is noted when the last one that was is so long ago.
const SEEN_SECONDS: u64 = 60;

/// Where somebody comes from.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Their address.
    pub address: IpAddr,
    /// What their browser says of itself.
    pub agent: Option<&'a str>,
}

/// What somebody tells of themselves.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// What they want to log in with.
    pub login: String,
    /// What others are to see of them; blank: the same.
    pub name: String,
    /// Their password.
    pub password: Secret,
}

/// Somebody who has just logged in.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What their browser is to show from now on. Not seen again.
    pub token: Secret,
    /// Who they are.
    pub person: Person,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Who they are now.
    pub person: Person,
    /// By which session.
    pub session: Session,
}

impl Visitor {
    /// As the trail names them.
    pub(super) fn actor(&self) -> Actor {
        Actor::Person(self.person.id.clone())
    }
}

impl PeopleService {
    /// Makes an account, on plan free, and its owner, who can then log in. For a name that somebody has, nothing is made,
    /// and the answer is the same.
    ///
    /// # Errors
    /// What was given is unfit, or was tried too often, or it is busy.
    pub async fn sign_up(&self, newcomer: Newcomer, from: Caller<'_>) -> Result<(), Refusal> {
        let (login, name) = fit_newcomer(&newcomer)?;
        self.count_attempt(login.as_str(), from.address)?;
        let password = self.passwords.place()?.hash(&newcomer.password).await?;
        let edit = PeopleEdit::SignUp {
            account: token::account_id()?,
            account_name: name.clone(),
            plan: PlanName::new(FIRST_PLAN),
            owner: new_person((login, name), password)?,
        };
        match self.edit(edit, Actor::Visitor).await {
            Ok(_) | Err(Refusal::Denied(Denial::NameTaken)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Begins a session for who has this name and this password.
    ///
    /// # Errors
    /// Nobody has, or they may not log in; the name or the address was tried too often; it is busy.
    pub async fn log_in(
        &self,
        login: &str,
        password: &Secret,
        from: Caller<'_>,
    ) -> Result<LoggedIn, Refusal> {
        self.count_attempt(login, from.address)?;
        let place = self.passwords.place()?;
        let credentials = match LoginName::new(login) {
            Some(login) => self.store.credentials(&login).await?,
            None => None,
        };
        let hash = credentials.as_ref().map(|credentials| &credentials.password);
        let checked = place.check(password, hash).await?;
        let found = credentials.filter(|found| found.person.disabled_at.is_none());
        match (checked, found) {
            (Checked::Right, Some(found)) => self.begin_session(found.person, from).await,
            _ => {
                tracing::info!(address = %from.address, "a log-in was refused: name or password is wrong");
                Err(Refusal::WrongLogin)
            }
        }
    }

    /// Who shows this token, and by which session; `None`: nobody.
    ///
    /// # Errors
    /// What the store fails of.
    pub async fn visitor(&self, token: &str) -> Result<Option<Visitor>, Refusal> {
        let digest = token::digest(token);
        let now = self.now();
        let Some(known) = self.store.known(&digest, now).await? else { return Ok(None) };
        if now.saturating_since(known.session.seen_at).as_secs() >= SEEN_SECONDS {
            let ends_at = session_end(known.session.created_at, now);
            if let Err(error) = self.store.see(digest, now, ends_at).await {
                // They are who they are; their session may end earlier than it should.
                tracing::warn!(%error, "a session's use was not noted");
            }
        }
        Ok(Some(Visitor { person: known.person, session: known.session }))
    }

    /// Ends the visitor's session.
    ///
    /// # Errors
    /// It has ended before, or the store fails.
    pub async fn log_out(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let edit =
            PeopleEdit::EndSession { person: visitor.person.id.clone(), session: visitor.session.id.clone() };
        self.edit(edit, visitor.actor()).await.map(drop)
    }

    pub(super) async fn begin_session(&self, person: Person, from: Caller<'_>) -> Result<LoggedIn, Refusal> {
        let token = token::token()?;
        let now = self.now();
        let session = NewSession {
            digest: token::digest(token.expose()),
            id: token::id("sess_")?.into(),
            ends_at: session_end(now, now),
            address: from.address,
            agent: from.agent.map(shortened),
        };
        let edit = PeopleEdit::BeginSession { person: person.id.clone(), session };
        match self.edit(edit, Actor::Person(person.id.clone())).await {
            Ok(_) => Ok(LoggedIn { token, person }),
            // Disabled or removed between the look-up and now.
            Err(Refusal::Denied(Denial::NoPerson)) => Err(Refusal::WrongLogin),
            Err(refusal) => Err(refusal),
        }
    }

    /// Counts an attempt on a name from an address.
    pub(super) fn count_attempt(&self, name: &str, address: IpAddr) -> Result<(), Refusal> {
        self.count_address(address)?;
        within(self.limits.name(name, self.clock.monotonic()))
    }

    /// Counts an attempt from an address.
    pub(super) fn count_address(&self, address: IpAddr) -> Result<(), Refusal> {
        within(self.limits.address(address, self.clock.monotonic()))
    }
}

fn within(standing: Standing) -> Result<(), Refusal> {
    match standing {
        Standing::Within => Ok(()),
        Standing::Beyond => Err(Refusal::Limited),
    }
}

/// When a session ends that was begun and used at these times.
fn session_end(begun: UnixTime, used: UnixTime) -> UnixTime {
    begun.saturating_add(SESSION_LIFE).min(used.saturating_add(SESSION_IDLE))
}

/// The names of somebody whose names and password can be taken.
pub(super) fn fit_newcomer(newcomer: &Newcomer) -> Result<(LoginName, Box<str>), Unfit> {
    let login = LoginName::new(newcomer.login.trim()).ok_or(Unfit::Login)?;
    let name = newcomer.name.trim();
    if name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Unfit::Name);
    }
    fit(&newcomer.password, &login)?;
    let name = if name.is_empty() { login.as_str() } else { name };
    let name = name.into();
    Ok((login, name))
}

/// Somebody new with these names.
pub(super) fn new_person(
    (login, name): (LoginName, Box<str>),
    password: PasswordHash,
) -> Result<NewPerson, Refusal> {
    Ok(NewPerson { id: token::person_id()?, login, name, password })
}

/// The beginning of what a browser says of itself, without control characters.
fn shortened(agent: &str) -> Box<str> {
    agent
        .chars()
        .filter(|character| !character.is_control())
        .take(AGENT_CHARACTERS)
        .collect::<String>()
        .into()
}
