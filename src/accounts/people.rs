//! Who comes in, who is who, and what each may do: one service behind every door.
//!
//! - `entering`: sign-up, log-in and log-out, and who somebody is by what their browser shows.
//! - `own`: what everybody may do with their own password and sessions.
//! - `members`: what owners and operators may do with others. `rights` is who may do what.
//! - `links`: one-time links, which let somebody in or set a password.
//! - `passwords`: their rules and their hashing; `attempts`: how often somebody may try; `token`: what is random.
//! - `refusal`: why something is not done.
//!
//! **What cannot be told apart.** A log-in costs one hash and one look-up, whether there is such a name, whether the
//! password is right, and whether the person may log in. A sign-up costs one hash and one commit, whether the name is
//! taken or not, and answers alike. Whoever may not look at an account is told of its people and links that they are not
//! there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::people::attempts::Limits;
use crate::accounts::people::passwords::Passwords;
use crate::accounts::people::refusal::Refusal;
use crate::clock::{Clock, UnixTime};
use crate::ids::PersonId;
use crate::store::failure::StoreError;
use crate::store::people::People;
use crate::store::people::edit::{Actor, PeopleEdit};

pub mod attempts;
pub mod entering;
pub mod links;
pub mod members;
pub mod own;
pub mod passwords;
pub mod refusal;
pub mod rights;
pub mod token;

/// How long a session lasts that is not used.
pub const SESSION_IDLE: Duration = Duration::from_secs(12 * 3600);

/// How long a session lasts at most.
pub const SESSION_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a link can be used.
pub const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The service. Shared by all that use it.
pub struct PeopleService {
    store: Arc<dyn People>,
    clock: Clock,
    passwords: Passwords,
    limits: Limits,
}

impl fmt::Debug for PeopleService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeopleService").finish_non_exhaustive()
    }
}

impl PeopleService {
    /// The service over `store`. How often somebody has tried is kept here, and begins anew with it.
    pub fn new(store: Arc<dyn People>, clock: Clock) -> Self {
        Self { store, clock, passwords: Passwords::new(), limits: Limits::new() }
    }

    /// Forgets sessions and links that have ended; how many there were.
    ///
    /// # Errors
    /// What the store fails of.
    pub async fn forget_ended(&self) -> Result<u64, StoreError> {
        self.store.forget_ended(self.now()).await
    }

    fn now(&self) -> UnixTime {
        self.clock.unix()
    }

    /// Makes a change, and says whom it was about.
    async fn edit(&self, edit: PeopleEdit, actor: Actor) -> Result<Option<PersonId>, Refusal> {
        Ok(self.store.edit_people(edit, actor, self.now()).await??)
    }
}
