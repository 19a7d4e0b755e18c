//! Edits are made one after the other, whichever gateway makes them.
//!
//! Who edits locks the row that counts the changes of the keys, before anything else, until its transaction ends. What it
//! then counts and looks at is as the last edit has left it: every bound holds. And revisions become visible in their
//! order, so that nobody who follows them skips one that is committed later. Edits are rare, and short.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ids::PersonId;
use crate::store::directory::edit::{Denial, Edited};
use crate::store::failure::{StoreError, Trouble};
use crate::store::people::edit::Denial as PeopleDenial;
use crate::store::postgres::connections::{Connections, Work};
use crate::store::sql::directory::edits::Signed;
use crate::store::sql::people::edits::Signed as SignedOfPeople;

/// Edits of one gateway that have a connection: one that is made, and the next, which waits for its lock. All others wait
/// without one, so that whoever waits for an edit takes no connection from those who read.
const AT_ONCE: usize = 2;

/// The edits of one gateway.
#[derive(Debug)]
pub(in crate::store::postgres) struct Turns(Semaphore);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }

    /// Waits for a place among those with a connection.
    ///
    /// # Errors
    /// There is none in time.
    pub(super) async fn wait(&self, connections: &Connections) -> Result<SemaphorePermit<'_>, StoreError> {
        match tokio::time::timeout(connections.bounds().wait, self.0.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(connections.wrong(Trouble::Closed)),
            Err(_) => Err(connections.wrong(Trouble::Busy)),
        }
    }
}

/// Waits for its turn, in a transaction that has read nothing yet.
pub(in crate::store::postgres) async fn take(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let take = sqlx::query("SELECT revision FROM revisions WHERE of = 'keys' FOR UPDATE");
    take.fetch_one(connection).await.map(drop)
}

#[async_trait]
impl Work for Signed {
    type Done = Result<Edited, Denial>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        take(connection).await?;
        self.carry_out(connection).await
    }
}

#[async_trait]
impl Work for SignedOfPeople {
    type Done = Result<Option<PersonId>, PeopleDenial>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        take(connection).await?;
        self.carry_out(connection).await
    }
}
