//! Who may log in, who is logged in, and the links by which others come in. The only door to them.
//!
//! - `person`, `session`, `link`: what is kept of each.
//! - `edit`: every change that can be made, and why one is denied.
//!
//! Here is what must hold whoever asks. Who may ask for what is `accounts::people`'s to say.

use async_trait::async_trait;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PersonId};
use crate::store::failure::StoreError;
use crate::store::people::edit::{Actor, Denial, PeopleEdit};
use crate::store::people::link::Link;
use crate::store::people::person::{Credentials, LoginName, PeopleOf, Person};
use crate::store::people::session::{Known, Session};

pub mod edit;
pub mod link;
pub mod person;
pub mod session;

/// SHA-256 of what a session's browser or a link shows: all that is kept of it.
pub type TokenDigest = [u8; 32];

/// The most people of one account, and the most operators.
pub const MOST_PEOPLE: u32 = 100;

/// The most sessions that one person has at the same time; another one ends the oldest.
pub const MOST_SESSIONS: u32 = 20;

/// The most links of one maker that wait to be used.
pub const MOST_LINKS: u32 = 50;

/// What is known of people. Shared by all that use it. A session or link whose end has come is as good as not there.
#[async_trait]
pub trait People: Send + Sync {
    /// Makes a change, and leaves its trail in the same transaction: both or none. Whom it was about, or whom it made, if
    /// it was about somebody. A sign-up that is denied for its name leaves a trail, too, so that it takes as long.
    async fn edit_people(
        &self,
        edit: PeopleEdit,
        actor: Actor,
        now: UnixTime,
    ) -> Result<Result<Option<PersonId>, Denial>, StoreError>;

    /// Somebody, with the hash of their password.
    async fn credentials(&self, login: &LoginName) -> Result<Option<Credentials>, StoreError>;

    /// Somebody.
    async fn person(&self, id: &PersonId) -> Result<Option<Person>, StoreError>;

    /// People in the order of their ids.
    async fn people(&self, of: PeopleOf) -> Result<Vec<Person>, StoreError>;

    /// What those of `ids` log in with who are there, in no order.
    async fn logins(&self, ids: &[PersonId]) -> Result<Vec<(PersonId, LoginName)>, StoreError>;

    /// How many people each of `accounts` has, for those that have any, in no order.
    async fn count_people(&self, accounts: &[AccountId]) -> Result<Vec<(AccountId, u64)>, StoreError>;

    /// Whose session it is, unless its person is disabled.
    async fn known(&self, digest: &TokenDigest, now: UnixTime) -> Result<Option<Known>, StoreError>;

    /// A session was used `now` and ends at `ends_at` unless it is again. Leaves no trail.
    async fn see(&self, digest: TokenDigest, now: UnixTime, ends_at: UnixTime) -> Result<(), StoreError>;

    /// Somebody's sessions, the newest first.
    async fn sessions(&self, person: &PersonId, now: UnixTime) -> Result<Vec<Session>, StoreError>;

    /// A link that waits to be used.
    async fn link(&self, digest: &TokenDigest, now: UnixTime) -> Result<Option<Link>, StoreError>;

    /// The links into an account that wait to be used, and those that set a password of one of its people; without an
    /// account, all links. The newest first and at most `limit`.
    async fn links(
        &self,
        account: Option<&AccountId>,
        limit: u32,
        now: UnixTime,
    ) -> Result<Vec<Link>, StoreError>;

    /// True if there is an operator who is not disabled.
    async fn has_operator(&self) -> Result<bool, StoreError>;

    /// Deletes sessions and links whose end has come; how many there were.
    async fn forget_ended(&self, now: UnixTime) -> Result<u64, StoreError>;
}
