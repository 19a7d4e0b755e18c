//! What a shelf asks of the place where gateways share their answers, in its own words: whoever knows the place answers.
//!
//! Nothing there is needed: who cannot ask has a miss, or makes a call that another makes too. Purges are numbered there in
//! one log. What is kept carries the number that its writer had heard of when its call began, so that nobody reads what a
//! later purge forgets, whoever wrote it and when.

use std::time::Duration;

use async_trait::async_trait;

use crate::cache::entries::Slot;
use crate::clock::{UnixTime, Waited};
use crate::ids::AccountId;
use crate::store::proxied::Purge;

/// The most purges that the log has.
pub const MOST_LOGGED: usize = 1024;

/// Something random, by which one thing is told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u128);

/// Which purges somebody had heard of: up to this number of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The log. A new one is begun when the place has lost something of the one before.
    pub log: Tag,
    /// The number.
    pub number: u64,
}

/// What somebody knows of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Up to where.
    pub mark: Mark,
    /// The purge with that number; `None` if there is none yet.
    pub last: Option<Tag>,
}

/// A purge in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number.
    pub number: u64,
    /// Itself.
    pub id: Tag,
    /// What it forgets. One that cannot be read forgets all.
    pub purge: Purge,
}

/// How the news begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Right behind what was known.
    GoesOn,
    /// Somewhere else: what was before is not known.
    Anew,
}

/// What the log says that was not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What is known now.
    pub position: Position,
    /// Where they begin.
    pub begins: Begins,
    /// The purges, in their order.
    pub purges: Vec<Logged>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unshared {
    /// It took too long.
    #[error("it did not answer in time")]
    Late,
    /// It cannot be asked, or says no: why.
    #[error("{0}")]
    Failed(String),
}

/// Of several puts into one slot, which came by a later call; as the place writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Fence(pub Box<[u8]>);

/// An answer that was found.
pub struct SharedAnswer {
    /// By which call it came.
    pub fence: Fence,
    /// Which purges its writer had heard of when the call began.
    pub mark: Mark,
    /// Whose it is; `None`: everybody's.
    pub account: Option<AccountId>,
    /// When it came, by its writer's clock.
    pub created_at: UnixTime,
    /// All of it.
    pub payload: Vec<u8>,
}

/// What is in a slot.
pub enum Found {
    /// Nothing.
    Nothing,
    /// Something of so many bytes, which is more than was asked for.
    Larger(u64),
    /// What a newer version wrote.
    Newer,
    /// Something else than was put.
    Damaged,
    /// An answer.
    Answer(Box<SharedAnswer>),
}

/// An answer to keep.
pub struct NewShared {
    /// Where.
    pub slot: Slot,
    /// The slots that are empty from then on.
    pub replaced: Vec<Slot>,
    /// Whose it is; `None`: everybody's.
    pub account: Option<AccountId>,
    /// Which purges had been heard of when its call began.
    pub mark: Mark,
    /// When it came.
    pub created_at: UnixTime,
    /// For how long it is kept from now on.
    pub ttl: Duration,
    /// The lock under which the call was made, if there was one: it is let go.
    pub lock: Option<Lock>,
    /// All of it.
    pub payload: Vec<u8>,
}

/// What gateways make one call for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Whose answer it is; `None`: everybody's.
    pub account: Option<AccountId>,
    /// Where it will be.
    pub slot: Slot,
    /// How it is to be served.
    pub service_tier: Option<Box<str>>,
}

/// The right to make a call alone, for a time.
#[derive(Clone)]
pub struct Lock {
    /// For what.
    pub flight: Flight,
    /// Who has it.
    pub holder: Tag,
    /// By which call an answer comes that is put under it.
    pub fence: Fence,
}

/// What is to be done for an answer that is not there yet.
pub enum Boarded {
    /// The call is to be made, under this lock.
    Lead(Lock),
    /// Another makes it.
    Waits,
    /// An answer is there, by this call.
    Landed(Fence),
    /// Another has made it, and the answer cannot be shared.
    Unshared,
}

/// What becomes of those who wait for a lock's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// One of them makes the call under the next lock.
    Next,
    /// Each makes a call of its own: there will be no answer to share.
    Apart,
}

/// Where gateways share answers. Every question has its bound of time.
#[async_trait]
pub trait SharedAnswers: Send + Sync {
    /// True if it can be asked, as far as is known. Costs next to nothing.
    fn is_up(&self) -> bool;

    /// What is in these slots of an account, or of everybody: in the first one, or else in the others. No more than
    /// `bounds.0` bytes in all, for a request that has waited `bounds.1` for answers from here before.
    ///
    /// # Errors
    /// It does not say.
    async fn find(
        &self,
        account: Option<&AccountId>,
        slots: &[Slot],
        bounds: (u64, &Waited),
    ) -> Result<Vec<Found>, Unshared>;

    /// Keeps an answer, unless there is one in its slot that came by a later call; true if it is kept.
    ///
    /// # Errors
    /// It may not have been kept.
    async fn put(&self, new: NewShared) -> Result<bool, Unshared>;

    /// Empties these slots; those that had something.
    ///
    /// # Errors
    /// They may not be empty.
    async fn delete(&self, account: Option<&AccountId>, slots: &[Slot]) -> Result<Vec<Slot>, Unshared>;

    /// Writes a purge into this log, as the newest; false if that is not the log any more.
    ///
    /// # Errors
    /// It may not be in the log.
    async fn log(&self, log: Tag, id: Tag, purge: &Purge) -> Result<bool, Unshared>;

    /// What the log says behind what is `known`. If it has lost something of that, or there is none, it is begun anew.
    ///
    /// # Errors
    /// It does not say.
    async fn news(&self, known: Option<Position>) -> Result<News, Unshared>;

    /// What is to be done for an answer; `dead` is one in its slot that is of no use. For a request that has `waited` for
    /// answers from here before.
    ///
    /// # Errors
    /// It does not say.
    async fn board(
        &self,
        flight: &Flight,
        dead: Option<&Fence>,
        waited: &Waited,
    ) -> Result<Boarded, Unshared>;

    /// Keeps a lock for some time more; false if it is lost.
    ///
    /// # Errors
    /// It may not have been kept.
    async fn renew(&self, lock: &Lock) -> Result<bool, Unshared>;

    /// Lets a lock go that is still held.
    ///
    /// # Errors
    /// It may be held until its time is over.
    async fn release(&self, lock: &Lock, release: Release) -> Result<(), Unshared>;
}
