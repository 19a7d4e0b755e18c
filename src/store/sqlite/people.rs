//! Who may log in, in the file of accounts.
//!
//! - `edits`: what changes people, sessions and links, in the writer's queue; `tables`: the SQL of that; `sessions`: what
//!   leaves no trail.
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
use crate::store::sql::people::edits::Signed;
use crate::store::sqlite::directory::SqliteDirectory;
use crate::store::sqlite::people::sessions::{ForgetEnded, See};

mod edits;
mod reading;
mod sessions;
mod tables;

#[async_trait]
impl People for SqliteDirectory {
    async fn edit_people(
        &self,
        edit: PeopleEdit,
        actor: Actor,
        now: UnixTime,
    ) -> Result<Result<Option<PersonId>, Denial>, StoreError> {
        if self.is_kept() && !is_of_a_session(&edit) {
            return Ok(Err(Denial::ListOnly));
        }
        self.writer.submit(Signed { edit, actor, now }).await
    }

    async fn credentials(&self, login: &LoginName) -> Result<Option<Credentials>, StoreError> {
        reading::credentials(&self.readers, login).await.map_err(|error| self.error(error))
    }

    async fn person(&self, id: &PersonId) -> Result<Option<Person>, StoreError> {
        reading::person(&self.readers, id).await.map_err(|error| self.error(error))
    }

    async fn people(&self, of: PeopleOf) -> Result<Vec<Person>, StoreError> {
        reading::people(&self.readers, &of).await.map_err(|error| self.error(error))
    }

    async fn logins(&self, ids: &[PersonId]) -> Result<Vec<(PersonId, LoginName)>, StoreError> {
        reading::logins(&self.readers, ids).await.map_err(|error| self.error(error))
    }

    async fn count_people(&self, accounts: &[AccountId]) -> Result<Vec<(AccountId, u64)>, StoreError> {
        reading::count_people(&self.readers, accounts).await.map_err(|error| self.error(error))
    }

    async fn known(&self, digest: &TokenDigest, now: UnixTime) -> Result<Option<Known>, StoreError> {
        reading::known(&self.readers, digest, now).await.map_err(|error| self.error(error))
    }

    async fn see(&self, digest: TokenDigest, now: UnixTime, ends_at: UnixTime) -> Result<(), StoreError> {
        self.writer.submit(See { digest, now, ends_at }).await
    }

    async fn sessions(&self, person: &PersonId, now: UnixTime) -> Result<Vec<Session>, StoreError> {
        reading::sessions(&self.readers, person, now).await.map_err(|error| self.error(error))
    }

    async fn link(&self, digest: &TokenDigest, now: UnixTime) -> Result<Option<Link>, StoreError> {
        reading::link(&self.readers, digest, now).await.map_err(|error| self.error(error))
    }

    async fn links(
        &self,
        account: Option<&AccountId>,
        limit: u32,
        now: UnixTime,
    ) -> Result<Vec<Link>, StoreError> {
        reading::links(&self.readers, account, limit, now).await.map_err(|error| self.error(error))
    }

    async fn has_operator(&self) -> Result<bool, StoreError> {
        reading::has_operator(&self.readers).await.map_err(|error| self.error(error))
    }

    async fn forget_ended(&self, now: UnixTime) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            match self.writer.submit(ForgetEnded { now }).await? {
                0 => return Ok(all),
                forgotten => all += forgotten,
            }
        }
    }
}

/// Who logs in or out does so at one gateway, and changes nothing that holds for others.
fn is_of_a_session(edit: &PeopleEdit) -> bool {
    use PeopleEdit::{BeginSession, EndOtherSessions, EndSession};
    matches!(edit, BeginSession { .. } | EndSession { .. } | EndOtherSessions { .. })
}
