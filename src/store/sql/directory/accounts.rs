//! Changes of accounts.

use crate::clock::UnixTime;
use crate::ids::{AccountId, PlanName};
use crate::store::directory::edit::{Denial, new_account};
use crate::store::sql::directory::edits::{About, Effect, Signed, Verdict};
use crate::store::sql::directory::tables::{DirectoryTables, Inserted};

impl Signed {
    pub(super) async fn create_account(
        &self,
        id: &AccountId,
        given: (&str, &PlanName),
        tables: &mut dyn DirectoryTables,
    ) -> Verdict<About> {
        match tables.insert_account(id, given, self.now).await? {
            Inserted::Yes => Ok(Ok(About::account(id, Effect::Changed(0)))),
            Inserted::WasThere => Ok(Err(Denial::AccountExists)),
        }
    }

    /// Makes the account, on the plan `new`, if it is not there; that is a change with a row of its own.
    pub(super) async fn provide_account(
        &self,
        id: &AccountId,
        new: Option<&PlanName>,
        tables: &mut dyn DirectoryTables,
    ) -> Verdict<()> {
        let Some(plan) = new else {
            return Ok(if tables.has_account(id).await? { Ok(()) } else { Err(Denial::NoAccount) });
        };
        if tables.insert_account(id, (id.as_str(), plan), self.now).await? == Inserted::Yes {
            let detail = Some(new_account(id.as_str(), plan));
            self.trail("account.create", (id, id.as_str()), detail, tables).await?;
        }
        Ok(Ok(()))
    }
}

/// Gives an account, which is there, another name or plan.
pub(super) async fn change(
    id: &AccountId,
    (name, plan): (Option<&str>, Option<&PlanName>),
    tables: &mut dyn DirectoryTables,
) -> Result<About, sqlx::Error> {
    let (old_name, old_plan) = tables.given(id).await?;
    let name = name.filter(|name| *name != old_name);
    let plan = plan.map(PlanName::as_str).filter(|plan| *plan != old_plan);
    if name.is_none() && plan.is_none() {
        return Ok(About::account(id, Effect::Nothing));
    }
    tables.give(id, name, plan).await?;
    let revision = if plan.is_some() { mark_all(id, tables).await? } else { 0 };
    Ok(About::account(id, Effect::Changed(revision)))
}

/// Since when an account, which is there, is suspended; `None`: not any more.
pub(super) async fn suspend(
    id: &AccountId,
    since: Option<UnixTime>,
    tables: &mut dyn DirectoryTables,
) -> Result<About, sqlx::Error> {
    if !tables.suspend(id, since).await? {
        return Ok(About::account(id, Effect::Nothing));
    }
    let revision = mark_all(id, tables).await?;
    Ok(About::account(id, Effect::Changed(revision)))
}

/// Marks all keys of an account as changed.
async fn mark_all(id: &AccountId, tables: &mut dyn DirectoryTables) -> Result<u64, sqlx::Error> {
    let revision = tables.next_revision().await?;
    tables.mark_keys_of(id, revision).await?;
    Ok(revision)
}
