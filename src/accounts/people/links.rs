//! One-time links: made for somebody else, and handed to them by whoever made them. No mail is sent.

use crate::accounts::people::entering::{Caller, LoggedIn, Newcomer, Visitor, fit_newcomer, new_person};
use crate::accounts::people::passwords::fit;
use crate::accounts::people::refusal::Refusal;
use crate::accounts::people::rights::{Right, require, require_operator};
use crate::accounts::people::token;
use crate::accounts::people::{LINK_LIFE, PeopleService};
use crate::ids::{AccountId, PersonId};
use crate::secret::Secret;
use crate::store::directory::edit::Author;
use crate::store::people::edit::{Actor, Denial, PeopleEdit};
use crate::store::people::link::{Link, NewLink, Purpose};
use crate::store::people::person::{LoginName, Membership, Role};

/// The most links that are listed.
const MOST_LISTED: u32 = 100;

/// A link that somebody has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The link.
    pub link: Link,
    /// Whose password it sets; `None`: it lets somebody in.
    pub login: Option<LoginName>,
}

impl PeopleService {
    /// A link that lets somebody into an account. The token is shown once, to whoever made it.
    ///
    /// # Errors
    /// The visitor may not say who belongs to the account.
    pub async fn invite(
        &self,
        visitor: &Visitor,
        account: &AccountId,
        role: Role,
    ) -> Result<Secret, Refusal> {
        require(&visitor.person, Right::People, account)?;
        let membership = Membership { account: account.clone(), role };
        self.make_link(Purpose::Invite(membership), visitor.actor()).await
    }

    /// A link that makes somebody an operator.
    ///
    /// # Errors
    /// The visitor is none.
    pub async fn invite_operator(&self, visitor: &Visitor) -> Result<Secret, Refusal> {
        require_operator(&visitor.person)?;
        self.make_link(Purpose::Operator, visitor.actor()).await
    }

    /// A link that sets somebody's password.
    ///
    /// # Errors
    /// The visitor may not change them, or is them.
    pub async fn reset(&self, visitor: &Visitor, whom: &PersonId) -> Result<Secret, Refusal> {
        let person = self.somebody(visitor, whom).await?;
        if person.id == visitor.person.id {
            return Err(Refusal::OwnReset);
        }
        self.make_link(Purpose::Reset(person.id), visitor.actor()).await
    }

    /// The same by the name that somebody logs in with, for who is no visitor: whoever has the operator's token, or may
    /// write to the data folder. A lost operator's way back in.
    ///
    /// # Errors
    /// Nobody has this name.
    pub async fn reset_by_login(&self, author: Author, login: &str) -> Result<Secret, Refusal> {
        let login = LoginName::new(login).ok_or(Denial::NoPerson)?;
        let credentials = self.store.credentials(&login).await?.ok_or(Denial::NoPerson)?;
        self.make_link(Purpose::Reset(credentials.person.id), author.into()).await
    }

    /// A link that makes the first operator, and gives them a place in an account; `None`: there is one. A link made
    /// before is good for nothing from now on, unless another gateway may have made it.
    ///
    /// # Errors
    /// What the store fails of.
    pub async fn first_operator(&self, place: Option<Membership>) -> Result<Option<Secret>, Refusal> {
        if self.store.has_operator().await? {
            return Ok(None);
        }
        self.make_link(Purpose::FirstOperator(place), Actor::Gateway).await.map(Some)
    }

    /// The links about an account that wait to be used; without one, all of them, for operators.
    ///
    /// # Errors
    /// The visitor may not say who belongs to it.
    pub async fn links(&self, visitor: &Visitor, account: Option<&AccountId>) -> Result<Vec<Link>, Refusal> {
        match account {
            Some(account) => require(&visitor.person, Right::People, account)?,
            None => require_operator(&visitor.person)?,
        }
        Ok(self.store.links(account, MOST_LISTED, self.now()).await?)
    }

    /// Ends a link that waits to be used.
    ///
    /// # Errors
    /// There is none that the visitor may end.
    pub async fn end_link(&self, visitor: &Visitor, link: &str) -> Result<(), Refusal> {
        let within = match &visitor.person.membership {
            _ if visitor.person.is_operator => None,
            Some(membership) => {
                require(&visitor.person, Right::People, &membership.account)?;
                Some(membership.account.clone())
            }
            None => return Err(Refusal::Forbidden),
        };
        let edit = PeopleEdit::EndLink { link: link.into(), within };
        self.edit(edit, visitor.actor()).await.map(drop)
    }

    /// The link with this token, if it can still be used.
    ///
    /// # Errors
    /// It was tried too often from this address.
    pub async fn open(&self, token: &str, from: Caller<'_>) -> Result<Option<Opened>, Refusal> {
        self.count_address(from.address)?;
        let Some(link) = self.store.link(&token::digest(token), self.now()).await? else { return Ok(None) };
        let login = match &link.purpose {
            Purpose::Reset(person) => self.store.person(person).await?.map(|person| person.login),
            Purpose::FirstOperator(_) if self.store.has_operator().await? => return Ok(None),
            Purpose::Invite(_) | Purpose::Operator | Purpose::FirstOperator(_) => None,
        };
        Ok(Some(Opened { link, login }))
    }

    /// Uses a link that lets somebody in, and logs them in.
    ///
    /// # Errors
    /// The link is good for nothing; what was given is unfit; it is busy, or was tried too often.
    pub async fn join(&self, token: &str, newcomer: Newcomer, from: Caller<'_>) -> Result<LoggedIn, Refusal> {
        let names = fit_newcomer(&newcomer)?;
        let opened = self.open(token, from).await?.ok_or(Denial::NoLink)?;
        if opened.login.is_some() {
            return Err(Denial::NoLink.into());
        }
        let password = self.passwords.place()?.hash(&newcomer.password).await?;
        let person = new_person(names, password)?;
        let id = person.id.clone();
        let edit = PeopleEdit::Join { link: token::digest(token), person };
        self.edit(edit, Actor::Visitor).await?;
        self.enter(&id, from).await
    }

    /// Uses a link that sets a password, ends all sessions of its person, and logs them in.
    ///
    /// # Errors
    /// The link is good for nothing; the password is unfit; it is busy, or was tried too often.
    pub async fn set_password(
        &self,
        token: &str,
        password: &Secret,
        from: Caller<'_>,
    ) -> Result<LoggedIn, Refusal> {
        let opened = self.open(token, from).await?.ok_or(Denial::NoLink)?;
        let login = opened.login.ok_or(Denial::NoLink)?;
        fit(password, &login)?;
        let password = self.passwords.place()?.hash(password).await?;
        let edit = PeopleEdit::Reset { link: token::digest(token), password };
        let id = self.edit(edit, Actor::Visitor).await?.ok_or(Denial::NoPerson)?;
        self.enter(&id, from).await
    }

    async fn enter(&self, id: &PersonId, from: Caller<'_>) -> Result<LoggedIn, Refusal> {
        let person = self.store.person(id).await?.ok_or(Denial::NoPerson)?;
        self.begin_session(person, from).await
    }

    async fn make_link(&self, purpose: Purpose, actor: Actor) -> Result<Secret, Refusal> {
        let token = token::token()?;
        let link = NewLink {
            digest: token::digest(token.expose()),
            id: token::id("link_")?.into(),
            purpose,
            ends_at: self.now().saturating_add(LINK_LIFE),
        };
        self.edit(PeopleEdit::MakeLink(link), actor).await?;
        Ok(token)
    }
}
