//! Accounts and keys in PostgreSQL, which many gateways change at once.
//!
//! - `turns`: edits are made one after the other; `tables`: the SQL of them; `forgetting`: what is forgotten.
//! - `reading`: pages of them, and what has changed of the keys; `trail`: who changed what.
//! - `listening`: what others say of the keys.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::directory::edit::{Author, Denial, Edit, Edited};
use crate::store::directory::key::{Key, KeyPage, KeysOf};
use crate::store::directory::{Cursor, Directory, Followed, MOST_OF_TRAIL, Revisions};
use crate::store::failure::StoreError;
use crate::store::postgres::connections::{Connections, Work};
use crate::store::postgres::directory::forgetting::Forget;
use crate::store::postgres::directory::listening::Listening;
use crate::store::postgres::directory::reading::{
    CountByPlan, Follow, OneAccount, OneKey, ReadRevisions, ReadSuspended, SomeAccounts,
};
use crate::store::postgres::directory::trail::OldestOfTrail;
use crate::store::postgres::directory::turns::Turns;
use crate::store::sql::directory::edits::Signed;

mod forgetting;
mod listening;
mod reading;
mod tables;
mod trail;
pub(super) mod turns;

/// Between two looks at what others have changed, for what nobody has told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Accounts, keys and people, over the connections of the store that they are in.
#[derive(Debug)]
pub struct PostgresDirectory {
    pub(super) connections: Arc<Connections>,
    turns: Turns,
    /// From when somebody first wants to know.
    listening: OnceLock<Listening>,
}

impl PostgresDirectory {
    pub(super) fn over(connections: &Arc<Connections>) -> Self {
        Self { connections: Arc::clone(connections), turns: Turns::new(), listening: OnceLock::new() }
    }

    /// Makes an edit when its turn has come.
    pub(super) async fn in_turn<W: Work>(&self, edit: &W) -> Result<W::Done, StoreError> {
        let _place = self.turns.wait(&self.connections).await?;
        self.connections.change(edit).await
    }

    /// Listens no more.
    pub(super) fn close(&self) {
        if let Some(listening) = self.listening.get() {
            listening.end();
        }
    }
}

#[async_trait]
impl Directory for PostgresDirectory {
    async fn edit(
        &self,
        edit: Edit,
        author: Author,
        now: UnixTime,
    ) -> Result<Result<Edited, Denial>, StoreError> {
        self.in_turn(&Signed { edit, author, now }).await
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        self.connections.read(&OneAccount(id)).await
    }

    async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        self.connections.read(&SomeAccounts { after, limit }).await
    }

    async fn count_by_plan(&self, most: u32) -> Result<Vec<(PlanName, u64)>, StoreError> {
        self.connections.read(&CountByPlan { most }).await
    }

    async fn key(&self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        self.connections.read(&OneKey(id)).await
    }

    async fn keys(&self, of: KeysOf) -> Result<KeyPage, StoreError> {
        self.connections.read(&of).await
    }

    async fn follow(&self, cursor: &Cursor, limit: u32, now: UnixTime) -> Result<Followed, StoreError> {
        self.connections.read(&Follow { cursor, limit, now }).await
    }

    async fn revisions(&self) -> Result<Revisions, StoreError> {
        self.connections.read(&ReadRevisions).await
    }

    async fn suspended(&self) -> Result<Vec<AccountId>, StoreError> {
        self.connections.read(&ReadSuspended).await
    }

    async fn changed(&self) {
        self.listening.get_or_init(|| Listening::start(&self.connections)).changed().await;
    }

    fn look_every(&self) -> Duration {
        LOOK_EVERY
    }

    async fn audit(&self, of: AuditOf) -> Result<Vec<AuditRow>, StoreError> {
        self.connections.read(&of).await
    }

    async fn forget(&self, first: UnixTime, now: UnixTime) -> Result<u64, StoreError> {
        let oldest = self.connections.read(&OldestOfTrail).await?;
        let first = oldest.map_or(first, |oldest| first.min(oldest.saturating_add(MOST_OF_TRAIL)));
        let mut all = 0;
        loop {
            match self.in_turn(&Forget { first, now }).await? {
                0 => return Ok(all),
                forgotten => all += forgotten,
            }
        }
    }
}
