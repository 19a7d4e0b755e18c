//! What everybody may do with their own password and sessions.

use crate::accounts::people::PeopleService;
use crate::accounts::people::entering::{Caller, Visitor};
use crate::accounts::people::passwords::{Checked, fit};
use crate::accounts::people::refusal::Refusal;
use crate::secret::Secret;
use crate::store::people::edit::{Denial, PeopleEdit};
use crate::store::people::session::Session;

impl PeopleService {
    /// Sets the visitor's password, for who knows the one before, and ends their other sessions.
    ///
    /// # Errors
    /// The old one is wrong, the new one unfit; it was tried too often; it is busy.
    pub async fn change_password(
        &self,
        visitor: &Visitor,
        (old, new): (&Secret, &Secret),
        from: Caller<'_>,
    ) -> Result<(), Refusal> {
        let login = &visitor.person.login;
        fit(new, login)?;
        // By the session: who tries the name from elsewhere does not keep its owner from changing the password.
        self.count_attempt(visitor.session.id.as_ref(), from.address)?;
        let place = self.passwords.place()?;
        let credentials = self.store.credentials(login).await?.ok_or(Denial::NoPerson)?;
        if place.check(old, Some(&credentials.password)).await? == Checked::Wrong {
            return Err(Refusal::WrongPassword);
        }
        let edit = PeopleEdit::ChangePassword {
            person: visitor.person.id.clone(),
            password: place.hash(new).await?,
            but: visitor.session.id.clone(),
        };
        self.edit(edit, visitor.actor()).await.map(drop)
    }

    /// The visitor's sessions, the newest first.
    ///
    /// # Errors
    /// What the store fails of.
    pub async fn sessions(&self, visitor: &Visitor) -> Result<Vec<Session>, Refusal> {
        Ok(self.store.sessions(&visitor.person.id, self.now()).await?)
    }

    /// Ends one of the visitor's sessions.
    ///
    /// # Errors
    /// They have none of this id.
    pub async fn end_session(&self, visitor: &Visitor, session: &str) -> Result<(), Refusal> {
        let edit = PeopleEdit::EndSession { person: visitor.person.id.clone(), session: session.into() };
        self.edit(edit, visitor.actor()).await.map(drop)
    }

    /// Ends all of the visitor's sessions but the one that they are here by.
    ///
    /// # Errors
    /// What the store fails of.
    pub async fn end_other_sessions(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let edit = PeopleEdit::EndOtherSessions {
            person: visitor.person.id.clone(),
            but: visitor.session.id.clone(),
        };
        self.edit(edit, visitor.actor()).await.map(drop)
    }
}
