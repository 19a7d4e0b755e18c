//! Who may log in, beside accounts and keys.
//!
//! - `tables`: the SQL of what changes people, sessions and links; `sessions`: what leaves no trail.
//! - `reading`: what is asked of them.

use async_trait::async_trait;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::failure::StoreError;
use crate::store::people::edit::{Actor, Denial, PeopleEdit};
use crate::store::people::link::Link;
use crate::store::people::person::{Credentials, LoginName, PeopleOf, Person};
use crate::store::people::session::{Known, Session};
use crate::store::people::{People, TokenDigest};
use crate::store::postgres::directory::PostgresDirectory;
use crate::store::postgres::people::reading::{
    CountPeople, FindCredentials, HasOperator, Logins, OneLink, OnePerson, SessionsOf, SomeLinks, Who,
};
use crate::store::postgres::people::sessions::{ForgetEnded, See};
use crate::store::sql::people::edits::Signed;

mod reading;
mod sessions;
mod tables;

#[async_trait]
impl People for PostgresDirectory {
    async fn edit_people(
        &self,
        edit: PeopleEdit,
        actor: Actor,
        now: UnixTime,
    ) -> Result<Result<Option<PersonId>, Denial>, StoreError> {
        self.in_turn(&Signed { edit, actor, now }).await
    }

    async fn credentials(&self, login: &LoginName) -> Result<Option<Credentials>, StoreError> {
        self.connections.read(&FindCredentials(login)).await
    }

    async fn person(&self, id: &PersonId) -> Result<Option<Person>, StoreError> {
        self.connections.read(&OnePerson(id)).await
    }

    async fn people(&self, of: PeopleOf) -> Result<Vec<Person>, StoreError> {
        self.connections.read(&of).await
    }

    async fn logins(&self, ids: &[PersonId]) -> Result<Vec<(PersonId, LoginName)>, StoreError> {
        self.connections.read(&Logins(ids)).await
    }

    async fn count_people(&self, accounts: &[AccountId]) -> Result<Vec<(AccountId, u64)>, StoreError> {
        self.connections.read(&CountPeople(accounts)).await
    }

    async fn known(&self, digest: &TokenDigest, now: UnixTime) -> Result<Option<Known>, StoreError> {
        self.connections.read(&Who { digest, now }).await
    }

    async fn see(&self, digest: TokenDigest, now: UnixTime, ends_at: UnixTime) -> Result<(), StoreError> {
        self.connections.change(&See { digest, now, ends_at }).await
    }

    async fn sessions(&self, person: &PersonId, now: UnixTime) -> Result<Vec<Session>, StoreError> {
        self.connections.read(&SessionsOf { person, now }).await
    }

    async fn link(&self, digest: &TokenDigest, now: UnixTime) -> Result<Option<Link>, StoreError> {
        self.connections.read(&OneLink { digest, now }).await
    }

    async fn links(
        &self,
        account: Option<&AccountId>,
        limit: u32,
        now: UnixTime,
    ) -> Result<Vec<Link>, StoreError> {
        self.connections.read(&SomeLinks { account, limit, now }).await
    }

    async fn has_operator(&self) -> Result<bool, StoreError> {
        self.connections.read(&HasOperator).await
    }

    async fn forget_ended(&self, now: UnixTime) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            match self.in_turn(&ForgetEnded { now }).await? {
                0 => return Ok(all),
                forgotten => all += forgotten,
            }
        }
    }
}
